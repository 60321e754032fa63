"""What the public listener answers: from memory only, without waiting, as prepared bytes.

router.api.http_protocol reads requests and writes responses.
"""

from itertools import product
from urllib.parse import unquote_to_bytes

import httptools

from router.api.http_protocol import FAULT, Request
from router.api.live_fleet import FleetWatch
from router.model import Level, Source
from router.routing.cache_headers import is_match
from router.routing.location import Locator, PlacedBy
from router.routing.query import Query, parse_query
from router.routing.response import (
    BAD_MODEL,
    ERRORS,
    HEALTHY,
    NOT_FOUND,
    OVERLOADED,
    USE_EDGE,
    Answer,
    Counts,
    Placement,
    Response,
    error_labels,
    field_lines,
    status_line,
)
from router.routing.route_table import CODES

KNOWN_TARGETS = 4_096
MAX_KNOWN_BYTES = 256  # of a target

# A 304 repeats what a 200 says about caching and nothing about a body (RFC 9110, 15.4.5).
_BODY_HEADERS = frozenset({b"content-type", b"content-length"})
_NOT_MODIFIED = status_line(304)
_READING = (b"GET", b"HEAD")

# One object for all viewers with the same placement.
_PLACEMENTS = {each: Placement(*each) for each in product(Source, Level, PlacedBy)}
ERROR_LABELS = [
    *(answer.labels for answer in (*ERRORS, FAULT)),
    *(error_labels(code, problem) for problem, code in CODES.items()),
    *(error_labels(code, problem, "refused") for problem, code in CODES.items() if code == 404),
]
_BY_KEY = _PLACEMENTS[Source.CDN_KEY, Level.UNKNOWN, PlacedBy.KEY]


class PublicApp:
    """Answers `GET /v1/route` and `GET /healthz`; any other request gets an error response.

    `counts`: the answers so far, for the metrics.
    """

    def __init__(self, watch: FleetWatch, locator: Locator) -> None:
        self._watch = watch
        self._locator = locator
        self._asked: dict[bytes, Query | Answer] = {}
        self.counts = Counts()
        # Present from the start, so that the first error of a kind shows as an increase.
        self.counts.answers.update(dict.fromkeys(ERROR_LABELS, 0))

    def replace_locator(self, locator: Locator) -> None:
        """Replace the locator, for example after the catalog has changed."""
        self._locator = locator

    def respond(self, request: Request) -> Response:
        """The response as bytes. The body of a request is never read."""
        return self.exchange(request)[1]

    def exchange(self, request: Request) -> tuple[Answer, Response]:
        """The answer, which is counted, and the response as bytes."""
        try:
            answer = self._answer(request)
        except Exception:
            self.counts.answers[FAULT.labels] += 1
            raise
        self.counts.answers[answer.labels] += 1
        if request.known and answer.etag and is_match(request.known, answer.etag):
            return answer, Response(_NOT_MODIFIED, _not_modified_fields(answer))
        return answer, answer.to_head if request.method == b"HEAD" else answer.to_get

    def refuse(self, request: Request) -> Response:
        """The response for a connection above the limit: 503, but /healthz still answers 200."""
        if self._known_target(request.target) is HEALTHY:
            return self.respond(request)
        self.counts.answers[OVERLOADED.labels] += 1
        return OVERLOADED.to_head if request.method == b"HEAD" else OVERLOADED.to_get

    def _answer(self, request: Request) -> Answer:
        if request.method not in _READING:
            return USE_EDGE
        asked = self._known_target(request.target)
        if isinstance(asked, Answer):
            return asked
        placed, table = self._locator.place(request.peer, request.headers), self._watch.table
        if placed.key is not None:
            key, placement = table.ranker.known(placed.key), _BY_KEY
        else:
            key = table.ranker.key(placed.location, placed.seed, asked.scope)
            source, level = placed.location.source, placed.location.level
            placement = _PLACEMENTS[source, level, placed.placed_by]
        answer = table.answer(key, asked, placed.sharing, placed.seed)
        self.counts.placements[placement] += 1
        self.counts.countries[answer.country] += 1
        return answer

    def _known_target(self, target: bytes) -> Query | Answer:
        """What a target asks for, or the answer if it is the same for every viewer."""
        asked = self._asked.get(target)
        if asked is None:
            asked = _parse_target(target)
            if len(target) <= MAX_KNOWN_BYTES:
                if len(self._asked) >= KNOWN_TARGETS:
                    self._asked.clear()  # start again instead of growing beyond the bound
                self._asked[target] = asked
        return asked


def _parse_target(target: bytes) -> Query | Answer:
    path, query = _split_target(target)
    if path == b"/v1/route":
        return parse_query(query) or BAD_MODEL
    return HEALTHY if path == b"/healthz" else NOT_FOUND


def _not_modified_fields(answer: Answer) -> bytes:
    return field_lines([header for header in answer.headers if header[0] not in _BODY_HEADERS])


def _split_target(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request's target, in any of its forms (RFC 9112 section 3.2)."""
    if target.startswith(b"/v1/route") and b"%" not in target and b"#" not in target:
        path, _, query = target.partition(b"?")
        return path, query
    try:
        parts = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        return b"", b""
    return unquote_to_bytes(parts.path or b""), parts.query or b""
