// Cloudflare Workers, on a route such as autorouter.example.com/*. `ORIGIN`, a variable of the
// Worker, is the origin's URL; `ORIGIN_VERIFY`, a secret, is one of AUTOROUTER_CDN_SECRET.

function viewerKey(request) {
  var place = request.cf || {};
  return routeKey(
    place.country || '',
    coordinate(place.latitude),
    coordinate(place.longitude),
    request.headers.get('cf-connecting-ip') || '',
    scopeIn(request.url)
  );
}

export default {
  fetch: function (request, env) {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return new Response(null, { status: 403, headers: { allow: 'GET, HEAD' } });
    }
    var key = viewerKey(request), asked = new URL(request.url);
    var url = canonicalUrl(new URL(asked.pathname + asked.search, env.ORIGIN).toString(), key);
    return fetch(url, {
      method: request.method,
      headers: headersFor(key, request.headers.get('cf-connecting-ip'), env.ORIGIN_VERIFY),
      redirect: 'manual',
      // Answers say themselves how long they may be kept; those of viewers without a key, never.
      cf: key ? { cacheEverything: true } : { cacheTtl: -1 }
    });
  }
};
