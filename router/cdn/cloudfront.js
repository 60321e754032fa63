// What both CloudFront functions share: a viewer-request event in, the request with its key out.

function value(fields, name) {
  return fields[name] && !fields[name].multiValue ? fields[name].value.trim() : '';
}

// The first `scope` of the query.
function scopeAsked(field) {
  return field ? scopeOf((field.multiValue ? field.multiValue[0] : field).value) : 'country';
}

// The arguments of routeKey.
function viewerOf(event) {
  var headers = event.request.headers;
  return [
    value(headers, 'cloudfront-viewer-country'),
    value(headers, 'cloudfront-viewer-latitude'),
    value(headers, 'cloudfront-viewer-longitude'),
    event.viewer.ip,
    scopeAsked(event.request.querystring.scope)
  ];
}

// The request with this key and with no other, whatever the viewer sent.
function withKey(request, key) {
  delete request.headers['x-autorouter-key'];
  if (key) { request.headers['x-autorouter-key'] = { value: key }; }
  return request;
}
