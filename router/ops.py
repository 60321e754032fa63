"""The ops listener: health, readiness, metrics, the fleet and why a viewer gets an edge.

Bind it to loopback or a private network: it names addresses' places to whoever asks.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from router.caching import CachePolicy
from router.explain import describe_fleet, explain
from router.geoip import GeoDatabase
from router.location import Locator
from router.model import Status
from router.query import parse_query
from router.viewer import parse_address
from router.watch import FleetWatch

GEO_OLD_DAYS = 90


@dataclass(kw_only=True)
class Ops:
    """The state of one server, told over HTTP."""

    watch: FleetWatch
    locator: Locator
    geo: GeoDatabase
    policy: CachePolicy
    registry: CollectorRegistry
    clock: Callable[[], float] = time.time

    def app(self, extra: Sequence[BaseRoute] = ()) -> Starlette:
        """The ASGI application; `extra` routes come first."""
        return Starlette(
            routes=[
                *extra,
                Route("/healthz", self.healthz),
                Route("/readyz", self.readyz),
                Route("/metrics", self.metrics),
                Route("/v1/edges", self.edges),
                Route("/v1/explain", self.explain),
            ]
        )

    async def healthz(self, request: Request) -> Response:
        """200 while the process lives."""
        return answer_json({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """200 when answers rest on fresh enough health; else 503. Says what is amiss."""
        status = self.watch.fleet.status
        age_days = self.geo.age_days(self.clock())
        told = {
            "ready": status in (Status.OK, Status.STALE),
            "fleet": {"status": status, "seen_at": self.watch.fleet.seen_at},
            "geo": {
                "database": self.geo.type,
                "age_days": round(age_days),
                "old": age_days > GEO_OLD_DAYS,
            },
        }
        return answer_json(told, 200 if told["ready"] else 503)

    async def metrics(self, request: Request) -> Response:
        """Prometheus or OpenMetrics text, as the scraper accepts."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.registry), headers={"Content-Type": content_type})

    async def edges(self, request: Request) -> Response:
        """The fleet, every edge in catalog order."""
        return answer_json(describe_fleet(self.watch.fleet))

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


def answer_json(told: Any, code: int = 200) -> Response:
    """JSON that no cache keeps."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(msgspec.json.encode(told), code, headers, media_type="application/json")
