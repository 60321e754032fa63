// The findings of the server, with the worst one as headline, and the affected viewers.

import { nameOf } from "./countries.js";
import { bdi, byId, h, replaceRows } from "./dom.js";
import { moment, percent, since } from "./format.js";
import { gradeGlyph } from "./glyphs.js";

const AT_ONCE = ["hold_down", "flapping"]; // enabling an edge with `now` ends these
const SHOWN = 4;
const TARGETS = 3;
const PRESS = {
  down: ["Disable", "disabled"],
  brake: ["Disable", "disabled"],
  country_out: ["Enable", "enabled"],
  no_edge: ["Enable", "enabled"],
  split: ["Drain", "draining"],
  degraded: ["Drain", "draining"],
  unknown: ["Disable", "disabled"],
  intent: ["Enable", "enabled"],
  hold_down: ["End hold-down of", "enabled"],
  flapping: ["End flapping of", "enabled"],
};

// The moves by target edge, largest first. Small ones are summed as "elsewhere".
function byTarget(moves) {
  const sums = new Map();
  for (const { to, share } of moves) {
    const target = to === null ? "to no edge" : `to ${to}`;
    sums.set(target, (sums.get(target) ?? 0) + share);
  }
  const all = [...sums].sort((a, b) => b[1] - a[1]);
  const rest = all.slice(TARGETS);
  if (rest.length < 2) return all;
  return [...all.slice(0, TARGETS), ["elsewhere", rest.reduce((sum, [, share]) => sum + share, 0)]];
}

function hit(finding, territory) {
  if (finding.edges.length === 0 || territory === null) return null;
  const moves = territory.moves.filter((move) => finding.edges.includes(move.from));
  const share = moves.reduce((sum, move) => sum + move.share, 0);
  if (share === 0) return null;
  const targets = byTarget(moves).map(([to, part]) => `${to} ${percent(part)}`);
  const countries = [...new Set(moves.flatMap((move) => move.countries))];
  const names = countries.slice(0, 4).map((code) => nameOf(code));
  const more = countries.length > 4 ? " and others" : "";
  const text = `Moved ${percent(share)} of viewers (${names.join(", ")}${more}): ${targets.join(", ")}.`;
  return h("span", { class: "hit" }, text);
}

// The edges that an operator took out, among these; among all edges if `ids` is empty.
function takenOut(fleet, ids) {
  const out = fleet.edges.filter(({ id, intent }) => intent !== "enabled" && (!ids.length || ids.includes(id)));
  return out.map(({ id }) => id);
}

// The button for all edges of the finding, if its kind has one.
function button({ kind, edges: concerned }, { fleet, press }) {
  if (!(kind in PRESS)) return null;
  const [verb, state] = PRESS[kind];
  const isNow = AT_ONCE.includes(kind);
  const edges = state === "enabled" && !isNow ? takenOut(fleet, concerned) : concerned;
  if (edges.length === 0) return null;
  const subject = edges.length === 1 ? edges[0] : `${edges.length} edges`;
  return h(
    "button",
    { type: "button", "data-control": "press", onclick: () => press(edges, state, isNow) },
    `${verb} ${subject}…`,
  );
}

// The link to the finding's entry in the runbook, if it has one.
function runbook({ runbook: anchor }) {
  if (anchor === null) return null;
  return h("a", { class: "runbook", href: `static/runbook.html#${anchor}`, target: "_blank" }, "Runbook");
}

function shown(finding, { fleet, territory, press }, tag) {
  const isHead = tag === "div";
  return h(
    tag,
    {
      class: "finding",
      "data-grade": finding.grade,
      "data-kind": finding.kind,
      "data-key": `${finding.kind} ${finding.subject}`,
    },
    gradeGlyph(finding.grade),
    h(
      "div",
      {},
      h(isHead ? "p" : "span", { class: "title" }, bdi(finding.title)),
      isHead ? null : ". ",
      h("span", {}, bdi(finding.meaning), " "),
      h("span", { class: "action" }, bdi(finding.action), " "),
      runbook(finding),
      hit(finding, territory),
    ),
    h(
      "div",
      { class: "side" },
      finding.since === null ? null : since(finding.since, h),
      button(finding, { fleet, press }),
    ),
  );
}

let last = "";

// The headline while the page is not up to date. `at`: when the fleet was last read, in Unix
// seconds; null if it never was.
function outdated(at, failures) {
  if (at === null && failures < 2)
    return notice("notice", "Starting: the page is reading the fleet", "There is no data yet.");
  if (at === null)
    return notice("alarm", "No answer from this server", "There is no data. The page tries again by itself.");
  const title = `Not up to date since ${moment(at)}`;
  return notice("alarm", title, "The data below is from that time. The page tries again by itself.");
}

function notice(grade, title, meaning) {
  const none = { kind: "outdated", subject: "", edges: [], since: null, runbook: null };
  return { ...none, grade, title, meaning, action: "" };
}

export function showOutdated(at, failures) {
  const finding = outdated(at, failures);
  if (finding.title === last) return;
  last = finding.title;
  replaceRows(byId("headline"), [shown(finding, { fleet: { edges: [] }, territory: null, press: () => {} }, "div")]);
  if (finding.grade !== "alarm") return;
  document.title = "(?) autorouter";
  announce(finding.title);
}

// The worst finding with the server's headline as title, and the findings to list below it. If the
// headline summarizes several findings, all of them are listed.
function split({ headline, findings }) {
  const [worst, ...rest] = findings;
  const isSummary = !headline.startsWith(worst.title);
  if (!isSummary) return [{ ...worst, title: headline }, rest];
  const edges = findings.filter((one) => one.kind === worst.kind).flatMap((one) => one.edges);
  return [{ ...worst, title: headline, meaning: "", action: "", edges }, findings];
}

// `press` is called with edges and the state to set.
export function showSituation(fleet, territory, press) {
  const shared = { fleet, territory, press };
  const content = JSON.stringify([fleet.headline, fleet.findings, territory?.moves]);
  if (content === last) return;
  last = content;
  const [head, rest] = split(fleet);
  replaceRows(byId("headline"), [shown(head, shared, "div")]);
  const items = rest.slice(0, SHOWN).map((finding) => shown(finding, shared, "li"));
  const more = rest.slice(SHOWN);
  if (more.length > 0) {
    const isOpen = document.querySelector("#findings details")?.open ?? false;
    const list = h(
      "ul",
      {},
      more.map((finding) => shown(finding, shared, "li")),
    );
    items.push(h("li", {}, h("details", { open: isOpen }, h("summary", {}, `${more.length} more`), list)));
  }
  replaceRows(byId("findings"), items);
  showTitle(fleet.findings);
  announce(fleet.findings[0].title);
}

// For screen readers: announces the title once, not each time the numbers below it change.
function announce(title) {
  if (byId("announced").textContent !== title) byId("announced").textContent = title;
}

// Shows the number of problems in the browser tab.
function showTitle(findings) {
  const bad = findings.filter((one) => one.grade === "alarm" || one.grade === "warning").length;
  document.title = bad === 0 ? "autorouter" : `(${bad}) autorouter`;
}
