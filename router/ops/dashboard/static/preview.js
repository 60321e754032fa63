// Shows which viewers a change would move, as text and bars.

import { nameOf } from "./countries.js";
import { bdi, h, meter } from "./dom.js";
import { percent } from "./format.js";

const SHOWN = 8;
const COUNTRIES = 5;
const PEOPLE = "Weighted by population, because there were few answers in the last 5 minutes.";
const ANSWERS = "Weighted by the answers of the last 5 minutes.";

export const countriesOf = (codes) => codes.map(nameOf).join(", ");

// The part of a preview that an operator confirms. Shares are whole percents, so that small changes
// do not ask for a new confirmation.
export const essence = (preview) =>
  JSON.stringify([
    preview.needs_force,
    preview.unanswered,
    preview.countries_left,
    preview.moves.map(({ from, to, share }) => [from, to, Math.round(share * 100)]).filter((move) => move[2] > 0).sort(),
  ]);

export const forceText = (preview) =>
  preview.unanswered
    ? "Do it anyway: every viewer gets 503"
    : `Leave ${countriesOf(preview.countries_left) || "viewers"} without an edge anyway`;

function movedItem(move, most) {
  const more = move.more_countries ? ` and ${move.more_countries} more` : "";
  const shown = countriesOf(move.countries.slice(0, COUNTRIES));
  return h(
    "li",
    {},
    h("span", { class: "id" }, `${move.from ?? "no edge"} → ${move.to ?? "no edge"}`),
    meter(move.share / most),
    h("span", { class: "number" }, percent(move.share)),
    h("small", {}, bdi(`${shown}${move.countries.length > COUNTRIES ? " …" : ""}${more}`)),
  );
}

function summary(preview, total) {
  if (preview.unanswered) return "No edge would be left: every viewer gets 503.";
  return total === 0 ? "No viewer moves." : `${percent(total)} of all viewers get another edge.`;
}

function left(preview) {
  if (preview.unanswered)
    return h("p", { class: "left" }, "SDKs then use their built-in edge, or none.");
  const countries = preview.countries_left;
  if (countries.length === 0) return h("p", { class: "none" }, "Every country that has an edge keeps one.");
  const text = `Left without an edge: ${countriesOf(countries)}. Viewers there get edges abroad; those with a residency rule or strict=true get none.`;
  return h("p", { class: "left" }, text);
}

export function described(preview) {
  const total = preview.moves.reduce((sum, move) => sum + move.share, 0);
  const most = Math.max(...preview.moves.map((move) => move.share), 0.0001);
  const rest = preview.moves.slice(SHOWN).reduce((sum, move) => sum + move.share, 0);
  return [
    h("p", { class: preview.unanswered ? "left" : null }, summary(preview, total)),
    h(
      "ul",
      { class: "moves" },
      preview.moves.slice(0, SHOWN).map((move) => movedItem(move, most)),
      rest > 0 ? h("li", {}, `and ${preview.moves.length - SHOWN} smaller moves: ${percent(rest)}`) : null,
    ),
    left(preview),
    h("p", { class: "note" }, preview.basis === "people" ? PEOPLE : ANSWERS),
  ];
}
