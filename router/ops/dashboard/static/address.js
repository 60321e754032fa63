// Stores the question, the chosen edge and the view of the map in the URL after `#`. Such a URL can
// be saved and shared, and browsers do not send that part to a server.

const ASKED = ["ip", "country", "latitude", "longitude", "model", "scope", "strict"];
const VIEW = /^-?[\d.]{1,14},-?[\d.]{1,14},[\d.]{1,14}$/;

const state = new URLSearchParams(location.hash.slice(1));

function save(changes) {
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined) state.delete(name);
    else state.set(name, value);
  }
  const text = state.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

export const saveEdge = (id) => save({ edge: id });
export const savedEdge = () => state.get("edge");

export const saveQuestion = (asked) => save(Object.fromEntries(ASKED.map((name) => [name, asked[name]])));

export function savedQuestion() {
  if (!state.has("ip") && !state.has("country")) return null;
  return Object.fromEntries(ASKED.filter((name) => state.has(name)).map((name) => [name, state.get(name)]));
}

// A view of the map: its centre in map units, and its zoom.
export const saveView = (view) => save({ view: view && view.map((value) => value.toFixed(6)).join(",") });

export function savedView() {
  const text = state.get("view") ?? "";
  return VIEW.test(text) ? text.split(",").map(Number) : null;
}
