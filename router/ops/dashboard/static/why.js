// "Why this edge?": explains the decision for an address or a country.

import * as api from "./api.js";
import { codeOf, nameOf } from "./countries.js";
import { bdi, byId, h } from "./dom.js";
import { ago, moment, percent, words } from "./format.js";
import { stateGlyph } from "./glyphs.js";

const LEVELS = { city: "its city", country: "only its country", unknown: "nothing" };
const SOURCES = {
  cdn_key: "the CDN's key",
  cdn_headers: "the CDN's headers",
  override: "an override",
  feed: "a feed",
  database: "the geo database",
  asked: "this query",
  none: "no source",
};

let latest = null; // the last question; answers to earlier ones are not shown
let shown = null; // the question and the answer on the page
let remember = () => {}; // called with each question

// Suggests countries: first those whose viewers moved.
function suggest(countries) {
  const hint = document.querySelector("#why-answer > .hint");
  if (hint === null) return;
  const most = countries
    .filter((one) => one.code)
    .toSorted((a, b) => b.moved - a.moved || b.share - a.share)
    .slice(0, 4);
  const buttons = most.map(({ name, code }) =>
    h(
      "button",
      {
        type: "button",
        onclick: () => {
          byId("why-viewer").value = name;
          ask({ country: code, ...options() });
        },
      },
      name,
    ),
  );
  hint.replaceChildren(
    h("span", { class: "note" }, "Or click a place on the map, or one of these:"),
    ...buttons,
  );
}

export function setCountries(territory) {
  suggest(territory.countries);
}

// An IP address has digits or colons. Other text is a country's name or code.
const viewerOf = (text) => (/[\d:]/.test(text) ? { ip: text } : { country: codeOf(text) });

function verdict(answer) {
  const who = answer.ip ?? answer.location.country_name ?? nameOf(answer.location.country);
  if (answer.problem !== null) return [`${who} gets no edge`, `${words(answer.problem)}, status ${answer.code}`];
  const border = answer.crossed_border ? ", across the border" : "";
  return [`${who} gets ${answer.region}`, `${words(answer.reason)}${border}; kept by the SDK for ${answer.ttl} s`];
}

function place(answer) {
  const { country_name, country, latitude, longitude, level, source } = answer.location;
  const at = latitude === null ? "" : ` at ${latitude.toFixed(2)}, ${longitude.toFixed(2)}`;
  return `${country_name ?? country ?? "unknown"}${at}: ${LEVELS[level]} is known, from ${SOURCES[source]}`;
}

function facts(answer) {
  const rows = [["Place", place(answer)]];
  if (answer.spread?.length > 1) {
    rows.push([
      "All viewers there",
      answer.spread.map((one) => `${one.region ?? "no edge"} ${percent(one.share)}`).join(", "),
    ]);
  }
  if (answer.model !== null) rows.push(["Model", bdi(answer.model)]);
  if (answer.residency !== null) rows.push(["Must stay in", answer.residency.map(nameOf).join(", ")]);
  rows.push(["Route key", h("code", {}, answer.key)], ["Health", words(answer.status)]);
  const kept = ["cache-control", "vary", "cache-tag", "etag"].filter((name) => name in answer.headers);
  rows.push([
    "Caching",
    kept
      .map((name, index) => [index ? h("br") : null, h("code", {}, `${name}: ${answer.headers[name]}`)])
      .flat(),
  ]);
  return h(
    "dl",
    { class: "facts" },
    rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

function outcome(edge) {
  if (edge.role !== undefined) return edge.role;
  const since = edge.why_since === null ? null : [" ", ago(edge.why_since, h, "for ")];
  const about = edge.intent_reason === null ? [] : [": ", bdi(edge.intent_reason), `, until ${moment(edge.until)}`];
  return h("span", {}, `out: ${words(edge.why)}`, since, ...about);
}

function row(edge, place) {
  return h(
    "tr",
    { class: edge.role === undefined ? "out" : edge.role },
    h("td", {}, place),
    h("td", {}, h("span", { class: "id" }, edge.region), " ", h("span", { class: "age" }, bdi(edge.name))),
    h(
      "td",
      { class: "number" },
      edge.distance_km === null ? "–" : `${edge.distance_km.toLocaleString("en")} km`,
    ),
    h("td", { class: "narrow" }, stateGlyph(edge.state), ` ${edge.state}`),
    h("td", {}, outcome(edge)),
  );
}

function order(answer) {
  const candidates = answer.candidates.map((edge, index) => row(edge, String(index + 1)));
  const rejected = answer.rejected.map((edge) => row(edge, "–"));
  const heads = [
    ["", ""],
    ["Edge", ""],
    ["Distance", "number"],
    ["State", "narrow"],
    ["Outcome", ""],
  ];
  return h(
    "table",
    { class: "order" },
    h("caption", { class: "unseen" }, "Every edge in order of preference"),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        heads.map(([text, kind]) =>
          h("th", { scope: "col", class: kind }, text || h("span", { class: "unseen" }, "Rank")),
        ),
      ),
    ),
    h("tbody", {}, ...candidates, ...rejected),
  );
}

function problem(asked, error) {
  if (asked.ip !== undefined && error.status === 400)
    return `“${asked.ip}” is not an IP address. Try 24.48.0.1, 2001:db8::1, or a country like Canada.`;
  if (error.status === 400) return error.message;
  return `The request failed: ${error.message}`;
}

function ask(asked) {
  remember(asked);
  return explain(asked);
}

async function explain(asked) {
  const target = byId("why-answer");
  latest = asked;
  try {
    const answer = await api.explain(asked);
    if (asked !== latest) return;
    const made = JSON.stringify([asked, answer]);
    if (made === shown) return;
    shown = made;
    const [title, about] = verdict(answer);
    byId("why-verdict").replaceChildren(title, h("small", {}, about));
    target.replaceChildren(facts(answer), order(answer));
  } catch (error) {
    if (asked !== latest) return;
    shown = null;
    byId("why-verdict").replaceChildren();
    target.replaceChildren(h("p", { class: "fault" }, bdi(problem(asked, error))));
  }
}

// Called when the fleet changed, because the answer may change.
export function askAgain() {
  if (latest !== null) explain({ ...latest });
}

function options() {
  const asked = { scope: byId("why-scope").value, strict: String(byId("why-strict").checked) };
  const model = byId("why-model").value.trim();
  return model ? { ...asked, model } : asked;
}

export function explainPlace({ country, latitude, longitude }) {
  byId("why-viewer").value = nameOf(country);
  ask({ country, latitude: latitude.toFixed(2), longitude: longitude.toFixed(2), ...options() });
}

// Asks the question that is in the page's URL, if there is one.
export function askSaved(asked) {
  if (asked === null) return;
  byId("why-viewer").value = asked.ip ?? (asked.country.length === 2 ? nameOf(asked.country) : asked.country);
  byId("why-model").value = asked.model ?? "";
  byId("why-scope").value = asked.scope === "global" ? "global" : "country";
  byId("why-strict").checked = asked.strict === "true";
  explain(asked);
}

export function startWhy({ onAsk }) {
  remember = onAsk;
  byId("why-form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask({ ...viewerOf(byId("why-viewer").value.trim()), ...options() });
  });
}
