// What a change would move, in words and bars.

import { nameOf } from "./countries.js";
import { bdi, h, meter } from "./dom.js";
import { percent } from "./format.js";

const SHOWN = 8;
const COUNTRIES = 5;
const PEOPLE = "Weighed by population: too few answers were given recently.";
const ANSWERS = "Weighed by the answers of the last 5 minutes.";

export const countriesOf = (codes) => codes.map(nameOf).join(", ");

// The parts that an operator agrees to: shares in whole percents, so that noise does not count.
export const essence = (told) =>
  JSON.stringify([
    told.needs_force,
    told.unanswered,
    told.countries_left,
    told.moves.map(({ from, to, share }) => [from, to, Math.round(share * 100)]).filter((move) => move[2] > 0).sort(),
  ]);

export const forceText = (told) =>
  told.unanswered
    ? "Do it anyway: every viewer gets 503"
    : `Leave ${countriesOf(told.countries_left) || "viewers"} without an edge anyway`;

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

function summary(told, total) {
  if (told.unanswered) return "No edge would be left: every viewer gets 503.";
  return total === 0 ? "Nobody moves." : `${percent(total)} of all viewers get another edge.`;
}

function left(told) {
  if (told.unanswered)
    return h("p", { class: "left" }, "SDKs then use their built-in edge, or none.");
  const countries = told.countries_left;
  if (countries.length === 0) return h("p", { class: "none" }, "Every country that has an edge keeps one.");
  const text = `Left without an edge: ${countriesOf(countries)}. Viewers there go abroad; those with a residency policy or strict=true get none.`;
  return h("p", { class: "left" }, text);
}

export function described(told) {
  const total = told.moves.reduce((sum, move) => sum + move.share, 0);
  const most = Math.max(...told.moves.map((move) => move.share), 0.0001);
  const rest = told.moves.slice(SHOWN).reduce((sum, move) => sum + move.share, 0);
  return [
    h("p", { class: told.unanswered ? "left" : null }, summary(told, total)),
    h(
      "ul",
      { class: "moves" },
      told.moves.slice(0, SHOWN).map((move) => movedItem(move, most)),
      rest > 0 ? h("li", {}, `and ${told.moves.length - SHOWN} smaller moves: ${percent(rest)}`) : null,
    ),
    left(told),
    h("p", { class: "note" }, told.basis === "people" ? PEOPLE : ANSWERS),
  ];
}
