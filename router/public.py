"""What the public listener answers: from memory alone, at once, as ready bytes.

How requests come in and answers go out is for router.wire.
"""

from typing import TypeVar
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
    Response,
    field_lines,
    status_line,
)
from router.caching import Sharing, is_match
from router.location import Locator
from router.model import Level, Scope, Source
from router.query import Query, parse_query
from router.ranking import RouteKey
from router.watch import FleetWatch
from router.wire import FAULT, Request

KNOWN_QUERIES = 4_096
KNOWN_VIEWERS = 65_536
MAX_KNOWN_QUERY_BYTES = 256

# A 304 repeats what a 200 says about caching and nothing about a body (RFC 9110, 15.4.5).
_BODY_HEADERS = frozenset({b"content-type", b"content-length"})
_NOT_MODIFIED = status_line(304)
_READING = (b"GET", b"HEAD")

K = TypeVar("K")
V = TypeVar("V")

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
        self._table = watch.table
        self._seen: dict[tuple[bytes, bytes | str], tuple[Answer, Placement]] = {}
        self.counts = Counts()
        self.counts.answers[FAULT.labels] = 0  # shown from the start, so that one is a rise

    def adopt(self, locator: Locator) -> None:
        """Place viewers by another locator, or for another catalog, from now on."""
        self._locator = locator
        self._seen.clear()
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
        if request.known and answer.etag and is_match(request.known, answer.etag):
            return answer, Response(_NOT_MODIFIED, _not_modified(answer))
        return answer, answer.to_head if request.method == b"HEAD" else answer.to_get

    def refuse(self, request: Request) -> Response:
        """For a connection too many. A process that sheds load lives all the same."""
        if _split(request.target)[0] == b"/healthz":
            return self.respond(request)
        self.counts.answers[OVERLOADED.labels] += 1
        return OVERLOADED.to_head if request.method == b"HEAD" else OVERLOADED.to_get

    def _answer(self, request: Request) -> Answer:
        if request.method not in _READING:
            return USE_EDGE
        viewer = self._locator.viewer(request.peer, request.headers)
        if viewer is None:
            return self._first(request, None)
        if self._table is not self._watch.table:
            self._table = self._watch.table
            self._seen.clear()
        seen = self._seen.get((request.target, viewer))
        if seen is None:
            return self._first(request, viewer)
        self._count(*seen)
        return seen[0]

    def _first(self, request: Request, viewer: bytes | str | None) -> Answer:
        """The answer to a question not asked before under this Fleet, or not kept."""
        path, query = _split(request.target)
        if path == b"/v1/route":
            return self._route(request, viewer, query)
        return HEALTHY if path == b"/healthz" else NOT_FOUND

    def _route(self, request: Request, viewer: bytes | str | None, query_string: bytes) -> Answer:
        query = self._query(query_string)
        if query is None:
            return BAD_MODEL
        known, sharing = self._viewers[query.scope].get(viewer), Sharing.PRIVATE
        if known is None:
            known, sharing, viewer = self._place(request, viewer, query.scope)
        key, placement = known
        answer = self._watch.table.answer(key, query, sharing)
        if viewer is not None and len(request.target) <= MAX_KNOWN_QUERY_BYTES:
            _keep(self._seen, (request.target, viewer), (answer, placement), KNOWN_VIEWERS)
        self._count(answer, placement)
        return answer

    def _count(self, answer: Answer, placement: Placement) -> None:
        self.counts.placements[placement] += 1
        self.counts.countries[answer.country] += 1

    def _place(
        self, request: Request, viewer: bytes | str | None, scope: Scope
    ) -> tuple[tuple[RouteKey, Placement], Sharing, bytes | str | None]:
        """A viewer not met before, or not to be remembered: then the last is None."""
        placed = self._locator.place(request.peer, request.headers)
        ranker = self._watch.table.ranker
        if placed.key is not None:
            return (ranker.known(placed.key), _BY_KEY), placed.sharing, None
        key = ranker.key(placed.location, placed.seed, scope)
        known = key, _PLACEMENTS[placed.location.source, placed.location.level]
        if placed.by_peer and viewer != request.peer:
            return known, placed.sharing, None
        if viewer is not None:
            _keep(self._viewers[scope], viewer, known, KNOWN_VIEWERS)
        return known, placed.sharing, viewer

    def _query(self, raw: bytes) -> Query | None:
        if raw in self._queries:
            return self._queries[raw]
        query = parse_query(raw)
        if len(raw) <= MAX_KNOWN_QUERY_BYTES:
            _keep(self._queries, raw, query, KNOWN_QUERIES)
        return query


def _keep(memo: dict[K, V], key: K, value: V, most: int) -> None:
    """Begin anew rather than grow beyond a bound."""
    if len(memo) >= most:
        memo.clear()
    memo[key] = value


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
