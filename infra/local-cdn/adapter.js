// Runs the CDN function above like CloudFront: converts nginx's request to an event and back.

var CACHED = ['all', 'model', 'scope', 'strict'];

// The [name, value] pairs of the query, in order and not decoded, as in CloudFront.
function fields(r) {
  return (r.variables.args || '').split('&').filter(Boolean).map(function (field) {
    var at = field.indexOf('=');
    return at < 0 ? [field, ''] : [field.slice(0, at), field.slice(at + 1)];
  });
}

function querystring(r) {
  var result = Object.create(null);
  fields(r).forEach(function (field) {
    var seen = result[field[0]];
    if (!seen) {
      result[field[0]] = { value: field[1] };
    } else {
      seen.multiValue = (seen.multiValue || [{ value: seen.value }]).concat({ value: field[1] });
    }
  });
  return result;
}

function headers(r) {
  var result = {};
  Object.keys(r.headersIn).forEach(function (name) {
    result[name.toLowerCase()] = { value: r.headersIn[name] };
  });
  var placed = {
    'cloudfront-viewer-country': r.variables.geo_country,
    'cloudfront-viewer-latitude': r.variables.viewer_latitude,
    'cloudfront-viewer-longitude': r.variables.viewer_longitude
  };
  Object.keys(placed).forEach(function (name) {
    delete result[name];
    if (placed[name]) { result[name] = { value: placed[name] }; }
  });
  return result;
}

function routeKeyOf(r) {
  var made = handler({
    version: '1.0',
    context: { eventType: 'viewer-request' },
    viewer: { ip: r.variables.remote_addr },
    request: { method: r.method, uri: r.uri, querystring: querystring(r), headers: headers(r), cookies: {} }
  });
  var key = made.headers['x-autorouter-key'];
  return key ? key.value : '';
}

// The path with the query parameters that are in the cache key, in a fixed order.
function cachedUri(r) {
  var query = CACHED.map(function (name) {
    return fields(r).filter(function (field) { return field[0] === name; });
  }).reduce(function (all, some) { return all.concat(some); }, []);
  var path = r.variables.request_uri.split('?')[0];
  return path + (query.length ? '?' + query.map(function (field) { return field.join('='); }).join('&') : '');
}

export default { routeKeyOf: routeKeyOf, cachedUri: cachedUri };
