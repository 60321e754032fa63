// The table of edges, trouble first.

import { byId, h, meter, replaceRows } from "./dom.js";
import { ago, duration, moment, now, percent, words } from "./format.js";
import { edgeGlyph, stateGlyph, tone } from "./glyphs.js";

const TROUBLE = ["bad", "warn", "held", "good"];

export function held(edge) {
  const detail = edge.intent_detail;
  if (detail === null) return null;
  const left_s = detail.drained_at - now();
  const drained = edge.intent === "draining" ? "drained" : `${edge.intent}, drained`;
  const phase = left_s <= 0 ? drained : `${edge.intent}, ${duration(left_s)} left`;
  return { ...detail, phase, until: moment(detail.until) };
}

function stateCell(edge) {
  const out = held(edge);
  return h(
    "div",
    { class: "state" },
    h("b", { class: `is-${edge.state}` }, edge.state),
    edge.since === null ? null : h("span", { class: "age" }, ago(edge.since, h)),
    edge.reason === null || ["ok", edge.state].includes(edge.reason)
      ? null
      : h("span", { class: "reason" }, words(edge.reason)),
    edge.routable ? null : h("span", { class: "reason" }, "not routable"),
    out &&
      h(
        "span",
        { class: "held" },
        h("b", {}, out.phase),
        ` · until ${out.until} · ${out.actor}: ${out.reason}`,
      ),
  );
}

function votesCell(edge) {
  const votes = Object.entries(edge.votes);
  if (votes.length === 0) return h("span", { class: "age" }, "none");
  return h(
    "span",
    { class: "votes" },
    votes.map(([vantage, state]) =>
      h(
        "span",
        { title: `${vantage} says ${state}` },
        stateGlyph(state),
        ` ${vantage}`,
        h("span", { class: "unseen" }, ` says ${state}`),
      ),
    ),
  );
}

function modelsCell(edge) {
  if (edge.models === null) return h("span", { class: "age" }, "unknown");
  const text = edge.models.join(", ") || "none";
  return h("div", { class: "models", title: text }, text);
}

function shareCell(edge) {
  if (edge.share === null) return h("span", { class: "age" }, "–");
  return h("span", { class: "share" }, percent(edge.share), meter(edge.share));
}

function row(edge, { selected, onSelect, onChange }) {
  const action = edge.intent === "enabled" ? "Drain…" : "Enable…";
  return h(
    "tr",
    { "data-key": edge.id, "data-tone": tone(edge), "data-selected": String(edge.id === selected) },
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
          onclick: () => onSelect(edge.id === selected ? null : edge.id),
        },
        edgeGlyph(edge),
        h("span", {}, h("span", { class: "id" }, edge.id), " ", h("span", { class: "name" }, edge.name)),
      ),
    ),
    h("td", {}, stateCell(edge)),
    h("td", { class: "number" }, shareCell(edge)),
    h(
      "td",
      { class: "number wide" },
      edge.rtt_ms === null
        ? "–"
        : `${edge.rtt_ms < 10 ? edge.rtt_ms.toFixed(1) : Math.round(edge.rtt_ms)} ms`,
    ),
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
          onclick: () => onChange(edge.id),
        },
        action,
      ),
    ),
  );
}

export function showEdges(fleet, options) {
  const order = (edge) => TROUBLE.indexOf(tone(edge));
  const edges = fleet.edges.toSorted((a, b) => order(a) - order(b));
  replaceRows(
    byId("edge-rows"),
    edges.map((edge) => row(edge, options)),
  );
  const { total, window_s } = fleet.answers;
  byId("edges-note").textContent =
    total === 0
      ? `no answers in the last ${duration(window_s)}`
      : `share of ${total.toLocaleString("en")} answers in the last ${duration(window_s)}`;
}
