// Finds positions for labels: near their place, inside the map, without overlap.

const RINGS = [16, 28, 42, 60, 82, 108, 140];
const TURNS = Array.from({ length: 16 }, (_, index) => index * 22.5);

const meet = (a, b) =>
  a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

// `wanted` has {x, y, width, height} for each label: its place and its size, most important first.
// Returns a box for each, or null if there is no room.
export function placeLabels(wanted, { width, height }) {
  const middle = {
    x: wanted.reduce((sum, { x }) => sum + x, 0) / wanted.length,
    y: wanted.reduce((sum, { y }) => sum + y, 0) / wanted.length,
  };
  const taken = wanted.map(({ x, y }) => ({ x: x - 4, y: y - 4, width: 8, height: 8 }));
  return wanted.map((label) => {
    for (const ring of RINGS) {
      for (const turn of outward(label, middle)) {
        const box = boxAt(label, ring, (turn * Math.PI) / 180);
        const isInside =
          box.x >= 2 && box.y >= 2 && box.x + box.width <= width - 2 && box.y + box.height <= height - 2;
        if (isInside && !taken.some((other) => meet(box, other))) {
          taken.push({ x: box.x - 2, y: box.y - 2, width: box.width + 4, height: box.height + 4 });
          return box;
        }
      }
    }
    return null;
  });
}

// The directions in degrees: first those away from the middle, and sideways before up and down.
function outward({ x, y }, middle) {
  const away = (Math.atan2(middle.y - y, (x - middle.x) * 2) * 180) / Math.PI;
  const off = (turn) => Math.abs(((turn - away + 540) % 360) - 180);
  return TURNS.toSorted((a, b) => off(a) - off(b));
}

function boxAt({ x, y, width, height }, ring, angle) {
  const [dx, dy] = [Math.cos(angle), -Math.sin(angle)];
  const centreX = x + dx * (ring + width / 2);
  const centreY = y + dy * (ring + height / 2);
  return { x: centreX - width / 2, y: centreY - height / 2, width, height };
}
