"""Publishes the view of one vantage, and events for what changed in it.

The rules are elsewhere: router.health.guard decides which results are trusted, and
router.health.view_events which changes are events. All I/O goes through the store that is passed
in.
"""

import os
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from router.errors import StoreError
from router.health.addresses import bad_addresses
from router.health.guard import (
    Brake,
    VantagePolicy,
    confirmed_edges,
    held_edges,
    held_until,
    is_confirmed,
    is_isolated,
    judge_brake,
)
from router.health.state import Health, back_at, calm_at, end_hold_down, undo_fall, usual_ms
from router.health.view_events import Doubts, doubts_of, events_between
from router.health.watched import Watched
from router.model import (
    Catalog,
    EdgeView,
    Event,
    Intended,
    Intent,
    Observed,
    Outcome,
    View,
)
from router.store import Store, Stored

LEASE_S = 10.0
# Limit on the model ids in one view, because every reader decodes them.
MAX_VIEW_MODELS_BYTES = 2 * 2**20

_POLICY = VantagePolicy()
_WORKS = frozenset({Observed.UP, Observed.DEGRADED})

Witnesses = Callable[[], Awaitable[Sequence[bool]]]


class Observer(Protocol):
    """Is called with what is published; see router.telemetry.metrics."""

    def view_published(self, view: View, error: StoreError | None) -> None:
        """A view was written, or writing it failed."""

    def standing_by(self, vantage: str) -> None:
        """Another poller of this vantage publishes instead."""

    def event_happened(self, event: Event) -> None:
        """An event happened, to be logged."""


async def no_witnesses() -> Sequence[bool]:
    """Used by a vantage without witnesses."""
    return ()


def process_name() -> str:
    """A name for this process among all pollers."""
    return f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"


@dataclass(kw_only=True)
class Publisher:
    """Writes views for a vantage while it holds the vantage's lease.

    `heard_at` is when the store last accepted a view, or said that another poller has the
    lease.
    """

    catalog: Catalog
    store: Store
    observer: Observer
    vantage: str
    witnesses: Witnesses = no_witnesses
    clock: Callable[[], float] = time.time
    holder: str = field(default_factory=process_name)

    def __post_init__(self) -> None:
        # Higher than any `seq` that an earlier process of this vantage published.
        self._seq = int(self.clock() * 1_000)
        self._brake: Brake | None = None
        self._doubts = Doubts()
        self._last_good: dict[str, Observed] = {}
        self._worked: frozenset[str] = frozenset()
        self._published: dict[str, EdgeView] | None = None
        self._earlier: dict[str, EdgeView] = {}  # edges in the state that another process saw
        self._isolated_since: float | None = None
        self._intents: tuple[Intent, ...] = ()
        self.heard_at: float | None = None

    async def publish(self, watched: Sequence[Watched]) -> None:
        """Publish the results of probes, as far as they are trusted. Never raises. Nothing is
        published before the first probe that counts.
        """
        error = None
        passed = await self.witnesses()
        isolated = is_isolated(passed)
        if not isolated:
            if all(one.probed_at is None for one in watched):
                return
            self._brake = None if passed else await self._judge(_healths(watched))
            self._undo_held_falls(watched)
            await self._end_hold_downs(watched)
        view = self._view(watched, isolated)
        try:
            if not await self.store.hold_lease(self.vantage, self.holder, LEASE_S):
                self.heard_at = self.clock()
                self._published = None  # the other poller's view is newer
                self.observer.standing_by(self.vantage)
                return
            if self._published is None:
                await self._load_previous()
                view = self._view(watched, isolated)  # an edge that is already removed is not held
            self._seq = await self.store.publish(view)
            self.heard_at = self.clock()
            if self._seq != view.seq:
                self._published = None
                self.observer.standing_by(self.vantage)
                return
            await self._report(events_between(view, self._published or {}, self._doubts))
            self._doubts = doubts_of(view)
            self._published = dict(view.edges) if not view.isolated else self._published
        except StoreError as fault:
            error = fault
        self.observer.view_published(view, error)

    def follow_clock(self, by_s: float) -> None:
        """Call when the clock was set forward by `by_s`, so that the length of the brake does not
        change.
        """
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

    async def _load_previous(self) -> None:
        """Continue from the view that the previous publisher of this vantage published."""
        stored = await self.store.read(())
        mine = next((view for view in stored.views if view.vantage == self.vantage), None)
        self._published = {} if mine is None else dict(mine.edges)
        self._earlier = dict(self._published)
        if mine is not None and mine.isolated:
            self._isolated_since = mine.isolated_since or mine.probed_at
            self._doubts = replace(self._doubts, isolated=True)
        self._last_good |= _working_states(self._published)
        # An older release does not publish `worked`, so the edge may have worked.
        self._worked |= {id for id, edge in self._published.items() if edge.worked is not False}

    async def _report(self, events: Sequence[Event]) -> None:
        for event in events:
            self.observer.event_happened(event)
        await self.store.log_events(events)

    def _view(self, watched: Sequence[Watched], isolated: bool) -> View:
        if isolated:
            now = self.clock()
            self._isolated_since = self._isolated_since or now
            return View(
                vantage=self.vantage,
                seq=self._seq + 1,
                probed_at=now,
                isolated=True,
                isolated_since=self._isolated_since,
            )
        self._isolated_since = None
        newest = max(one.probed_at for one in watched if one.probed_at is not None)
        held = self._held_edges(watched)
        self._worked |= {
            one.region.id for one in watched if one.passes or one.health.state in _WORKS
        }
        edges = {one.region.id: self._edge(one, held, newest) for one in watched}
        last_good = {id: state for id, state in self._last_good.items() if id in edges}
        self._last_good = last_good | _working_states(edges)
        self._worked = self._worked.intersection(edges)
        held = held.intersection(self._last_good)
        brake = self._brake if held else None
        return View(
            vantage=self.vantage,
            seq=self._seq + 1,
            probed_at=newest,
            held=tuple(sorted(held)),
            held_since=None if brake is None else brake.since,
            held_until=None if brake is None else held_until(brake, _POLICY),
            edges=_limit_models(edges),
        )

    def _held_edges(self, watched: Sequence[Watched]) -> frozenset[str]:
        return held_edges(self._brake, _healths(watched), self._removed_edges())

    def _undo_held_falls(self, watched: Sequence[Watched]) -> None:
        """Undo the fall of each held edge that passes again."""
        held = self._held_edges(watched)
        for one in watched:
            is_back = one.health.streak >= one.policy.rise
            if one.region.id in held and is_back and one.before_fall is not None:
                one.health = undo_fall(one.health, one.before_fall)

    async def _end_hold_downs(self, watched: Sequence[Watched]) -> None:
        """End hold-downs and flapping for which an operator requested that."""
        now = self.clock()
        waiting = {
            one.region.id: one
            for one in watched
            if back_at(one.health, now) is not None or one.health.flapping
        }
        if not waiting:
            return
        try:
            stored = await self.store.read(list(waiting))
        except StoreError:
            return
        for intent in stored.intents:
            one = waiting.get(intent.edge)
            if one is not None and intent.at_once and now < intent.ends_at:
                one.health = end_hold_down(one.health, intent.created_at, one.policy)

    async def _judge(self, healths: dict[str, Health]) -> Brake | None:
        """The brake, considering intents and the views of other vantages."""
        now = self.clock()
        routable = [region.id for region in self.catalog.regions if region.routable]
        # Without a share: few of all edges may be most of the enabled ones.
        anything = replace(_POLICY, brake_share=0.0)
        if judge_brake(self._brake, healths, routable, now, anything) is None:
            return None
        stored = await self._read(routable)
        held_back = {one.edge for one in stored.intents if one.state is not Intended.ENABLED}
        enabled = [id for id in routable if id not in held_back]
        brake = judge_brake(self._brake, healths, enabled, now, _POLICY)
        others = [view for view in stored.views if view.vantage != self.vantage]
        if brake is None:
            return None
        if is_confirmed(brake, others, now, _POLICY):
            return replace(brake, believed=True)
        return replace(brake, confirmed=confirmed_edges(brake, others, now, _POLICY))

    def _removed_edges(self) -> set[str]:
        published = self._published or {}
        return {id for id, edge in published.items() if edge.state is Observed.DOWN}

    async def _read(self, ids: Iterable[str]) -> Stored:
        """The contents of the store; if it is away, the intents that were read last."""
        try:
            stored = await self.store.read(list(ids))
        except StoreError:
            return Stored((), self._intents)
        self._intents = stored.intents
        return stored

    def _edge(self, one: Watched, held: Collection[str], newest: float) -> EdgeView:
        """One edge as it is published. After it met only local faults for longer than a view
        is fresh, it has that reason, and is unknown if other edges were probed meanwhile."""
        health, id = one.health, one.region.id
        earlier = None if self._published is None else self._published.get(id)
        if one.probed_at is None and earlier is not None:
            seen_at = earlier.probed_at or 0.0
            if not one.is_local or newest - seen_at <= _POLICY.fresh_s:
                return earlier  # as the previous publisher of this vantage published it
        state = self._last_good.get(id, Observed.UNKNOWN) if id in held else health.state
        since, reason = self._since(id, health), health.reason
        fresh_s = _POLICY.fresh_s
        if one.is_local and (one.probed_at is None or newest - one.probed_at > fresh_s):
            state, reason = Observed.UNKNOWN, Outcome.LOCAL
            since = since if one.probed_at is None else one.probed_at
        elif one.is_local and one.probed_at is not None and self.clock() - one.probed_at > fresh_s:
            reason = Outcome.LOCAL
        return EdgeView(
            state=state,
            since=since,
            reason=reason,
            rtt_ms=_round(health.rtt_ms),
            streak=health.streak,
            models=one.models,
            models_at=one.models_at,
            probed_at=one.probed_at,
            models_fault=one.models_fault,
            bad_addresses=bad_addresses(one.addresses),
            back_at=back_at(health, self.clock()),
            changes=len(health.changes) if health.flapping else 0,
            calm_at=calm_at(health, one.policy),
            usual_ms=_round(usual_ms(health)),
            worked=id in self._worked,
        )

    def _since(self, id: str, health: Health) -> float:
        """Since when the edge is in its state, whichever process saw that begin."""
        earlier = self._earlier.get(id)
        if earlier is None or health.state is Observed.UNKNOWN:
            return health.since
        if earlier.state is health.state:
            return min(health.since, earlier.since)
        del self._earlier[id]
        return health.since


def _round(value_ms: float | None) -> float | None:
    return None if value_ms is None else round(value_ms, 1)


def _working_states(edges: Mapping[str, EdgeView]) -> dict[str, Observed]:
    return {id: edge.state for id, edge in edges.items() if edge.state in _WORKS}


def _limit_models(edges: dict[str, EdgeView]) -> dict[str, EdgeView]:
    """The edges without the longest inventories, if all together are too long."""
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
