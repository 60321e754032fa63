"""`python -m bench.far_store`: the duration of store calls when Redis is far away.

A forwarder in front of a real redis-server delays every byte by half a round trip. There are three
vantages and ten edges. One view changes between two reads, as in production.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.store import a_view
from router.model import Intended, Intent
from router.store import Change
from router.store.redis import RedisStore
from tests.support.forwarder import forwarding
from tests.support.servers import HOST, running_redis

IDS = [f"edge-{number:02}" for number in range(10)]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ms", type=int, nargs="+", default=[0, 50, 100, 300])
    parser.add_argument("--times", type=int, default=10)
    options = parser.parse_args()
    names = ["first read", "read", "publish", "lease", "act"]
    print(f"{'round trip, ms':>16}" + "".join(f"{name + ', ms':>18}" for name in names))
    for trip_ms in options.ms:
        took = asyncio.run(measure(trip_ms / 1_000, options.times))
        print(f"{trip_ms:>16}" + "".join(f"{1_000 * took[name]:>18.0f}" for name in names))


async def measure(trip_s: float, times: int) -> dict[str, float]:
    """The median duration of each call in seconds. The first read also connects."""
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as server:
        near = RedisStore(server.url)
        try:
            for number in range(3):
                await near.publish(a_view(f"vantage-{number}", IDS, 1))
            with forwarding(server.port, trip_s / 2) as far:
                return await _through(f"redis://{HOST}:{far.port}/0", near, times)
        finally:
            await near.close()


async def _through(url: str, near: RedisStore, times: int) -> dict[str, float]:
    store = RedisStore(url)
    took: dict[str, list[float]] = {}

    async def timed(name: str, call: Callable[[], Awaitable[Any]]) -> None:
        started = time.perf_counter()
        await call()
        took.setdefault(name, []).append(time.perf_counter() - started)

    try:
        await timed("first read", lambda: store.read(IDS))
        for number in range(times):
            await near.publish(a_view("vantage-0", IDS, 10 + number))
            await timed("read", lambda: store.read(IDS))
            view = replace(a_view("vantage-1", IDS, 10 + number), held=())
            await timed("publish", lambda view=view: store.publish(view))  # type: ignore[misc]
            await timed("lease", lambda: store.hold_lease("vantage-1", "a", 10))
            await timed("act", lambda: store.change_intents([a_change()]))
    finally:
        await store.close()
    return {name: statistics.median(each) for name, each in took.items()}


def a_change() -> Change:
    """A drain of an edge for an hour."""
    now = time.time()
    intent = Intent(
        edge=IDS[0],
        state=Intended.DRAINING,
        actor="bench",
        reason="measured",
        created_at=now,
        expires_at=now + 3_600,
    )
    return Change(intent.edge, intent)


if __name__ == "__main__":
    main()
