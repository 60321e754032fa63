// What happened, the newest first.

import { bdi, byId, h } from "./dom.js";
import { clock, moment, words } from "./format.js";
import { edgeGlyph, gradeGlyph, stateGlyph } from "./glyphs.js";

const KEPT = 200;
const STATES = ["up", "degraded", "down", "unknown"];

let events = [];

function mark(event) {
  if (event.kind === "transition" && STATES.includes(event.after)) return stateGlyph(event.after);
  if (event.kind === "intent") return edgeGlyph({ intent: event.after, state: "unknown" });
  return gradeGlyph("warning");
}

function what(event) {
  const subject = event.edge ?? event.vantage ?? "";
  const change = event.before ? `${event.before} → ${event.after}` : (event.after ?? "");
  if (event.kind === "transition" || event.kind === "intent") return `${subject}: ${change}`;
  return `${words(event.kind)} ${subject}: ${change}`;
}

function details(event) {
  const parts = [
    event.actor && `by ${event.actor}`,
    event.reason?.replaceAll("_", " "),
    event.until && `until ${moment(event.until)}`,
    event.kind === "transition" && event.vantage && `seen from ${event.vantage}`,
  ];
  return parts.filter(Boolean).join(" · ");
}

function item(event) {
  const iso = new Date(event.at * 1000).toISOString();
  return h(
    "li",
    {},
    h("time", { datetime: iso, title: `${iso.slice(0, 19)}Z` }, clock(event.at)),
    mark(event),
    h("span", { class: "what" }, bdi(what(event)), h("span", { class: "why" }, bdi(details(event)))),
  );
}

function show() {
  const items = events.map(item);
  byId("event-rows").replaceChildren(
    ...(items.length ? items : [h("li", {}, h("span", { class: "none" }, "none yet"))]),
  );
  byId("events-note").textContent = events.length === 0 ? "" : "UTC, newest first";
}

export function setEvents(told) {
  events = told.slice(-KEPT).reverse();
  show();
}

export function addEvent(event) {
  events = [event, ...events].slice(0, KEPT);
  show();
}
