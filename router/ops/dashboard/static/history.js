// Small charts of the last hour. For each edge: its state, its share of the answers and its round
// trip. For the server: answers a second and errors. The server has one sample a minute.

import { byId, h, svg } from "./dom.js";
import { duration, percent } from "./format.js";

const [WIDTH, HEIGHT, HOUR_S] = [54, 16, 3600];
const BADNESS = ["up", "unknown", "degraded", "down"];

let last = null; // the last answer of /v1/history
let edges = new Map();

export function setHistory(document) {
  last = document;
  edges = new Map(document.edges.map((edge) => [edge.id, edge]));
  showPulse();
}

// A value that changes when the charts change.
export const historyTag = () => last?.at.at(-1) ?? 0;

const x = (index) => WIDTH * Math.max(0, 1 - (last.now - last.at[index]) / HOUR_S);

function chart(children) {
  const size = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT };
  return svg("svg", { ...size, class: "spark", "aria-hidden": "true" }, children);
}

// A line through the values, with gaps where a value is unknown.
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

// A block for each sample. A worse state has a higher block.
function steps(states) {
  const block = (state, index) => {
    const height = ((BADNESS.indexOf(state) + 1) / BADNESS.length) * HEIGHT;
    const left = Math.max(0, x(index) - (WIDTH * last.span_s[index]) / HOUR_S);
    const width = Math.max(0.9, x(index) - left);
    return svg("rect", { x: left, y: HEIGHT - height, width, height, class: `spark-${state}` });
  };
  return chart(states.map((state, index) => (state === null ? null : block(state, index))));
}

const known = (values) => values.filter((value) => value !== null);
const top = (values) => Math.max(0, ...known(values));

function range(values, format) {
  const all = known(values);
  if (all.length === 0) return "unknown";
  const [low, high] = [format(Math.min(...all)), format(Math.max(...all))];
  return low === high ? low : `${low} to ${high}`;
}

const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

// "2 failures today, down 3 min"; null for an edge that was not down.
export function today(id) {
  const { falls, down_s } = edges.get(id)?.today ?? { falls: 0, down_s: 0 };
  if (falls === 0 && down_s === 0) return null;
  return `${falls} ${falls === 1 ? "failure" : "failures"} today, down ${duration(down_s)}`;
}

function inWords({ state, share, rtt_ms }) {
  const bad = BADNESS.slice(1).filter((one) => state.includes(one));
  const was = bad.length === 0 ? "always up" : bad.map((one) => `at times ${one}`).join(", ");
  return `Last hour: ${was}; share ${range(share, percent)}; round trip ${range(rtt_ms, milliseconds)}`;
}

export function pastCell(id) {
  const past = edges.get(id);
  if (past === undefined) return h("span", { class: "age" }, "–");
  const summary = inWords(past);
  return h(
    "span",
    { class: "past" },
    h(
      "span",
      { class: "sparks", role: "img", "aria-label": summary, title: summary },
      steps(past.state),
      line(past.share, top(past.share)),
      line(past.rtt_ms, top(past.rtt_ms)),
    ),
    today(id) && h("small", { class: "age" }, today(id)),
  );
}

function showPulse() {
  const rates = last.answers.map((count, index) => count / last.span_s[index]);
  const errors = last.errors.reduce((sum, count) => sum + count, 0);
  const rate = rates.at(-1);
  if (rate === undefined) return byId("pulse").replaceChildren();
  const digits = { maximumFractionDigits: rate < 10 ? 1 : 0 };
  const text = `${rate.toLocaleString("en", digits)} answers/s, ${errors.toLocaleString("en")} errors in the last hour`;
  const label = { class: "sparks", role: "img", "aria-label": "Answers a second and errors a minute, last hour" };
  byId("pulse").replaceChildren(h("span", label, line(rates, top(rates)), line(last.errors, top(last.errors))), text);
}
