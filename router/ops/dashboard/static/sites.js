// The cities on the map: a spot for each, and a label with its edges.

import { plain, svg } from "./dom.js";
import { edgeGlyph, tone } from "./glyphs.js";
import { placeLabels } from "./labels.js";
import { project } from "./projection.js";

const FEW = 16; // if more cities are visible, only those with problems and the chosen one have labels
const LONGEST = 22; // maximum characters of a name
const NARROW = 520; // pixels; below this, only cities with problems have labels
const MOST_LABELS = 40;
const GLYPHS = 6; // maximum edges drawn for a city, the worst first
const GLYPH = 11;
const STEP = GLYPH + 3;
const HEIGHT = 21;
const TROUBLE = ["bad", "warn", "held", "good"];

const canvas = document.createElement("canvas").getContext("2d");

const widths = new Map(); // name → pixels

function textWidth(text) {
  if (widths.size === 0) canvas.font = `550 11.5px ${getComputedStyle(document.body).fontFamily}`;
  if (!widths.has(text)) widths.set(text, canvas.measureText(text).width);
  return widths.get(text);
}

function shortened(name, most) {
  const letters = [...name];
  return letters.length <= most || most === 3 ? letters.slice(0, most).join("") : `${letters.slice(0, most - 1).join("")}…`;
}

function described(site, edges, view) {
  const own = site.edges.map((id) => edges.get(id)).filter(Boolean);
  const worst = TROUBLE.find((one) => own.some((edge) => tone(edge) === one)) ?? "good";
  const [x, y] = view.toPixels(project(site.longitude, site.latitude));
  const name = shortened(plain(site.name), view.size.width < NARROW ? 3 : LONGEST);
  return { site, own, worst, x, y, name, height: HEIGHT, width: 17 + textWidth(name) + Math.min(own.length, GLYPHS) * STEP };
}

// All elements to draw. Cities with problems get labels first.
export function drawSites({ sites }, fleet, view, { chosen, onSelect }) {
  const edges = new Map(fleet.edges.map((edge) => [edge.id, edge]));
  const seen = sites
    .map((site) => described(site, edges, view))
    .filter(({ x, y }) => view.has([x, y]))
    .sort((a, b) => TROUBLE.indexOf(a.worst) - TROUBLE.indexOf(b.worst));
  const isCrowded = view.size.width < NARROW || seen.length > FEW;
  const isNamed = ({ worst, site }) => worst !== "good" || site.edges.includes(chosen);
  const named = isCrowded ? seen.filter(isNamed).slice(0, MOST_LABELS) : seen;
  const boxes = placeLabels(named, view.size);
  const labelled = named.map((one, index) => ({ ...one, box: boxes[index] })).filter(({ box }) => box);
  return [
    ...labelled.map(leader),
    ...seen.map(({ x, y, worst }) =>
      svg("circle", { class: "spot", "data-tone": worst, cx: x, cy: y, r: 3 }),
    ),
    ...labelled.map((one) => label(one, chosen, onSelect)),
  ];
}

const worstFirst = (edges) => edges.toSorted((a, b) => TROUBLE.indexOf(tone(a)) - TROUBLE.indexOf(tone(b)));

function leader({ x, y, box }) {
  const nearX = Math.max(box.x, Math.min(x, box.x + box.width));
  const nearY = Math.max(box.y, Math.min(y, box.y + box.height));
  return svg("line", { class: "leader", x1: x, y1: y, x2: nearX, y2: nearY });
}

// A click on a label chooses the next of its edges; after the last, none.
function label({ site, own, worst, name, box }, chosen, onSelect) {
  const shown = worstFirst(own).slice(0, GLYPHS);
  const start = box.x + box.width - 5 - shown.length * STEP;
  const place = (index) => ({ x: start + index * STEP, y: box.y + 5, width: GLYPH, height: GLYPH });
  const about = own.map((edge) => `${edge.id}: ${edge.state}, ${edge.intent}`).join("\n");
  const attributes = {
    class: "label",
    "data-site": site.name,
    "data-tone": worst,
    "data-chosen": String(site.edges.includes(chosen)),
    onclick: (event) => {
      event.stopPropagation();
      onSelect(site.edges[site.edges.indexOf(chosen) + 1] ?? null);
    },
  };
  return svg(
    "g",
    attributes,
    svg("rect", { class: "plate", ...box, rx: 5 }),
    svg("title", {}, about),
    svg("text", { class: "name", x: box.x + 7, y: box.y + 14.6 }, name),
    ...shown.map((edge, index) => edgeGlyph(edge, place(index))),
  );
}
