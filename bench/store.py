"""`python -m bench.store`: the cost of servers and pollers in Redis, by fleet size.

The benchmark reads from and publishes to a real redis-server, as servers and pollers do. Redis
reports its CPU time and the bytes that it has sent.
"""

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import redis.asyncio

from bench.figures import save
from router.model import EdgeView, Observed, Outcome, View
from router.store.redis import RedisStore
from tests.support.servers import running_redis

VANTAGES = 3
MODELS = ("kokoro-82m", "whisper-large-v3", "llama-3.1-8b")


def main() -> None:
    """Measure, print a table, save the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=2_000, help="number of reads and publications")
    parser.add_argument("--edges", type=int, nargs="+", default=[10, 100, 1_000])
    options = parser.parse_args()
    figures = {edges: asyncio.run(measure(edges, options.times)) for edges in options.edges}
    save("store", figures)
    print(f"{'edges':>6}{'CPU a read, µs':>18}{'bytes a read':>16}{'CPU a publication, µs':>24}")
    for edges, found in figures.items():
        cpu = f"{found['read_cpu_us']:>18.0f}{found['read_bytes']:>16,.0f}"
        print(f"{edges:>6}{cpu}{found['publish_cpu_us']:>24.0f}")


async def measure(edges: int, times: int) -> dict[str, float]:
    """The cost for one fleet size, with three vantages."""
    ids = [f"edge-{number:04}" for number in range(edges)]
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as server:
        store = RedisStore(server.url)
        asking = redis.asyncio.from_url(server.url)
        try:
            for number in range(VANTAGES):
                await store.publish(a_view(f"vantage-{number}", ids, 1))
            nothing = await spent(asking, times, publish_next(store, ids), _nothing)
            read = await spent(asking, times, publish_next(store, ids), lambda: store.read(ids))
            published = await spent(
                asking, times, lambda: store.read(ids), publish_next(store, ids)
            )
        finally:
            await asking.aclose()
            await store.close()
    return {
        "read_cpu_us": read["cpu_us"] - nothing["cpu_us"],
        "read_bytes": read["sent"] - nothing["sent"],
        "publish_cpu_us": published["cpu_us"] - nothing["cpu_us"],
        "publish_bytes": published["received"] - nothing["received"],
    }


Act = Callable[[], Awaitable[Any]]


def publish_next(store: RedisStore, ids: list[str]) -> Act:
    """A function that publishes the next view of one vantage at each call."""
    seqs = itertools.count(2**40 + time.monotonic_ns() // 1_000)
    return lambda: store.publish(a_view("vantage-0", ids, next(seqs)))


async def _nothing() -> None:
    """An empty act, to measure the cost of asking Redis for its counters."""


async def spent(asking: Any, times: int, before: Act, act: Act) -> dict[str, float]:
    """The median cost of an act in Redis: CPU time, bytes sent, bytes received.

    `before` runs before each act and is not counted. It publishes a view, because in production a
    view has changed at nearly every read.
    """
    each: list[dict[str, float]] = []
    for _ in range(times):
        await before()
        began = await _used(asking)
        await act()
        ended = await _used(asking)
        each.append({name: ended[name] - began[name] for name in ended})
    return {name: statistics.median(one[name] for one in each) for name in each[0]}


async def _used(asking: Any) -> dict[str, float]:
    counters = await asking.info("cpu", "stats")
    return {
        "cpu_us": 1e6 * (counters["used_cpu_user"] + counters["used_cpu_sys"]),
        "sent": counters["total_net_output_bytes"],
        "received": counters["total_net_input_bytes"],
    }


def a_view(vantage: str, ids: list[str], seq: int) -> View:
    """A published view in which every edge is up and has models."""
    seen = EdgeView(
        state=Observed.UP,
        since=1_700_000_000.25,
        reason=Outcome.OK,
        rtt_ms=12.3456789,
        streak=1_000,
        models=MODELS,
        models_at=1_700_000_000.25,
    )
    return View(vantage=vantage, seq=seq, probed_at=1_700_000_000.5, edges=dict.fromkeys(ids, seen))


if __name__ == "__main__":
    main()
