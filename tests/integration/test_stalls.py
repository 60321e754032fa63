"""Operator requests and new health do not stall the event loop that answers viewers."""

import asyncio
import gc
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from router.api.live_fleet import FleetWatch
from router.config.inputs import open_inputs
from router.config.settings import load_settings
from router.model import Observed
from router.processes.serve import run_server
from router.routing.response import Labels
from router.store.redis import RedisStore
from router.telemetry.metrics import Telemetry
from tests.support.builders import a_ranker, a_region, a_view, an_edge_view
from tests.support.ops_server import Server, server
from tests.support.servers import (
    HOST,
    a_regions_file,
    eventually,
    free_port,
    is_open,
    plain_client,
)

pytestmark = pytest.mark.anyio

EDGE_COUNT = 500
STALL_MS = 10.0  # twice the target of 5 ms, because test machines are busy
TRIES = 10

__all__ = ["server"]


@asynccontextmanager
async def watched_loop() -> AsyncIterator[Callable[[], float]]:
    """Yields a function that returns the longest iteration of this loop in ms. It measures CPU
    time, so that other processes do not look like a stall."""
    longest_ms = 0.0

    async def reset_and_read_ms() -> None:
        nonlocal longest_ms
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            longest_ms = max(longest_ms, (time.thread_time() - began) * 1_000)

    turning = asyncio.create_task(reset_and_read_ms())
    await asyncio.sleep(0)
    yield lambda: longest_ms
    turning.cancel()


async def _nothing() -> None:
    """Preparation of a try that needs none."""


async def least_stall_ms(
    request: Callable[[], Awaitable[object]],
    before: Callable[[], Awaitable[object]] = _nothing,
    tries: int = TRIES,
) -> float:
    """The smallest stall of several tries, which excludes unrelated work of the interpreter."""
    stalls = []
    await before()
    await request()
    gc.disable()
    for _ in range(tries):
        await before()
        async with watched_loop() as longest_ms:
            await request()
            stalls.append(longest_ms())
    gc.enable()
    return min(stalls)


@pytest.mark.parametrize("state", [Observed.UP, Observed.DOWN])
@pytest.mark.parametrize("path", ["/metrics", "/v1/edges", "/readyz"])
async def test_no_ops_request_stalls_the_loop_at_500_edges(
    server: Server, path: str, state: Observed
) -> None:
    ids = [f"edge-{number:03}" for number in range(EDGE_COUNT)]
    watch, store = server.ops.watch, server.store
    await store.publish(a_view(edges=dict.fromkeys(ids, state), seq=2**52, probed_at=time.time()))
    watch.replace_ranker(a_ranker(*(a_region(id) for id in ids)))
    await watch.refresh()
    for id in ids:
        labels = Labels(
            code="200", region=id, reason="nearest_in_country", status="ok", scope="country"
        )
        server.public.counts.answers[labels] += 1

    async def request() -> None:
        assert (await server.client.get(path)).status_code == 200

    assert await least_stall_ms(request) < STALL_MS


@pytest.mark.parametrize(("models", "vantages"), [(3, 3), (100, 2), (0, 64)])
async def test_no_view_from_redis_stalls_the_loop_at_500_edges(
    redis_url: str, models: int, vantages: int
) -> None:
    """Each try reads, decodes and combines new views of every vantage."""
    ids = [f"edge-{number:03}" for number in range(EDGE_COUNT)]
    store = RedisStore(redis_url)
    watch = FleetWatch(a_ranker(*(a_region(id) for id in ids)), store, Telemetry())
    edge = an_edge_view(models=[f"model-{number}" for number in range(models)])
    seqs = itertools.count(round(time.time() * 1_000))

    async def publish() -> None:
        for number in range(vantages):
            view = a_view(f"v-{number}", dict.fromkeys(ids, edge), seq=next(seqs))
            await store.publish(replace(view, probed_at=time.time()))

    try:
        assert await least_stall_ms(watch.refresh, publish) < STALL_MS
        assert len(watch.published) == vantages
        assert watch.fleet.edges[0].observed is Observed.UP
    finally:
        await store.close()


async def test_reload_with_aws_clients_does_not_stall_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Creating the six clients takes at least 170 ms of CPU. The test runs a whole server."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    port, ops_port = free_port(), free_port()
    settings = {
        "REGIONS": str(a_regions_file(tmp_path / "regions.yaml", {"yto-01": f"http://{HOST}:1"})),
        "PURGE": ",".join(f"cloudfront:E{number}" for number in range(6)),
        "LISTEN": f"{HOST}:{port}",
        "OPS_LISTEN": f"{HOST}:{ops_port}",
    }
    for name, text in settings.items():
        monkeypatch.setenv(f"AUTOROUTER_{name}", text)
    running = asyncio.create_task(
        run_server(open_inputs(load_settings(os.environ)), follows_files=True)
    )
    async with plain_client(f"http://{HOST}:{ops_port}") as client:

        async def reloads() -> float:
            for line in (await client.get("/metrics")).text.splitlines():
                if line.startswith('autorouter_reloads_total{result="ok"}'):
                    return float(line.split()[-1])
            return -1.0

        async def reload() -> None:
            before = await reloads()

            async def is_done() -> bool:
                return await reloads() > before

            os.kill(os.getpid(), signal.SIGHUP)
            await eventually(is_done, every_s=0.05)

        await eventually(lambda: is_open(ops_port))
        assert await least_stall_ms(reload, tries=3) < STALL_MS
    os.kill(os.getpid(), signal.SIGTERM)
    await running
