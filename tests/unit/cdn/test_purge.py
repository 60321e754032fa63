"""What is purged, when, and how failed purges are retried."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cdn.purge import DEBOUNCE_S, LAST_RETRY_S, LIFE_S, MAX_TAGS, Purge
from router.errors import PurgeError
from router.model import Event, EventKind, Intended, Observed
from router.routing.cache_headers import EVERY_TAG
from router.routing.fleet import Edge, changed_edges
from router.store.memory import MemoryStore
from tests.support import strategies
from tests.support.builders import NOW, a_fleet, a_fleet_but, a_region, an_edge
from tests.support.failing_store import FailingStore

pytestmark = pytest.mark.anyio


class FakeCdn:
    """A purge target that records purges or fails."""

    name = "varnish"

    def __init__(self) -> None:
        self.purged_tags: list[list[str]] = []
        self.failures = 0
        self.error: PurgeError | None = None

    async def purge(self, tags: Sequence[str]) -> None:
        if self.error is not None:
            self.failures += 1
            raise self.error
        self.purged_tags.append(list(tags))


@dataclass
class Recorder:
    """An observer that records its calls."""

    purges: list[tuple[str, float, bool]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def purge_ended(self, target: str, delay_s: float, error: PurgeError | None) -> None:
        self.purges.append((target, round(delay_s, 3), error is None))

    def event_happened(self, event: Event) -> None:
        self.events.append(event)


class SleepClock:
    """A clock that only `sleep` advances."""

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
class RunningPurge:
    """A running purge of one target."""

    cdn: FakeCdn = field(default_factory=FakeCdn)
    recorder: Recorder = field(default_factory=Recorder)
    time: SleepClock = field(default_factory=SleepClock)
    store: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.purge = Purge(
            target=self.cdn,
            store=self.store,
            observer=self.recorder,
            clock=lambda: NOW + self.time.now,
            monotonic=self.time,
            sleep=self.time.sleep,
        )

    def fall(self, *ids: str) -> None:
        self.purge.schedule(a_fleet(), a_fleet_but(*(down(id) for id in ids)))

    async def run_loop(self, count: int = 50) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Run the loop until the condition holds."""
        for _ in range(1_000):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("the condition never held")

    async def logged(self) -> list[tuple[str | None, str | None]]:
        return [(one.event.after, one.event.reason) for one in await self.store.events()]


@asynccontextmanager
async def running_purge() -> AsyncIterator[RunningPurge]:
    run = RunningPurge()
    running = asyncio.create_task(run.purge.run())
    yield run
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def down(id: str) -> Edge:
    return an_edge(id, observed=Observed.DOWN)


# Changed edges


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
def test_edge_that_affects_answers_has_changed(changed: Edge) -> None:
    assert changed_edges(a_fleet(), a_fleet_but(changed)) == ("yto-01",)
    assert changed_edges(a_fleet_but(changed), a_fleet()) == ("yto-01",)


def test_draining_to_disabled_is_no_change() -> None:
    draining, disabled = (an_edge("yto-01", intended=one) for one in list(Intended)[1:])
    assert changed_edges(a_fleet_but(draining), a_fleet_but(disabled)) == ()


def test_added_or_removed_edge_has_changed() -> None:
    few, more = a_fleet(an_edge("yto-01")), a_fleet(an_edge("yto-01"), an_edge("yul-01"))
    assert changed_edges(few, more) == changed_edges(more, few) == ("yul-01",)


def test_edge_that_moved_has_changed() -> None:
    moved = an_edge(a_region("yto-01", endpoint="https://elsewhere.example"))
    assert changed_edges(a_fleet(), a_fleet_but(moved)) == ("yto-01",)


@given(st.data())
def test_no_change_means_equal_routing(data: st.DataObject) -> None:
    catalog = data.draw(strategies.catalogs())
    before, after = data.draw(strategies.fleets(catalog)), data.draw(strategies.fleets(catalog))
    assert (changed_edges(before, after) == ()) is (before.routing[2:] == after.routing[2:])


# Debounce


async def test_change_is_purged_after_the_debounce() -> None:
    async with running_purge() as run:
        run.fall("yto-01")
        await run.run_loop()
        assert run.cdn.purged_tags == [["edge:yto-01"]]
        assert run.recorder.purges == [("varnish", DEBOUNCE_S, True)]


async def test_simultaneous_changes_are_one_purge() -> None:
    async with running_purge() as run:
        run.fall("yto-01")
        run.fall("yul-01", "nyc-01")
        await run.run_loop()
        assert run.cdn.purged_tags == [["edge:nyc-01", "edge:yto-01", "edge:yul-01"]]


async def test_later_change_is_a_separate_purge() -> None:
    async with running_purge() as run:
        for _ in range(2):
            run.fall("yto-01")
            await run.run_loop()
        assert run.cdn.purged_tags == [["edge:yto-01"]] * 2


async def test_unchanged_fleet_is_not_purged() -> None:
    async with running_purge() as run:
        run.purge.schedule(a_fleet(), a_fleet())
        await run.run_loop()
        assert (run.cdn.purged_tags, run.time.slept) == ([], [])


async def test_many_edges_are_purged_by_one_tag() -> None:
    edges = [an_edge(f"e{number}") for number in range(MAX_TAGS + 1)]
    async with running_purge() as run:
        run.purge.schedule(a_fleet(), a_fleet(*edges))
        await run.run_loop()
        assert run.cdn.purged_tags == [[EVERY_TAG]]


async def test_purge_is_an_event() -> None:
    async with running_purge() as run:
        run.fall("yto-01", "yul-01")
        await run.run_loop()
        (logged,) = await run.store.events()
        assert logged.event == run.recorder.events[0]
        assert logged.event == Event(
            at=NOW + DEBOUNCE_S,
            kind=EventKind.PURGE,
            after="ok",
            reason="edge:yto-01, edge:yul-01",
            actor="varnish",
        )


# Retries


async def test_failed_purge_is_retried_with_backoff() -> None:
    async with running_purge() as run:
        run.cdn.error = PurgeError("answered 503")
        run.fall("yto-01")
        await run.until(lambda: run.cdn.failures == 5)
        assert run.time.slept[:5] == [DEBOUNCE_S, 0.5, 1.0, 2.0, 4.0]
        run.cdn.error = None
        await run.run_loop()
        assert run.cdn.purged_tags == [["edge:yto-01"]]


async def test_backoff_is_bounded() -> None:
    async with running_purge() as run:
        run.cdn.error = PurgeError("answered 503")
        for _ in range(20):
            run.fall("yto-01")
            await run.run_loop(10)
        assert max(run.time.slept) == LAST_RETRY_S


async def test_change_during_retries_is_purged_with_the_rest() -> None:
    async with running_purge() as run:
        run.cdn.error = PurgeError("answered 503")
        run.fall("yto-01")
        await run.until(lambda: run.cdn.failures == 2)
        run.fall("yul-01")
        run.cdn.error = None
        await run.run_loop()
        assert run.cdn.purged_tags == [["edge:yto-01", "edge:yul-01"]]


async def test_purge_is_abandoned_after_the_cache_lifetime() -> None:
    async with running_purge() as run:
        run.cdn.error = PurgeError("answered 503")
        run.fall("yto-01")
        await run.until(lambda: len(run.recorder.events) == 2)
        assert LIFE_S <= run.time.now <= LIFE_S + LAST_RETRY_S
        assert await run.logged() == [("failing", "answered 503"), ("gave up", "answered 503")]
        tries = run.cdn.failures
        await run.run_loop()
        assert run.cdn.failures == tries


async def test_success_resets_the_backoff() -> None:
    async with running_purge() as run:
        run.cdn.error = PurgeError("answered 503")
        run.fall("yto-01")
        await run.until(lambda: run.cdn.failures == 2)
        run.cdn.error = None
        await run.run_loop()
        run.time.slept.clear()
        run.fall("yul-01")
        await run.run_loop()
        assert run.time.slept == [DEBOUNCE_S]


async def test_every_failure_is_counted_but_logged_once() -> None:
    async with running_purge() as run:
        run.cdn.error = PurgeError("answered 503")
        run.fall("yto-01")
        await run.until(lambda: len(run.recorder.purges) == 5)
        assert [ok for _, _, ok in run.recorder.purges] == [False] * 5
        assert await run.logged() == [("failing", "answered 503")]


async def test_store_error_does_not_stop_purging() -> None:
    async with running_purge() as run:
        run.purge.store = FailingStore(failing={"log_events"})
        for _ in range(2):
            run.fall("yto-01")
            await run.run_loop()
        assert len(run.cdn.purged_tags) == len(run.recorder.events) == 2
