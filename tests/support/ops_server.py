"""One server's ops listener behind a real uvicorn, and a client of it."""

import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from router.api.app import PublicApp
from router.api.live_fleet import FleetWatch
from router.errors import StoreError
from router.geo.database import GeoDatabase, open_database, packaged_database
from router.model import Observed
from router.ops.app import Ops
from router.ops.history import History
from router.ops.monitor import Monitor
from router.routing.cache_headers import CachePolicy
from router.routing.client_address import Networks
from router.routing.location import Locator
from router.store import Change, Logged, Store
from router.store.memory import MemoryStore
from router.telemetry.collector import ServerCollector
from router.telemetry.metrics import Telemetry
from router.telemetry.recent_counts import RecentCounts
from tests.support.builders import CITIES, a_ranker, a_view
from tests.support.servers import Stand, plain_client, served

TORONTONIAN, GERMAN = "128.100.1.1", "85.214.132.117"


TOKEN = "a-token-of-operators"


BEARER = {"Authorization": f"Bearer {TOKEN}"}


class FailableStore(MemoryStore):
    """A memory store that fails with `error` if it is set."""

    error: StoreError | None = None

    async def change_intents(self, changes: Sequence[Change]) -> None:
        if self.error is not None:
            raise self.error
        await super().change_intents(changes)

    async def events(self, after: str = "", limit: int = 1_000) -> tuple[Logged, ...]:
        if self.error is not None:
            raise self.error
        return await super().events(after, limit)


@dataclass
class Server:
    """One server's ops listener, its public app, its store and a client."""

    ops: Ops
    public: PublicApp
    store: FailableStore
    client: httpx.AsyncClient

    async def see(self, *down: str, ago_s: float = 0.0) -> None:
        edges = dict.fromkeys(CITIES, Observed.UP) | dict.fromkeys(down, Observed.DOWN)
        at = time.time() - ago_s
        await self.store.publish(a_view(edges=edges, seq=time.monotonic_ns(), probed_at=at))
        await self.ops.watch.refresh()

    async def get_json(self, path: str, **params: str) -> Any:
        return (await self.client.get(path, params=params)).json()

    async def preview(self, *edges: str, state: str = "draining") -> Any:
        return await self.get_json("/v1/preview", edges=",".join(edges), state=state)

    async def intent_of(self, id: str) -> str:
        await self.ops.watch.refresh()
        edges = (await self.get_json("/v1/edges"))["edges"]
        return str(next(edge["intent"] for edge in edges if edge["id"] == id))

    async def samples(self, accept: str = "text/plain") -> dict[str, Any]:
        """Name and labels → value of every sample of the metrics."""
        answer = await self.client.get("/metrics", headers={"Accept": accept})
        openmetrics = "openmetrics" in answer.headers["content-type"]
        parse = openmetrics_families if openmetrics else text_string_to_metric_families
        return {
            f"{sample.name}{json.dumps(sample.labels, sort_keys=True)}": sample.value
            for family in parse(answer.text)
            for sample in family.samples
        }


@pytest.fixture(scope="module")
def geo() -> GeoDatabase:
    return open_database(packaged_database())


@pytest.fixture(scope="module")
async def stand() -> AsyncIterator[tuple[Stand, int]]:
    one = Stand()
    async with served(one) as port:
        yield one, port


def a_monitor(
    watch: FleetWatch, store: Store, telemetry: Telemetry, public: PublicApp, geo: GeoDatabase
) -> Monitor:
    """A monitor with the shipped defaults."""
    return Monitor(
        watch=watch,
        store=store,
        troubles=telemetry.troubles,
        counts=lambda: public.counts,
        geo_age_days=lambda: geo.age_days(time.time()),
    )


@pytest.fixture
async def server(stand: tuple[Stand, int], geo: GeoDatabase) -> AsyncIterator[Server]:
    listening, port = stand
    store, telemetry, policy = FailableStore(), Telemetry(), CachePolicy()
    watch = FleetWatch(a_ranker(), store, telemetry, cache_policy=policy)
    locator = Locator(geo.locate, trusted=Networks.parse(["127.0.0.0/8"]))
    public = PublicApp(watch, locator)
    collector = ServerCollector(
        counts=lambda: public.counts,
        watch=watch,
        geo_built_at=lambda: geo.built_at,
        workers=lambda: 1,
        workers_wanted=1,
        clock=time.time,
    )
    ops = Ops(
        monitor=a_monitor(watch, store, telemetry, public, geo),
        watch=watch,
        store=store,
        locator=locator,
        geo=geo,
        policy=policy,
        registry=telemetry.registry,
        answers=RecentCounts(lambda: public.counts.answers),
        history=History(),
        collectors=lambda: [collector.moment()],
        host="127.0.0.1",
    )
    listening.app = ops.app()
    async with plain_client(f"http://127.0.0.1:{port}") as client:
        one = Server(ops, public, store, client)
        await one.see()
        yield one
