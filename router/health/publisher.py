"""Publishes one vantage's view: who may, what it may claim, and what happened since. I/O by
the store it is given; the rules are in router.health.guard.
"""

import os
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from router.errors import StoreError
from router.health.guard import (
    Brake,
    VantagePolicy,
    held_edges,
    is_confirmed,
    is_isolated,
    judge_brake,
)
from router.health.state import Health
from router.model import (
    Catalog,
    EdgeView,
    Event,
    EventKind,
    Intended,
    Intent,
    Observed,
    Region,
    View,
)
from router.store import Store, Stored

LEASE_S = 10.0

Witnesses = Callable[[], Awaitable[Sequence[bool]]]


class Observer(Protocol):
    """Hears what is published; see router.telemetry.metrics."""

    def published(self, view: View, error: StoreError | None) -> None:
        """A view was written, or was not."""

    def stood_by(self, vantage: str) -> None:
        """Another poller of this vantage publishes."""

    def happened(self, event: Event) -> None:
        """Something worth a line in the log and in the events."""


@dataclass(slots=True)
class Watched:
    """One edge as its probes have it now. `probed_at`: its last probe that counted."""

    region: Region
    health: Health
    probed_at: float | None = None
    models: tuple[str, ...] | None = None
    models_at: float | None = None


async def no_witnesses() -> Sequence[bool]:
    """For a vantage that has none."""
    return ()


def process_name() -> str:
    """A name for this process among all pollers."""
    return f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"


@dataclass(kw_only=True)
class Publisher:
    """Writes views for a vantage, while it holds the vantage's lease. `heard_at`: when the
    store last took its word, or let another poller speak."""

    catalog: Catalog
    store: Store
    observer: Observer
    vantage: str
    witnesses: Witnesses = no_witnesses
    policy: VantagePolicy = VantagePolicy()
    clock: Callable[[], float] = time.time
    holder: str = field(default_factory=process_name)

    def __post_init__(self) -> None:
        # Above whatever an earlier process of this vantage published.
        self._seq = int(self.clock() * 1_000)
        self._brake: Brake | None = None
        self._isolated = False
        self._braked = False
        self._last_good: dict[str, Observed] = {}
        self._told: dict[str, EdgeView] | None = None
        self._intents: tuple[Intent, ...] = ()
        self.heard_at: float | None = None

    async def publish(self, watched: Sequence[Watched]) -> None:
        """Publish what the probes say, as far as it may be believed. Never raises.

        Until a probe has counted there is nothing to say.
        """
        error = None
        passed = await self.witnesses()
        isolated = is_isolated(passed)
        if not isolated:
            if all(one.probed_at is None for one in watched):
                return
            self._brake = None if passed else await self._judge(_healths(watched))
        view = self._view(watched, isolated)
        try:
            if not await self.store.hold_lease(self.vantage, self.holder, LEASE_S):
                self.heard_at = self.clock()
                self._told = None  # whoever publishes now will have told more
                self.observer.stood_by(self.vantage)
                return
            if self._told is None:
                self._told = await self._recalled()
                view = self._view(watched, isolated)  # what they removed is not held
            self._seq = await self.store.publish(view)
            self.heard_at = self.clock()
            if self._seq != view.seq:
                self._told = None
                self.observer.stood_by(self.vantage)
                return
            await self._tell(self._news(view))
        except StoreError as fault:
            error = fault
        self.observer.published(view, error)

    def follow_clock(self, by_s: float) -> None:
        """The clock was set forward by `by_s`; the brake holds as long as it would."""
        if self._brake is not None:
            self._brake = replace(self._brake, since=self._brake.since + by_s)

    async def release(self) -> None:
        """Let another poller of this vantage take over at once."""
        try:
            await self.store.drop_lease(self.vantage, self.holder)
        except StoreError:
            return  # it expires by itself

    async def _recalled(self) -> dict[str, EdgeView]:
        """What the vantage's last publisher said."""
        stored = await self.store.read(())
        mine = [view for view in stored.views if view.vantage == self.vantage]
        return dict(mine[0].edges) if mine else {}

    async def _tell(self, news: Sequence[Event]) -> None:
        for event in news:
            self.observer.happened(event)
        await self.store.log_events(news)

    def _view(self, watched: Sequence[Watched], isolated: bool) -> View:
        if isolated:
            now = self.clock()
            return View(vantage=self.vantage, seq=self._seq + 1, probed_at=now, isolated=True)
        held = held_edges(self._brake, _healths(watched), self._removed())
        edges = {one.region.id: self._edge(one, held) for one in watched}
        for id, edge in edges.items():
            if edge.state in (Observed.UP, Observed.DEGRADED):
                self._last_good[id] = edge.state
        return View(
            vantage=self.vantage,
            seq=self._seq + 1,
            probed_at=max(one.probed_at for one in watched if one.probed_at is not None),
            held=tuple(sorted(held)),
            edges=edges,
        )

    async def _judge(self, healths: dict[str, Health]) -> Brake | None:
        """The brake, by what else is known: intents, and other vantages' views."""
        now = self.clock()
        routable = [region.id for region in self.catalog.regions if region.routable]
        anything = replace(self.policy, brake_share=0.0)  # few of all may be most of the enabled
        if judge_brake(self._brake, healths, routable, now, anything) is None:
            return None
        stored = await self._read(routable)
        wished = {one.edge for one in stored.intents if one.state is not Intended.ENABLED}
        enabled = [id for id in routable if id not in wished]
        brake = judge_brake(self._brake, healths, enabled, now, self.policy)
        others = [view for view in stored.views if view.vantage != self.vantage]
        if brake is not None and is_confirmed(brake, others, now, self.policy):
            return replace(brake, believed=True)
        return brake

    def _removed(self) -> set[str]:
        told = self._told or {}
        return {id for id, edge in told.items() if edge.state is Observed.DOWN}

    async def _read(self, ids: Iterable[str]) -> Stored:
        """What is stored now; with the store away, the intents it held last."""
        try:
            stored = await self.store.read(list(ids))
        except StoreError:
            return Stored((), self._intents)
        self._intents = stored.intents
        return stored

    def _edge(self, one: Watched, held: Collection[str]) -> EdgeView:
        health, id = one.health, one.region.id
        if one.probed_at is None and self._told is not None and id in self._told:
            return self._told[id]  # by the vantage's last publisher
        state = self._last_good.get(id, Observed.UNKNOWN) if id in held else health.state
        return EdgeView(
            state=state,
            since=health.since,
            reason=health.reason,
            rtt_ms=None if health.rtt_ms is None else round(health.rtt_ms, 1),
            streak=health.streak,
            models=one.models,
            models_at=one.models_at,
        )

    def _news(self, view: View) -> list[Event]:
        """What changed since the last view that was written; a first `up` is no news."""
        news = self._doubts(view)
        told = self._told or {}
        for id, edge in view.edges.items():
            before = told[id].state if id in told else Observed.UNKNOWN
            if edge.state is before or (before, edge.state) == (Observed.UNKNOWN, Observed.UP):
                continue
            news.append(
                Event(
                    at=view.probed_at,
                    kind=EventKind.TRANSITION,
                    edge=id,
                    vantage=self.vantage,
                    before=before,
                    after=edge.state,
                    reason=edge.reason,
                )
            )
        self._told = {**told, **view.edges}
        return news

    def _doubts(self, view: View) -> list[Event]:
        """The brake and the isolation, where they came or went."""
        about = []
        if view.isolated is not self._isolated:
            about.append((EventKind.ISOLATION, view.isolated, "most witnesses do not answer"))
        if bool(view.held) is not self._braked:
            about.append((EventKind.BRAKE, bool(view.held), f"{len(view.held)} edges fell at once"))
        self._isolated, self._braked = view.isolated, bool(view.held)
        return [
            Event(
                at=view.probed_at,
                kind=kind,
                vantage=self.vantage,
                after="on" if is_on else "off",
                reason=reason if is_on else None,
            )
            for kind, is_on, reason in about
        ]


def _healths(watched: Sequence[Watched]) -> dict[str, Health]:
    return {one.region.id: one.health for one in watched}
