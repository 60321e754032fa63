// Formats numbers and times. Times are Unix seconds, by the server's clock.

let ahead_s = 0;

export const now = () => Date.now() / 1000 + ahead_s;

export function setServerTime(server_s) {
  ahead_s = server_s - Date.now() / 1000;
}

const UNITS = [
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
];

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  for (const [unit, size] of UNITS) {
    if (whole >= 2 * size || (whole >= size && unit !== "min")) return `${Math.floor(whole / size)} ${unit}`;
  }
  return whole >= 60 ? "1 min" : `${whole} s`;
}

export const clock = (at) => new Date(at * 1000).toISOString().slice(11, 19);

export function moment(at) {
  const iso = new Date(at * 1000).toISOString();
  return Math.abs(at - now()) < 72000 ? iso.slice(11, 16) : `${iso.slice(0, 10)} ${iso.slice(11, 16)}`;
}

export function percent(share) {
  const part = share * 100;
  if (part === 0) return "0 %";
  if (part < 0.1) return "< 0.1 %";
  return `${part < 9.95 ? part.toFixed(1) : Math.round(part)} %`;
}

// Shares of one whole as whole percents that sum to 100: the largest remainders are rounded up.
export function percents(shares) {
  const total = shares.reduce((sum, share) => sum + share, 0) || 1;
  const exact = shares.map((share) => (share / total) * 100);
  const whole = exact.map(Math.floor);
  let left = 100 - whole.reduce((sum, part) => sum + part, 0);
  const order = exact.map((part, index) => [part - whole[index], index]).sort((a, b) => b[0] - a[0]);
  for (const [, index] of order) if (left-- > 0) whole[index]++;
  return whole;
}

export const words = (text) => text.replaceAll("_", " ");

// "since 03:12 · 4 min", for a state that lasts.
export function since(at, make) {
  return make("span", { class: "since" }, `since ${moment(at)} · `, ago(at, make));
}

// A time element that shows how long ago that was. `tick` updates these elements.
export function ago(at, make, prefix = "") {
  const iso = new Date(at * 1000).toISOString();
  const element = make("time", { datetime: iso, title: `${iso.slice(0, 19)}Z`, "data-since": at });
  element.dataset.prefix = prefix;
  element.textContent = prefix + duration(now() - at);
  return element;
}

// Updates the time elements that match a selector.
export function tick(which) {
  for (const element of document.querySelectorAll(which)) {
    const text = element.dataset.prefix + duration(now() - Number(element.dataset.since));
    if (element.textContent !== text) element.textContent = text;
  }
}
