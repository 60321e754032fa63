// The visible part of the map: converts map units to pixels and back.

import { project } from "./projection.js";

// Boxes are {left, right, top, bottom} in map units; `size` is {width, height} in pixels.
export class View {
  constructor(size, centre, scale) {
    this.size = size;
    this.centre = centre;
    this.scale = scale; // pixels per map unit
  }

  static of(size, { left, right, top, bottom }) {
    const scale = Math.min(size.width / (right - left), size.height / (bottom - top));
    return new View(size, [(left + right) / 2, (top + bottom) / 2], scale);
  }

  toPixels([x, y]) {
    const { size, centre, scale } = this;
    return [(x - centre[0]) * scale + size.width / 2, (y - centre[1]) * scale + size.height / 2];
  }

  fromPixels([x, y]) {
    const { size, centre, scale } = this;
    return [(x - size.width / 2) / scale + centre[0], (y - size.height / 2) / scale + centre[1]];
  }

  has([x, y]) {
    return x > 0 && y > 0 && x < this.size.width && y < this.size.height;
  }

  moved(dx, dy) {
    const [x, y] = this.centre;
    return new View(this.size, [x - dx / this.scale, y - dy / this.scale], this.scale);
  }

  scaled(factor) {
    return new View(this.size, this.centre, this.scale * factor);
  }
}

export function boxOf({ west, east, south, north }) {
  const [top, bottom] = [project(0, north)[1], project(0, south)[1]];
  return { left: project(west, 0)[0], right: project(east, 0)[0], top, bottom };
}

export function boxAround(points, margin) {
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  return {
    left: Math.min(...xs) - margin,
    right: Math.max(...xs) + margin,
    top: Math.min(...ys) - margin,
    bottom: Math.max(...ys) + margin,
  };
}
