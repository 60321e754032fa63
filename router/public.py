"""The public listener: one plain ASGI callable, memory only, no await before `send`.

Starlette's router would cost a third of a request here; the ops listener, where that
does not matter, uses it (docs/adr/0001-plain-asgi-in-public.md).
"""

from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from router.answers import BAD_MODEL, HEALTHY, NOT_FOUND, USE_EDGE, Answer, Labels
from router.caching import Headers, is_match
from router.location import Locator
from router.query import Query, parse_query
from router.watch import FleetWatch

KNOWN_QUERIES = 4_096
MAX_KNOWN_QUERY_BYTES = 256

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# A 304 repeats what a 200 says about caching and nothing about a body (RFC 9110, 15.4.5).
_BODY_HEADERS = frozenset({b"content-type", b"content-length"})
_NOTHING: dict[str, Any] = {"type": "http.response.body", "body": b""}


class PublicApp:
    """`GET /v1/route`, `GET /healthz`, and a clear refusal of everything else.

    `counts`: answers so far by label, for the metrics.
    """

    def __init__(self, watch: FleetWatch, locator: Locator) -> None:
        self._watch = watch
        self._locator = locator
        self._queries: dict[bytes, Query | None] = {}
        self.counts: Counter[Labels] = Counter()

    async def __call__(self, scope: Scope, receive: object, send: Send) -> None:
        """ASGI. The body of a request, if any, is never read."""
        answer = self._answer(scope)
        self.counts[answer.labels] += 1
        start, end = answer.start, answer.end
        if answer.etag and _is_known(scope["headers"], answer.etag):
            start, end = _not_modified(answer), _NOTHING
        elif scope["method"] == "HEAD":
            end = _NOTHING
        await send(start)
        await send(end)

    def _answer(self, scope: Scope) -> Answer:
        if scope["method"] not in ("GET", "HEAD"):
            return USE_EDGE
        path = scope["path"]
        if path == "/v1/route":
            return self._route(scope)
        return HEALTHY if path == "/healthz" else NOT_FOUND

    def _route(self, scope: Scope) -> Answer:
        query = self._query(scope["query_string"])
        if query is None:
            return BAD_MODEL
        client = scope["client"]
        placed = self._locator.place(client and client[0], scope["headers"])
        table = self._watch.table
        if placed.key is None:
            key = table.ranker.key(placed.location, placed.seed, query.scope)
        else:
            key = table.ranker.known(placed.key)
        return table.answer(key, query, placed.sharing)

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


def _not_modified(answer: Answer) -> dict[str, Any]:
    kept = [header for header in answer.headers if header[0] not in _BODY_HEADERS]
    return {**answer.start, "status": 304, "headers": kept}
