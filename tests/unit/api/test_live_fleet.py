"""The fleet that answers use while the store changes, fails or sends bad data."""

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
from tests.support.clock import Clock
from tests.support.servers import eventually

pytestmark = pytest.mark.anyio


class FakeStore(MemoryStore):
    """A store whose contents and error the test sets."""

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
class Recorder:
    """An observer that records its calls."""

    reads: list[tuple[StoreError | None, tuple[str, ...]]] = field(default_factory=list)
    swaps: list[tuple[Status, Status]] = field(default_factory=list)
    wishes: list[tuple[str, Intended | None]] = field(default_factory=list)
    failures: list[tuple[str, Exception]] = field(default_factory=list)

    def store_read(self, error: StoreError | None, faults: tuple[str, ...]) -> None:
        self.reads.append((error, faults))

    def intent_changed(self, edge: str, intent: Intent | None) -> None:
        self.wishes.append((edge, None if intent is None else intent.state))

    def loop_failed(self, loop: str, error: Exception, wait_s: float) -> None:
        self.failures.append((loop, error))

    def fleet_replaced(self, before: Fleet, after: Fleet) -> None:
        self.swaps.append((before.status, after.status))


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def watch(clock: Clock, store: FakeStore, recorder: Recorder) -> FleetWatch:
    return FleetWatch(a_ranker(), store, recorder, clock=clock)


def region_for_toronto(watch: FleetWatch) -> str:
    answer = watch.table.answer(a_key(), Query(), Sharing.PRIVATE)
    return answer.labels.region


def down(*ids: str, seq: int = 2, probed_at: float = NOW) -> View:
    edges = dict.fromkeys(CITIES, Observed.UP) | dict.fromkeys(ids, Observed.DOWN)
    return a_view(edges=edges, seq=seq, probed_at=probed_at)


def states(watch: FleetWatch) -> dict[str, Observed]:
    return {edge.region.id: edge.observed for edge in watch.fleet.edges}


async def test_answers_exist_before_the_first_read(watch: FleetWatch) -> None:
    assert watch.fleet.status is Status.STATIC
    assert region_for_toronto(watch) == "yto-01"


async def test_first_view_changes_the_status_to_ok(
    watch: FleetWatch, store: FakeStore, recorder: Recorder
) -> None:
    store.put(a_view())
    await watch.refresh()
    assert watch.fleet.status is Status.OK
    assert recorder.swaps == [(Status.STATIC, Status.OK)]


async def test_edge_that_is_down_gets_no_viewers(watch: FleetWatch, store: FakeStore) -> None:
    store.put(a_view())
    await watch.refresh()
    store.put(down("yto-01"))
    await watch.refresh()
    assert region_for_toronto(watch) == "yto-02"


async def test_table_is_kept_while_routing_is_the_same(
    watch: FleetWatch, store: FakeStore, clock: Clock, recorder: Recorder
) -> None:
    store.put(a_view(seq=1))
    await watch.refresh()
    table = watch.table
    clock.now += 3
    store.put(a_view(seq=2, probed_at=clock.now))
    await watch.refresh()
    assert watch.table is table
    assert watch.fleet.seen_at == clock.now
    assert len(recorder.swaps) == 1


async def test_table_is_replaced_when_routing_changes(watch: FleetWatch, store: FakeStore) -> None:
    store.put(a_view(seq=1))
    await watch.refresh()
    before = watch.table
    store.put(down("yto-01"))
    await watch.refresh()
    assert before.fleet.edges[0].observed is Observed.UP
    assert watch.table.fleet is watch.fleet


async def test_view_missing_from_the_store_is_kept(
    watch: FleetWatch, store: FakeStore, clock: Clock
) -> None:
    store.put(down("yto-01"))
    await watch.refresh()
    store.put()
    clock.now += 10
    await watch.refresh()
    assert watch.fleet.status is Status.OK
    assert region_for_toronto(watch) == "yto-02"


async def test_view_ages_from_ok_to_stale_to_static(
    watch: FleetWatch, store: FakeStore, clock: Clock, recorder: Recorder
) -> None:
    store.put(down("yto-01"))
    await watch.refresh()
    aged = []
    for age in (15, 16, 120, 121):
        clock.now = NOW + age
        await watch.refresh()
        aged.append((watch.fleet.status, region_for_toronto(watch)))
    assert aged == [
        (Status.OK, "yto-02"),
        (Status.STALE, "yto-02"),
        (Status.STALE, "yto-02"),
        (Status.STATIC, "yto-01"),
    ]
    assert [after for _, after in recorder.swaps] == [Status.OK, Status.STALE, Status.STATIC]


async def test_store_error_does_not_change_answers(
    watch: FleetWatch, store: FakeStore, recorder: Recorder
) -> None:
    store.put(down("yto-01"))
    await watch.refresh()
    table, store.error = watch.table, StoreError("Redis, read: gone")
    await watch.refresh()
    assert watch.table is table
    assert recorder.reads == [(None, ()), (store.error, ())]


async def test_health_ages_while_the_store_fails(
    watch: FleetWatch, store: FakeStore, clock: Clock
) -> None:
    store.put(a_view())
    await watch.refresh()
    store.error = StoreError("Redis, read: gone")
    clock.now += 60
    await watch.refresh()
    assert watch.fleet.status is Status.STALE


async def test_store_faults_are_reported(
    watch: FleetWatch, store: FakeStore, recorder: Recorder
) -> None:
    store.put(a_view(), faults=["autorouter:view:evil: not JSON"])
    await watch.refresh()
    assert recorder.reads == [(None, ("autorouter:view:evil: not JSON",))]
    assert watch.fleet.status is Status.OK


async def test_lower_seq_is_ignored(watch: FleetWatch, store: FakeStore) -> None:
    store.put(down("yto-01", seq=5))
    await watch.refresh()
    store.put(a_view(seq=4))
    await watch.refresh()
    assert region_for_toronto(watch) == "yto-02"


@pytest.mark.parametrize(
    ("probed_at", "expected"),
    [(NOW + 16, (Status.OK, "yto-01")), (NOW - 3, (Status.STALE, "yto-02"))],
    ids=["newer", "older"],  # older: Redis that reloads from disk returns the last saved view
)
async def test_lower_seq_is_accepted_after_silence_if_newer(
    watch: FleetWatch,
    store: FakeStore,
    clock: Clock,
    probed_at: float,
    expected: tuple[Status, str],
) -> None:
    store.put(down("yto-01", seq=5))
    await watch.refresh()
    clock.now += 16
    store.put(a_view(seq=4, probed_at=probed_at))
    await watch.refresh()
    assert (watch.fleet.status, region_for_toronto(watch)) == expected


async def test_future_timestamp_counts_as_now(
    watch: FleetWatch, store: FakeStore, clock: Clock
) -> None:
    store.put(a_view(probed_at=NOW + 3_600))
    await watch.refresh()
    assert watch.fleet.seen_at == NOW
    clock.now += 16
    await watch.refresh()
    assert watch.fleet.status is Status.STALE


async def test_dead_vantage_with_a_fast_clock_stays_dead(
    watch: FleetWatch, store: FakeStore, clock: Clock
) -> None:
    store.put(down("yto-01", probed_at=NOW + 3_600))
    await watch.refresh()
    seen = set()
    for age in range(121, 400, 7):
        clock.now = NOW + age
        await watch.refresh()
        seen.add(watch.fleet.status)
    assert seen == {Status.STATIC}


async def test_expired_vantage_may_restart_its_seq(
    watch: FleetWatch, store: FakeStore, clock: Clock
) -> None:
    store.put(a_view(seq=9))
    await watch.refresh()
    store.put()
    clock.now += 121
    await watch.refresh()
    store.put(a_view(seq=1, probed_at=clock.now))
    await watch.refresh()
    assert watch.fleet.status is Status.OK


async def test_views_of_two_vantages_are_combined(watch: FleetWatch, store: FakeStore) -> None:
    seen = dict.fromkeys(CITIES, Observed.UP) | {"yto-01": Observed.DOWN}
    store.put(a_view("east", seen), a_view("west"))
    await watch.refresh()
    assert states(watch)["yto-01"] is Observed.DEGRADED


async def test_edge_in_no_view_is_unknown(watch: FleetWatch, store: FakeStore) -> None:
    store.put(a_view(edges={"yul-01": Observed.UP, "gone-01": Observed.UP}))
    await watch.refresh()
    assert set(states(watch)) == set(CITIES)
    assert states(watch)["yto-01"] is Observed.UNKNOWN


async def test_intent_drains_until_it_expires(
    watch: FleetWatch, store: FakeStore, clock: Clock
) -> None:
    store.put(a_view(), intents=[an_intent(expires_at=NOW + 10)])
    await watch.refresh()
    assert (watch.fleet.edges[0].intended, region_for_toronto(watch)) == (
        Intended.DRAINING,
        "yto-02",
    )
    clock.now += 11
    await watch.refresh()
    assert (watch.fleet.edges[0].intended, region_for_toronto(watch)) == (
        Intended.ENABLED,
        "yto-01",
    )


async def test_new_view_is_used_after_the_clock_is_set_back(
    watch: FleetWatch, store: FakeStore, clock: Clock
) -> None:
    store.put(a_view(seq=1))
    await watch.refresh()
    clock.now -= 86_400
    store.put(down("yto-01", probed_at=clock.now))
    await watch.refresh()
    assert (watch.fleet.status, region_for_toronto(watch)) == (Status.OK, "yto-02")


async def test_dead_vantage_stays_dead_after_the_clock_is_set_back(
    watch: FleetWatch, store: FakeStore, clock: Clock
) -> None:
    store.put(a_view())
    await watch.refresh()
    for age in (-3_600, -3_600 + 16):
        clock.now = NOW + age
        await watch.refresh()
    assert watch.fleet.status is Status.STALE


async def test_follower_that_raises_does_not_stop_the_others(
    store: FakeStore, recorder: Recorder, clock: Clock
) -> None:
    watch, seen = FleetWatch(a_ranker(), store, recorder, clock=clock), []

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    watch.on_refresh(broken)
    watch.on_refresh(lambda stored: seen.append(len(stored.views)))
    watch.on_fleet_replaced(broken)
    store.put(down("yto-01"))
    await watch.refresh()
    assert (region_for_toronto(watch), seen) == ("yto-02", [1])
    assert [loop for loop, _ in recorder.failures] == ["fleet_follower"] * 2


async def test_health_ages_when_reading_raises(
    store: FakeStore, recorder: Recorder, clock: Clock
) -> None:
    watch = FleetWatch(a_ranker(), store, recorder, clock=clock)
    store.put(down("yto-01"))
    await watch.refresh()
    store.stored = Stored((None,), ())  # type: ignore[arg-type]
    clock.now += 60
    with pytest.raises(AttributeError):
        await watch.refresh()
    assert (watch.fleet.status, region_for_toronto(watch)) == (Status.STALE, "yto-02")


async def test_published_view_reaches_answers_at_once(recorder: Recorder) -> None:
    store = MemoryStore()
    watch = FleetWatch(a_ranker(), store, recorder, clock=lambda: NOW)
    watching = asyncio.create_task(watch.run())
    await eventually(lambda: len(recorder.reads) == 1)
    await store.publish(down("yto-01"))
    await eventually(lambda: region_for_toronto(watch) == "yto-02", 0.5)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_watch_continues_after_errors(
    watch: FleetWatch, store: FakeStore, recorder: Recorder
) -> None:
    store.error = StoreError("Redis, read: gone")
    watching = asyncio.create_task(watch.run())
    await eventually(lambda: len(recorder.reads) > 3)
    store.error = None
    store.put(a_view())
    await eventually(lambda: watch.fleet.status is Status.OK)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_fleet_without_edges_up_fails_open(watch: FleetWatch, store: FakeStore) -> None:
    store.put(down(*CITIES))
    await watch.refresh()
    assert watch.fleet.status is Status.FAIL_OPEN
    assert region_for_toronto(watch) == "yto-01"
    assert len(a_catalog().regions) == len(watch.fleet.edges)


# Operators


async def test_each_intent_change_is_reported_once(recorder: Recorder) -> None:
    store = FakeStore()
    watch = FleetWatch(a_ranker(), store, recorder, clock=lambda: NOW)
    for intents in ([an_intent("yto-01")], [an_intent("yto-01")], []):
        store.put(a_view(), intents=intents)
        await watch.refresh()
    assert recorder.wishes == [("yto-01", Intended.DRAINING), ("yto-01", None)]


async def test_extended_intent_is_reported_again(recorder: Recorder) -> None:
    store = FakeStore()
    watch = FleetWatch(a_ranker(), store, recorder, clock=lambda: NOW)
    for until in (NOW + 60, NOW + 120):
        store.put(a_view(), intents=[an_intent("yto-01", expires_at=until)])
        await watch.refresh()
    assert recorder.wishes == [("yto-01", Intended.DRAINING)] * 2


async def test_followers_are_called_at_each_swap(recorder: Recorder) -> None:
    store = FakeStore()
    watch = FleetWatch(a_ranker(), store, recorder, clock=lambda: NOW)
    statuses: list[Status] = []
    watch.on_fleet_replaced(lambda _, after: statuses.append(after.status))
    for _ in range(2):
        store.put(a_view())
        await watch.refresh()
    assert statuses == [Status.OK]


# A new catalog


async def test_adopted_catalog_is_used_at_once(recorder: Recorder) -> None:
    store = FakeStore()
    watch = FleetWatch(a_ranker(), store, recorder, clock=lambda: NOW)
    store.put(a_view())
    await watch.refresh()
    watch.replace_ranker(a_ranker(a_region("yto-01"), a_region("yto-09")))
    assert [edge.region.id for edge in watch.table.fleet.edges] == ["yto-01", "yto-09"]
    assert [edge.observed for edge in watch.fleet.edges] == [Observed.UP, Observed.UNKNOWN]
    assert watch.table.ranker is watch.ranker
    assert len(recorder.swaps) == 2


async def test_intents_are_read_for_the_adopted_edges(recorder: Recorder) -> None:
    store = MemoryStore(lambda: NOW)
    watch = FleetWatch(a_ranker(), store, recorder, clock=lambda: NOW)
    await store.change_intents(wishes(an_intent("yto-09")))
    await watch.refresh()
    watch.replace_ranker(a_ranker(a_region("yto-09"), a_region("yto-01")))
    await watch.refresh()
    assert watch.fleet.edges[0].intended is Intended.DRAINING


async def test_imagined_fleet_has_the_given_intents(watch: FleetWatch, store: FakeStore) -> None:
    store.put(a_view(), intents=[an_intent("yul-01")])
    await watch.refresh()
    imagined = watch.preview([an_intent("yto-01", Intended.DISABLED)], without=["yul-01"])
    held = {edge.region.id for edge in imagined.edges if edge.intended is not Intended.ENABLED}
    assert (held, region_for_toronto(watch)) == ({"yto-01"}, "yto-01")


async def test_imagined_fleet_without_edges_fails_open(watch: FleetWatch, store: FakeStore) -> None:
    store.put(down(*(id for id in CITIES if id != "sfo-01")))
    await watch.refresh()
    assert watch.fleet.status is Status.OK
    assert watch.preview([an_intent("sfo-01")]).status is Status.FAIL_OPEN


async def test_published_views_are_kept(watch: FleetWatch, store: FakeStore) -> None:
    views = (a_view("a"), a_view("b", isolated=True))
    store.put(*views)
    await watch.refresh()
    assert watch.published == views


async def test_store_error_is_kept_while_it_lasts(watch: FleetWatch, store: FakeStore) -> None:
    store.error = StoreError("Redis, read: gone")
    await watch.refresh()
    assert watch.store_error is store.error
    store.error = None
    await watch.refresh()
    assert watch.store_error is None
