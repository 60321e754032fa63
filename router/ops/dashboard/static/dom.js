// Makes elements from plain values. Text is never parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

// Characters that change the direction of the text around them. Names and reasons can contain them,
// so they are replaced in every text that is shown.
const DIRECTIONS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

export const plain = (text) => String(text).replace(DIRECTIONS, "\ufffd");

export const byId = (id) => document.getElementById(id);

// Text from outside. Its direction does not affect the text around it.
export const bdi = (text) => h("bdi", {}, text);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : plain(value));
  }
  const shown = children.flat().filter((child) => child !== null && child !== undefined);
  element.append(...shown.map((child) => (child instanceof Node ? child : plain(child))));
  return element;
}

export const h = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

// Replaces the rows of `parent`, and keeps the focus on the same control of the same row. Rows have
// data-key, their controls data-control. Rows that stay are not touched, because the browser would
// lay out the whole table again.
export function replaceRows(parent, rows) {
  const active = parent.contains(document.activeElement) ? document.activeElement : null;
  const key = active?.closest("[data-key]")?.dataset.key;
  const control = active?.dataset.control;
  const wanted = new Set(rows);
  for (const row of [...parent.children]) if (!wanted.has(row)) row.remove();
  let next = parent.firstElementChild;
  for (const row of rows) {
    if (row === next) next = next.nextElementSibling;
    else parent.insertBefore(row, next);
  }
  if (key === undefined || control === undefined) return;
  const row = parent.querySelector(`[data-key="${CSS.escape(key)}"]`);
  row?.querySelector(`[data-control="${control}"]`)?.focus({ preventScroll: true });
}

// A bar that shows a part from 0 to 1.
export function meter(part) {
  const bar = h("i");
  bar.style.setProperty("--part", String(Math.max(0, Math.min(1, part))));
  return h("span", { class: "meter", "aria-hidden": "true" }, bar);
}
