// CloudFront, with the table in a KeyValueStore. router/cdn/key_value_table.py writes the values.
// Values of one version never change. A value that is not there yet, or no longer, leads to the
// version before, and then to no key: the origin looks at that viewer itself. As in njs, `await`
// does not stand among arguments.

var store = null;
var COUNTRIES = '/*COUNTRIES*/';

// Throws where no store is associated with the function: that leads to no key too.
function read(name) {
  store = store || cf.kvs();
  return store.get(name, { format: 'json' });
}

function hash(id) {
  var made = 2166136261;
  for (var i = 0; i < id.length; i += 1) {
    made = multiply((made ^ id.charCodeAt(i)) >>> 0, 16777619);
  }
  return made;
}

// A metro as in route_key.js, of [country, x, y, z, even, [edge or [edge, weight], ...], parts].
// Edges that do not fit are in so many further values; see edgesOf.
function metroOf(row) {
  var first = row[5][0];
  return [row[0], row[1], row[2], row[3], 0, 0, row[4] ? first : first[0], row[4], row[5], row[6]];
}

async function edgesOf(version, metro) {
  var edges = metro[8];
  for (var part = 1; part <= (metro[9]); part += 1) {
    var further = await read(version + '.more.' + metro[6] + '.' + part);
    edges = edges.concat(further);
  }
  return edges.map(function (edge) {
    return metro[7] ? [edge, hash(edge), 1] : [edge[0], hash(edge[0]), edge[1]];
  });
}

// The metros that may be nearest to a place: those of the smallest cell around it. Every cell
// that is divided has 2 x 2 cells.
async function around(version, tree, v) {
  var across = (Math.atan2(v[1], v[0]) / Math.PI + 1) / 2;
  var up = (Math.asin(Math.max(-1, Math.min(1, v[2]))) / Math.PI) + 0.5;
  var cell = '';
  for (var depth = 0; depth < 20; depth += 1) {
    var rows = await read(version + '.' + tree + '.' + cell);
    if (rows) { return rows; }
    var column = Math.min(1, Math.floor(across * 2)), row = Math.min(1, Math.floor(up * 2));
    across = across * 2 - column;
    up = up * 2 - row;
    cell += row * 2 + column;
  }
  throw new Error('no such cell');
}

// A country: [own metros, 1 if it is ordered by round-trip time, its metros where only the country
// is known, the same for scope=global]
async function metrosFor(version, country, v, scope) {
  var home = country === 'ZZ' ? [0, 0, [], []] : await read(version + '.' + country);
  var listed = home[scope === 'global' ? 3 : 2];
  if (!v) { return home[0] > 1 ? null : listed.map(metroOf); }
  if (!home[0] && home[1] && listed.length) { return listed.map(metroOf); }
  var tree = home[0] && scope === 'country' ? country + '.in' : 'all';
  var rows = await around(version, tree, v);
  return nearest(rows.map(metroOf), v, country, scope);
}

async function keyBy(version, country, v, seed, scope) {
  var metros = await metrosFor(version, country, v, scope);
  if (!metros) { return null; }
  var ids = [];
  for (var i = 0; i < metros.length && ids.length < PREFERRED; i += 1) {
    var edges = await edgesOf(version, metros[i]);
    rendezvous(edges, seed, metros[i][7]).forEach(function (edge) { ids.push(edge[0]); });
  }
  return country + '~' + ids.slice(0, PREFERRED).join('.');
}

async function routeKey(country, latitude, longitude, ip, scope) {
  var seed = network(ip), v = position(latitude, longitude);
  country = /^[A-Za-z]{2}$/.test(country) ? country.toUpperCase() : 'ZZ';
  country = has(COUNTRIES, country) ? country : 'ZZ';
  if (seed === null || (!v && country === 'ZZ')) { return null; }
  var versions = [];
  try { versions = await read('versions'); } catch (unpublished) { return null; }
  for (var i = 0; i < versions.length; i += 1) {
    try { return await keyBy(versions[i], country, v, seed, scope); } catch (incomplete) { continue; }
  }
  return null;
}

async function handler(event) {
  var key = await routeKey.apply(null, viewerOf(event));
  return withKey(event.request, key);
}
