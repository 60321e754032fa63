// The cells of one row of the table of edges.

import { nameOf } from "./countries.js";
import { bdi, h, meter } from "./dom.js";
import { ago, duration, moment, now, percent, words } from "./format.js";
import { stateGlyph } from "./glyphs.js";
import { today } from "./history.js";

// The drain or disable of an edge, with its progress as text; null for an edge that is enabled.
export function held(edge) {
  const detail = edge.intent_detail;
  if (detail === null) return null;
  const left_s = detail.drained_at - now();
  const drained = edge.intent === "draining" ? "drained" : `${edge.intent}, drained`;
  const phase = left_s <= 0 ? drained : `${edge.intent}, ${duration(left_s)} left`;
  return { ...detail, phase, until: moment(detail.until) };
}

// The dial of an edge, with its progress as text; null without a dial.
export function dialled(edge) {
  const { dial } = edge;
  if (dial === null) return null;
  const goal = dial.reached_at > now() ? `, ${percent(dial.to)} at ${moment(dial.reached_at)}` : "";
  return { ...dial, phase: `dialled to ${percent(dial.share)}${goal}`, until: moment(dial.until) };
}

// Whether new answers leave out the edge.
export function isOut(edge, status) {
  const usesHealth = status === "ok" || status === "stale";
  const isUnfit = edge.state === "down" || edge.state === "unknown";
  return edge.intent !== "enabled" || !edge.routable || (usesHealth && isUnfit);
}

const reasonOf = (edge) =>
  edge.why || (edge.reason === null || ["ok", edge.state].includes(edge.reason) ? "" : words(edge.reason));

export const roundTrip = ({ rtt_ms }) =>
  rtt_ms === null ? "–" : `${rtt_ms < 10 ? rtt_ms.toFixed(1) : Math.round(rtt_ms)} ms`;

export function stateCell(edge) {
  const intent = held(edge) ?? dialled(edge);
  const reason = reasonOf(edge);
  return h(
    "div",
    { class: "state" },
    h("b", { class: `is-${edge.state}` }, edge.state),
    edge.since === null ? null : h("span", { class: "age" }, ago(edge.since, h)),
    reason && h("span", { class: "reason" }, bdi(reason)),
    edge.never_worked ? h("span", { class: "reason" }, "has never worked") : null,
    edge.routable ? null : h("span", { class: "reason" }, "not routable"),
    intent &&
      h(
        "span",
        { class: "held" },
        h("b", {}, intent.phase),
        ` · until ${intent.until} · `,
        bdi(intent.actor),
        ": ",
        bdi(intent.reason),
      ),
    narrowFacts(edge),
  );
}

// The content of the columns that a narrow window hides.
function narrowFacts(edge) {
  const votes = Object.entries(edge.votes).map(([vantage, state]) => `${vantage} says ${state}`);
  const models = edge.models === null ? "models unknown" : edge.models.join(", ") || "no models";
  const facts = [nameOf(edge.country), roundTrip(edge), ...votes, models, today(edge.id)].filter(Boolean);
  return h("span", { class: "narrow-facts" }, bdi(facts.join(" · ")));
}

export function votesCell(edge) {
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
        " ",
        bdi(vantage),
        h("span", { class: "unseen" }, ` says ${state}`),
      ),
    ),
  );
}

export function modelsCell(edge) {
  if (edge.models === null) return h("span", { class: "age" }, "unknown");
  const text = edge.models.join(", ") || "none";
  return h("div", { class: "models", title: text }, bdi(text));
}

export function shareCell(edge, status) {
  if (isOut(edge, status)) {
    const before = edge.share ? h("small", { class: "age" }, `${percent(edge.share)} before`) : null;
    return h("span", { class: "share" }, h("span", {}, "0 now ", before), meter(0));
  }
  if (edge.share === null) return h("span", { class: "age" }, "–");
  return h("span", { class: "share" }, percent(edge.share), meter(edge.share));
}
