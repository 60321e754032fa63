"""What every process shows of itself: that it lives, whether it works, its metrics."""

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

from router.ops.security_headers import Shields


async def _none() -> Sequence[Collector]:
    """No other metrics."""
    return ()


@dataclass(kw_only=True)
class Vitals:
    """`readiness`: what is to be told of it, with a true or false `ready`. `moment`:
    other metrics, as they are when it is called. A thread collects them, so nothing may
    change what they read."""

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
        """These alone."""
        return Starlette(routes=self.routes(), middleware=[Middleware(Shields)])

    async def healthz(self, request: Request) -> Response:
        """200 while the process lives."""
        return answer_json({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """503 unless ready; says what is amiss in any case."""
        told = await self.readiness()
        return answer_json(told, 200 if told["ready"] else 503)

    async def metrics(self, request: Request) -> Response:
        """Prometheus or OpenMetrics text, as the scraper accepts."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        metrics, collectors = await self._collected(), await self.moment()
        text = await asyncio.to_thread(encode, _Collected(metrics, collectors))
        return Response(text, headers={"Content-Type": content_type})

    async def _collected(self) -> list[Metric]:
        """Metrics of the registry, one by one, so that requests are answered in between. Not in a
        thread: the loop changes what they are made from."""
        collected: list[Metric] = []
        for metric in self.registry.collect():
            collected.append(metric)
            await asyncio.sleep(0)
        return collected


class _Collected(CollectorRegistry):
    """Metrics as they were collected, and those of collectors that a thread may read, to be
    written out in a thread: for 500 edges that takes longer than a request may wait."""

    def __init__(self, metrics: Sequence[Metric], collectors: Sequence[Collector]) -> None:
        super().__init__()
        self._metrics = metrics
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        """See CollectorRegistry."""
        yield from self._metrics
        for collector in self._collectors:
            yield from collector.collect()


def answer_json(told: Any, code: int = 200) -> Response:
    """JSON that no cache keeps."""
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(told), code, headers, media_type="application/json")
