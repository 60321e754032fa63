"""What the public listener answers: from memory alone, at once, as ready bytes.

How requests come in and answers go out is for router.wire.
"""

from urllib.parse import unquote_to_bytes

import httptools

from router.answers import (
    BAD_MODEL,
    HEALTHY,
    NOT_FOUND,
    OVERLOADED,
    USE_EDGE,
    Answer,
    Counts,
    Placement,
    field_lines,
    status_line,
)
from router.caching import Headers, Sharing, is_match
from router.location import Locator
from router.model import Level, Scope, Source
from router.query import Query, parse_query
from router.ranking import RouteKey
from router.watch import FleetWatch
from router.wire import FAULT, Request, Response

KNOWN_QUERIES = 4_096
KNOWN_VIEWERS = 65_536
MAX_KNOWN_QUERY_BYTES = 256

# A 304 repeats what a 200 says about caching and nothing about a body (RFC 9110, 15.4.5).
_BODY_HEADERS = frozenset({b"content-type", b"content-length"})
_NOT_MODIFIED = status_line(304)

# One object for all viewers that were placed alike.
_PLACEMENTS = {(one, other): Placement(one, other) for one in Source for other in Level}
_BY_KEY = _PLACEMENTS[Source.CDN_KEY, Level.UNKNOWN]


class PublicApp:
    """`GET /v1/route`, `GET /healthz`, and a clear refusal of everything else.

    `counts`: what it answered so far, for the metrics.
    """

    def __init__(self, watch: FleetWatch, locator: Locator) -> None:
        self._watch = watch
        self._locator = locator
        self._queries: dict[bytes, Query | None] = {}
        self._viewers: dict[Scope, dict[bytes | str | None, tuple[RouteKey, Placement]]] = {
            one: {} for one in Scope
        }
        self.counts = Counts()
        self.counts.answers[FAULT.labels] = 0  # shown from the start, so that one is a rise

    def adopt(self, locator: Locator) -> None:
        """Place viewers by another locator, or for another catalog, from now on."""
        self._locator = locator
        for viewers in self._viewers.values():
            viewers.clear()

    def respond(self, request: Request) -> Response:
        """The answer as HTTP. The body of a request is never read."""
        return self.exchange(request)[1]

    def exchange(self, request: Request) -> tuple[Answer, Response]:
        """The answer, counted, and as HTTP."""
        try:
            answer = self._answer(request)
        except Exception:
            self.counts.answers[FAULT.labels] += 1
            raise
        self.counts.answers[answer.labels] += 1
        if answer.etag and _is_known(request.headers, answer.etag):
            return answer, Response(_NOT_MODIFIED, _not_modified(answer))
        if request.method == b"HEAD":
            return answer, Response(answer.opening, answer.fields)
        return answer, Response(answer.opening, answer.rest)

    def refuse(self, request: Request) -> Response:
        """For a connection too many. A process that sheds load lives all the same."""
        if _split(request.target)[0] == b"/healthz":
            return self.respond(request)
        self.counts.answers[OVERLOADED.labels] += 1
        is_head = request.method == b"HEAD"
        return Response(OVERLOADED.opening, OVERLOADED.fields if is_head else OVERLOADED.rest)

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
        known, sharing = self._viewers[query.scope].get(viewer), Sharing.PRIVATE
        if known is None:
            known, sharing = self._place(request, viewer, query.scope)
        key, placement = known
        self.counts.placements[placement] += 1
        self.counts.countries[key.country] += 1
        return self._watch.table.answer(key, query, sharing)

    def _place(
        self, request: Request, viewer: bytes | str | None, scope: Scope
    ) -> tuple[tuple[RouteKey, Placement], Sharing]:
        """A viewer not met before, or not to be remembered."""
        placed = self._locator.place(request.peer, request.headers)
        ranker = self._watch.table.ranker
        if placed.key is not None:
            return (ranker.known(placed.key), _BY_KEY), placed.sharing
        key = ranker.key(placed.location, placed.seed, scope)
        known = key, _PLACEMENTS[placed.location.source, placed.location.level]
        viewers = self._viewers[scope]
        if viewer is not None:
            if len(viewers) >= KNOWN_VIEWERS:
                viewers.clear()
            viewers[viewer] = known
        return known, placed.sharing

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
