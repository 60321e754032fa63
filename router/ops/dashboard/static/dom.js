// Elements from plain values. Text is always text: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const h = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

// Puts new rows where old ones were, and keeps the focus on the same control of the same
// row. Rows carry data-key, their controls data-control.
export function replaceRows(parent, rows) {
  const active = parent.contains(document.activeElement) ? document.activeElement : null;
  const key = active?.closest("[data-key]")?.dataset.key;
  const control = active?.dataset.control;
  parent.replaceChildren(...rows);
  if (key === undefined || control === undefined) return;
  const row = parent.querySelector(`[data-key="${CSS.escape(key)}"]`);
  row?.querySelector(`[data-control="${control}"]`)?.focus({ preventScroll: true });
}

// A bar of so much of a whole, from 0 to 1.
export function meter(part) {
  const bar = h("i");
  bar.style.setProperty("--part", String(Math.max(0, Math.min(1, part))));
  return h("span", { class: "meter", "aria-hidden": "true" }, bar);
}
