"""`python -m bench.store`: what servers and pollers cost Redis, by the size of the fleet.

A real redis-server is read and published to as servers and pollers do, and asked how much
CPU time it has used and how many bytes it has sent.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import redis.asyncio

from router.model import EdgeView, Observed, Outcome, View
from router.store.redis import RedisStore
from tests.support.servers import RedisServer

RESULTS = Path(__file__).parent / "results"
VANTAGES = 3
MODELS = ("kokoro-82m", "whisper-large-v3", "llama-3.1-8b")


def main() -> None:
    """Measure, print a table, keep the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=2_000, help="reads and publications each")
    parser.add_argument("--edges", type=int, nargs="+", default=[10, 100, 1_000])
    options = parser.parse_args()
    figures = {edges: asyncio.run(measured(edges, options.times)) for edges in options.edges}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "store.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(f"{'edges':>6}{'CPU a read, µs':>18}{'bytes a read':>16}{'CPU a publication, µs':>24}")
    for edges, told in figures.items():
        cpu = f"{told['read_cpu_us']:>18.0f}{told['read_bytes']:>16,.0f}"
        print(f"{edges:>6}{cpu}{told['publish_cpu_us']:>24.0f}")


async def measured(edges: int, times: int) -> dict[str, float]:
    """Of one size of fleet, seen from three vantages."""
    ids = [f"edge-{number:04}" for number in range(edges)]
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        store = RedisStore(server.url)
        asking = redis.asyncio.from_url(server.url)
        try:
            for number in range(VANTAGES):
                await store.publish(a_view(f"vantage-{number}", ids, 1))
            published = await spent(asking, times, lambda seq: publish(store, ids, seq + 2))
            both = await spent(asking, times, lambda seq: publish_and_read(store, ids, seq + times))
            read = {name: both[name] - published[name] for name in both}
        finally:
            await asking.aclose()
            await store.close()
            server.kill()
    return {
        "read_cpu_us": read["cpu_us"],
        "read_bytes": read["sent"],
        "publish_cpu_us": published["cpu_us"],
        "publish_bytes": published["received"],
    }


async def publish(store: RedisStore, ids: list[str], seq: int) -> None:
    """As the poller of one vantage."""
    await store.publish(a_view("vantage-0", ids, seq))


async def publish_and_read(store: RedisStore, ids: list[str], seq: int) -> None:
    """As in operation, where one view has changed at nearly every reading."""
    await publish(store, ids, seq + 2)
    await store.read(ids)


async def spent(asking: Any, times: int, act: Callable[[int], Awaitable[Any]]) -> dict[str, float]:
    """Of Redis, for each of so many acts: CPU time, bytes sent, bytes received."""
    before = await _used(asking)
    for number in range(times):
        await act(number)
    after = await _used(asking)
    return {name: (after[name] - before[name]) / times for name in before}


async def _used(asking: Any) -> dict[str, float]:
    cpu, stats = await asking.info("cpu"), await asking.info("stats")
    return {
        "cpu_us": 1e6 * (cpu["used_cpu_user"] + cpu["used_cpu_sys"]),
        "sent": stats["total_net_output_bytes"],
        "received": stats["total_net_input_bytes"],
    }


def a_view(vantage: str, ids: list[str], seq: int) -> View:
    """Every edge up, with some models loaded, as published."""
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
