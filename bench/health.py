"""`python -m bench.health`: simulated false downs per edge-month, and time to detect a dead edge.

For detection the real poller runs on a virtual clock with 2,000 edges that die at random times.
For false downs the state machine runs over simulated months. Sequences of passes are skipped,
because they change nothing. Each failure and the steps after it are computed.
"""

import argparse
import asyncio
import math
import random
from collections.abc import Sequence
from typing import Any

from bench.figures import save
from router.health.answers import Inventory
from router.health.poller import Poller
from router.health.publisher import Publisher
from router.health.state import Health, HealthPolicy, Transition, step, wait_s
from router.health.watched import Watched
from router.model import Catalog, Check, Observed, Outcome, Position, Probe, Region
from router.store.memory import MemoryStore
from tests.support import virtual_loop as virtual
from tests.support.observers import QuietObserver

MONTH_S = 30 * 86_400
ANSWER_S = 0.03
WARM_UP_S = 60.0


def main() -> None:
    """Simulate, print the tables, save the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=2_000, help="edges that die, for detection")
    parser.add_argument(
        "--months", type=int, default=60, help="simulated months of one edge, at 1 %% loss"
    )
    options = parser.parse_args()
    figures = {
        "detection_s": {kind: detection(kind, options.edges) for kind in ("refused", "hung")},
        "false_downs_per_edge_month": {
            f"{loss:.0%}": false_downs(loss, max(1, round(options.months * 0.01 / loss)))
            for loss in (0.01, 0.05, 0.20)
        },
    }
    save("health", figures)
    show(figures)


def detection(kind: str, edges: int) -> dict[str, float]:
    """Seconds from an edge's death until the real poller has it as down."""
    times = sorted(virtual.run(_die(kind, edges)))
    return {
        "p50": times[len(times) // 2],
        "p99": times[math.ceil(len(times) * 0.99) - 1],
        "max": times[-1],
    }


def false_downs(loss: float, months: int) -> dict[str, float]:
    """How often a working edge goes down if each probe fails with probability `loss`."""
    rng, policy = random.Random(1), HealthPolicy()
    now, downs, down_s = 0.0, 0, 0.0
    health, _ = step(Health(since=now), Probe(outcome=Outcome.OK), now, policy)
    while now < months * MONTH_S:
        if health.state is Observed.UP and health.streak > 0:
            passes = int(math.log(1 - rng.random()) / math.log(1 - loss))
            now += passes * policy.interval_s
        now += wait_s(health, policy)
        lost = rng.random() < loss or (health.state is Observed.UP and health.streak > 0)
        before = health
        outcome = Outcome.TIMEOUT if lost else Outcome.OK
        health, change = step(health, Probe(outcome=outcome), now, policy)
        if change is not None and change.after is Observed.DOWN:
            downs += 1
        if change is not None and change.before is Observed.DOWN:
            down_s += now - before.since
    return {"downs": downs / months, "time_down": down_s / now, "months": months}


class _Dying:
    """A prober whose edges answer until their time of death."""

    def __init__(self, kind: str, deaths: dict[str, float]) -> None:
        self.kind, self.deaths = kind, deaths

    async def health(self, region: Region) -> Probe:
        now = asyncio.get_running_loop().time()
        if now < self.deaths[region.id]:
            await asyncio.sleep(ANSWER_S)
            return Probe(outcome=Outcome.OK, rtt_ms=ANSWER_S * 1_000)
        if self.kind == "refused":
            return Probe(outcome=Outcome.REFUSED)
        await asyncio.sleep(Check().timeout_s)
        return Probe(outcome=Outcome.TIMEOUT)

    async def models(self, region: Region) -> Inventory:
        return Inventory()


class _Silent(Publisher):
    """A publisher that does nothing, because publishing many edges takes time."""

    async def publish(self, watched: Sequence[Watched]) -> None: ...


class _Detections(QuietObserver):
    """An observer that records when each edge goes down."""

    def __init__(self, deaths: dict[str, float]) -> None:
        self.deaths = deaths
        self.took_s: list[float] = []
        self.complete = asyncio.Event()

    def state_changed(self, region: Region, transition: Transition) -> None:
        if transition.after is Observed.DOWN:
            self.took_s.append(transition.at - self.deaths[region.id])
        if len(self.took_s) == len(self.deaths):
            self.complete.set()


async def _die(kind: str, edges: int) -> list[float]:
    rng, clock = random.Random(2), asyncio.get_running_loop().time
    ids = [f"edge-{number}" for number in range(edges)]
    deaths = {id: WARM_UP_S + rng.uniform(0, 30) for id in ids}
    place = Position(43.65, -79.38)
    catalog = Catalog(
        regions=tuple(
            Region(id=id, name=id, country="CA", position=place, endpoint=f"http://{id}")
            for id in ids
        )
    )
    seen = _Detections(deaths)
    publisher = _Silent(
        catalog=catalog, store=MemoryStore(clock), observer=seen, vantage="bench", clock=clock
    )
    poller = Poller(
        catalog=catalog,
        prober=_Dying(kind, deaths),
        publisher=publisher,
        observer=seen,
        clock=clock,
        monotonic=clock,
        rng=rng,
    )
    polling = asyncio.create_task(poller.run())
    await seen.complete.wait()
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    return seen.took_s


def show(figures: dict[str, Any]) -> None:
    print(f"{'detection, s':<14}{'p50':>7}{'p99':>7}{'max':>7}")
    for kind, took in figures["detection_s"].items():
        print(f"{kind:<14}{took['p50']:>7.2f}{took['p99']:>7.2f}{took['max']:>7.2f}")
    print(f"\n{'probe loss':<14}{'false downs per edge-month':>28}{'share of time down':>22}")
    for loss, found in figures["false_downs_per_edge_month"].items():
        print(f"{loss:<14}{found['downs']:>28.2f}{found['time_down']:>22.4%}")


if __name__ == "__main__":
    main()
