// The Equal Earth projection (Šavrič, Patterson and Jenny 2018). It keeps areas, and parallels are
// straight. It takes degrees and returns units of the sphere's radius, with y down. The map is cut
// in the Bering Strait and not at 180 degrees, so that Russia is in one piece.

const A1 = 1.340264,
  A2 = -0.081106,
  A3 = 0.000893,
  A4 = 0.003796;
const M = Math.sqrt(3) / 2;
const RADIANS = Math.PI / 180;
const CUT = -170; // a multiple of the cells' size

// A longitude between CUT and CUT + 360.
export const eastward = (longitude) => (longitude < CUT ? longitude + 360 : longitude);

function slope(t2, t6) {
  return A1 + 3 * A2 * t2 + t6 * (7 * A3 + 9 * A4 * t2);
}

export function project(longitude, latitude) {
  const theta = Math.asin(M * Math.sin(latitude * RADIANS));
  const t2 = theta * theta,
    t6 = t2 * t2 * t2;
  const x = (longitude * RADIANS * Math.cos(theta)) / (M * slope(t2, t6));
  return [x, -theta * (A1 + A2 * t2 + t6 * (A3 + A4 * t2))];
}

// The longitude and latitude at a point of the map, or null outside the world.
export function unproject(x, y) {
  let theta = -y;
  for (let round = 0; round < 12; round++) {
    const t2 = theta * theta,
      t6 = t2 * t2 * t2;
    const off = theta * (A1 + A2 * t2 + t6 * (A3 + A4 * t2)) + y;
    theta -= off / slope(t2, t6);
    if (Math.abs(off) < 1e-9) break;
  }
  const t2 = theta * theta,
    t6 = t2 * t2 * t2;
  const longitude = (M * x * slope(t2, t6)) / Math.cos(theta) / RADIANS;
  const latitude = Math.asin(Math.sin(theta) / M) / RADIANS;
  if (!Number.isFinite(latitude) || longitude < CUT || longitude >= CUT + 360) return null;
  return [longitude > 180 ? longitude - 360 : longitude, latitude];
}
