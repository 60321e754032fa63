"""The ops listener: health, readiness, metrics, the fleet and why a viewer gets an edge.
The dashboard is built on it, in router.ops.dashboard.

Bind it to loopback or a private network: any client can ask it for the location of an address.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from router import __version__
from router.api.live_fleet import FleetWatch
from router.errors import RouterError, StoreError
from router.geo.database import GeoDatabase
from router.model import Intended, Status
from router.ops import edge_conditions
from router.ops.auth import ChangeAccess, change_access, is_cross_site, may_change
from router.ops.diagnosis import group
from router.ops.event_filter import FilterError, as_csv, parse_filter
from router.ops.event_stream import MAX_STREAMS, EventStream, Streams
from router.ops.explain_route import ExplainRoute
from router.ops.findings import Grade
from router.ops.fleet_document import describe_fleet, describe_views
from router.ops.health_routes import HealthRoutes, answer_json
from router.ops.history import HOUR_S, History, document
from router.ops.host_check import HostCheck
from router.ops.intents import (
    UnforcedError,
    drop_intents,
    enable_at_once,
    parse_duration,
    requested_dial,
    set_intents,
)
from router.ops.monitor import FindingsCollector, Monitor
from router.ops.security_headers import SecurityHeaders
from router.routing.cache_headers import CachePolicy
from router.routing.fleet import Fleet
from router.routing.location import Locator
from router.routing.response import Labels
from router.store import Logged, Store
from router.telemetry.recent_counts import WINDOW_S, RecentCounts

MAX_BODY_BYTES = 4_096
STREAM_POLL_S = 1.0

_EVENT_ID = re.compile(r"(\d{1,19}-\d{1,19})?", re.ASCII)


class IntentRequest(msgspec.Struct, rename={"for_": "for"}, forbid_unknown_fields=True):
    """The body of a request that sets an intent: a state or a dial (0 to 1), for how long (`2h`),
    the reason and the actor. `over`: in what time a dial reaches its share.
    """

    for_: str
    reason: str
    actor: str
    state: Literal["draining", "disabled"] | None = None
    dial: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    over: str | None = None
    force: bool = False


@dataclass(kw_only=True)
class Ops:
    """Serves the state of one server over HTTP until `stop`. `collectors`: returns the metrics of
    this moment; see HealthRoutes.moment.
    """

    watch: FleetWatch
    store: Store
    locator: Locator
    geo: GeoDatabase
    policy: CachePolicy
    registry: CollectorRegistry
    answers: RecentCounts[Labels]
    monitor: Monitor
    history: History
    host: str
    collectors: Callable[[], Sequence[Collector]] = tuple
    token: str | None = None
    hosts: Collection[str] = ()
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tagged: tuple[Fleet, str] | None = None

    def __post_init__(self) -> None:
        self._streams = Streams()

    def app(self, extra: Sequence[BaseRoute] = ()) -> Starlette:
        """The ASGI application; `extra` routes come first."""
        why = ExplainRoute(
            watch=self.watch,
            policy=self.policy,
            history=self.history,
            placing=lambda: (self.locator, self.geo),
        )
        health = HealthRoutes(registry=self.registry, readiness=self.readiness, moment=self.moment)
        return Starlette(
            middleware=[
                Middleware(SecurityHeaders),
                Middleware(HostCheck, hosts=lambda: self.hosts),
                Middleware(GZipMiddleware, minimum_size=1_000, compresslevel=5),
            ],
            routes=[
                *extra,
                *health.routes(),
                Route("/v1/edges", self.edges),
                Route("/v1/edges/{ids}/intent", self.intent, methods=["PUT", "DELETE"]),
                Route("/v1/events", self.events),
                Route("/v1/history", self.past),
                Route("/v1/explain", why.explain),
            ],
        )

    async def moment(self) -> Sequence[Collector]:
        """The present diagnosis and server state, as metrics."""
        return [FindingsCollector(await self.monitor.diagnose()), *self.collectors()]

    async def readiness(self) -> dict[str, Any]:
        """Not ready while answers use no health at all. `amiss` has the titles of findings, even if
        the server is ready.
        """
        found = await self.monitor.diagnose()
        status = self.watch.fleet.status
        return {
            "ready": status is not Status.STATIC and self.monitor.workers() > 0,
            "headline": self.monitor.headline(found),
            "amiss": [one.title for one in found if one.grade is not Grade.OK],
            "fleet": {"status": status, "seen_at": self.watch.fleet.seen_at},
            "geo": {"database": self.geo.type, "age_days": round(self._geo_age_days())},
        }

    async def edges(self, request: Request) -> Response:
        """The fleet: every edge in catalog order, the findings, and the vantages."""
        found = await self.monitor.diagnose()
        now, given = time.time(), self._given()
        fleet, views = self.watch.fleet, self.watch.published
        head = {
            "now": now,
            "version": __version__,
            "changes": change_access(self.token, self.host),
            "headline": self.monitor.headline(found),
            "findings": found,
            "answers": {"window_s": WINDOW_S, "total": sum(given.values())},
        }

        def answer() -> Response:
            """Runs in a thread, because 500 edges take some milliseconds. All its input is
            immutable.
            """
            described = describe_fleet(fleet, now=now, policy=self.policy, answers=given)
            vantages = describe_views(views, now)
            return answer_json({**head, "groups": group(found), "vantages": vantages, **described})

        return await asyncio.to_thread(answer)

    def _geo_age_days(self) -> float:
        return self.geo.age_days(time.time())

    def _given(self) -> dict[str, int]:
        """The number of recent answers for each edge."""
        given: Counter[str] = Counter()
        for labels, count in self.answers.recent().items():
            if labels.region:
                given[labels.region] += count
        return given

    async def intent(self, request: Request) -> Response:
        """PUT and DELETE. They share a route, so that a 405 lists both methods."""
        is_put = request.method == "PUT"
        return await (self.set_intent(request) if is_put else self.drop_intent(request))

    async def set_intent(self, request: Request) -> Response:
        """Drain or disable edges (comma-separated). The body has `state`, `for`, `reason` and
        `actor`; `force` allows a country to be left without an edge. To dial edges, it has `dial`
        and optionally `over` in place of `state`. If the request is refused, no edge is changed.
        """
        if (refusal := self._refusal(request)) is not None:
            return refusal
        try:
            intent = msgspec.json.decode(await _body(request), type=IntentRequest)
            events = await set_intents(
                self.store,
                self.watch.fleet,
                request.path_params["ids"].split(","),
                Intended(intent.state or "enabled"),
                life_s=parse_duration(intent.for_) or 0,
                reason=intent.reason,
                actor=intent.actor,
                force=intent.force,
                now=time.time(),
                dial=requested_dial(intent.state, intent.dial, intent.over),
            )
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return answer_json({"detail": f"the body is not valid: {error}"}, 400)
        except RouterError as error:
            return _refusal_response(error)
        return answer_json({"events": events})

    async def drop_intent(self, request: Request) -> Response:
        """Enable edges (comma-separated) again; `?actor=` says who does. With `now=true` pollers
        also end their hold-down and flapping.
        """
        if (refusal := self._refusal(request)) is not None:
            return refusal
        actor = request.query_params.get("actor", "unknown")
        edges = request.path_params["ids"].split(",")
        enable = enable_at_once if request.query_params.get("now") == "true" else drop_intents
        try:
            events = await enable(self.store, self.watch.fleet, edges, actor=actor, now=time.time())
        except RouterError as error:
            return _refusal_response(error)
        return answer_json({"events": events})

    def _refusal(self, request: Request) -> Response | None:
        """The response if this request may not change the fleet; None if it may."""
        headers = request.headers
        given = headers.get("authorization", "")
        if is_cross_site(headers.get("sec-fetch-site")):
            return _forbidden("a page of another site may not change the fleet")
        host, origin = request.url.hostname or "", headers.get("origin")
        if may_change(given, self.token, self.host, host, origin):
            return None
        if self.token is not None:
            return _forbidden(_WRONG_TOKEN if given else _NO_TOKEN)
        if change_access(None, self.host) is ChangeAccess.OPEN:
            return _forbidden("without AUTOROUTER_OPS_TOKEN only this machine may change the fleet")
        return _forbidden("set AUTOROUTER_OPS_TOKEN on this server to allow changes")

    async def events(self, request: Request) -> Response:
        """Events after `?after=ID`, oldest first. `edge`, `kind` and `since` filter them;
        `format=csv` returns a file. Clients that accept an event stream get one with all events.
        """
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        if not _EVENT_ID.fullmatch(after):
            return answer_json({"detail": "after must be an event's id, like 17-0"}, 400)
        if "text/event-stream" in request.headers.get("accept", ""):
            if not self._streams.has_room():
                return _too_many_streams()
            return EventStream(self._stream(after), self._streams)
        try:
            which = parse_filter(request.query_params)
            logged = [one for one in await self.store.events(after) if which.fits(one.event)]
        except FilterError as error:
            return answer_json({"detail": str(error)}, 400)
        except StoreError as error:
            return _refusal_response(error)
        if request.query_params.get("format") == "csv":
            return Response(as_csv(logged), headers=_AS_FILE, media_type="text/csv")
        return answer_json({"events": [_with_id(one) for one in logged]})

    async def _stream(self, after: str) -> AsyncIterator[bytes]:
        """Server-sent events. A regular `alive` event has a tag of the fleet and shows that the
        connection works. The stream ends when the server stops, so that the server does not wait
        for it.
        """
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
            yield b"event: alive\ndata: %s\n\n" % self.fleet_tag().encode()
            hints = await self.store.changed(hints, STREAM_POLL_S)

    def fleet_tag(self) -> str:
        """A tag of the fleet in this process. Equal tags mean equal fleets, except for values that
        every probe changes.
        """
        watch, fleet = self.watch, self.watch.fleet
        if self._tagged is None or self._tagged[0] is not fleet:
            held = tuple((view.vantage, view.isolated, view.held) for view in watch.published)
            intents = tuple(edge.intent for edge in fleet.edges)
            reasons = tuple(edge_conditions.reason(edge) for edge in fleet.edges)
            known = hash((fleet.routing, held, intents, reasons, watch.store_error is None))
            self._tagged = fleet, f"{known & 0xFFFFFFFFFFFFFFFF:016x}"
        return self._tagged[1]

    async def past(self, request: Request) -> Response:
        """The last hour of the fleet and of each edge, one value a minute. `?since=` (Unix seconds)
        goes back up to a day; `?edge=` selects one edge.
        """
        now, asked = time.time(), request.query_params
        try:
            which = parse_filter({"edge": asked.get("edge", ""), "since": asked.get("since", "")})
        except FilterError as error:
            return answer_json({"detail": str(error)}, 400)
        since = now - HOUR_S if which.since is None else which.since
        samples = self.history.samples

        def answer() -> Response:
            return answer_json(document(samples, now=now, since=since, edge=which.edge))

        return await asyncio.to_thread(answer)


async def _body(request: Request) -> bytes:
    """The body of a request. Raises DecodeError if it is longer than any intent."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise msgspec.DecodeError(f"it is longer than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _refusal_response(error: RouterError) -> Response:
    if isinstance(error, StoreError):
        return answer_json({"detail": str(error)}, 503)
    can_force = isinstance(error, UnforcedError)
    return answer_json({"detail": str(error), "can_force": can_force}, 409)


def _with_id(logged: Logged) -> dict[str, Any]:
    return {"id": logged.id, **msgspec.to_builtins(logged.event)}


def _too_many_streams() -> Response:
    response = answer_json({"detail": f"{MAX_STREAMS} event streams are open already"}, 503)
    response.headers["Retry-After"] = "5"
    return response


_AS_FILE = {
    "Cache-Control": "no-store",
    "Content-Disposition": 'attachment; filename="autorouter-events.csv"',
}
_NO_TOKEN = "send Authorization: Bearer with the AUTOROUTER_OPS_TOKEN of this server"  # noqa: S105
_WRONG_TOKEN = "this is not the AUTOROUTER_OPS_TOKEN of this server"  # noqa: S105


def _forbidden(detail: str) -> Response:
    return answer_json({"detail": detail}, 403)
