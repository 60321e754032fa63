// The pattern of slanting lines that marks viewers who moved.

import { svg } from "./dom.js";

export function hatch(id, size) {
  return svg(
    "pattern",
    { id, width: size, height: size, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("line", { class: "hatch-line", x1: 0, y1: 0, x2: 0, y2: size }),
  );
}
