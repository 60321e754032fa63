// The tooltip of the map: which edges serve the place under the pointer.

import { h } from "./dom.js";
import { percent } from "./format.js";

export function servedAt(territory, { country, longitude, latitude }) {
  const { cells, cell_deg, groups, moved, countries } = territory;
  const row = Math.floor((latitude + 90) / cell_deg);
  const column = Math.floor((longitude + 180) / cell_deg);
  const own = cells[country] ?? [];
  for (let i = 0; i < own.length; i += 3) {
    if (own[i] !== row || own[i + 1] !== column) continue;
    const group = own[i + 2];
    const text = groups[group].map(([id, share]) => `${id ?? "no edge"} ${percent(share)}`).join(", ");
    const name = countries.find((one) => one.code === country)?.name ?? country;
    return { name, text: moved[group] > 0 ? `${text} (moved)` : text };
  }
  return null;
}

export class Tip {
  element = h("div", { class: "tip", hidden: true });

  hide() {
    this.element.hidden = true;
  }

  // [x, y]: pixels from the corner of the frame. `width`: of the frame, which it does not leave.
  show({ name, text }, [x, y], width) {
    this.element.hidden = false;
    this.element.replaceChildren(h("b", {}, name), text);
    const left = Math.max(4, Math.min(x + 14, width - this.element.offsetWidth - 6));
    this.element.style.setProperty("left", `${left}px`);
    this.element.style.setProperty("top", `${y + 16}px`);
  }
}
