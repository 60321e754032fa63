// The route key from a table that is part of the program.

// metros: as in route_key.js
// network: 1 where viewers who have no edge in their country are ordered by round-trip time
// beyond: [scope or '', country codes written together, metros], what viewers there try after
// their country's own metros, when only the country is known; every country is in a group
var TABLE = /*TABLE*/;

function metrosOf(country) {
  return TABLE.metros.filter(function (metro) { return metro[0] === country; });
}

// The code of a country in ISO 3166-1, in capitals; ZZ for any other text.
function countryCode(text) {
  var code = /^[A-Za-z]{2}$/.test(text) ? text.toUpperCase() : 'ZZ';
  return TABLE.beyond.some(function (group) { return has(group[1], code); }) ? code : 'ZZ';
}

// The country's own metros by share, then those beyond it.
function spread(own, country, scope, seed) {
  var chosen = rendezvous(own.map(function (metro) {
    return [metro[6], metro[4], metro[5], metro];
  }), seed, false).map(function (row) { return row[3]; });
  TABLE.beyond.forEach(function (group) {
    if ((group[0] && group[0] !== scope) || !has(group[1], country)) { return; }
    group[2].forEach(function (at) {
      if (chosen.indexOf(TABLE.metros[at]) < 0) { chosen.push(TABLE.metros[at]); }
    });
  });
  return chosen;
}

// `CA~yto-01.yul-01.yto-02`, or null where the origin must look at the viewer itself: where
// nothing is known, or only a country that has edges in several cities.
function routeKey(country, latitude, longitude, ip, scope) {
  var seed = network(ip), v = position(latitude, longitude);
  country = countryCode(country);
  var own = metrosOf(country);
  if (seed === null || (!v && (country === 'ZZ' || own.length > 1))) { return null; }
  var beyond = v && (own.length || !TABLE.network) ? [] : spread(own, country, scope, seed);
  var metros = v && !beyond.length ? nearest(TABLE.metros, v, country, scope) : beyond;
  var ids = [];
  for (var i = 0; i < metros.length && ids.length < PREFERRED; i += 1) {
    rendezvous(metros[i][8], seed, metros[i][7]).forEach(function (edge) { ids.push(edge[0]); });
  }
  return country + '~' + ids.slice(0, PREFERRED).join('.');
}
