"""The ops listener: health, readiness, metrics, the fleet and why a viewer gets an edge.

Bind it to loopback or a private network: it names addresses' places to whoever asks.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from router.authority import may_change
from router.caching import CachePolicy
from router.errors import RouterError, StoreError
from router.explain import describe_fleet, explain
from router.geoip import GeoDatabase
from router.intents import parse_duration
from router.location import Locator
from router.model import Intended, Status
from router.operate import drop_intents, set_intents
from router.query import parse_query
from router.store import Logged, Store
from router.viewer import parse_address
from router.watch import FleetWatch

GEO_OLD_DAYS = 90
MAX_BODY_BYTES = 4_096
STREAM_POLL_S = 1.0
MAX_STREAMS = 64

_EVENT_ID = re.compile(r"(\d{1,19}-\d{1,19})?")


class Wish(msgspec.Struct, rename={"for_": "for"}, forbid_unknown_fields=True):
    """The body of an intent: a state, for how long (`2h`), why, and who says so."""

    state: Literal["draining", "disabled"]
    for_: str
    reason: str
    actor: str
    force: bool = False


@dataclass(kw_only=True)
class Ops:
    """The state of one server, told over HTTP until `stop`."""

    watch: FleetWatch
    store: Store
    locator: Locator
    geo: GeoDatabase
    policy: CachePolicy
    registry: CollectorRegistry
    host: str
    token: str | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._streams = asyncio.Semaphore(MAX_STREAMS)

    def app(self, extra: Sequence[BaseRoute] = ()) -> Starlette:
        """The ASGI application; `extra` routes come first."""
        return Starlette(
            routes=[
                *extra,
                Route("/healthz", self.healthz),
                Route("/readyz", self.readyz),
                Route("/metrics", self.metrics),
                Route("/v1/edges", self.edges),
                Route("/v1/edges/{ids}/intent", self.intent, methods=["PUT", "DELETE"]),
                Route("/v1/events", self.events),
                Route("/v1/explain", self.explain),
            ]
        )

    async def healthz(self, request: Request) -> Response:
        """200 while the process lives."""
        return answer_json({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """503 while answers rest on no health at all; says what is amiss in any case."""
        status = self.watch.fleet.status
        age_days = self.geo.age_days(self.clock())
        told = {
            "ready": status is not Status.STATIC,
            "amiss": _amiss(status, age_days),
            "fleet": {"status": status, "seen_at": self.watch.fleet.seen_at},
            "geo": {"database": self.geo.type, "age_days": round(age_days)},
        }
        return answer_json(told, 200 if told["ready"] else 503)

    async def metrics(self, request: Request) -> Response:
        """Prometheus or OpenMetrics text, as the scraper accepts."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.registry), headers={"Content-Type": content_type})

    async def edges(self, request: Request) -> Response:
        """The fleet, every edge in catalog order."""
        return answer_json(describe_fleet(self.watch.fleet))

    async def intent(self, request: Request) -> Response:
        """One route, so that a 405 names both methods."""
        is_wish = request.method == "PUT"
        return await (self.set_intent(request) if is_wish else self.drop_intent(request))

    async def set_intent(self, request: Request) -> Response:
        """Take an edge, or several by comma, out: `{"state", "for", "reason", "actor"}`, and
        `"force"` to leave a country with none. All of them or, when refused, none."""
        if not self._may_change(request):
            return _FORBIDDEN
        try:
            wish = msgspec.json.decode(await _body(request), type=Wish)
            events = await set_intents(
                self.store,
                self.watch.fleet,
                request.path_params["ids"].split(","),
                Intended(wish.state),
                life_s=parse_duration(wish.for_) or 0,
                reason=wish.reason,
                actor=wish.actor,
                force=wish.force,
                now=self.clock(),
            )
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return answer_json({"detail": f"the body is not acceptable: {error}"}, 400)
        except RouterError as error:
            return _refused(error)
        return answer_json({"events": events})

    async def drop_intent(self, request: Request) -> Response:
        """Enable an edge, or several by comma, again; `?actor=`."""
        if not self._may_change(request):
            return _FORBIDDEN
        actor = request.query_params.get("actor", "unknown")
        edges = request.path_params["ids"].split(",")
        try:
            events = await drop_intents(
                self.store, self.watch.fleet, edges, actor=actor, now=self.clock()
            )
        except RouterError as error:
            return _refused(error)
        return answer_json({"events": events})

    def _may_change(self, request: Request) -> bool:
        authorization = request.headers.get("authorization", "")
        return may_change(authorization, self.token, self.host, request.url.hostname or "")

    async def events(self, request: Request) -> Response:
        """Events after `?after=ID`, oldest first; a stream for who accepts one."""
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        if not _EVENT_ID.fullmatch(after):
            return answer_json({"detail": "after must be an event's id, like 17-0"}, 400)
        if "text/event-stream" in request.headers.get("accept", ""):
            if self._streams.locked():
                return _too_many_streams()
            return EventStream(self._stream(after), self._streams)
        try:
            logged = await self.store.events(after)
        except StoreError as error:
            return _refused(error)
        return answer_json({"events": [_told(one) for one in logged]})

    async def _stream(self, after: str) -> AsyncIterator[bytes]:
        """Server-sent events; a comment now and then shows that the line is alive. Ends
        with the server, which would wait for it."""
        hints = 0
        while not self.stop.is_set():
            try:
                logged = await self.store.events(after)
            except StoreError as error:
                yield b": " + str(error).replace("\n", " ").encode() + b"\n\n"
                logged = ()
            for one in logged:
                after = one.id
                yield b"id: %s\ndata: %s\n\n" % (one.id.encode(), msgspec.json.encode(one.event))
            if not logged:
                yield b": alive\n\n"
            hints = await self.store.changed(hints, STREAM_POLL_S)

    async def explain(self, request: Request) -> Response:
        """Why the viewer at `?ip=` gets this edge; also `scope`, `model`, `strict`."""
        address = parse_address(request.query_params.get("ip", ""))
        query = parse_query(request.scope["query_string"])
        if address is None or query is None:
            wrong = "model is not acceptable" if query is None else "ip must be an IP address"
            return answer_json({"detail": f"{wrong}, as in /v1/explain?ip=24.48.0.1"}, 400)
        placed = self.locator.place_address(address)
        table = self.watch.table
        told = explain(table.ranker, table.fleet, placed, query, self.policy)
        return answer_json({"ip": address.text, **told})


class EventStream(StreamingResponse):
    """Server-sent events; takes one of a number of places for as long as it lasts."""

    def __init__(self, events: AsyncIterator[bytes], places: asyncio.Semaphore) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        async with self._places:
            await super().__call__(scope, receive, send)


def answer_json(told: Any, code: int = 200) -> Response:
    """JSON that no cache keeps."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(msgspec.json.encode(told), code, headers, media_type="application/json")


async def _body(request: Request) -> bytes:
    """The body. Raises DecodeError when it is longer than an intent can need."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise msgspec.DecodeError(f"it is over {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _amiss(status: Status, age_days: float) -> list[str]:
    told = {
        Status.STALE: "health is stale: no vantage has published for a while",
        Status.STATIC: "health is too old and ignored: every enabled edge is offered",
        Status.FAIL_OPEN: "no edge is up: every enabled edge is offered",
    }
    amiss = [told[status]] if status in told else []
    if age_days > GEO_OLD_DAYS:
        amiss.append(f"the geo database is {age_days:.0f} days old")
    return amiss


def _refused(error: RouterError) -> Response:
    return answer_json({"detail": str(error)}, 503 if isinstance(error, StoreError) else 409)


def _told(logged: Logged) -> dict[str, Any]:
    return {"id": logged.id, **msgspec.to_builtins(logged.event)}


def _too_many_streams() -> Response:
    response = answer_json({"detail": f"{MAX_STREAMS} event streams are open already"}, 503)
    response.headers["Retry-After"] = "5"
    return response


_FORBIDDEN = answer_json(
    {"detail": "send Authorization: Bearer with the AUTOROUTER_OPS_TOKEN of this server"}, 403
)
