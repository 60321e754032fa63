// Converts TopoJSON (specification 1.0) to SVG paths of projected points.

import { eastward, project } from "./projection.js";

function decode(arc, { scale, translate }) {
  let x = 0,
    y = 0;
  return arc.map(([dx, dy]) => {
    x += dx;
    y += dy;
    return [x * scale[0] + translate[0], y * scale[1] + translate[1]];
  });
}

function ring(numbers, arcs) {
  return numbers.flatMap((number, index) => {
    const arc = number >= 0 ? arcs[number] : arcs[~number].toReversed();
    return index === 0 ? arc : arc.slice(1);
  });
}

// The points without the jump at 180 degrees, on the side of the map where most of them are.
function unbroken(points) {
  let turns = 0;
  const whole = points.map(([x, y], index) => {
    const step = index === 0 ? 0 : x - points[index - 1][0];
    if (Math.abs(step) > 180) turns -= Math.sign(step);
    return [x + turns * 360, y];
  });
  const middle = whole.reduce((sum, [x]) => sum + x, 0) / whole.length;
  const shift = eastward(((middle + 540) % 360) - 180) - middle;
  return whole.map(([x, y]) => [x + shift, y]);
}

const pathOf = (points) =>
  `M${unbroken(points)
    .map(([x, y]) =>
      project(x, y)
        .map((v) => v.toFixed(4))
        .join(","),
    )
    .join("L")}`;

// `countries`: code → path. `borders`: one path, with each border once.
export function readTopology(topology) {
  const arcs = topology.arcs.map((arc) => decode(arc, topology.transform));
  const shapes = topology.objects.countries.geometries;
  const countries = new Map(
    shapes.map((shape) => [shape.id, shape.arcs.map(([outer]) => `${pathOf(ring(outer, arcs))}Z`).join("")]),
  );
  return { countries, borders: arcs.map(pathOf).join("") };
}
