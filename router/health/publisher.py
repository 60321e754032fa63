"""Publishes one vantage's view: who may, what it may claim, and what happened since. I/O by
the store it is given; the rules are in router.health.guard.
"""

import os
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from router.errors import StoreError
from router.health.addresses import bad_addresses
from router.health.guard import (
    Brake,
    VantagePolicy,
    confirmed_edges,
    held_edges,
    is_confirmed,
    is_isolated,
    judge_brake,
)
from router.health.state import Health, HealthPolicy, pardoned
from router.model import (
    Catalog,
    EdgeView,
    Event,
    EventKind,
    Intended,
    Intent,
    Observed,
    Outcome,
    Region,
    View,
)
from router.store import Store, Stored

LEASE_S = 10.0
MAX_VIEW_MODELS_BYTES = 2 * 2**20  # of model ids in one view, which every reader decodes

_WORKS = frozenset({Observed.UP, Observed.DEGRADED})
_WORTH_TELLING = frozenset({Outcome.TOO_LARGE, Outcome.BAD_BODY})

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
    """One edge as its probes have it now.

    `probed_at`: its last probe that counted; `is_local`: the one after that did not.
    `before_fall`: its health before it last went down. `passes`: how many so far.
    `addresses`: failures in a row of each of its addresses. `met`: the faults that were
    logged since it was last up.
    """

    region: Region
    health: Health
    policy: HealthPolicy = HealthPolicy()
    probed_at: float | None = None
    is_local: bool = False
    before_fall: Health | None = None
    passes: int = 0
    models: tuple[str, ...] | None = None
    models_at: float | None = None
    models_fault: Outcome | None = None
    addresses: dict[str, int] = field(default_factory=dict)
    met: set[Outcome] = field(default_factory=set)


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
            self._pardon(watched)
        view = self._view(watched, isolated)
        try:
            if not await self.store.hold_lease(self.vantage, self.holder, LEASE_S):
                self.heard_at = self.clock()
                self._told = None  # whoever publishes now will have told more
                self.observer.stood_by(self.vantage)
                return
            if self._told is None:
                self._told = await self._recalled()
                self._last_good |= {
                    id: edge.state for id, edge in self._told.items() if edge.state in _WORKS
                }
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
            lifted_at = self._brake.lifted_at
            self._brake = replace(
                self._brake,
                since=self._brake.since + by_s,
                lifted_at=None if lifted_at is None else lifted_at + by_s,
            )

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
        newest = max(one.probed_at for one in watched if one.probed_at is not None)
        held = self._held(watched)
        edges = {one.region.id: self._edge(one, held, newest) for one in watched}
        for id, edge in edges.items():
            if edge.state in _WORKS:
                self._last_good[id] = edge.state
        return View(
            vantage=self.vantage,
            seq=self._seq + 1,
            probed_at=newest,
            held=tuple(sorted(held & self._last_good.keys())),
            edges=_bounded(edges),
        )

    def _held(self, watched: Sequence[Watched]) -> frozenset[str]:
        return held_edges(self._brake, _healths(watched), self._removed())

    def _pardon(self, watched: Sequence[Watched]) -> None:
        """Forget the falls under the brake of edges that pass again: they never were."""
        held = self._held(watched)
        for one in watched:
            is_back = one.health.streak >= one.policy.rise
            if one.region.id in held and is_back and one.before_fall is not None:
                one.health = pardoned(one.health, one.before_fall)

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
        if brake is None:
            return None
        if is_confirmed(brake, others, now, self.policy):
            return replace(brake, believed=True)
        return replace(brake, confirmed=confirmed_edges(brake, others, now, self.policy))

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

    def _edge(self, one: Watched, held: Collection[str], newest: float) -> EdgeView:
        """What is said of one edge. Nothing, once it has met only local faults for longer
        than a view is fresh, while other edges were probed."""
        health, id = one.health, one.region.id
        earlier = None if self._told is None else self._told.get(id)
        if one.probed_at is None and earlier is not None:
            seen_at = earlier.probed_at or 0.0
            if not one.is_local or newest - seen_at <= self.policy.fresh_s:
                return earlier  # by the vantage's last publisher
        state = self._last_good.get(id, Observed.UNKNOWN) if id in held else health.state
        since, reason = health.since, health.reason
        if one.is_local and (one.probed_at is None or newest - one.probed_at > self.policy.fresh_s):
            state, reason = Observed.UNKNOWN, Outcome.LOCAL
            since = since if one.probed_at is None else one.probed_at
        return EdgeView(
            state=state,
            since=since,
            reason=reason,
            rtt_ms=None if health.rtt_ms is None else round(health.rtt_ms, 1),
            streak=health.streak,
            models=one.models,
            models_at=one.models_at,
            probed_at=one.probed_at,
            models_fault=one.models_fault,
            bad_addresses=bad_addresses(one.addresses),
        )

    def _news(self, view: View) -> list[Event]:
        """What changed since the last view that was written; a first `up` is no news."""
        news = self._doubts(view)
        told = self._told or {}
        for id, edge in view.edges.items():
            news += self._details(view.probed_at, id, edge, told.get(id))
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

    def _details(
        self, at: float, id: str, edge: EdgeView, before: EdgeView | None
    ) -> Iterator[Event]:
        """An inventory that cannot be taken, an address that fails: when that begins, and
        when it is over."""
        was = None if before is None else before.models_fault
        is_new = edge.models_fault is not was
        if is_new and (was in _WORTH_TELLING or edge.models_fault in _WORTH_TELLING):
            yield Event(
                at=at,
                kind=EventKind.MODELS,
                edge=id,
                vantage=self.vantage,
                after="unknown" if edge.models_fault in _WORTH_TELLING else "ok",
                reason=edge.models_fault,
            )
        failing = edge.bad_addresses
        if failing != (() if before is None else before.bad_addresses):
            yield Event(
                at=at,
                kind=EventKind.ADDRESS,
                edge=id,
                vantage=self.vantage,
                after="failing" if failing else "ok",
                reason=", ".join(failing) or None,
            )

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


def _bounded(edges: dict[str, EdgeView]) -> dict[str, EdgeView]:
    """The same, without the longest inventories where all together are too long."""
    sizes = {id: sum(map(_written_length, edge.models or ())) for id, edge in edges.items()}
    bounded, total = dict(edges), sum(sizes.values())
    for id in sorted(sizes, key=lambda one: sizes[one], reverse=True):
        if total <= MAX_VIEW_MODELS_BYTES:
            break
        total -= sizes[id]
        bounded[id] = replace(
            edges[id], models=None, models_at=None, models_fault=Outcome.TOO_LARGE
        )
    return bounded


def _written_length(model: str) -> int:
    return len(model.encode()) + len('"",')


def _healths(watched: Sequence[Watched]) -> dict[str, Health]:
    return {one.region.id: one.health for one in watched}
