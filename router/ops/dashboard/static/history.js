// The last hour as small charts: per edge its state, its share of the answers and its round
// trip; for the whole server answers a second and errors. The server has one sample a minute.

import { byId, h, svg } from "./dom.js";
import { duration, percent } from "./format.js";

const [WIDTH, HEIGHT, HOUR_S] = [54, 16, 3600];
const BADNESS = ["up", "unknown", "degraded", "down"];

let told = null; // what /v1/history returned last
let edges = new Map();

export function setHistory(document) {
  told = document;
  edges = new Map(document.edges.map((edge) => [edge.id, edge]));
  showPulse();
}

// Changes when the charts do.
export const historyTag = () => told?.at.at(-1) ?? 0;

const x = (index) => WIDTH * Math.max(0, 1 - (told.now - told.at[index]) / HOUR_S);

function chart(children) {
  const size = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT };
  return svg("svg", { ...size, class: "spark", "aria-hidden": "true" }, children);
}

// A line from value to value; where a value is unknown it has a gap.
function line(values, top) {
  let path = "";
  let isPen = false;
  values.forEach((value, index) => {
    if (value !== null) {
      const y = HEIGHT - 1 - (HEIGHT - 2) * Math.min(1, value / (top || 1));
      path += `${isPen ? "L" : "M"}${x(index).toFixed(1)} ${y.toFixed(1)}`;
      if (!isPen) path += "h0.1"; // a single value is a dot
    }
    isPen = value !== null;
  });
  return chart(path ? svg("path", { d: path, class: "spark-line" }) : null);
}

// A block for each minute: the worse the state, the higher.
function steps(states) {
  const block = (state, index) => {
    const height = ((BADNESS.indexOf(state) + 1) / BADNESS.length) * HEIGHT;
    const left = Math.max(0, x(index) - (WIDTH * told.span_s[index]) / HOUR_S);
    const width = Math.max(0.9, x(index) - left);
    return svg("rect", { x: left, y: HEIGHT - height, width, height, class: `spark-${state}` });
  };
  return chart(states.map((state, index) => (state === null ? null : block(state, index))));
}

const known = (values) => values.filter((value) => value !== null);
const top = (values) => Math.max(0, ...known(values));

function between(values, say) {
  const all = known(values);
  if (all.length === 0) return "unknown";
  const [low, high] = [say(Math.min(...all)), say(Math.max(...all))];
  return low === high ? low : `${low} to ${high}`;
}

const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

// "2 falls today, down 3 min"; nothing for an edge that did not fall.
export function today(id) {
  const { falls, down_s } = edges.get(id)?.today ?? { falls: 0, down_s: 0 };
  if (falls === 0 && down_s === 0) return null;
  return `${falls} ${falls === 1 ? "fall" : "falls"} today, down ${duration(down_s)}`;
}

function inWords({ state, share, rtt_ms }) {
  const bad = BADNESS.slice(1).filter((one) => state.includes(one));
  const was = bad.length === 0 ? "always up" : bad.map((one) => `at times ${one}`).join(", ");
  return `Last hour: ${was}; share ${between(share, percent)}; round trip ${between(rtt_ms, milliseconds)}`;
}

export function pastCell(id) {
  const past = edges.get(id);
  if (past === undefined) return h("span", { class: "age" }, "–");
  const said = inWords(past);
  return h(
    "span",
    { class: "past" },
    h(
      "span",
      { class: "sparks", role: "img", "aria-label": said, title: said },
      steps(past.state),
      line(past.share, top(past.share)),
      line(past.rtt_ms, top(past.rtt_ms)),
    ),
    today(id) && h("small", { class: "age" }, today(id)),
  );
}

function showPulse() {
  const rates = told.answers.map((count, index) => count / told.span_s[index]);
  const errors = told.errors.reduce((sum, count) => sum + count, 0);
  const rate = rates.at(-1);
  if (rate === undefined) return byId("pulse").replaceChildren();
  const digits = { maximumFractionDigits: rate < 10 ? 1 : 0 };
  const said = `${rate.toLocaleString("en", digits)} answers/s, ${errors.toLocaleString("en")} errors in the last hour`;
  const label = { class: "sparks", role: "img", "aria-label": "Answers a second and errors a minute, last hour" };
  byId("pulse").replaceChildren(h("span", label, line(rates, top(rates)), line(told.errors, top(told.errors))), said);
}
