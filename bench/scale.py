"""`python -m bench.scale`: one poller with 1,000 simulated edges, and a Fleet of 10,000 edges.

The edges run in one process, the poller in another. Each process has its own core.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from bench.figures import save
from bench.servers import LOAD_CORE, SERVER_CORE
from router.config.catalog import with_endpoints
from router.health.answers import Inventory
from router.health.client import open_client
from router.health.poller import Poller
from router.health.probe import Prober
from router.health.publisher import Publisher
from router.model import Catalog, EdgeView, Observed, Position, Probe, Region, View
from router.processes.simulated_edges import SimulatedFleet
from router.routing.fleet import combine
from router.store.memory import MemoryStore
from tests.support.observers import QuietObserver

DESCRIPTORS = 16_384


def main() -> None:
    """Measure, print the figures, save them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=1_000)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--fleet", type=int, default=10_000)
    parser.add_argument("--simulate", action="store_true", help="run only the edges")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    if options.simulate:
        asyncio.run(simulate(options.edges))
        return
    figures = {
        "poller": measure_polling(options.edges, options.seconds),
        "combine_ms": measure_combine_ms(options.fleet),
        "fleet": options.fleet,
    }
    save("scale", figures)
    print(json.dumps(figures, indent=2))


def a_catalog(count: int) -> Catalog:
    """Regions all over the world, a hundred a country."""
    rng = random.Random(3)
    return Catalog(
        regions=tuple(
            Region(
                id=f"edge-{number:05}",
                name=f"Edge {number}",
                country=f"{chr(65 + number // 2600 % 26)}{chr(65 + number // 100 % 26)}",
                position=Position(rng.uniform(-60, 70), rng.uniform(-180, 180)),
                endpoint=f"https://edge-{number}.example",
            )
            for number in range(count)
        )
    )


def measure_combine_ms(count: int) -> float:
    """The median time in ms to combine two vantages' views of `count` edges."""
    catalog, now = a_catalog(count), time.time()
    seen = EdgeView(state=Observed.UP, since=now, models=("kokoro-82m",), models_at=now)
    edges = {region.id: seen for region in catalog.regions}
    views = [View(vantage=name, seq=1, probed_at=now, edges=edges) for name in ("a", "b")]
    took = []
    for _ in range(10):
        started = time.perf_counter()
        combine(catalog, views, (), now)
        took.append((time.perf_counter() - started) * 1_000)
    return statistics.median(took)


def measure_polling(count: int, seconds: int) -> dict[str, Any]:
    """Poll simulated edges. Returns CPU use, outcomes, and the gaps between probes."""
    command = [sys.executable, "-m", "bench.scale", "--simulate", "--edges", str(count)]
    with subprocess.Popen(
        ["taskset", "--cpu-list", str(LOAD_CORE), *command], stdout=subprocess.PIPE
    ) as edges:
        assert edges.stdout is not None
        endpoints: dict[str, str] = json.loads(edges.stdout.readline())
        os.sched_setaffinity(0, {int(SERVER_CORE)})
        try:
            return asyncio.run(_poll(with_endpoints(a_catalog(count), endpoints), seconds))
        finally:
            edges.terminate()


async def simulate(count: int) -> None:
    """Print the endpoints of the edges, then run until terminated."""
    ids = [region.id for region in a_catalog(count).regions]
    async with SimulatedFleet(ids) as fleet:
        print(json.dumps(fleet.endpoints), flush=True)
        await asyncio.Event().wait()


class _Starts(QuietObserver):
    """A prober that records when each probe starts, and an observer that counts outcomes."""

    def __init__(self, prober: Prober) -> None:
        self.prober = prober
        self.starts: dict[str, list[float]] = {}
        self.outcomes: dict[str, int] = {}

    async def health(self, region: Region) -> Probe:
        self.starts.setdefault(region.id, []).append(time.monotonic())
        return await self.prober.health(region)

    async def models(self, region: Region) -> Inventory:
        return await self.prober.models(region)

    def edge_probed(self, region: Region, probe: Probe) -> None:
        self.outcomes[probe.outcome] = self.outcomes.get(probe.outcome, 0) + 1


async def _poll(catalog: Catalog, seconds: int) -> dict[str, Any]:
    async with open_client() as client:
        seen = _Starts(Prober(client))
        publisher = Publisher(catalog=catalog, store=MemoryStore(), observer=seen, vantage="bench")
        poller = Poller(catalog=catalog, prober=seen, publisher=publisher, observer=seen)
        polling = asyncio.create_task(poller.run())
        await asyncio.sleep(5)
        before, started = time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        cpu = (time.process_time() - before) / (time.monotonic() - started)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
    gaps = [
        later - earlier
        for starts in seen.starts.values()
        for earlier, later in itertools.pairwise(starts)
    ]
    gaps.sort()
    return {
        "edges": len(catalog.regions),
        "cores": cpu,
        "probes": sum(seen.outcomes.values()),
        "outcomes": seen.outcomes,
        "gap_s": {
            "p1": gaps[len(gaps) // 100],
            "p50": gaps[len(gaps) // 2],
            "p99": gaps[len(gaps) * 99 // 100],
        },
    }


if __name__ == "__main__":
    main()
