// Draws the cells of a territory as a few SVG paths: neighbours that look the same are joined.

import { eastward, project } from "./projection.js";

const OVERLAP = 0.04; // degrees; hides thin lines between rows

const ROUND = 4;
const point = (longitude, latitude) =>
  project(longitude, latitude)
    .map((v) => v.toFixed(ROUND))
    .join(",");

function box(row, from, to, size) {
  const south = row * size - 90 - OVERLAP,
    north = Math.min(90, (row + 1) * size - 90 + OVERLAP);
  const west = eastward(from * size - 180),
    east = west + (to - from) * size + OVERLAP;
  return `M${point(west, south)}L${point(east, south)}L${point(east, north)}L${point(west, north)}Z`;
}

// `cells` is a flat list of row, column and group of each cell, ordered by row and column. Returns
// a map from look to path.
export function joined(cells, look, size) {
  const paths = new Map();
  let run = null;
  const end = () => {
    if (run !== null && run.look !== null) {
      paths.set(run.look, (paths.get(run.look) ?? "") + box(run.row, run.from, run.to, size));
    }
  };
  for (let i = 0; i < cells.length; i += 3) {
    const [row, column] = [cells[i], cells[i + 1]];
    const here = look(cells[i + 2]);
    const follows = run !== null && run.row === row && run.to === column && run.look === here;
    if (follows && eastward(column * size - 180) === column * size - 180) run.to++;
    else {
      end();
      run = { row, from: column, to: column + 1, look: here };
    }
  }
  end();
  return paths;
}

// The path of the lines between cells of one country that look different.
export function fronts(cells, look, size) {
  const looks = new Map();
  for (let i = 0; i < cells.length; i += 3) looks.set(cells[i] * 1000 + cells[i + 1], look(cells[i + 2]));
  let path = "";
  for (let i = 0; i < cells.length; i += 3) {
    const [row, column] = [cells[i], cells[i + 1]];
    const here = looks.get(row * 1000 + column);
    const east = looks.get(row * 1000 + column + 1),
      north = looks.get((row + 1) * 1000 + column);
    const [x, y] = [eastward(column * size - 180) + size, (row + 1) * size - 90];
    if (east !== undefined && east !== here) path += `M${point(x, y - size)}L${point(x, y)}`;
    if (north !== undefined && north !== here) path += `M${point(x - size, y)}L${point(x, y)}`;
  }
  return path;
}

// The look of all cells, or undefined if they differ.
export function uniform(cells, look) {
  const first = look(cells[2]);
  for (let i = 5; i < cells.length; i += 3) if (look(cells[i]) !== first) return undefined;
  return first;
}
