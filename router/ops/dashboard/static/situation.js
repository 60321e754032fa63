// What is the matter: the findings of the server, the worst one large, and whom it hits.

import { byId, h, replaceRows } from "./dom.js";
import { percent, since } from "./format.js";
import { gradeGlyph } from "./glyphs.js";

const SHOWN = 4;
const PRESS = {
  down: ["Disable", "disabled"],
  degraded: ["Drain", "draining"],
  unknown: ["Disable", "disabled"],
  intent: ["Enable", "enabled"],
};

function hit(finding, territory) {
  if (finding.edges.length === 0 || territory === null) return null;
  const moves = territory.moves.filter((move) => finding.edges.includes(move.from));
  const share = moves.reduce((sum, move) => sum + move.share, 0);
  if (share === 0) return null;
  const targets = moves
    .slice(0, 3)
    .map((move) => `${move.to ? `to ${move.to}` : "to no edge"} ${percent(move.share)}`);
  const countries = [...new Set(moves.flatMap((move) => move.countries))];
  const names = countries.slice(0, 4).map((code) => countryName(territory, code));
  const more = countries.length > 4 ? " and others" : "";
  const text = `Moved ${percent(share)} of viewers (${names.join(", ")}${more}): ${targets.join(", ")}.`;
  return h("span", { class: "hit" }, text);
}

export const countryName = (territory, code) =>
  territory.countries.find((one) => one.code === code)?.name ?? code ?? "unknown places";

// What to press, where one edge is concerned.
function button({ kind, edges: [id, ...others] }, press) {
  if (!(kind in PRESS) || others.length > 0) return null;
  return h(
    "button",
    { type: "button", "data-control": "press", onclick: () => press(id, PRESS[kind][1]) },
    `${PRESS[kind][0]} ${id}…`,
  );
}

function shown(finding, { territory, press }, tag) {
  const isHead = tag === "div";
  return h(
    tag,
    { class: "finding", "data-grade": finding.grade, "data-key": `${finding.kind} ${finding.edges}` },
    gradeGlyph(finding.grade),
    h(
      "div",
      {},
      h(isHead ? "p" : "span", { class: "title" }, finding.title),
      isHead ? null : ". ",
      h("span", {}, `${finding.meaning} `),
      h("span", { class: "action" }, `${finding.action} `),
      hit(finding, territory),
    ),
    h(
      "div",
      { class: "side" },
      finding.since === null ? null : since(finding.since, h),
      button(finding, press),
    ),
  );
}

let last = "";

// `press` opens the dialog for an edge and a state to set.
export function showSituation(fleet, territory, press) {
  const shared = { territory, press };
  const told = JSON.stringify([fleet.findings, territory?.moves]);
  if (told === last) return;
  last = told;
  const [worst, ...rest] = fleet.findings;
  replaceRows(byId("headline"), [shown(worst, shared, "div")]);
  const items = rest.slice(0, SHOWN).map((finding) => shown(finding, shared, "li"));
  const more = rest.slice(SHOWN);
  if (more.length > 0) {
    const list = h(
      "ul",
      {},
      more.map((finding) => shown(finding, shared, "li")),
    );
    items.push(h("li", {}, h("details", {}, h("summary", {}, `${more.length} more`), list)));
  }
  replaceRows(byId("findings"), items);
  showTitle(fleet.findings);
  announce(worst.title);
}

// Said aloud once, however often the numbers below it change.
function announce(title) {
  if (byId("announced").textContent !== title) byId("announced").textContent = title;
}

// In the tab, so that a page among many tells.
function showTitle(findings) {
  const bad = findings.filter((one) => one.grade === "alarm" || one.grade === "warning").length;
  document.title = bad === 0 ? "autorouter" : `(${bad}) autorouter`;
}
