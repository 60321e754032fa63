"""Polls every edge from one vantage and publishes the results. This module has only the loops; the
rules are in router.health.state. Clocks and randomness are passed in.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from router.health.addresses import count_failures
from router.health.answers import Inventory
from router.health.publisher import Publisher
from router.health.state import (
    Health,
    HealthPolicy,
    Transition,
    patience_s,
    policy_for,
    shift_times,
    step,
    wait_s,
)
from router.health.watched import Watched
from router.model import Catalog, ModelsFormat, Observed, Outcome, Probe, Region
from router.supervised import LoopObserver, keep_running

MODELS_INTERVAL_S = 15.0
JITTER = 0.1
PUBLISH_S = 3.0
PUBLISH_GAP_S = 0.05
CLOCK_STEP_S = 1.0

_PASSES = frozenset({Outcome.OK, Outcome.DEGRADED})
_EXPLAINED = frozenset({Outcome.BAD_BODY, Outcome.TLS, Outcome.STATUS, Outcome.TOO_LARGE})


class Prober(Protocol):
    """Probes an edge; see router.health.probe."""

    async def health(self, region: Region) -> Probe:
        """One health probe; never raises."""

    async def models(self, region: Region) -> Inventory:
        """The loaded models, or why they are unknown; never raises."""


class Observer(LoopObserver, Protocol):
    """Is called with outcomes of probes, and with loops that fail; see router.telemetry.metrics."""

    def edge_probed(self, region: Region, probe: Probe) -> None:
        """A probe ended."""

    def fault_found(self, region: Region, probe: Probe) -> None:
        """For the first time since it was up, an edge failed in a way that a person must fix."""

    def state_changed(self, region: Region, transition: Transition) -> None:
        """The state of an edge at this vantage changed."""


class EdgeLoopError(Exception):
    """A loop that watches one edge failed. The text names the edge."""


@dataclass(kw_only=True)
class Poller:
    """Watches the edges of a catalog. `run` never returns; cancel it.

    Each edge has loops of its own. A loop that raises is reported and restarted, while the others
    go on; the health of its edge ages meanwhile.
    """

    catalog: Catalog
    prober: Prober
    publisher: Publisher
    observer: Observer
    policy: HealthPolicy = HealthPolicy()
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        now = self.clock()
        self._watched = [self._new_watched(region) for region in self.catalog.regions]
        self._tasks: asyncio.TaskGroup | None = None
        self._loops: dict[int, list[asyncio.Task[None]]] = {}
        self._ahead_s = now - self.monotonic()
        self._due = asyncio.Event()
        self._delay_publishing()

    async def run(self) -> None:
        """Probe and publish until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._update_loops()
                self._tasks.create_task(self._keep_publishing())
        finally:
            await self.publisher.release()

    def replace_catalog(self, catalog: Catalog) -> None:
        """Replace the catalog. The health of edges that stay is kept. If at least half are new,
        nothing is published until they have been probed, as at the start.
        """
        known = {_identity(watched.region): watched for watched in self._watched}
        self.catalog = self.publisher.catalog = catalog
        self._watched = [
            self._keep_watched(known.get(_identity(region)), region) for region in catalog.regions
        ]
        new = [watched for watched in self._watched if _identity(watched.region) not in known]
        if 2 * len(new) >= len(self._watched):
            self._delay_publishing()
        self._update_loops()
        self._due.set()

    def _new_watched(self, region: Region) -> Watched:
        policy = policy_for(self.policy, region.check)
        return Watched(region, Health(since=self.clock()), policy)

    def _keep_watched(self, known: Watched | None, region: Region) -> Watched:
        if known is None:
            return self._new_watched(region)
        known.region, known.policy = region, policy_for(self.policy, region.check)
        return known

    def _delay_publishing(self) -> None:
        """Publish nothing until each edge has been probed, or enough time for that has passed."""
        self._ready_at = self.monotonic() + self.policy.interval_s + self.policy.recheck_s

    def _update_loops(self) -> None:
        """Start the loops of new edges, and cancel those of removed edges."""
        if self._tasks is None:
            return
        for key in self._loops.keys() - {id(watched) for watched in self._watched}:
            for task in self._loops.pop(key):
                task.cancel()
        for watched in self._watched:
            if id(watched) not in self._loops:
                loops = {"probing": self._watch_health, "inventory": self._watch_models}
                self._loops[id(watched)] = [
                    self._tasks.create_task(self._keep_watching(name, loop, watched))
                    for name, loop in loops.items()
                ]

    async def _keep_watching(
        self, name: str, loop: Callable[[Watched], Awaitable[None]], watched: Watched
    ) -> None:
        async def run() -> None:
            try:
                await loop(watched)
            except Exception as error:  # noqa: BLE001 - raised on, with the edge
                cause = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
                about = f"{watched.region.id}: {type(cause).__name__}: {cause}"
                raise EdgeLoopError(about) from cause

        await keep_running(name, run, self.observer, monotonic=self.monotonic)

    async def _watch_health(self, watched: Watched) -> None:
        """Probe repeatedly. If an edge does not answer within a recheck interval, another probe
        starts beside the first, so that the fall of a hung edge does not take several timeouts in
        sequence.
        """
        await asyncio.sleep(self.rng.uniform(0, self.policy.interval_s))
        async with asyncio.TaskGroup() as probes:
            while True:
                started, passes = self.monotonic(), watched.passes
                probe = probes.create_task(self._probe(watched))
                await asyncio.sleep(self._jitter(patience_s(watched.health, watched.policy)))
                if probe.done() or watched.passes > passes:
                    rest_s = self._jitter(wait_s(watched.health, watched.policy))
                    await asyncio.sleep(max(0.0, started + rest_s - self.monotonic()))

    async def _probe(self, watched: Watched) -> None:
        probe = await self.prober.health(watched.region)
        self.observer.edge_probed(watched.region, probe)
        self._follow_clock()
        first = watched.probed_at is None
        before, transition = watched.health, self._count(watched, probe)
        if probe.outcome in _EXPLAINED - watched.reported:
            watched.reported.add(probe.outcome)
            self.observer.fault_found(watched.region, probe)
        if transition is not None:
            self.observer.state_changed(watched.region, transition)
            if transition.after is Observed.DOWN:
                watched.before_fall = before
            if transition.after is Observed.UP:
                watched.reported.clear()
        if transition is not None or (first and self._is_ready()):
            self._due.set()

    def _count(self, watched: Watched, probe: Probe) -> Transition | None:
        now = self.clock()
        watched.health, transition = step(watched.health, probe, now, watched.policy)
        watched.is_local = probe.outcome is Outcome.LOCAL
        if watched.is_local:
            return None
        watched.probed_at = now
        watched.passes += probe.outcome in _PASSES
        watched.addresses = count_failures(watched.addresses, probe)
        return transition

    def _follow_clock(self) -> None:
        """Shift all times if the clock was set, so that hold-downs keep their length."""
        ahead_s = self.clock() - self.monotonic()
        by_s, self._ahead_s = ahead_s - self._ahead_s, ahead_s
        if abs(by_s) < CLOCK_STEP_S:
            return
        for watched in self._watched:
            watched.health = shift_times(watched.health, by_s)
            if watched.before_fall is not None:
                watched.before_fall = shift_times(watched.before_fall, by_s)
            if watched.probed_at is not None:
                watched.probed_at += by_s
            if watched.models_at is not None:
                watched.models_at += by_s
        self.publisher.follow_clock(by_s)

    def _jitter(self, seconds: float) -> float:
        return seconds * self.rng.uniform(1 - JITTER, 1 + JITTER)

    async def _watch_models(self, watched: Watched) -> None:
        await asyncio.sleep(self.rng.uniform(0, self.policy.interval_s))
        while True:
            if watched.region.check.models is not ModelsFormat.NONE:
                self._replace_inventory(watched, await self.prober.models(watched.region))
            await asyncio.sleep(self._jitter(MODELS_INTERVAL_S))

    def _replace_inventory(self, watched: Watched, found: Inventory) -> None:
        """Replace the inventory. If the edge sent none, the last one is kept until it is too
        old; if it sent too much, the inventory is unknown at once."""
        is_news = found.fault is not watched.models_fault
        watched.models_fault = found.fault
        if found.models is not None:
            is_news = is_news or found.models != watched.models
            watched.models, watched.models_at = found.models, self.clock()
        elif found.fault is Outcome.TOO_LARGE:
            watched.models = watched.models_at = None
        if is_news:
            self._due.set()

    async def _keep_publishing(self) -> None:
        """Publish at every change, and every few seconds. It begins only when (nearly) every edge
        has a verdict: a view of half the fleet would send all viewers to that half.
        """
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
                await asyncio.sleep(PUBLISH_GAP_S)

    def _is_ready(self) -> bool:
        return self.monotonic() >= self._ready_at or all(
            watched.probed_at is not None for watched in self._watched
        )


def _identity(region: Region) -> tuple[str, str]:
    """What must be equal for an edge to stay the same edge in another catalog: its id and how it
    is probed.
    """
    return region.id, region.health_url
