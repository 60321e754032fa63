// The world with every edge and the territory that it serves. The tables say the same in
// words, so nothing on the map needs the keyboard.

import { fronts, joined, uniform } from "./cells.js";
import { byId, h, svg } from "./dom.js";
import { percent } from "./format.js";
import { edgeGlyph, tone } from "./glyphs.js";
import { placeLabels } from "./labels.js";
import { project, unproject } from "./projection.js";
import { readTopology } from "./topology.js";

const TINTS = 8;
const WORLD = { west: -170, east: 190, south: -56, north: 85 };
const NARROW = 520;
const GLYPH = 11;
const MAX_ZOOM = 24;
const TROUBLE = ["bad", "warn", "held", "good"];

function bounds({ west, east, south, north }) {
  const corners = [0, (south + north) / 2, south, north].flatMap((lat) => [
    project(west, lat),
    project(east, lat),
  ]);
  const [xs, ys] = [corners.map(([x]) => x), [project(0, south)[1], project(0, north)[1]]];
  return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
}

export class WorldMap {
  #frame = byId("map-frame");
  #world = null;
  #territory = null;
  #fleet = null;
  #chosen = null;
  #view = null; // centre in map units and pixels a unit
  #size = { width: 0, height: 0 };
  #drag = null;

  constructor({ onSelect, onPlace }) {
    this.onSelect = onSelect;
    this.onPlace = onPlace;
    this.ground = svg("g");
    this.lands = svg("g");
    this.over = svg("g");
    this.borders = svg("path", { class: "borders" });
    this.scene = svg("g", {}, this.ground, this.lands, this.over, this.borders);
    this.overlay = svg("g");
    this.clips = svg("defs");
    this.svg = svg(
      "svg",
      {
        role: "img",
        "aria-label":
          "Map of the world: which edge serves which part. The tables of edges and of countries tell the same.",
      },
      svg("defs", {}, hatch("hatch", 7)),
      this.clips,
      this.scene,
      this.overlay,
    );
    this.tip = h("div", { class: "tip", hidden: true });
    this.#frame.append(this.svg, this.tip);
    this.#listen();
  }

  setWorld(topology) {
    this.#world = readTopology(topology);
    const paths = [...this.#world.countries].map(([code, d]) =>
      svg("path", { d, class: "country", "data-country": code }),
    );
    this.ground.replaceChildren(...paths);
    this.borders.setAttribute("d", this.#world.borders);
    this.clips.replaceChildren(
      ...[...this.#world.countries].map(([code, d]) =>
        svg("clipPath", { id: `clip-${code}` }, svg("path", { d })),
      ),
    );
    this.#resize();
  }

  setTerritory(territory) {
    this.#territory = territory;
    this.#drawTerritory();
    this.#drawLabels();
  }

  setFleet(fleet, chosen) {
    const chose = chosen !== this.#chosen;
    this.#fleet = fleet;
    this.#chosen = chosen;
    if (chose) this.#drawChosen();
    this.#drawLabels();
  }

  siteOf(id) {
    const index = this.#territory?.sites.findIndex((site) => site.edges.includes(id)) ?? -1;
    return index < 0 ? "none" : this.#tint(index);
  }

  // By longitude, so that neighbours differ.
  #tint(index) {
    const order = this.#territory.sites.map((site, at) => [site.longitude, at]).sort((a, b) => a[0] - b[0]);
    return order.findIndex(([, at]) => at === index) % TINTS;
  }

  #drawTerritory() {
    if (this.#world === null || this.#territory === null) return;
    const { groups, moved, cells, cell_deg } = this.#territory;
    const tints = groups.map((mix) => this.siteOf(mix[0][0]));
    const lands = [],
      over = [];
    for (const [code, d] of this.#world.countries) {
      if (!(code in cells)) continue;
      const clip = { "clip-path": `url(#clip-${code})` };
      const look = (group) => tints[group];
      const all = uniform(cells[code], look);
      if (all !== undefined) lands.push(svg("path", { d, class: `land site-${all}` }));
      else {
        const paths = [...joined(cells[code], look, cell_deg)].map(([tint, path]) =>
          svg("path", { d: path, class: `land site-${tint}` }),
        );
        lands.push(
          svg("g", clip, ...paths, svg("path", { class: "fronts", d: fronts(cells[code], look, cell_deg) })),
        );
      }
      const hit = joined(cells[code], (group) => (moved[group] > 0 ? "hit" : null), cell_deg).get("hit");
      if (hit !== undefined) over.push(svg("g", clip, svg("path", { d: hit, class: "hatched" })));
    }
    this.lands.replaceChildren(...lands);
    this.over.replaceChildren(...over);
    this.#drawChosen();
  }

  #drawChosen() {
    this.over.querySelector(".choice")?.remove();
    this.svg.classList.toggle("has-chosen", this.#chosen !== null);
    if (this.#chosen === null || this.#territory === null || this.#world === null) return;
    const { groups, cells, cell_deg } = this.#territory;
    const has = groups.map((mix) => mix.some(([id, share]) => id === this.#chosen && share > 0));
    const choice = svg("g", { class: "choice" });
    for (const code of this.#world.countries.keys()) {
      const path =
        code in cells && joined(cells[code], (group) => (has[group] ? "its" : null), cell_deg).get("its");
      if (path) choice.append(svg("path", { d: path, class: "chosen", "clip-path": `url(#clip-${code})` }));
    }
    this.over.append(choice);
  }

  // Sites with their edges, those in trouble first where room is short.
  #drawLabels() {
    if (this.#fleet === null || this.#territory === null || this.#view === null) return;
    const edges = new Map(this.#fleet.edges.map((edge) => [edge.id, edge]));
    const isSmall = this.#size.width < NARROW;
    const labels = this.#territory.sites.map((site) => {
      const own = site.edges.map((id) => edges.get(id)).filter(Boolean);
      const worst = TROUBLE.find((one) => own.some((edge) => tone(edge) === one)) ?? "good";
      const [x, y] = this.#toPixels(project(site.longitude, site.latitude));
      const name = isSmall ? site.name.slice(0, 3) : site.name;
      const width = 17 + textWidth(name) + own.length * (GLYPH + 3);
      return { site, own, worst, x, y, name, width, height: 21 };
    });
    labels.sort((a, b) => TROUBLE.indexOf(a.worst) - TROUBLE.indexOf(b.worst));
    const visible = labels.filter(
      ({ x, y }) => x > 0 && y > 0 && x < this.#size.width && y < this.#size.height,
    );
    const named = isSmall ? visible.filter(({ worst }) => worst !== "good") : visible;
    const boxes = placeLabels(named, this.#size);
    this.overlay.replaceChildren(
      ...named.map((label, index) => leader(label, boxes[index])),
      ...visible.map(({ x, y, worst }) =>
        svg("circle", { class: "spot", "data-tone": worst, cx: x, cy: y, r: 3 }),
      ),
      ...named.map((label, index) => boxes[index] && this.#label(label, boxes[index])).filter(Boolean),
    );
  }

  #label({ site, own, worst, name }, box) {
    const text = svg("text", { class: "name", x: box.x + 7, y: box.y + 14.6 }, name);
    const start = box.x + box.width - 5 - own.length * (GLYPH + 3);
    const glyphs = own.map((edge, index) =>
      edgeGlyph(edge, { x: start + index * (GLYPH + 3), y: box.y + 5, width: GLYPH, height: GLYPH }),
    );
    const next = () => {
      const at = site.edges.indexOf(this.#chosen);
      this.onSelect(site.edges[at + 1] ?? null);
    };
    const about = svg("title", {}, own.map((edge) => `${edge.id}: ${edge.state}, ${edge.intent}`).join("\n"));
    return svg(
      "g",
      {
        class: "label",
        "data-site": site.name,
        "data-tone": worst,
        "data-chosen": String(site.edges.includes(this.#chosen)),
        onclick: (event) => {
          event.stopPropagation();
          next();
        },
      },
      svg("rect", { class: "plate", x: box.x, y: box.y, width: box.width, height: box.height, rx: 5 }),
      about,
      text,
      ...glyphs,
    );
  }

  #toPixels([x, y]) {
    const { centre, scale } = this.#view;
    return [(x - centre[0]) * scale + this.#size.width / 2, (y - centre[1]) * scale + this.#size.height / 2];
  }

  #fromPixels(px, py) {
    const { centre, scale } = this.#view;
    return [
      (px - this.#size.width / 2) / scale + centre[0],
      (py - this.#size.height / 2) / scale + centre[1],
    ];
  }

  #resize() {
    const width = this.svg.clientWidth;
    if (width === 0) return;
    const { left, right, top, bottom } = bounds(WORLD);
    const height = Math.round((width * (bottom - top)) / (right - left));
    this.#size = { width, height };
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.showWorld();
  }

  showWorld() {
    this.#fit(bounds(WORLD));
    this.#press("map-world");
  }

  showEdges() {
    if (this.#territory === null) return;
    const places = this.#territory.sites.map((site) => project(site.longitude, site.latitude));
    const [xs, ys] = [places.map(([x]) => x), places.map(([, y]) => y)];
    const margin = 0.16;
    this.#fit({
      left: Math.min(...xs) - margin,
      right: Math.max(...xs) + margin,
      top: Math.min(...ys) - margin,
      bottom: Math.max(...ys) + margin,
    });
    this.#press("map-edges");
  }

  zoom(factor) {
    const least = this.#worldScale();
    const scale = Math.max(least, Math.min(least * MAX_ZOOM, this.#view.scale * factor));
    this.#move(
      scale === least
        ? { ...this.#view, scale, centre: [0, this.#view.centre[1]] }
        : { ...this.#view, scale },
    );
    this.#press(null);
  }

  #worldScale() {
    const { left, right } = bounds(WORLD);
    return this.#size.width / (right - left);
  }

  #fit({ left, right, top, bottom }) {
    const scale = Math.min(this.#size.width / (right - left), this.#size.height / (bottom - top));
    this.#move({ centre: [(left + right) / 2, (top + bottom) / 2], scale });
  }

  #move(view) {
    this.#view = view;
    const [x, y] = this.#toPixels([0, 0]);
    this.scene.setAttribute("transform", `translate(${x} ${y}) scale(${view.scale})`);
    this.svg.querySelector("#hatch").setAttribute("patternTransform", `scale(${1 / view.scale}) rotate(45)`);
    this.#drawLabels();
  }

  #press(id) {
    for (const one of ["map-world", "map-edges"]) byId(one).setAttribute("aria-pressed", String(one === id));
  }

  #listen() {
    new ResizeObserver(() => {
      if (this.svg.clientWidth !== this.#size.width) this.#resize();
    }).observe(this.#frame);
    byId("map-world").addEventListener("click", () => this.showWorld());
    byId("map-edges").addEventListener("click", () => this.showEdges());
    byId("map-in").addEventListener("click", () => this.zoom(1.6));
    byId("map-out").addEventListener("click", () => this.zoom(1 / 1.6));
    this.svg.addEventListener("pointerdown", (event) => this.#startDrag(event));
    this.svg.addEventListener("pointermove", (event) => this.#pointAt(event));
    this.svg.addEventListener("pointerleave", () => {
      this.tip.hidden = true;
    });
    this.svg.addEventListener("pointerup", () => {
      this.svg.classList.remove("dragging");
    });
    this.svg.addEventListener("click", (event) => this.#click(event));
  }

  #startDrag(event) {
    this.#drag = { x: event.clientX, y: event.clientY, centre: this.#view.centre, moved: false };
  }

  #pointAt(event) {
    if (event.buttons === 1 && this.#drag !== null && event.pointerType === "mouse") {
      const [dx, dy] = [event.clientX - this.#drag.x, event.clientY - this.#drag.y];
      if (!this.#drag.moved && Math.hypot(dx, dy) < 4) return;
      this.#drag.moved = true;
      this.svg.classList.add("dragging");
      this.tip.hidden = true;
      const { scale } = this.#view;
      this.#move({ scale, centre: [this.#drag.centre[0] - dx / scale, this.#drag.centre[1] - dy / scale] });
      this.#press(null);
      return;
    }
    this.#showTip(event);
  }

  #placeAt(event) {
    const box = this.svg.getBoundingClientRect();
    const place = unproject(...this.#fromPixels(event.clientX - box.left, event.clientY - box.top));
    const country = event.target.dataset?.country;
    return place === null || country === undefined
      ? null
      : { country, longitude: place[0], latitude: place[1] };
  }

  #showTip(event) {
    const place = this.#placeAt(event);
    const told = place && this.#territory && this.#servedAt(place);
    this.tip.hidden = !told;
    if (!told) return;
    this.tip.replaceChildren(h("b", {}, told.name), told.text);
    const frame = this.#frame.getBoundingClientRect();
    const x = Math.min(event.clientX - frame.left + 14, frame.width - this.tip.offsetWidth - 6);
    this.tip.style.setProperty("left", `${Math.max(4, x)}px`);
    this.tip.style.setProperty("top", `${event.clientY - frame.top + 16}px`);
  }

  #servedAt({ country, longitude, latitude }) {
    const { cells, cell_deg, groups, moved, countries } = this.#territory;
    const row = Math.floor((latitude + 90) / cell_deg),
      column = Math.floor((longitude + 180) / cell_deg);
    const list = cells[country] ?? [];
    for (let i = 0; i < list.length; i += 3) {
      if (list[i] !== row || list[i + 1] !== column) continue;
      const group = list[i + 2];
      const text = groups[group].map(([id, share]) => `${id ?? "no edge"} ${percent(share)}`).join(", ");
      const name = countries.find((one) => one.code === country)?.name ?? country;
      return { name, text: moved[group] > 0 ? `${text} (moved)` : text };
    }
    return null;
  }

  #click(event) {
    const wasDrag = this.#drag?.moved ?? false;
    this.#drag = null;
    const place = wasDrag ? null : this.#placeAt(event);
    if (place !== null) this.onPlace(place);
  }
}

const canvas = document.createElement("canvas").getContext("2d");

function textWidth(text) {
  canvas.font = `550 11.5px ${getComputedStyle(document.body).fontFamily}`;
  return canvas.measureText(text).width;
}

function hatch(id, size) {
  return svg(
    "pattern",
    { id, width: size, height: size, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("line", { class: "hatch-line", x1: 0, y1: 0, x2: 0, y2: size }),
  );
}

function leader({ x, y }, box) {
  if (box === null) return svg("g");
  const nearX = Math.max(box.x, Math.min(x, box.x + box.width));
  const nearY = Math.max(box.y, Math.min(y, box.y + box.height));
  return svg("line", { class: "leader", x1: x, y1: y, x2: nearX, y2: nearY });
}

export function showLegend() {
  const key = (glyph, text) => h("span", {}, glyph, text);
  const state = (name, intent = "enabled") => edgeGlyph({ state: name, intent });
  const sample = svg(
    "svg",
    { class: "hatch-swatch", viewBox: "0 0 22 12", "aria-hidden": "true" },
    svg("defs", {}, hatch("hatch-key", 5)),
    svg("rect", { class: "hatched-key", width: 22, height: 12 }),
  );
  byId("legend").replaceChildren(
    key(state("up"), "up"),
    key(state("degraded"), "degraded"),
    key(state("down"), "down"),
    key(state("unknown"), "unknown"),
    key(state("up", "draining"), "draining"),
    key(state("up", "disabled"), "disabled"),
    key(sample, "moved off their usual edge"),
  );
}
