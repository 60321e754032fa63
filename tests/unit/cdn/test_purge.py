"""What is purged, when, how often it is tried, and that nothing waits for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cdn.purge import DEBOUNCE_S, LAST_RETRY_S, LIFE_S, MAX_TAGS, Purge
from router.errors import PurgeError, StoreError
from router.model import Event, EventKind, Intended, Observed
from router.routing.cache_headers import EVERY_TAG
from router.routing.fleet import Edge, changed_edges
from router.store.memory import MemoryStore
from tests.support import strategies
from tests.support.builders import NOW, a_fleet, a_fleet_but, a_region, an_edge

pytestmark = pytest.mark.anyio


class Cdn:
    """A target that takes purges, errs or hangs."""

    name = "varnish"

    def __init__(self) -> None:
        self.taken: list[list[str]] = []
        self.refused = 0
        self.error: PurgeError | None = None

    async def purge(self, tags: Sequence[str]) -> None:
        if self.error is not None:
            self.refused += 1
            raise self.error
        self.taken.append(list(tags))


@dataclass
class Heard:
    """An observer that keeps what it hears."""

    purges: list[tuple[str, float, bool]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def purge_ended(self, target: str, delay_s: float, error: PurgeError | None) -> None:
        self.purges.append((target, round(delay_s, 3), error is None))

    def event_happened(self, event: Event) -> None:
        self.events.append(event)


class Time:
    """Time that passes only while somebody sleeps; what happens meanwhile can be told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@dataclass
class Bench:
    """A running purge of one target."""

    cdn: Cdn = field(default_factory=Cdn)
    heard: Heard = field(default_factory=Heard)
    time: Time = field(default_factory=Time)
    store: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.purge = Purge(
            target=self.cdn,
            store=self.store,
            observer=self.heard,
            clock=lambda: NOW + self.time.now,
            monotonic=self.time,
            sleep=self.time.sleep,
        )

    def fall(self, *ids: str) -> None:
        self.purge.fleet_replaced(a_fleet(), a_fleet_but(*(down(id) for id in ids)))

    async def turns(self, count: int = 50) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def until(self, condition: Callable[[], bool]) -> None:
        """The very step after which it holds."""
        for _ in range(1_000):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("never so")

    async def told(self) -> list[tuple[str | None, str | None]]:
        return [(one.event.after, one.event.reason) for one in await self.store.events()]


@asynccontextmanager
async def a_bench() -> AsyncIterator[Bench]:
    bench = Bench()
    running = asyncio.create_task(bench.purge.run())
    yield bench
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def down(id: str) -> Edge:
    return an_edge(id, observed=Observed.DOWN)


# Which


@pytest.mark.parametrize(
    "changed",
    [
        down("yto-01"),
        an_edge("yto-01", observed=Observed.DEGRADED),
        an_edge("yto-01", intended=Intended.DRAINING),
        an_edge("yto-01", models=frozenset({"kokoro-82m"})),
    ],
    ids=["down", "degraded", "draining", "models"],
)
def test_edge_that_answers_treat_otherwise_has_changed(changed: Edge) -> None:
    assert changed_edges(a_fleet(), a_fleet_but(changed)) == ("yto-01",)
    assert changed_edges(a_fleet_but(changed), a_fleet()) == ("yto-01",)


def test_kind_of_intent_does_not_matter_to_answers() -> None:
    draining, disabled = (an_edge("yto-01", intended=one) for one in list(Intended)[1:])
    assert changed_edges(a_fleet_but(draining), a_fleet_but(disabled)) == ()


def test_edge_that_came_or_went_has_changed() -> None:
    few, more = a_fleet(an_edge("yto-01")), a_fleet(an_edge("yto-01"), an_edge("yul-01"))
    assert changed_edges(few, more) == changed_edges(more, few) == ("yul-01",)


def test_edge_that_moved_has_changed() -> None:
    moved = an_edge(a_region("yto-01", endpoint="https://elsewhere.example"))
    assert changed_edges(a_fleet(), a_fleet_but(moved)) == ("yto-01",)


@given(st.data())
def test_no_change_means_equal_answers(data: st.DataObject) -> None:
    catalog = data.draw(strategies.catalogs())
    before, after = data.draw(strategies.fleets(catalog)), data.draw(strategies.fleets(catalog))
    assert (changed_edges(before, after) == ()) is (before.routing[2:] == after.routing[2:])


# When


async def test_change_is_purged_after_a_moment() -> None:
    async with a_bench() as bench:
        bench.fall("yto-01")
        await bench.turns()
        assert bench.cdn.taken == [["edge:yto-01"]]
        assert bench.heard.purges == [("varnish", DEBOUNCE_S, True)]


async def test_changes_that_come_together_are_one_purge() -> None:
    async with a_bench() as bench:
        bench.fall("yto-01")
        bench.fall("yul-01", "nyc-01")
        await bench.turns()
        assert bench.cdn.taken == [["edge:nyc-01", "edge:yto-01", "edge:yul-01"]]


async def test_later_change_is_a_purge_of_its_own() -> None:
    async with a_bench() as bench:
        for _ in range(2):
            bench.fall("yto-01")
            await bench.turns()
        assert bench.cdn.taken == [["edge:yto-01"]] * 2


async def test_change_of_no_edge_is_not_purged() -> None:
    async with a_bench() as bench:
        bench.purge.fleet_replaced(a_fleet(), a_fleet())
        await bench.turns()
        assert (bench.cdn.taken, bench.time.slept) == ([], [])


async def test_many_edges_are_purged_as_everything() -> None:
    edges = [an_edge(f"e{number}") for number in range(MAX_TAGS + 1)]
    async with a_bench() as bench:
        bench.purge.fleet_replaced(a_fleet(), a_fleet(*edges))
        await bench.turns()
        assert bench.cdn.taken == [[EVERY_TAG]]


async def test_purge_is_told_of() -> None:
    async with a_bench() as bench:
        bench.fall("yto-01", "yul-01")
        await bench.turns()
        (logged,) = await bench.store.events()
        assert logged.event == bench.heard.events[0]
        assert logged.event == Event(
            at=NOW + DEBOUNCE_S,
            kind=EventKind.PURGE,
            after="ok",
            reason="edge:yto-01, edge:yul-01",
            actor="varnish",
        )


# Again


async def test_failed_purge_is_tried_again_more_and_more_slowly() -> None:
    async with a_bench() as bench:
        bench.cdn.error = PurgeError("answered 503")
        bench.fall("yto-01")
        await bench.until(lambda: bench.cdn.refused == 5)
        assert bench.time.slept[:5] == [DEBOUNCE_S, 0.5, 1.0, 2.0, 4.0]
        bench.cdn.error = None
        await bench.turns()
        assert bench.cdn.taken == [["edge:yto-01"]]


async def test_waits_between_tries_are_bounded() -> None:
    async with a_bench() as bench:
        bench.cdn.error = PurgeError("answered 503")
        for _ in range(20):
            bench.fall("yto-01")
            await bench.turns(10)
        assert max(bench.time.slept) == LAST_RETRY_S


async def test_change_during_retries_is_purged_with_the_rest() -> None:
    async with a_bench() as bench:
        bench.cdn.error = PurgeError("answered 503")
        bench.fall("yto-01")
        await bench.until(lambda: bench.cdn.refused == 2)
        bench.fall("yul-01")
        bench.cdn.error = None
        await bench.turns()
        assert bench.cdn.taken == [["edge:yto-01", "edge:yul-01"]]


async def test_purge_is_given_up_once_caches_are_past_it() -> None:
    async with a_bench() as bench:
        bench.cdn.error = PurgeError("answered 503")
        bench.fall("yto-01")
        await bench.until(lambda: len(bench.heard.events) == 2)
        assert LIFE_S <= bench.time.now <= LIFE_S + LAST_RETRY_S
        assert await bench.told() == [("failing", "answered 503"), ("gave up", "answered 503")]
        tries = bench.cdn.refused
        await bench.turns()
        assert bench.cdn.refused == tries


async def test_next_purge_after_a_success_is_prompt_again() -> None:
    async with a_bench() as bench:
        bench.cdn.error = PurgeError("answered 503")
        bench.fall("yto-01")
        await bench.until(lambda: bench.cdn.refused == 2)
        bench.cdn.error = None
        await bench.turns()
        bench.time.slept.clear()
        bench.fall("yul-01")
        await bench.turns()
        assert bench.time.slept == [DEBOUNCE_S]


async def test_every_failure_is_counted_but_told_once() -> None:
    async with a_bench() as bench:
        bench.cdn.error = PurgeError("answered 503")
        bench.fall("yto-01")
        await bench.until(lambda: len(bench.heard.purges) == 5)
        assert [ok for _, _, ok in bench.heard.purges] == [False] * 5
        assert await bench.told() == [("failing", "answered 503")]


async def test_store_that_is_away_does_not_stop_purging() -> None:
    class Away(MemoryStore):
        async def log_events(self, events: Sequence[Event]) -> None:
            raise StoreError("Redis: refused")

    async with a_bench() as bench:
        bench.purge.store = Away()
        for _ in range(2):
            bench.fall("yto-01")
            await bench.turns()
        assert len(bench.cdn.taken) == len(bench.heard.events) == 2
