"""The public listener: one plain ASGI callable, memory only, no await before `send`.

Starlette's router would cost a third of a request here; the ops listener, where that
does not matter, uses it (docs/adr/0001-plain-asgi-in-public.md).
"""

from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from router.answers import BAD_MODEL, HEALTHY, NOT_FOUND, USE_EDGE, Answer, Labels
from router.caching import Headers, Sharing, is_match
from router.location import Locator
from router.model import Scope
from router.query import Query, parse_query
from router.ranking import RouteKey
from router.watch import FleetWatch

KNOWN_QUERIES = 4_096
KNOWN_VIEWERS = 65_536
MAX_KNOWN_QUERY_BYTES = 256

Connection = MutableMapping[str, Any]
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
        self._keys: dict[Scope, dict[bytes | str | None, RouteKey]] = {one: {} for one in Scope}
        self.counts: Counter[Labels] = Counter()

    def adopt(self, locator: Locator) -> None:
        """Place viewers by another locator, or for another catalog, from now on."""
        self._locator = locator
        for keys in self._keys.values():
            keys.clear()

    async def __call__(self, scope: Connection, receive: object, send: Send) -> None:
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

    def _answer(self, scope: Connection) -> Answer:
        if scope["method"] not in ("GET", "HEAD"):
            return USE_EDGE
        path = scope["path"]
        if path == "/v1/route":
            return self._route(scope)
        return HEALTHY if path == "/healthz" else NOT_FOUND

    def _route(self, scope: Connection) -> Answer:
        query = self._query(scope["query_string"])
        if query is None:
            return BAD_MODEL
        peer = scope["client"] and scope["client"][0]
        headers, table = scope["headers"], self._watch.table
        viewer, keys = self._locator.viewer(peer, headers), self._keys[query.scope]
        if viewer in keys:
            return table.answer(keys[viewer], query, Sharing.PRIVATE)
        placed = self._locator.place(peer, headers)
        if placed.key is not None:
            return table.answer(table.ranker.known(placed.key), query, placed.sharing)
        key = table.ranker.key(placed.location, placed.seed, query.scope)
        if viewer is not None:
            if len(keys) >= KNOWN_VIEWERS:
                keys.clear()
            keys[viewer] = key
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
