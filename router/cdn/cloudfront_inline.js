// CloudFront, with the table in the function.

function handler(event) {
  return withKey(event.request, routeKey.apply(null, viewerOf(event)));
}
