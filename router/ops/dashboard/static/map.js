// The map of the world with all edges and the territory that each serves. The tables have the same
// content, so the map needs no keyboard control.

import { byId, svg } from "./dom.js";
import { savedView, saveView } from "./address.js";
import { Lands } from "./lands.js";
import { project, unproject } from "./projection.js";
import { drawSites } from "./sites.js";
import { Tip, servedAt } from "./tip.js";
import { View, boxAround, boxOf } from "./view.js";

const WORLD = boxOf({ west: -170, east: 190, south: -56, north: 85 });
const AROUND_EDGES = 0.16; // map units
const ZOOM = 1.6;
const MOST = 24; // largest zoom; 1 shows the world
const DRAG = 4; // pixels; a shorter move is a click
const ABOUT =
  "Map of the world: which edge serves which part. The tables of edges and of countries show the same.";

export class WorldMap {
  #frame = byId("map-frame");
  #lands = new Lands();
  #sites = svg("g");
  #svg = svg("svg", { role: "img", "aria-label": ABOUT }, this.#lands.element, this.#sites);
  #tip = new Tip();
  #territory = null;
  #fleet = null;
  #chosen = null;
  #view = null;
  #drag = null;
  #drawn = ""; // the content of the drawn sites

  // `onSelect` is called with an edge's id or null, `onPlace` with a country and a position.
  constructor({ onSelect, onPlace }) {
    this.onSelect = onSelect;
    this.onPlace = onPlace;
    this.#frame.append(this.#svg, this.#tip.element);
    this.#listen();
  }

  setWorld(topology) {
    this.#lands.setWorld(topology);
    this.#resize();
  }

  setTerritory(territory) {
    this.#territory = territory;
    this.#lands.draw(territory);
    this.#lands.choose(territory, this.#chosen);
    this.#drawSites();
  }

  setFleet(fleet, chosen) {
    const isOther = chosen !== this.#chosen;
    this.#fleet = fleet;
    this.#chosen = chosen;
    if (isOther && this.#territory !== null) this.#lands.choose(this.#territory, chosen);
    this.#drawSites();
  }

  #drawSites() {
    if (this.#fleet === null || this.#territory === null || this.#view === null) return;
    const { sites } = this.#territory;
    const states = this.#fleet.edges.map(({ id, state, intent }) => [id, state, intent]);
    const made = JSON.stringify([sites, states, this.#chosen, this.#view]);
    if (made === this.#drawn) return;
    this.#drawn = made;
    const options = { chosen: this.#chosen, onSelect: this.onSelect };
    this.#sites.replaceChildren(...drawSites(this.#territory, this.#fleet, this.#view, options));
  }

  #resize() {
    const width = this.#svg.clientWidth;
    if (width === 0) return;
    const height = Math.round((width * (WORLD.bottom - WORLD.top)) / (WORLD.right - WORLD.left));
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const size = { width, height };
    const saved = savedView();
    const least = View.of(size, WORLD).scale;
    if (saved === null || saved[2] > MOST) this.#see(View.of(size, WORLD), "map-world");
    else this.#see(new View(size, saved.slice(0, 2), least * Math.max(1, saved[2])));
  }

  // `pressed`: the id of the button for this view, if there is one.
  #see(view, pressed = null) {
    this.#view = view;
    const zoom = view.scale / View.of(view.size, WORLD).scale;
    saveView(pressed === "map-world" ? null : [...view.centre, zoom]);
    this.#lands.place(view);
    this.#drawSites();
    for (const id of ["map-world", "map-edges"]) {
      byId(id).setAttribute("aria-pressed", String(id === pressed));
    }
  }

  #seeWorld() {
    this.#see(View.of(this.#view.size, WORLD), "map-world");
  }

  #seeEdges() {
    if (this.#territory === null) return;
    const places = this.#territory.sites.map((site) => project(site.longitude, site.latitude));
    this.#see(View.of(this.#view.size, boxAround(places, AROUND_EDGES)), "map-edges");
  }

  #zoom(factor) {
    const least = View.of(this.#view.size, WORLD).scale;
    const nearer = this.#view.scaled(factor);
    if (nearer.scale <= least) this.#seeWorld();
    else if (nearer.scale <= least * MOST) this.#see(nearer);
  }

  #listen() {
    new ResizeObserver(() => {
      if (this.#svg.clientWidth !== this.#view?.size.width) this.#resize();
    }).observe(this.#frame);
    byId("map-world").addEventListener("click", () => this.#seeWorld());
    byId("map-edges").addEventListener("click", () => this.#seeEdges());
    byId("map-in").addEventListener("click", () => this.#zoom(ZOOM));
    byId("map-out").addEventListener("click", () => this.#zoom(1 / ZOOM));
    this.#svg.addEventListener("pointerdown", (event) => this.#grab(event));
    this.#svg.addEventListener("pointermove", (event) => this.#pointAt(event));
    this.#svg.addEventListener("pointerup", () => this.#svg.classList.remove("dragging"));
    this.#svg.addEventListener("pointerleave", () => this.#tip.hide());
    this.#svg.addEventListener("click", (event) => this.#press(event));
  }

  #grab(event) {
    this.#drag = { x: event.clientX, y: event.clientY, from: this.#view, isFar: false };
  }

  #pointAt(event) {
    const isDrag = event.buttons === 1 && event.pointerType === "mouse" && this.#drag !== null;
    if (isDrag) this.#pull(event);
    else this.#showTip(event);
  }

  #pull(event) {
    const [dx, dy] = [event.clientX - this.#drag.x, event.clientY - this.#drag.y];
    if (!this.#drag.isFar && Math.hypot(dx, dy) < DRAG) return;
    this.#drag.isFar = true;
    this.#svg.classList.add("dragging");
    this.#tip.hide();
    this.#see(this.#drag.from.moved(dx, dy));
  }

  #press(event) {
    const wasDrag = this.#drag?.isFar ?? false;
    this.#drag = null;
    const place = wasDrag ? null : this.#placeAt(event);
    if (place !== null) this.onPlace(place);
  }

  #showTip(event) {
    const place = this.#placeAt(event);
    const served = place && this.#territory && servedAt(this.#territory, place);
    if (!served) return this.#tip.hide();
    const frame = this.#frame.getBoundingClientRect();
    this.#tip.show(served, [event.clientX - frame.left, event.clientY - frame.top], frame.width);
  }

  #placeAt(event) {
    const box = this.#svg.getBoundingClientRect();
    const place = unproject(...this.#view.fromPixels([event.clientX - box.left, event.clientY - box.top]));
    const country = event.target.dataset?.country;
    if (place === null || country === undefined) return null;
    return { country, longitude: place[0], latitude: place[1] };
  }
}
