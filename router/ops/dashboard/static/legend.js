// The legend of the map.

import { byId, h, svg } from "./dom.js";
import { edgeGlyph } from "./glyphs.js";
import { hatch } from "./hatch.js";

const SHAPES = [
  ["up", "up", "enabled"],
  ["degraded", "degraded", "enabled"],
  ["down", "down", "enabled"],
  ["unknown", "unknown", "enabled"],
  ["draining", "up", "draining"],
  ["disabled", "up", "disabled"],
];

export function showLegend() {
  const sample = svg(
    "svg",
    { class: "hatch-swatch", viewBox: "0 0 22 12", "aria-hidden": "true" },
    svg("defs", {}, hatch("hatch-key", 5)),
    svg("rect", { class: "hatched-key", width: 22, height: 12 }),
  );
  const shapes = SHAPES.map(([word, state, intent]) => h("span", {}, edgeGlyph({ state, intent }), word));
  byId("legend").replaceChildren(...shapes, h("span", {}, sample, "viewers moved to another edge"));
}
