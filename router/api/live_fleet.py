"""Keeps the current Fleet: reads the store, combines what it read, and replaces one reference.
Requests read `table`. They never wait for this loop, nor for anything that it waits for.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from router.errors import StoreError
from router.model import Intent, View
from router.routing.cache_headers import CachePolicy
from router.routing.fleet import Fleet, FleetPolicy, combine, combine_in_steps
from router.routing.ranking import Ranker
from router.routing.route_table import RouteTable
from router.store import Stored
from router.store.slices import free_in_slices, in_slices

POLL_S = 1.0


class Observer(Protocol):
    """Is called with what the watch does; see router.telemetry.metrics."""

    def store_read(self, error: StoreError | None, faults: tuple[str, ...]) -> None:
        """The store was read, or could not be; `faults`: the values that were left out."""

    def intent_changed(self, edge: str, wish: Intent | None) -> None:
        """An operator's intent for the edge was made or changed; None: it ended."""

    def fleet_replaced(self, before: Fleet, after: Fleet) -> None:
        """The Fleet was replaced: answers come from the new one."""

    def loop_failed(self, loop: str, error: Exception, wait_s: float) -> None:
        """A follower of the fleet raised; see router.supervised."""


class Source(Protocol):
    """The methods of router.store.Store that a watch needs."""

    async def read(self, edges: Sequence[str]) -> Stored:
        """See Store."""

    async def changed(self, seen: int, timeout_s: float) -> int:
        """See Store."""


class FleetWatch:
    """`fleet`: the newest Fleet; `table`: its answers, replaced only if they would differ.
    `published`: each vantage's view as last read; `store_error`: why the latest read failed.
    """

    def __init__(
        self,
        ranker: Ranker,
        store: Source,
        observer: Observer,
        *,
        cache_policy: CachePolicy = CachePolicy(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._observer = observer
        self._cache_policy = cache_policy
        # A slot is as long as a shared cache keeps an answer, so each answer belongs to one slot.
        self._fleet_policy = FleetPolicy(slot_s=max(1, cache_policy.max_age_s))
        self._clock = clock
        self._fleet_followers: list[Callable[[Fleet, Fleet], None]] = []
        self._refresh_followers: list[Callable[[Stored], None]] = []
        self._edges = [region.id for region in ranker.catalog.regions]
        self._views: dict[str, View] = {}
        self._intents: tuple[Intent, ...] = ()
        self.published: tuple[View, ...] = ()
        self.store_error: StoreError | None = None
        self.ranker = ranker
        self.fleet = self._combine()
        self.table = RouteTable(ranker, self.fleet, cache_policy)

    def restore(self, saved: Stored) -> None:
        """Start with the last good health from disk; its age counts."""
        views, intents = self._merge_newest(saved)
        fleet = self._combine(views.values(), intents)  # if this raises, nothing has been replaced
        self._replace_stored(views, intents)
        self._replace_fleet(fleet)

    def on_fleet_replaced(self, follower: Callable[[Fleet, Fleet], None]) -> None:
        """Call `follower(before, after)` whenever the Fleet that answers is replaced."""
        self._fleet_followers.append(follower)

    def on_refresh(self, follower: Callable[[Stored], None]) -> None:
        """Call `follower(stored)` whenever the store was read, or could not be."""
        self._refresh_followers.append(follower)

    @property
    def stored(self) -> Stored:
        """The views and intents that the Fleet was combined from."""
        return Stored(tuple(self._views.values()), self._intents)

    def replace_ranker(self, ranker: Ranker) -> None:
        """Replace the catalog."""
        self.ranker = ranker
        self._edges = [region.id for region in ranker.catalog.regions]
        before, self.fleet = self.fleet, self._combine()
        self._replace_table(before)

    async def run(self) -> None:
        """Follow the store until cancelled: at each hint, and every second."""
        hints = 0
        while True:
            await self.refresh()
            hints = await self._store.changed(hints, POLL_S)

    async def refresh(self) -> None:
        """Read the store if possible, and combine again, so that health ages even if it was not
        read.
        """
        fleet = None
        try:
            stored = await self._store.read(self._edges)
            views, intents = self._merge_newest(stored)
            fleet = await self._combine_in_slices(views.values(), intents)
            self._replace_stored(views, intents)
        except StoreError as error:
            self.store_error = error
            self._observer.store_read(error, ())
        else:
            self.store_error, self.published = None, stored.views
            self._observer.store_read(None, stored.faults)
        finally:  # also after an unexpected error: health must age
            for follower in self._refresh_followers:
                self._notify(follower, self.stored)
            if fleet is None:
                fleet = await self._combine_in_slices(self._views.values(), self._intents)
            replaced = [*self.fleet.edges]
            self._replace_fleet(fleet)
            await free_in_slices(replaced)

    def _notify(self, follower: Callable[..., None], *news: object) -> None:
        """One follower that raises must not stop health, nor the other followers."""
        try:
            follower(*news)
        except Exception as error:  # noqa: BLE001 - reported, like every failure of a loop
            self._observer.loop_failed("fleet_follower", error, 0.0)

    def _merge_newest(self, stored: Stored) -> tuple[dict[str, View], tuple[Intent, ...]]:
        """The newest view of each vantage, and the intents. A view that the store lost is kept
        until it is old, an intent that can no longer be read until it ends. A view that the store
        still has is kept at any age: if it were forgotten, it would count as new.
        """
        now = self._clock()
        views = dict(self._views)
        for view in stored.views:
            held = views.get(view.vantage)
            if held is None or view.seq > held.seq or self._is_replaced(held, view, now):
                views[view.vantage] = _last_known(held, view)
        stored_now = {view.vantage for view in stored.views}
        views = {
            vantage: _limit_time(view, now)
            for vantage, view in views.items()
            if vantage in stored_now or now - view.probed_at <= self._fleet_policy.stale_s
        }
        kept = tuple(intent for intent in self._intents if intent.edge in stored.unread)
        return views, stored.intents + kept

    def _replace_stored(self, views: dict[str, View], intents: tuple[Intent, ...]) -> None:
        self._report_intents(intents)
        self._views, self._intents = views, intents

    def _report_intents(self, intents: Iterable[Intent]) -> None:
        before = {intent.edge: intent for intent in self._intents}
        after = {intent.edge: intent for intent in intents}
        for edge in {**before, **after}:
            if before.get(edge) != after.get(edge):
                self._observer.intent_changed(edge, after.get(edge))

    def _is_replaced(self, held: View, view: View, now: float) -> bool:
        """Whether another poller has taken over with a lower `seq` because the first is silent.
        A view that is older than the held one comes from old data of Redis instead."""
        is_silent = now - held.probed_at > self._fleet_policy.fresh_s
        return view.seq != held.seq and is_silent and view.probed_at > held.probed_at

    def preview(self, intents: Sequence[Intent], without: Iterable[str] = ()) -> Fleet:
        """The Fleet as it would be with these intents added, and with those of some edges
        removed."""
        gone = {*without, *(intent.edge for intent in intents)}
        kept = [intent for intent in self._intents if intent.edge not in gone]
        return self._combine(intents=[*kept, *intents])

    def _combine(
        self, views: Iterable[View] | None = None, intents: Iterable[Intent] | None = None
    ) -> Fleet:
        return combine(
            self.ranker.catalog,
            self._views.values() if views is None else views,
            self._intents if intents is None else intents,
            self._clock(),
            self._fleet_policy,
        )

    async def _combine_in_slices(self, views: Iterable[View], intents: Iterable[Intent]) -> Fleet:
        """The same in slices, because many edges and vantages take longer than a request may wait.
        Starts again if the catalog is replaced meanwhile.
        """
        views, intents = tuple(views), tuple(intents)
        while True:
            ranker = self.ranker
            fleet = await in_slices(
                combine_in_steps(
                    ranker.catalog,
                    views,
                    intents,
                    self._clock(),
                    self._fleet_policy,
                    before=self.fleet,
                )
            )
            if ranker is self.ranker:
                return fleet

    def _replace_fleet(self, fleet: Fleet) -> None:
        before, self.fleet = self.fleet, fleet
        if fleet.routing != self.table.fleet.routing:
            self._replace_table(before)

    def _replace_table(self, before: Fleet) -> None:
        self.table = RouteTable(self.ranker, self.fleet, self._cache_policy)
        self._observer.fleet_replaced(before, self.fleet)
        for follower in self._fleet_followers:
            self._notify(follower, before, self.fleet)


def _last_known(held: View | None, view: View) -> View:
    """The view; for a vantage that is isolated now, its last view before that, with its age."""
    if not view.isolated or held is None or held.isolated:
        return view
    return replace(held, seq=view.seq)


def _limit_time(view: View, now: float) -> View:
    """The view with a time that is not in the future: a vantage's fast clock, or ours set back,
    must not keep a dead vantage fresh.
    """
    return view if view.probed_at <= now else replace(view, probed_at=now)
