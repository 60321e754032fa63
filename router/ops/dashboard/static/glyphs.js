// Icons. Each state has its own shape, so that colour is not needed: disc, triangle, crossed square,
// ring. An operator's intent is a letter.

import { svg } from "./dom.js";

const STATES = {
  up: () => [svg("circle", { cx: 8, cy: 8, r: 5.5, fill: "currentColor" })],
  degraded: () => [svg("path", { d: "M8 1.8 15 14H1Z", fill: "currentColor" })],
  down: () => [
    svg("rect", { x: 1.5, y: 1.5, width: 13, height: 13, rx: 2, fill: "currentColor" }),
    svg("path", {
      d: "m5 5 6 6m0-6-6 6",
      stroke: "var(--panel)",
      "stroke-width": 2.2,
      "stroke-linecap": "round",
    }),
  ],
  unknown: () => [
    svg("circle", {
      cx: 8,
      cy: 8,
      r: 5.5,
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 2,
      "stroke-dasharray": "3 2",
    }),
  ],
};

const LETTERS = { draining: "D", disabled: "X" };

function letter(text) {
  return [
    svg("rect", {
      x: 1,
      y: 1,
      width: 14,
      height: 14,
      rx: 4,
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 1.8,
    }),
    svg(
      "text",
      { x: 8, y: 12, "text-anchor": "middle", fill: "currentColor", "font-size": 11, "font-weight": 700 },
      text,
    ),
  ];
}

const GRADES = { alarm: "down", warning: "degraded", ok: "up", notice: "unknown" };

function glyph(kind, shapes, place) {
  return svg(
    "svg",
    { class: `glyph is-${kind}`, viewBox: "0 0 16 16", "aria-hidden": "true", ...place },
    shapes,
  );
}

export const stateGlyph = (state, place = {}) => glyph(state, STATES[state](), place);

export const gradeGlyph = (grade) => stateGlyph(GRADES[grade]);

// The icon of an edge: that of an operator's intent if there is one, else that of its state.
export function edgeGlyph(edge, place = {}) {
  if (edge.intent in LETTERS) return glyph("held", letter(LETTERS[edge.intent]), place);
  return stateGlyph(edge.state, place);
}

export function tone(edge) {
  if (edge.intent !== "enabled") return "held";
  if (edge.state === "down") return "bad";
  return edge.state === "up" ? "good" : "warn";
}
