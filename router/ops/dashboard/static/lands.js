// The countries on the map. The tint of each part shows the city that serves it.

import { fronts, joined, uniform } from "./cells.js";
import { svg } from "./dom.js";
import { hatch } from "./hatch.js";
import { readTopology } from "./topology.js";

const TINTS = 8;
const HATCH = 7;

// Edge → the tint number of its city. Cities are numbered by longitude, so that neighbours differ.
export function tintsOf({ sites }) {
  const eastward = sites.toSorted((a, b) => a.longitude - b.longitude);
  return new Map(eastward.flatMap(({ edges }, index) => edges.map((id) => [id, index % TINTS])));
}

export class Lands {
  #countries = new Map(); // code → path
  #ground = svg("g");
  #tinted = svg("g");
  #moved = svg("g");
  #chosen = svg("g");
  #borders = svg("path", { class: "borders" });
  #clips = svg("defs");
  #hatch = hatch("hatch", HATCH);
  #cache = new Map(); // code → the content of a country's drawing, and the element

  constructor() {
    const patterns = svg("defs", {}, this.#hatch);
    this.element = svg("g", {}, patterns, this.#clips, this.#ground, this.#tinted, this.#moved);
    this.element.append(this.#chosen, this.#borders);
  }

  setWorld(topology) {
    const { countries, borders } = readTopology(topology);
    this.#countries = countries;
    this.#borders.setAttribute("d", borders);
    this.#cache.clear();
    const each = (make) => [...countries].map(([code, d]) => make(code, svg("path", { d })));
    this.#clips.replaceChildren(...each((code, path) => svg("clipPath", { id: `clip-${code}` }, path)));
    this.#ground.replaceChildren(
      ...each((code, path) => {
        path.setAttribute("class", "country");
        path.dataset.country = code;
        return path;
      }),
    );
  }

  place(view) {
    const [x, y] = view.toPixels([0, 0]);
    this.element.setAttribute("transform", `translate(${x} ${y}) scale(${view.scale})`);
    this.#hatch.setAttribute("patternTransform", `scale(${1 / view.scale}) rotate(45)`);
  }

  draw(territory) {
    const tintOf = tintsOf(territory);
    const tints = territory.groups.map(([[id]]) => tintOf.get(id) ?? "none");
    this.#tinted.replaceChildren(
      ...this.#each(territory, (code, cells) => this.#tint(code, cells, tints, territory.cell_deg)),
    );
    this.#moved.replaceChildren(...this.#marked(territory, (group) => territory.moved[group] > 0, "hatched"));
  }

  // Highlights the territory of one edge; of none if `id` is null.
  choose(territory, id) {
    const has = territory.groups.map((mix) => mix.some(([edge, share]) => edge === id && share > 0));
    this.element.classList.toggle("has-chosen", id !== null);
    this.#chosen.replaceChildren(...this.#marked(territory, (group) => has[group], "chosen"));
  }

  #each({ cells }, draw) {
    const known = [...this.#countries.keys()].filter((code) => code in cells);
    return known.map((code) => draw(code, cells[code])).filter((element) => element !== null);
  }

  // The drawing of a country; the same element as long as the content is the same.
  #tint(code, cells, tints, size) {
    const made = cells.map((value, index) => (index % 3 === 2 ? tints[value] : value)).join();
    const cached = this.#cache.get(code);
    if (cached?.made === made) return cached.element;
    const element = this.#draw(code, cells, tints, size);
    this.#cache.set(code, { made, element });
    return element;
  }

  #draw(code, cells, tints, size) {
    const look = (group) => tints[group];
    const whole = uniform(cells, look);
    if (whole !== undefined) {
      return svg("path", { d: this.#countries.get(code), class: `land site-${whole}` });
    }
    const parts = [...joined(cells, look, size)].map(([tint, d]) =>
      svg("path", { d, class: `land site-${tint}` }),
    );
    return clipped(code, ...parts, svg("path", { class: "fronts", d: fronts(cells, look, size) }));
  }

  #marked(territory, isMarked, kind) {
    const look = (group) => (isMarked(group) ? kind : null);
    return this.#each(territory, (code, cells) => {
      const d = joined(cells, look, territory.cell_deg).get(kind);
      return d === undefined ? null : clipped(code, svg("path", { d, class: kind }));
    });
  }
}

const clipped = (code, ...paths) => svg("g", { "clip-path": `url(#clip-${code})` }, ...paths);
