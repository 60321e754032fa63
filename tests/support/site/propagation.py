"""Measures how soon a transition reaches every server: one publisher, ten readers in two
processes."""

import asyncio
import contextlib
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import redis
import uvloop

from router.api.live_fleet import FleetWatch
from router.config.inputs import read_catalog
from router.config.settings import Settings
from router.health.publisher import Publisher
from router.health.state import Health
from router.health.watched import Watched
from router.model import Observed, View
from router.routing.fleet import Fleet
from router.routing.ranking import Ranker
from router.store.redis import RedisStore
from tests.support.observers import QuietObserver
from tests.support.servers import HOST, PATIENCE_S, ROOT, running_redis

PROCESSES, READERS = 2, 5
# Transitions come after random gaps up to this, so that they are not in step with the polls.
GAPS_S = {"hinted": 0.06, "polled": 1.0}

_DEAF = ("on", "nopass", "~*", "&*", "+@all", "-subscribe")


def measure(transitions: int, kinds: tuple[str, ...] = ("hinted", "polled")) -> dict[str, Any]:
    """Seconds from a transition to one reader, and to the last of all, by kind of reader."""
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as server:
        with redis.Redis(port=server.port) as client:
            client.execute_command("ACL", "SETUSER", "deaf", *_DEAF)
        urls = {"hinted": server.url, "polled": f"redis://deaf:any@{HOST}:{server.port}/0"}
        return {
            kind: uvloop.run(_follow(urls["hinted"], urls[kind], transitions, GAPS_S[kind]))
            for kind in kinds
        }


class _Reader:
    """An observer that prints when its fleet changed, and the time of the transition.

    That time is the `since` of the edge. All processes share the monotonic clock.
    """

    def store_read(self, error: Exception | None, faults: tuple[str, ...]) -> None: ...

    def intent_changed(self, edge: str, wish: object) -> None: ...

    def loop_failed(self, loop: str, error: Exception, wait_s: float) -> None: ...

    def fleet_replaced(self, before: Fleet, after: Fleet) -> None:
        since = after.edges[0].since
        print(json.dumps([since, time.monotonic()]), flush=True)


async def read(url: str) -> None:
    """Run the readers of one process until it is terminated."""
    ranker = Ranker(read_catalog(Settings()))
    watches = [FleetWatch(ranker, RedisStore(url), _Reader()) for _ in range(READERS)]
    await asyncio.gather(*(watch.run() for watch in watches))


class _Strict(QuietObserver):
    """The publisher's observer. An error ends the measurement."""

    def view_published(self, view: View, error: Exception | None) -> None:
        if error is not None:
            raise error


async def _follow(
    writer_url: str, reader_url: str, transitions: int, gap_s: float
) -> dict[str, Any]:
    catalog, rng = read_catalog(Settings()), random.Random(4)
    store = RedisStore(writer_url)
    publisher = Publisher(catalog=catalog, store=store, observer=_Strict(), vantage="bench")
    watched = [
        Watched(region, Health(state=Observed.UP, since=0.0), probed_at=time.time())
        for region in catalog.regions
    ]
    single, last = [], []
    async with _readers(reader_url) as sightings:
        await publisher.publish(watched)
        await _seen(sightings, 0.0)
        for count in range(transitions):
            await asyncio.sleep(rng.uniform(0, gap_s))
            state = Observed.UP if count % 2 else Observed.DOWN
            started = time.monotonic()
            watched[0].health = Health(state=state, since=started)
            for one in watched:
                one.probed_at = time.time()
            await publisher.publish(watched)
            took = [at - started for at in await _seen(sightings, started)]
            single += took
            last.append(max(took))
    await publisher.release()
    await store.close()
    return {"one reader": _spread(single), "all readers": _spread(last)}


@contextlib.asynccontextmanager
async def _readers(url: str) -> AsyncIterator[asyncio.Queue[tuple[float, float]]]:
    """Reader processes, and a queue of (time of the transition, time when a reader saw it)."""
    sightings: asyncio.Queue[tuple[float, float]] = asyncio.Queue()
    command = [sys.executable, "-m", "tests.support.site.propagation", url]
    processes = [
        await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
        for _ in range(PROCESSES)
    ]
    hearing = [asyncio.create_task(_hear(process, sightings)) for process in processes]
    try:
        yield sightings
    finally:
        for process in processes:
            process.terminate()
            await process.wait()
        await asyncio.gather(*hearing)


async def _hear(
    process: asyncio.subprocess.Process, sightings: asyncio.Queue[tuple[float, float]]
) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        since, at = json.loads(line)
        sightings.put_nowait((since, at))


async def _seen(sightings: asyncio.Queue[tuple[float, float]], since: float) -> list[float]:
    """The times when each reader saw this transition."""
    times: list[float] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(times) < PROCESSES * READERS:
            of, at = await sightings.get()
            if of == since:
                times.append(at)
    return times


def _spread(times: list[float]) -> dict[str, float]:
    times = sorted(times)
    return {
        "p50": times[len(times) // 2],
        "p99": times[math.ceil(len(times) * 0.99) - 1],
        "max": times[-1],
        "count": len(times),
    }


if __name__ == "__main__":
    uvloop.run(read(sys.argv[1]))
