// The table of edges, with problems first or sorted by a column. It can be searched, and several
// edges can be selected and changed at once.

import { bdi, byId, h, replaceRows } from "./dom.js";
import { dialled, held, isOut, modelsCell, roundTrip, shareCell, stateCell, votesCell } from "./edge_cells.js";
import { duration, moment } from "./format.js";
import { edgeGlyph, tone } from "./glyphs.js";
import { historyTag, pastCell } from "./history.js";

const TROUBLE = ["bad", "warn", "held", "good"];
const byTrouble = (edge) => TROUBLE.indexOf(tone(edge));
const KEYS = {
  edge: (edge) => edge.id,
  country: (edge, { nameOf }) => nameOf(edge.country),
  state: byTrouble,
  share: (edge, { fleet }) => -(isOut(edge, fleet.status) ? 0 : (edge.share ?? 0)),
  rtt: (edge) => edge.rtt_ms ?? Infinity,
};

const ticked = new Set();
const rows = new Map(); // id → the content of the row, and the row
let sorted = { by: "state", isReversed: false };
let last = null; // the options of the last call of showEdges

function row(edge, options) {
  const { selected, fleet, nameOf, onSelect, onChange } = options;
  const action = edge.intent === "enabled" ? "Drain…" : "Enable…";
  return h(
    "tr",
    { "data-key": edge.id, "data-tone": tone(edge), "data-selected": String(edge.id === selected) },
    h(
      "td",
      { class: "tick" },
      h("input", {
        type: "checkbox",
        "data-control": "tick",
        "aria-label": `Choose ${edge.id}`,
        checked: ticked.has(edge.id),
        onchange: (event) => tick(edge.id, event.target.checked),
      }),
    ),
    h(
      "th",
      { scope: "row" },
      h(
        "button",
        {
          type: "button",
          "data-control": "select",
          "aria-pressed": String(edge.id === selected),
          title: "Show its territory",
          onclick: () => onSelect(edge.id === last.selected ? null : edge.id),
        },
        edgeGlyph(edge),
        h("span", {}, h("span", { class: "id" }, edge.id), " ", h("span", { class: "name" }, bdi(edge.name))),
      ),
    ),
    h("td", { class: "country-name" }, nameOf(edge.country)),
    h("td", {}, stateCell(edge)),
    h("td", { class: "number" }, shareCell(edge, fleet.status)),
    h("td", { class: "number wide" }, roundTrip(edge)),
    h("td", { class: "wide" }, pastCell(edge.id)),
    h("td", { class: "wide" }, votesCell(edge)),
    h("td", { class: "wide" }, modelsCell(edge)),
    h(
      "td",
      {},
      h(
        "button",
        {
          type: "button",
          "data-control": "change",
          "aria-label": `${action.replace("…", "")} ${edge.id}`,
          onclick: () => onChange([edge.id]),
        },
        action,
      ),
    ),
  );
}

// The row of an edge; the same element as long as the content is the same.
function cachedRow(edge, options) {
  const { fleet, selected, nameOf } = options;
  const { phase } = held(edge) ?? dialled(edge) ?? { phase: "" };
  const shown = { ...edge, rtt_ms: roundTrip(edge) };
  const made = JSON.stringify([shown, fleet.status, edge.id === selected, nameOf(edge.country), phase, historyTag()]);
  const known = rows.get(edge.id);
  if (known?.made === made) return known.element;
  const element = row(edge, options);
  rows.set(edge.id, { made, element });
  return element;
}

function tick(id, isTicked) {
  if (isTicked) ticked.add(id);
  else ticked.delete(id);
  showTicked();
}

function showTicked() {
  byId("edges-chosen").hidden = ticked.size === 0;
  byId("edges-change").textContent = ticked.size === 1 ? "Change 1 edge…" : `Change ${ticked.size} edges…`;
}

const isFound = (edge, text, { nameOf }) =>
  [edge.id, edge.name, edge.country, nameOf(edge.country), edge.state, edge.intent]
    .join(" ")
    .toLowerCase()
    .includes(text);

function order(edges, options) {
  const key = KEYS[sorted.by];
  const compare = (a, b) => {
    const [left, right] = [key(a, options), key(b, options)];
    return left < right ? -1 : left > right ? 1 : 0;
  };
  const ordered = edges.toSorted(compare);
  return sorted.isReversed ? ordered.reverse() : ordered;
}

function note({ fleet }, found) {
  const { total, window_s } = fleet.answers;
  const answers =
    total === 0
      ? `no answers in the last ${duration(window_s)}`
      : `share of ${total.toLocaleString("en")} answers in the last ${duration(window_s)}`;
  const few = found === fleet.edges.length ? "" : `${found} of ${fleet.edges.length} edges; `;
  const isOld = fleet.status === "static" || fleet.status === "stale";
  const old = isOld && fleet.seen_at !== null ? `; states as last seen at ${moment(fleet.seen_at)}` : "";
  return few + answers + old;
}

export function showEdges(options) {
  last = options;
  const { fleet } = options;
  const text = byId("edges-find").value.trim().toLowerCase();
  const found = fleet.edges.filter((edge) => isFound(edge, text, options));
  for (const id of ticked) if (!fleet.edges.some((edge) => edge.id === id)) ticked.delete(id);
  replaceRows(byId("edge-rows"), order(found, options).map((edge) => cachedRow(edge, options)));
  byId("edges").dataset.status = fleet.status;
  byId("edges-note").textContent = note(options, found.length);
  showTicked();
}

function sortBy(by) {
  sorted = { by, isReversed: sorted.by === by && !sorted.isReversed };
  for (const head of document.querySelectorAll("#edges th[data-sort]")) {
    const isThis = head.dataset.sort === by;
    head.setAttribute("aria-sort", isThis ? (sorted.isReversed ? "descending" : "ascending") : "none");
  }
  if (last !== null) showEdges(last);
}

export function startEdges() {
  byId("edges-find").addEventListener("input", () => last && showEdges(last));
  byId("edges-change").addEventListener("click", () => last.onChange([...ticked]));
  byId("edges-clear").addEventListener("click", () => {
    ticked.clear();
    rows.clear();
    showEdges(last);
  });
  for (const head of document.querySelectorAll("#edges th[data-sort]"))
    head.querySelector("button").addEventListener("click", () => sortBy(head.dataset.sort));
}
