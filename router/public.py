"""What the public listener answers: from memory alone, at once, as ready bytes.

How requests come in and answers go out is for router.wire.
"""

from collections import Counter
from urllib.parse import unquote_to_bytes

import httptools

from router.answers import (
    BAD_MODEL,
    HEALTHY,
    NOT_FOUND,
    USE_EDGE,
    Answer,
    Labels,
    field_lines,
    status_line,
)
from router.caching import Headers, Sharing, is_match
from router.location import Locator
from router.model import Scope
from router.query import Query, parse_query
from router.ranking import RouteKey
from router.watch import FleetWatch
from router.wire import Request, Response

KNOWN_QUERIES = 4_096
KNOWN_VIEWERS = 65_536
MAX_KNOWN_QUERY_BYTES = 256

# A 304 repeats what a 200 says about caching and nothing about a body (RFC 9110, 15.4.5).
_BODY_HEADERS = frozenset({b"content-type", b"content-length"})
_NOT_MODIFIED = status_line(304)


class PublicApp:
    """`GET /v1/route`, `GET /healthz`, and a clear refusal of everything else.

    `counts`: answers so far by label, for the metrics. `countries`: routes so far by the
    viewer's country, None where it is not known.
    """

    def __init__(self, watch: FleetWatch, locator: Locator) -> None:
        self._watch = watch
        self._locator = locator
        self._queries: dict[bytes, Query | None] = {}
        self._keys: dict[Scope, dict[bytes | str | None, RouteKey]] = {one: {} for one in Scope}
        self.counts: Counter[Labels] = Counter()
        self.countries: Counter[str | None] = Counter()

    def adopt(self, locator: Locator) -> None:
        """Place viewers by another locator, or for another catalog, from now on."""
        self._locator = locator
        for keys in self._keys.values():
            keys.clear()

    def respond(self, request: Request) -> Response:
        """The answer as HTTP. The body of a request is never read."""
        answer = self._answer(request)
        self.counts[answer.labels] += 1
        if answer.etag and _is_known(request.headers, answer.etag):
            return Response(_NOT_MODIFIED, _not_modified(answer))
        if request.method == b"HEAD":
            return Response(answer.opening, answer.fields)
        return Response(answer.opening, answer.rest)

    def _answer(self, request: Request) -> Answer:
        if request.method not in (b"GET", b"HEAD"):
            return USE_EDGE
        path, query = _split(request.target)
        if path == b"/v1/route":
            return self._route(request, query)
        return HEALTHY if path == b"/healthz" else NOT_FOUND

    def _route(self, request: Request, query_string: bytes) -> Answer:
        query = self._query(query_string)
        if query is None:
            return BAD_MODEL
        viewer = self._locator.viewer(request.peer, request.headers)
        key, sharing = self._keys[query.scope].get(viewer), Sharing.PRIVATE
        if key is None:
            key, sharing = self._place(request, viewer, query.scope)
        self.countries[key.country] += 1
        return self._watch.table.answer(key, query, sharing)

    def _place(
        self, request: Request, viewer: bytes | str | None, scope: Scope
    ) -> tuple[RouteKey, Sharing]:
        """The route key of a viewer not met before, or not to be remembered."""
        placed, ranker = (
            self._locator.place(request.peer, request.headers),
            self._watch.table.ranker,
        )
        if placed.key is not None:
            return ranker.known(placed.key), placed.sharing
        key, keys = ranker.key(placed.location, placed.seed, scope), self._keys[scope]
        if viewer is not None:
            if len(keys) >= KNOWN_VIEWERS:
                keys.clear()
            keys[viewer] = key
        return key, placed.sharing

    def _query(self, raw: bytes) -> Query | None:
        if raw in self._queries:
            return self._queries[raw]
        query = parse_query(raw)
        if len(raw) <= MAX_KNOWN_QUERY_BYTES:
            if len(self._queries) >= KNOWN_QUERIES:
                self._queries.clear()
            self._queries[raw] = query
        return query


def _is_known(headers: Headers, tag: bytes) -> bool:
    for name, value in headers:
        if name == b"if-none-match":
            return is_match(value, tag)
    return False


def _not_modified(answer: Answer) -> bytes:
    return field_lines([header for header in answer.headers if header[0] not in _BODY_HEADERS])


def _split(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request's target, in any of its forms (RFC 9112 section 3.2)."""
    if target.startswith(b"/v1/route") and b"%" not in target and b"#" not in target:
        path, _, query = target.partition(b"?")
        return path, query
    try:
        parts = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        return b"", b""
    return unquote_to_bytes(parts.path or b""), parts.query or b""
