// The table of countries: which edges serve each of them.

import { byId, h, replaceRows } from "./dom.js";
import { percent, percents } from "./format.js";

const SERVED = 4; // edges listed for a country; the others are summed

const BASES = {
  people: "viewers estimated by population",
  answers: "viewers by the answers of the last 5 min",
};

const regions = new Intl.DisplayNames(["en"], { type: "region" });
let known = new Map(); // code → name, from the server
let listed = ""; // the names in the list of suggestions

// The name of a country, or the code if it has no name.
export function nameOf(code) {
  if (code === null) return "unknown locations";
  if (known.has(code)) return known.get(code);
  try {
    return regions.of(code);
  } catch {
    return code;
  }
}

// The code of the country with this name; other text unchanged, for the server to check.
export function codeOf(text) {
  const wanted = text.toLowerCase();
  for (const [code, name] of known) if (name.toLowerCase() === wanted) return code;
  return text;
}

export const basis = (territory) => BASES[territory.basis];

// The edges that serve a country, with whole percents that sum to 100.
function servedBy(country) {
  const all = country.edges.filter(([, share]) => share > 0);
  const rest = all.slice(SERVED);
  const shown = all.slice(0, SERVED);
  if (rest.length > 0) {
    const names = rest.length === 1 ? "1 other" : `${rest.length} others`;
    shown.push([names, rest.reduce((sum, [, share]) => sum + share, 0)]);
  }
  const parts = percents(shown.map(([, share]) => share));
  return shown.map(([id], index) => [id, parts[index]]);
}

const rowCache = new Map(); // code → the content of the row, and the row

// The row of a country; the same element as long as the content is the same.
function cachedRow(country, tints) {
  const made = JSON.stringify([country, country.edges.map(([id]) => tints.get(id))]);
  if (rowCache.get(country.code)?.made !== made) rowCache.set(country.code, { made, element: row(country, tints) });
  return rowCache.get(country.code).element;
}

function row(country, tints) {
  const total = country.share || 1;
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, country.name),
    h("td", { class: "number" }, percent(country.share)),
    h(
      "td",
      {},
      h(
        "span",
        { class: "served" },
        servedBy(country).map(([id, part]) =>
          h(
            "span",
            {},
            h("span", { class: `swatch site-${tints.get(id) ?? "none"}` }),
            id ?? "no edge",
            " ",
            h("small", {}, part === 0 ? "< 1 %" : `${part} %`),
          ),
        ),
      ),
    ),
    h(
      "td",
      { class: "number" },
      country.moved > 0
        ? h("span", { class: "moved" }, percent(country.moved / total))
        : h("span", { class: "abroad" }, "–"),
    ),
  );
}

export function showCountries(territory, tints) {
  known = new Map(territory.countries.filter(({ code }) => code).map(({ code, name }) => [code, name]));
  const order = (one) => (one.moved > 0 ? 0 : 1);
  const seen = territory.countries.filter((one) => one.share > 0 || one.code !== null);
  const rows = seen.toSorted((a, b) => order(a) - order(b) || b.share - a.share);
  replaceRows(byId("country-rows"), rows.map((country) => cachedRow(country, tints)));
  byId("countries-note").textContent = `${basis(territory)}; moved: with another edge than when all edges are up`;
  const names = seen
    .filter((one) => one.code !== null)
    .map((one) => one.name)
    .sort();
  if (names.join() === listed) return;
  listed = names.join();
  byId("countries-list").replaceChildren(...names.map((name) => h("option", { value: name })));
}
