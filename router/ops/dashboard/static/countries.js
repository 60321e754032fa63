// Who is served by which edge, country by country: the map in words.

import { byId, h } from "./dom.js";
import { percent } from "./format.js";

const BASES = {
  people: "viewers estimated by population",
  answers: "viewers by the answers of the last 5 min",
};

export const basis = (territory) => BASES[territory.basis];

function row(country, tints) {
  const served = country.edges.filter(([, share]) => share > 0).slice(0, 4);
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
        served.map(([id, share]) =>
          h(
            "span",
            {},
            h("span", { class: `swatch site-${tints.get(id) ?? "none"}` }),
            id ?? "no edge",
            " ",
            h("small", {}, percent(share / total)),
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
  const order = (one) => (one.moved > 0 ? 0 : 1);
  const seen = territory.countries.filter((one) => one.share > 0 || one.code !== null);
  const rows = seen.toSorted((a, b) => order(a) - order(b) || b.share - a.share);
  byId("country-rows").replaceChildren(...rows.map((country) => row(country, tints)));
  byId("countries-note").textContent = `${basis(territory)}; moved: not where they are when all is well`;
  const names = seen
    .filter((one) => one.code !== null)
    .map((one) => one.name)
    .sort();
  byId("countries-list").replaceChildren(...names.map((name) => h("option", { value: name })));
}
