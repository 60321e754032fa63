"""The routes that every process has: liveness, readiness and metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.ops.security_headers import SecurityHeaders


async def _none() -> Sequence[Collector]:
    """The `moment` of a process without such metrics."""
    return ()


@dataclass(kw_only=True)
class HealthRoutes:
    """`readiness` returns the document of `/readyz`, with a boolean `ready`. `moment` returns
    collectors for values that are computed now. A thread runs these collectors, so what they read
    must be immutable.
    """

    registry: CollectorRegistry
    readiness: Callable[[], Awaitable[dict[str, Any]]]
    moment: Callable[[], Awaitable[Sequence[Collector]]] = _none

    def routes(self) -> list[Route]:
        """`/healthz`, `/readyz`, `/metrics`."""
        return [
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/metrics", self.metrics),
        ]

    def app(self) -> Starlette:
        """An app with only these routes."""
        return Starlette(routes=self.routes(), middleware=[Middleware(SecurityHeaders)])

    async def healthz(self, request: Request) -> Response:
        """200 as long as the process answers."""
        return answer_json({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """200 if ready, else 503. Both have the findings in the body."""
        answer = await self.readiness()
        return answer_json(answer, 200 if answer["ready"] else 503)

    async def metrics(self, request: Request) -> Response:
        """Metrics in the format that the scraper accepts: Prometheus or OpenMetrics."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        metrics, collectors = await self._collect(), await self.moment()
        text = await asyncio.to_thread(encode, _Collected(metrics, collectors))
        return Response(text, headers={"Content-Type": content_type})

    async def _collect(self) -> list[Metric]:
        """Collect the registry's metrics one by one, so that requests are answered in between.
        A thread cannot do this, because the event loop changes the values.
        """
        collected: list[Metric] = []
        for metric in self.registry.collect():
            collected.append(metric)
            await asyncio.sleep(0)
        return collected


class _Collected(CollectorRegistry):
    """Collected metrics, and collectors that a thread may use. A thread formats them, because with
    500 edges this takes too long for the event loop.
    """

    def __init__(self, metrics: Sequence[Metric], collectors: Sequence[Collector]) -> None:
        super().__init__()
        self._metrics = metrics
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        """See CollectorRegistry."""
        yield from self._metrics
        for collector in self._collectors:
            yield from collector.collect()


def answer_json(document: Any, code: int = 200) -> Response:
    """A JSON response that must not be cached."""
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(document), code, headers, media_type="application/json")
