"""Requests that get every kind of response of the public API, and apps to answer them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from router.api.app import PublicApp
from router.api.http_protocol import Request, Respond
from router.api.live_fleet import FleetWatch
from router.model import Intended, Level, Location, Source
from router.routing.client_address import Networks
from router.routing.location import Locator
from router.routing.response import Response
from router.store.memory import MemoryStore
from router.telemetry.metrics import Telemetry
from tests.support.builders import (
    CITIES,
    a_location,
    a_ranker,
    a_view,
    an_edge_view,
    an_intent,
    wishes,
)

SECRET = "a-secret-of-the-cdn"
VIEWER = ("X-Forwarded-For", "192.0.2.7")
KEYED = (("X-Origin-Verify", SECRET), ("X-Autorouter-Key", "CA~yul-01.yul-02.yto-01"))
ABROAD = ("X-Forwarded-For", "198.51.100.7")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request. `fleet`: `up`, `out` (all edges drained) or `bare` (no model is loaded)."""

    target: str = "/v1/route"
    method: str = "GET"
    headers: Sequence[tuple[str, str]] = (VIEWER,)
    fleet: str = "up"

    @property
    def raw(self) -> bytes:
        """The request as HTTP/1.1 bytes, with `Connection: close`."""
        fields = [("Host", "x"), *self.headers, ("Connection", "close")]
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{n}: {v}" for n, v in fields)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


CASES = [
    Case(),
    Case(headers=()),
    Case(headers=(ABROAD,)),
    Case(headers=KEYED),
    Case(headers=(*KEYED, ("If-None-Match", "*"))),
    Case(headers=(VIEWER, ("If-None-Match", "*"))),
    Case(headers=(VIEWER, ("If-None-Match", 'W/"other"'))),
    Case(target="/v1/route?scope=global&all=true&model=Kokoro"),
    Case(target="/v1/route?model=%C3%A9&model=x&x=%ff"),
    Case(target="/v1/route?model=" + "m" * 129),
    Case(target="/v1/route?strict=true", headers=(ABROAD,)),
    Case(target="/v1/route?model=kokoro", fleet="bare"),
    Case(fleet="out"),
    Case(target="/%76%31/route?all=true"),
    Case(target="/v1/route/"),
    Case(target="/v1%2Froute"),
    Case(target="//v1/route"),
    Case(target="/nothing?x=1"),
    Case(target="/"),
    Case(target="/healthz"),
    Case(target="/healthz?x"),
    *(
        Case(method=method, target=target)
        for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")
        for target in ("/v1/route", "/healthz", "/nothing")
    ),
    Case(method="HEAD", target="/v1/route?model=%00"),
    Case(method="HEAD", headers=(VIEWER, ("If-None-Match", "*"))),
]


async def an_app(fleet: str) -> PublicApp:
    """A public app that locates VIEWER in Toronto and all others in Germany."""
    store, now = MemoryStore(), time.time()
    models = () if fleet == "bare" else None
    edges = {id: an_edge_view(models=models, models_at=now) for id in CITIES}
    await store.publish(a_view(edges=edges, seq=1, probed_at=now))
    if fleet == "out":
        for id in CITIES:
            intent = an_intent(id, Intended.DRAINING, expires_at=now + 999)
            await store.change_intents(wishes(replace(intent, created_at=now)))
    watch = FleetWatch(a_ranker(), store, Telemetry())
    await watch.refresh()
    trusted = Networks.parse(["127.0.0.0/8"])
    return PublicApp(watch, Locator(_locate, trusted=trusted, secrets=[SECRET]))


def _locate(address: str) -> Location:
    if address == VIEWER[1]:
        return a_location()
    return Location(country="DE", level=Level.COUNTRY, source=Source.DATABASE)


def failing(app: PublicApp) -> Respond:
    """An app with a bug: each request raises, so the response is 500."""

    def respond(request: Request) -> Response:
        app.respond(request)
        raise ZeroDivisionError

    return respond
