// Fastly Compute, in JavaScript. The backend `origin` is the origin; the secret store `autorouter`
// has `origin-verify`, one of AUTOROUTER_CDN_SECRET.
import { SecretStore } from 'fastly:secret-store';
import { CacheOverride } from 'fastly:cache-override';

function viewerKey(request, client) {
  var place = client.geo || {};
  return routeKey(
    place.country_code || '',
    coordinate(place.latitude),
    coordinate(place.longitude),
    client.address || '',
    scopeIn(request.url)
  );
}

async function answer(event) {
  var request = event.request;
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return new Response(null, { status: 403, headers: { allow: 'GET, HEAD' } });
  }
  var key = viewerKey(request, event.client);
  var secret = (await (await new SecretStore('autorouter').get('origin-verify')).plaintext());
  return fetch(canonicalUrl(request.url, key), {
    method: request.method,
    headers: headersFor(key, event.client.address, secret),
    backend: 'origin',
    // Answers say themselves how long they may be kept; those of viewers without a key, never.
    cacheOverride: new CacheOverride(key ? 'none' : 'pass')
  });
}

addEventListener('fetch', function (event) { event.respondWith(answer(event)); });
