"""What answers rest on while the store changes, errs, lies or is silent; time is a number."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest

from router.api.live_fleet import FleetWatch
from router.errors import StoreError
from router.model import Intended, Intent, Observed, Status, View
from router.routing.cache_headers import Sharing
from router.routing.fleet import Fleet
from router.routing.query import Query
from router.store import Stored
from router.store.memory import MemoryStore
from tests.support.builders import (
    CITIES,
    NOW,
    a_catalog,
    a_key,
    a_ranker,
    a_region,
    a_view,
    an_intent,
    wishes,
)
from tests.support.servers import eventually

pytestmark = pytest.mark.anyio


class Clock:
    """Wall-clock time that passes only when told."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Shelf(MemoryStore):
    """A store that holds what a test puts there, or errs."""

    def __init__(self) -> None:
        super().__init__()
        self.stored = Stored((), ())
        self.error: StoreError | None = None

    def put(self, *views: View, intents: Iterable[Intent] = (), faults: Iterable[str] = ()) -> None:
        self.stored = Stored(views, tuple(intents), tuple(faults))

    async def read(self, edges: Sequence[str]) -> Stored:
        if self.error is not None:
            raise self.error
        return self.stored

    async def changed(self, seen: int, timeout_s: float) -> int:
        await asyncio.sleep(0)
        return seen


@dataclass
class Heard:
    """An observer that keeps what it hears."""

    reads: list[tuple[StoreError | None, tuple[str, ...]]] = field(default_factory=list)
    swaps: list[tuple[Status, Status]] = field(default_factory=list)
    wishes: list[tuple[str, Intended | None]] = field(default_factory=list)
    failures: list[tuple[str, Exception]] = field(default_factory=list)

    def read(self, error: StoreError | None, faults: tuple[str, ...]) -> None:
        self.reads.append((error, faults))

    def wished(self, edge: str, wish: Intent | None) -> None:
        self.wishes.append((edge, None if wish is None else wish.state))

    def loop_failed(self, loop: str, error: Exception, wait_s: float) -> None:
        self.failures.append((loop, error))

    def swapped(self, before: Fleet, after: Fleet) -> None:
        self.swaps.append((before.status, after.status))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watch(clock: Clock, shelf: Shelf, heard: Heard) -> FleetWatch:
    return FleetWatch(a_ranker(), shelf, heard, clock=clock)


def picked(watch: FleetWatch) -> str:
    """The region that a viewer in Toronto gets."""
    answer = watch.table.answer(a_key(), Query(), Sharing.PRIVATE)
    return answer.labels.region


def down(*ids: str, seq: int = 2, probed_at: float = NOW) -> View:
    edges = dict.fromkeys(CITIES, Observed.UP) | dict.fromkeys(ids, Observed.DOWN)
    return a_view(edges=edges, seq=seq, probed_at=probed_at)


def states(watch: FleetWatch) -> dict[str, Observed]:
    return {edge.region.id: edge.observed for edge in watch.fleet.edges}


async def test_answers_exist_before_the_first_reading(watch: FleetWatch) -> None:
    assert watch.fleet.status is Status.STATIC
    assert picked(watch) == "yto-01"


async def test_view_makes_the_fleet_ok(watch: FleetWatch, shelf: Shelf, heard: Heard) -> None:
    shelf.put(a_view())
    await watch.refresh()
    assert watch.fleet.status is Status.OK
    assert heard.swaps == [(Status.STATIC, Status.OK)]


async def test_edge_seen_down_loses_its_viewers(watch: FleetWatch, shelf: Shelf) -> None:
    shelf.put(a_view())
    await watch.refresh()
    shelf.put(down("yto-01"))
    await watch.refresh()
    assert picked(watch) == "yto-02"


async def test_table_stays_while_routing_is_the_same(
    watch: FleetWatch, shelf: Shelf, clock: Clock, heard: Heard
) -> None:
    shelf.put(a_view(seq=1))
    await watch.refresh()
    table = watch.table
    clock.now += 3
    shelf.put(a_view(seq=2, probed_at=clock.now))
    await watch.refresh()
    assert watch.table is table
    assert watch.fleet.seen_at == clock.now
    assert len(heard.swaps) == 1


async def test_table_is_replaced_whole_when_routing_changes(
    watch: FleetWatch, shelf: Shelf
) -> None:
    shelf.put(a_view(seq=1))
    await watch.refresh()
    before = watch.table
    shelf.put(down("yto-01"))
    await watch.refresh()
    assert before.fleet.edges[0].observed is Observed.UP
    assert watch.table.fleet is watch.fleet


async def test_view_that_the_store_lost_is_kept(
    watch: FleetWatch, shelf: Shelf, clock: Clock
) -> None:
    shelf.put(down("yto-01"))
    await watch.refresh()
    shelf.put()
    clock.now += 10
    await watch.refresh()
    assert watch.fleet.status is Status.OK
    assert picked(watch) == "yto-02"


async def test_view_ages_from_ok_to_stale_to_static(
    watch: FleetWatch, shelf: Shelf, clock: Clock, heard: Heard
) -> None:
    shelf.put(down("yto-01"))
    await watch.refresh()
    aged = []
    for age in (15, 16, 120, 121):
        clock.now = NOW + age
        await watch.refresh()
        aged.append((watch.fleet.status, picked(watch)))
    assert aged == [
        (Status.OK, "yto-02"),
        (Status.STALE, "yto-02"),
        (Status.STALE, "yto-02"),
        (Status.STATIC, "yto-01"),
    ]
    assert [after for _, after in heard.swaps] == [Status.OK, Status.STALE, Status.STATIC]


async def test_errors_of_the_store_change_no_answer(
    watch: FleetWatch, shelf: Shelf, heard: Heard
) -> None:
    shelf.put(down("yto-01"))
    await watch.refresh()
    table, shelf.error = watch.table, StoreError("Redis, read: gone")
    await watch.refresh()
    assert watch.table is table
    assert heard.reads == [(None, ()), (shelf.error, ())]


async def test_health_ages_while_the_store_errs(
    watch: FleetWatch, shelf: Shelf, clock: Clock
) -> None:
    shelf.put(a_view())
    await watch.refresh()
    shelf.error = StoreError("Redis, read: gone")
    clock.now += 60
    await watch.refresh()
    assert watch.fleet.status is Status.STALE


async def test_faults_of_the_store_are_reported(
    watch: FleetWatch, shelf: Shelf, heard: Heard
) -> None:
    shelf.put(a_view(), faults=["autorouter:view:evil: not JSON"])
    await watch.refresh()
    assert heard.reads == [(None, ("autorouter:view:evil: not JSON",))]
    assert watch.fleet.status is Status.OK


async def test_lower_seq_is_ignored(watch: FleetWatch, shelf: Shelf) -> None:
    shelf.put(down("yto-01", seq=5))
    await watch.refresh()
    shelf.put(a_view(seq=4))
    await watch.refresh()
    assert picked(watch) == "yto-02"


async def test_lower_seq_counts_once_the_vantage_went_silent(
    watch: FleetWatch, shelf: Shelf, clock: Clock
) -> None:
    shelf.put(down("yto-01", seq=5))
    await watch.refresh()
    clock.now += 16
    shelf.put(a_view(seq=4, probed_at=clock.now))
    await watch.refresh()
    assert (watch.fleet.status, picked(watch)) == (Status.OK, "yto-01")


async def test_older_view_never_counts_however_long_the_vantage_is_silent(
    watch: FleetWatch, shelf: Shelf, clock: Clock
) -> None:
    """A Redis that takes long to load gives back the view of its last save."""
    shelf.put(down("yto-01", seq=5))
    await watch.refresh()
    clock.now += 16
    shelf.put(a_view(seq=4, probed_at=NOW - 3))
    await watch.refresh()
    assert (watch.fleet.status, picked(watch)) == (Status.STALE, "yto-02")


async def test_stamp_from_the_future_counts_as_now(
    watch: FleetWatch, shelf: Shelf, clock: Clock
) -> None:
    shelf.put(a_view(probed_at=NOW + 3_600))
    await watch.refresh()
    assert watch.fleet.seen_at == NOW
    clock.now += 16
    await watch.refresh()
    assert watch.fleet.status is Status.STALE


async def test_dead_vantage_with_a_fast_clock_stays_dead(
    watch: FleetWatch, shelf: Shelf, clock: Clock
) -> None:
    shelf.put(down("yto-01", probed_at=NOW + 3_600))
    await watch.refresh()
    seen = set()
    for age in range(121, 400, 7):
        clock.now = NOW + age
        await watch.refresh()
        seen.add(watch.fleet.status)
    assert seen == {Status.STATIC}


async def test_vantage_that_the_store_forgot_is_forgotten_too(
    watch: FleetWatch, shelf: Shelf, clock: Clock
) -> None:
    shelf.put(a_view(seq=9))
    await watch.refresh()
    shelf.put()
    clock.now += 121
    await watch.refresh()
    shelf.put(a_view(seq=1, probed_at=clock.now))
    await watch.refresh()
    assert watch.fleet.status is Status.OK


async def test_views_of_two_vantages_are_combined(watch: FleetWatch, shelf: Shelf) -> None:
    seen = dict.fromkeys(CITIES, Observed.UP) | {"yto-01": Observed.DOWN}
    shelf.put(a_view("east", seen), a_view("west"))
    await watch.refresh()
    assert states(watch)["yto-01"] is Observed.DEGRADED


async def test_edge_that_no_view_names_is_unknown(watch: FleetWatch, shelf: Shelf) -> None:
    shelf.put(a_view(edges={"yul-01": Observed.UP, "gone-01": Observed.UP}))
    await watch.refresh()
    assert set(states(watch)) == set(CITIES)
    assert states(watch)["yto-01"] is Observed.UNKNOWN


async def test_intent_drains_until_it_expires(
    watch: FleetWatch, shelf: Shelf, clock: Clock
) -> None:
    shelf.put(a_view(), intents=[an_intent(expires_at=NOW + 10)])
    await watch.refresh()
    assert (watch.fleet.edges[0].intended, picked(watch)) == (Intended.DRAINING, "yto-02")
    clock.now += 11
    await watch.refresh()
    assert (watch.fleet.edges[0].intended, picked(watch)) == (Intended.ENABLED, "yto-01")


async def test_clock_that_jumps_back_breaks_nothing(
    watch: FleetWatch, shelf: Shelf, clock: Clock
) -> None:
    shelf.put(a_view(seq=1))
    await watch.refresh()
    clock.now -= 86_400
    shelf.put(down("yto-01", probed_at=clock.now))
    await watch.refresh()
    assert (watch.fleet.status, picked(watch)) == (Status.OK, "yto-02")


async def test_dead_vantage_stays_dead_when_our_clock_is_set_back(
    watch: FleetWatch, shelf: Shelf, clock: Clock
) -> None:
    shelf.put(a_view())
    await watch.refresh()
    for age in (-3_600, -3_600 + 16):
        clock.now = NOW + age
        await watch.refresh()
    assert watch.fleet.status is Status.STALE


async def test_follower_that_raises_stops_neither_health_nor_others(
    shelf: Shelf, heard: Heard, clock: Clock
) -> None:
    watch, seen = FleetWatch(a_ranker(), shelf, heard, clock=clock), []

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    watch.on_refresh(broken)
    watch.on_refresh(lambda stored: seen.append(len(stored.views)))
    watch.on_swap(broken)
    shelf.put(down("yto-01"))
    await watch.refresh()
    assert (picked(watch), seen) == ("yto-02", [1])
    assert [loop for loop, _ in heard.failures] == ["fleet_follower"] * 2


async def test_defect_while_reading_lets_health_age(
    shelf: Shelf, heard: Heard, clock: Clock
) -> None:
    watch = FleetWatch(a_ranker(), shelf, heard, clock=clock)
    shelf.put(down("yto-01"))
    await watch.refresh()
    shelf.stored = Stored((None,), ())  # type: ignore[arg-type]
    clock.now += 60
    with pytest.raises(AttributeError):
        await watch.refresh()
    assert (watch.fleet.status, picked(watch)) == (Status.STALE, "yto-02")


async def test_recalled_health_is_as_old_as_it_is(shelf: Shelf, heard: Heard, clock: Clock) -> None:
    clock.now += 60
    watch = FleetWatch(a_ranker(), Shelf(), heard, clock=clock)
    watch.recall(Stored((down("yto-01"),), ()))
    assert (watch.fleet.status, picked(watch)) == (Status.STALE, "yto-02")


async def test_published_view_reaches_answers_at_its_hint(heard: Heard) -> None:
    store = MemoryStore()
    watch = FleetWatch(a_ranker(), store, heard, clock=lambda: NOW)
    watching = asyncio.create_task(watch.run())
    await eventually(lambda: len(heard.reads) == 1)
    await store.publish(down("yto-01"))
    await eventually(lambda: picked(watch) == "yto-02", 0.5)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_watch_reads_on_after_errors(watch: FleetWatch, shelf: Shelf, heard: Heard) -> None:
    shelf.error = StoreError("Redis, read: gone")
    watching = asyncio.create_task(watch.run())
    await eventually(lambda: len(heard.reads) > 3)
    shelf.error = None
    shelf.put(a_view())
    await eventually(lambda: watch.fleet.status is Status.OK)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_catalog_without_edges_up_fails_open(watch: FleetWatch, shelf: Shelf) -> None:
    shelf.put(down(*CITIES))
    await watch.refresh()
    assert watch.fleet.status is Status.FAIL_OPEN
    assert picked(watch) == "yto-01"
    assert len(a_catalog().regions) == len(watch.fleet.edges)


# Operators


async def test_intents_are_told_as_they_come_and_go(heard: Heard) -> None:
    shelf = Shelf()
    watch = FleetWatch(a_ranker(), shelf, heard, clock=lambda: NOW)
    for intents in ([an_intent("yto-01")], [an_intent("yto-01")], []):
        shelf.put(a_view(), intents=intents)
        await watch.refresh()
    assert heard.wishes == [("yto-01", Intended.DRAINING), ("yto-01", None)]


async def test_extended_intent_is_reported_again(heard: Heard) -> None:
    shelf = Shelf()
    watch = FleetWatch(a_ranker(), shelf, heard, clock=lambda: NOW)
    for until in (NOW + 60, NOW + 120):
        shelf.put(a_view(), intents=[an_intent("yto-01", expires_at=until)])
        await watch.refresh()
    assert heard.wishes == [("yto-01", Intended.DRAINING)] * 2


async def test_followers_hear_of_each_swap(heard: Heard) -> None:
    shelf = Shelf()
    watch = FleetWatch(a_ranker(), shelf, heard, clock=lambda: NOW)
    told: list[Status] = []
    watch.on_swap(lambda _, after: told.append(after.status))
    for _ in range(2):
        shelf.put(a_view())
        await watch.refresh()
    assert told == [Status.OK]


# Another catalog


async def test_adopted_catalog_is_answered_by_at_once(heard: Heard) -> None:
    shelf = Shelf()
    watch = FleetWatch(a_ranker(), shelf, heard, clock=lambda: NOW)
    shelf.put(a_view())
    await watch.refresh()
    watch.adopt(a_ranker(a_region("yto-01"), a_region("yto-09")))
    assert [edge.region.id for edge in watch.table.fleet.edges] == ["yto-01", "yto-09"]
    assert [edge.observed for edge in watch.fleet.edges] == [Observed.UP, Observed.UNKNOWN]
    assert watch.table.ranker is watch.ranker
    assert len(heard.swaps) == 2


async def test_intents_are_read_for_the_adopted_edges(heard: Heard) -> None:
    store = MemoryStore(lambda: NOW)
    watch = FleetWatch(a_ranker(), store, heard, clock=lambda: NOW)
    await store.act(wishes(an_intent("yto-09")))
    await watch.refresh()
    watch.adopt(a_ranker(a_region("yto-09"), a_region("yto-01")))
    await watch.refresh()
    assert watch.fleet.edges[0].intended is Intended.DRAINING


async def test_fleet_can_be_imagined_with_other_intents(watch: FleetWatch, shelf: Shelf) -> None:
    shelf.put(a_view(), intents=[an_intent("yul-01")])
    await watch.refresh()
    imagined = watch.imagined([an_intent("yto-01", Intended.DISABLED)], without=["yul-01"])
    held = {edge.region.id for edge in imagined.edges if edge.intended is not Intended.ENABLED}
    assert (held, picked(watch)) == ({"yto-01"}, "yto-01")


async def test_imagined_fleet_knows_when_nothing_is_left(watch: FleetWatch, shelf: Shelf) -> None:
    shelf.put(down(*(id for id in CITIES if id != "sfo-01")))
    await watch.refresh()
    assert watch.fleet.status is Status.OK
    assert watch.imagined([an_intent("sfo-01")]).status is Status.FAIL_OPEN


async def test_what_vantages_say_of_themselves_is_kept(watch: FleetWatch, shelf: Shelf) -> None:
    views = (a_view("a"), a_view("b", isolated=True))
    shelf.put(*views)
    await watch.refresh()
    assert watch.published == views


async def test_error_of_the_store_is_kept_while_it_lasts(watch: FleetWatch, shelf: Shelf) -> None:
    shelf.error = StoreError("Redis, read: gone")
    await watch.refresh()
    assert watch.store_error is shelf.error
    shelf.error = None
    await watch.refresh()
    assert watch.store_error is None
