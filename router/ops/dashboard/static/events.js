// The list of events, newest first.

import * as api from "./api.js";
import { bdi, byId, h } from "./dom.js";
import { clock, moment, now, words } from "./format.js";
import { edgeGlyph, gradeGlyph, stateGlyph } from "./glyphs.js";

const KEPT = 200;
const STATES = ["up", "degraded", "down", "unknown"];

let events = [];
let found = null; // the events that match the filter; null without a filter
let asked = null; // identifies the last request

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

function wanted() {
  const form = byId("events-form").elements;
  const ago_s = Number(form.since.value);
  const which = { edge: form.edge.value.trim(), kind: form.kind.value, since: ago_s ? String(Math.floor(now() - ago_s)) : "" };
  return Object.fromEntries(Object.entries(which).filter(([, value]) => value !== ""));
}

// The server filters, because the page has only the newest events.
async function search() {
  const which = wanted();
  byId("events-csv").href = `v1/events?${new URLSearchParams({ ...which, format: "csv" })}`;
  const mine = (asked = Symbol("events"));
  const isAll = Object.keys(which).length === 0;
  try {
    const listed = isAll ? null : (await api.events("", which)).events.slice(-KEPT).reverse();
    if (mine === asked) found = listed;
  } catch (error) {
    if (mine !== asked) return;
    byId("events-note").textContent = `cannot be read: ${error.message}`;
    return;
  }
  if (mine === asked) show();
}

function show() {
  const listed = found ?? events;
  const items = listed.map(item);
  const none = found === null ? "no events yet" : "no matching events";
  byId("event-rows").replaceChildren(
    ...(items.length ? items : [h("li", {}, h("span", { class: "none" }, none))]),
  );
  byId("events-note").textContent = listed.length === 0 ? "" : "UTC, newest first";
}

function changed() {
  if (found === null) show();
  else search();
}

export function setEvents(all) {
  events = all.slice(-KEPT).reverse();
  changed();
}

export function addEvent(event) {
  events = [event, ...events].slice(0, KEPT);
  changed();
}

export function startEvents() {
  byId("events-form").addEventListener("input", search);
  byId("events-form").addEventListener("submit", (event) => event.preventDefault());
}
