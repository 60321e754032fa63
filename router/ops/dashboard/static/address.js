// What is asked, chosen and looked at, in the part of the page's address after `#`: it can be
// kept and sent, and no server or proxy sees it.

const ASKED = ["ip", "country", "latitude", "longitude", "model", "scope", "strict"];
const VIEW = /^-?[\d.]{1,14},-?[\d.]{1,14},[\d.]{1,14}$/;

const state = new URLSearchParams(location.hash.slice(1));

function keep(changes) {
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined) state.delete(name);
    else state.set(name, value);
  }
  const text = state.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

export const keepEdge = (id) => keep({ edge: id });
export const keptEdge = () => state.get("edge");

export const keepQuestion = (asked) => keep(Object.fromEntries(ASKED.map((name) => [name, asked[name]])));

export function keptQuestion() {
  if (!state.has("ip") && !state.has("country")) return null;
  return Object.fromEntries(ASKED.filter((name) => state.has(name)).map((name) => [name, state.get(name)]));
}

// A view of the map: the middle in map units, and how near it is.
export const keepView = (view) => keep({ view: view && view.map((value) => value.toFixed(6)).join(",") });

export function keptView() {
  const text = state.get("view") ?? "";
  return VIEW.test(text) ? text.split(",").map(Number) : null;
}
