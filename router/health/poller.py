"""Polls every edge from one vantage and has it published: loops, no rules.

The rules are `health.step`; time, waiting and chance come in from outside.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from router.health.publisher import Publisher, Watched
from router.health.state import Health, HealthPolicy, Transition, shifted, step, wait_s
from router.model import Catalog, Outcome, Probe, Region

MODELS_INTERVAL_S = 15.0
JITTER = 0.1
PUBLISH_S = 3.0
PUBLISH_GAP_S = 0.05
CLOCK_STEP_S = 1.0


class Prober(Protocol):
    """Asks an edge; see router.health.probe."""

    async def health(self, region: Region) -> Probe:
        """One health probe; never raises."""

    async def models(self, region: Region) -> tuple[str, ...] | None:
        """The loaded models, or None when unknown; never raises."""


class Observer(Protocol):
    """Hears what the probes meet; see router.telemetry.metrics."""

    def probed(self, region: Region, probe: Probe) -> None:
        """A probe ended."""

    def changed(self, region: Region, transition: Transition) -> None:
        """An edge's state changed in this vantage's own eyes."""


@dataclass(kw_only=True)
class Poller:
    """Watches the edges of a catalog. `run` never returns; cancel it."""

    catalog: Catalog
    prober: Prober
    publisher: Publisher
    observer: Observer
    policy: HealthPolicy = HealthPolicy()
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    rng: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        now = self.clock()
        self._watched = [Watched(region, Health(since=now)) for region in self.catalog.regions]
        self._tasks: asyncio.TaskGroup | None = None
        self._loops: dict[Region, list[asyncio.Task[None]]] = {}
        self._ahead_s = now - self.monotonic()
        self._due = asyncio.Event()
        self._ready_at = self.monotonic() + self.policy.interval_s + self.policy.recheck_s

    async def run(self) -> None:
        """Probe and publish until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._follow()
                self._tasks.create_task(self._publish_always())
        finally:
            await self.publisher.release()

    def adopt(self, catalog: Catalog) -> None:
        """Go on with another catalog: what is known of the edges that stay is kept."""
        known = {watched.region: watched for watched in self._watched}
        now = self.clock()
        self.catalog = self.publisher.catalog = catalog
        self._watched = [
            known.get(region) or Watched(region, Health(since=now)) for region in catalog.regions
        ]
        self._follow()
        self._due.set()

    def _follow(self) -> None:
        """Have a loop for each edge's health and models, and none for others."""
        if self._tasks is None:
            return
        for region in self._loops.keys() - {watched.region for watched in self._watched}:
            for task in self._loops.pop(region):
                task.cancel()
        for watched in self._watched:
            if watched.region not in self._loops:
                loops = (self._watch_health(watched), self._watch_models(watched))
                self._loops[watched.region] = [self._tasks.create_task(loop) for loop in loops]

    async def _watch_health(self, watched: Watched) -> None:
        """Probe again and again. One that is not answered within a recheck does not hold up
        the next: a hung edge falls as fast as its probes can time out side by side."""
        await self.sleep(self.rng.uniform(0, self.policy.interval_s))
        async with asyncio.TaskGroup() as probes:
            while True:
                started = self.monotonic()
                probe = probes.create_task(self._probe(watched))
                await self.sleep(self._jittered(self.policy.recheck_s))
                if probe.done():
                    rest_s = self._jittered(wait_s(watched.health, self.policy))
                    await self.sleep(max(0.0, started + rest_s - self.monotonic()))

    async def _probe(self, watched: Watched) -> None:
        probe = await self.prober.health(watched.region)
        self.observer.probed(watched.region, probe)
        self._follow_clock()
        now, first = self.clock(), watched.probed_at is None
        watched.health, transition = step(watched.health, probe, now, self.policy)
        if probe.outcome is not Outcome.LOCAL:
            watched.probed_at = now
        if transition is not None:
            self.observer.changed(watched.region, transition)
        if transition is not None or (first and self._is_ready()):
            self._due.set()

    def _follow_clock(self) -> None:
        """When the clock is set, stamps move along: a hold-down lasts as long as it would."""
        ahead_s = self.clock() - self.monotonic()
        by_s, self._ahead_s = ahead_s - self._ahead_s, ahead_s
        if abs(by_s) < CLOCK_STEP_S:
            return
        for watched in self._watched:
            watched.health = shifted(watched.health, by_s)
            if watched.probed_at is not None:
                watched.probed_at += by_s
            if watched.models_at is not None:
                watched.models_at += by_s
        self.publisher.follow_clock(by_s)

    def _jittered(self, seconds: float) -> float:
        return seconds * self.rng.uniform(1 - JITTER, 1 + JITTER)

    async def _watch_models(self, watched: Watched) -> None:
        await self.sleep(self.rng.uniform(0, self.policy.interval_s))
        while True:
            models = await self.prober.models(watched.region)
            if models is not None:
                is_news = models != watched.models
                watched.models, watched.models_at = models, self.clock()
                if is_news:
                    self._due.set()
            await self.sleep(self._jittered(MODELS_INTERVAL_S))

    async def _publish_always(self) -> None:
        """At every change at once, else every few seconds; but not before there is a verdict
        on (nearly) every edge: a half-seen fleet would draw all viewers to the seen half."""
        while True:
            try:
                async with asyncio.timeout(min(self.policy.interval_s, PUBLISH_S)):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            if self._is_ready():
                self._follow_clock()
                await self.publisher.publish(self._watched)
                await self.sleep(PUBLISH_GAP_S)

    def _is_ready(self) -> bool:
        return self.monotonic() >= self._ready_at or all(
            watched.probed_at is not None for watched in self._watched
        )
