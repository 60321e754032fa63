// The request as a CDN other than CloudFront asks for it: a URL that holds the whole cache key.

var QUERY = ['all', 'model', 'scope', 'strict'];

// The URL with the query that the origin reads, the first of each name, in order; with a key, that
// too, so that a cache by URL holds one entry a key. The origin ignores it.
function canonicalUrl(text, key) {
  var url = new URL(text), asked = url.searchParams, kept = new URLSearchParams();
  QUERY.forEach(function (name) {
    if (asked.has(name)) { kept.append(name, asked.get(name)); }
  });
  if (key) { kept.append('key', key); }
  url.search = kept.toString();
  url.hash = '';
  return url.toString();
}

function scopeIn(text) {
  var found = /[?&]scope=([^&#]*)/.exec(text);
  return found ? scopeOf(found[1]) : 'country';
}

// The headers for the origin, which trusts them because of the secret. None is from the viewer.
function headersFor(key, address, secret) {
  var headers = {
    'accept': 'application/json',
    'x-origin-verify': secret,
    'cloudfront-viewer-address': address + ':0'
  };
  if (key) { headers['x-autorouter-key'] = key; }
  return headers;
}

// A coordinate as text; CDNs give numbers or texts, or nothing.
function coordinate(value) {
  return value === undefined || value === null ? '' : String(value);
}
