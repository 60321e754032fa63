"""A response as prepared bytes, and the answers that name no edge. Pure."""

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from router.model import Level, Source
from router.routing.cache_headers import Headers
from router.routing.location import PlacedBy
from router.routing.query import MAX_MODEL_LENGTH

# On every public response: any page may read it, and browsers must not guess another type.
COMMON_HEADERS: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"x-content-type-options", b"nosniff"),
]


class Labels(NamedTuple):
    """The labels under which an answer is counted; every field comes from a closed set. `code`:
    the HTTP status of the full answer (a 304 is counted as its 200). `residency`: `kept` or
    `refused` if a residency policy applied.
    """

    code: str
    region: str
    reason: str
    status: str
    scope: str
    residency: str = ""
    sharing: str = ""
    crossed: str = ""


class Placement(NamedTuple):
    """Further labels of a route: the source of its viewer's location, how exact it is, and which
    part of the request gave it.
    """

    source: Source
    level: Level
    placed_by: PlacedBy


class Shed(StrEnum):
    """Why a connection was closed or rejected at a limit."""

    HUNG_UP = "hung_up"  # its messages made no progress for longest
    REFUSED = "refused"  # its request is answered 503
    MEMORY = "memory"  # it held the most unfinished or unread bytes


def _counter() -> dict[Any, int]:
    """A defaultdict, because assigning to a Counter runs in Python for each request."""
    return defaultdict(int)


@dataclass(slots=True)
class Counts:
    """Counts of a public listener: answers, placements and countries of routes' viewers, and shed
    connections. `connections`: clients connected now.
    """

    answers: dict[Labels, int] = field(default_factory=_counter)
    placements: dict[Placement, int] = field(default_factory=_counter)
    countries: dict[str | None, int] = field(default_factory=_counter)
    shed: dict[str, int] = field(default_factory=_counter)
    connections: int = 0

    def add(self, other: "Counts") -> None:
        """Count these as well."""
        for labels, count in other.answers.items():
            self.answers[labels] += count
        for placement, count in other.placements.items():
            self.placements[placement] += count
        for country, count in other.countries.items():
            self.countries[country] += count
        for how, count in other.shed.items():
            self.shed[how] += count
        self.connections += other.connections


class Response(NamedTuple):
    """`opening`: the status line. `rest`: the fields, an empty line, the body."""

    opening: bytes
    rest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, and `to_get`, the same as an HTTP/1.1 response. `etag` is empty if If-None-Match
    does not apply; `country` is the viewer's, if it is known and relevant; `key` is the route key,
    if there is one.
    """

    code: int
    headers: Headers
    body: bytes
    etag: bytes
    labels: Labels
    country: str | None = None
    key: str | None = None
    to_get: Response = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Build the response once."""
        rest = field_lines(self.headers) + self.body
        object.__setattr__(self, "to_get", Response(status_line(self.code), rest))

    @property
    def to_head(self) -> Response:
        """The same without a body."""
        return Response(self.to_get.opening, field_lines(self.headers))


def status_line(code: int) -> bytes:
    """`HTTP/1.1 200 OK` and the end of its line."""
    return b"HTTP/1.1 %d %b\r\n" % (code, HTTPStatus(code).phrase.encode())


def field_lines(headers: Headers) -> bytes:
    """A line for each header, and the empty line after them."""
    return b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n"


def plain_answer(code: int, name: str, body: dict[str, str], headers: Headers) -> Answer:
    """An answer that names no edge, counted under `name`."""
    encoded = msgspec.json.encode(body)
    return Answer(
        code=code,
        headers=with_common(headers, encoded),
        body=encoded,
        etag=b"",
        labels=error_labels(code, name),
    )


def error_labels(code: int, name: str, residency: str = "") -> Labels:
    """The labels of an answer that names no edge."""
    return Labels(code=str(code), region="", reason=name, status="", scope="", residency=residency)


def error_answer(code: int, name: str, detail: str, headers: Headers) -> Answer:
    """An answer `{"detail", "code"}`: what to do about the error, and a code for programs."""
    return plain_answer(code, name, {"detail": detail, "code": name}, headers)


def with_common(headers: Headers, body: bytes) -> Headers:
    """The headers of every JSON answer, then these."""
    return [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *COMMON_HEADERS,
        *headers,
    ]


NO_STORE: Headers = [(b"cache-control", b"no-store")]
RETRY_AFTER = (b"retry-after", b"5")

HEALTHY = plain_answer(200, "healthz", {"status": "ok"}, NO_STORE)

BAD_MODEL = error_answer(
    400,
    "bad_model",
    f"model must be at most {MAX_MODEL_LENGTH} characters, without control characters.",
    NO_STORE,
)
USE_EDGE = error_answer(
    403,
    "use_edge",
    "The autorouter answers GET /v1/route only. "
    "Send inference requests to the endpoint it returns.",
    [*NO_STORE, (b"allow", b"GET, HEAD")],
)
OVERLOADED = error_answer(
    503, "overloaded", "Too many connections. Try again soon.", [*NO_STORE, RETRY_AFTER]
)
NOT_FOUND = error_answer(404, "not_found", "There is nothing here. Ask GET /v1/route.", NO_STORE)
ERRORS = (BAD_MODEL, USE_EDGE, OVERLOADED, NOT_FOUND)
