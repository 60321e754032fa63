// What every program shares: the place and the network of a viewer, and the order of metros.
// It ranks as router/routing/ranking.py does. ECMAScript 5.1 only, for CloudFront Functions,
// njs 0.7, Cloudflare Workers, Fastly Compute and Node alike.

// A metro: [country, x, y, z, hash, weight, id, even, [[edge, hash, weight], ...]]
var PREFERRED = 3;

function multiply(a, b) {
  return ((a & 65535) * b + ((((a >>> 16) * b) & 65535) * 65536)) % 4294967296;
}

function mix(value) {
  value = (value ^ (value >>> 16)) >>> 0;
  value = multiply(value, 2246822507);
  value = (value ^ (value >>> 13)) >>> 0;
  value = multiply(value, 3266489909);
  return (value ^ (value >>> 16)) >>> 0;
}

function ascending(a, b) {
  for (var i = 0; i < a.length; i += 1) {
    if (a[i] < b[i]) { return -1; }
    if (a[i] > b[i]) { return 1; }
  }
  return 0;
}

// Weighted rendezvous over [id, hash, weight, ...] rows; the rows, best first.
function rendezvous(rows, seed, even) {
  return rows.map(function (row) {
    var u = mix((seed ^ row[1]) >>> 0);
    return [even ? -u : row[2] / Math.log((u + 0.5) / 4294967296), row[0], row];
  }).sort(ascending).map(function (scored) { return scored[2]; });
}

function bytes(text) {
  var parts = text.split('.');
  if (parts.length !== 4) { return null; }
  for (var i = 0; i < 4; i += 1) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(parts[i]) || Number(parts[i]) > 255) { return null; }
    parts[i] = Number(parts[i]);
  }
  return parts;
}

// Eight 16-bit groups of an IPv6 text, or null.
function groups(text) {
  var dotted = /^(.*:)([0-9.]+)$/.exec(text);
  if (dotted && dotted[2].indexOf('.') >= 0) {
    var quad = bytes(dotted[2]);
    if (!quad) { return null; }
    text = dotted[1] + (quad[0] * 256 + quad[1]).toString(16) + ':' + (quad[2] * 256 + quad[3]).toString(16);
  }
  var halves = text.split('::');
  if (halves.length > 2) { return null; }
  var head = halves[0] ? halves[0].split(':') : [];
  var tail = halves.length === 2 && halves[1] ? halves[1].split(':') : [];
  var missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) { return null; }
  for (var i = 0; halves.length === 2 && i < missing; i += 1) { head.push('0'); }
  var all = head.concat(tail);
  for (i = 0; i < 8; i += 1) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(all[i])) { return null; }
    all[i] = parseInt(all[i], 16);
  }
  return all;
}

// 32 bits that stand for the viewer's /24 or /48; IPv4 inside IPv6 counts as IPv4.
function network(ip) {
  var quad = bytes(ip);
  if (quad) { return quad[0] * 65536 + quad[1] * 256 + quad[2]; }
  var g = groups(ip.split('%')[0]);
  if (!g) { return null; }
  if (!g[0] && !g[1] && !g[2] && !g[3] && !g[4] && g[5] === 65535) { return g[6] * 256 + (g[7] >> 8); }
  if (g[0] === 8194) { return g[1] * 256 + (g[2] >> 8); }
  if (g[0] === 8193 && !g[1]) { return (g[6] ^ 65535) * 256 + ((g[7] ^ 65535) >> 8); }
  if (g[0] === 100 && g[1] === 65435) {
    if (!g[4] && !g[5] && (g[2] === 1 || (!g[2] && !g[3]))) { return g[6] * 256 + (g[7] >> 8); }
    if (g[2] === 1 && !(g[4] >> 8) && !(g[5] & 255) && !g[6] && !g[7]) { return g[3] * 256 + (g[4] & 255); }
  }
  return (mix(g[0] * 65536 + g[1]) ^ g[2]) >>> 0;
}

function degrees(text) {
  return /^-?[0-9]{1,3}(\.[0-9]{1,20})?$/.test(text) ? Number(text) : null;
}

// The unit vector of a position, or null for none.
function position(latitude, longitude) {
  var lat = degrees(latitude), lon = degrees(longitude);
  if (lat === null || lon === null || Math.abs(lat) > 90 || Math.abs(lon) > 180) { return null; }
  if (lat === 0 && lon === 0) { return null; }
  lat = lat * Math.PI / 180;
  lon = lon * Math.PI / 180;
  var across = Math.cos(lat);
  return [across * Math.cos(lon), across * Math.sin(lon), Math.sin(lat)];
}

// Metros, nearest first; with scope 'country', those of the country before all.
function nearest(metros, v, country, scope) {
  return metros.map(function (metro) {
    var abroad = scope === 'country' && metro[0] !== country ? 1 : 0;
    return [abroad, -(metro[1] * v[0] + metro[2] * v[1] + metro[3] * v[2]), metro[6], metro];
  }).sort(ascending).map(function (ranked) { return ranked[3]; });
}

// Whether a country is among codes that are written together.
function has(codes, country) {
  for (var at = 0; at < codes.length; at += 2) {
    if (codes.substr(at, 2) === country) { return true; }
  }
  return false;
}

// The `scope` of a query, decoded, as the origin reads it.
function scopeOf(text) {
  try { text = decodeURIComponent(text.replace(/\+/g, ' ')); } catch (malformed) { return 'country'; }
  return text.trim().toLowerCase() === 'global' ? 'global' : 'country';
}
