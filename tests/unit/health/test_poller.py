"""The poller and what it publishes, in virtual time."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from router.errors import StoreError
from router.health.answers import Inventory
from router.health.poller import MODELS_INTERVAL_S, Poller
from router.health.publisher import Publisher
from router.health.state import Transition
from router.model import (
    Event,
    EventKind,
    Observed,
    Outcome,
    Probe,
    Region,
    View,
)
from router.store.memory import MemoryStore
from tests.support.builders import (
    CITIES,
    NOW,
    a_catalog,
    a_region,
)
from tests.support.samples import samples
from tests.support.virtual_loop import VirtualLoop

pytestmark = pytest.mark.anyio

INTERVAL_S = 3.3  # three seconds and the jitter
HUNG_S = 2.0


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualLoop}


def now() -> float:
    return NOW + asyncio.get_running_loop().time()


class ScriptedProber:
    """A prober of scripted edges; `probes` has the times at which each was probed."""

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(CITIES, Outcome.OK)
        self.takes_s = dict.fromkeys(CITIES, 0.02)
        self.loaded: tuple[str, ...] | None = ("kokoro-82m",)
        self.probes: dict[str, list[float]] = {id: [] for id in CITIES}
        self.models_asked_at: list[float] = []
        self.raising: set[str] = set()

    def set(self, *ids: str, outcome: Outcome = Outcome.REFUSED, takes_s: float = 0.0) -> None:
        self.outcomes |= dict.fromkeys(ids, outcome)
        self.takes_s |= dict.fromkeys(ids, takes_s)

    async def health(self, region: Region) -> Probe:
        self.probes[region.id].append(now())
        if region.id in self.raising:
            raise RuntimeError("a bug")
        outcome = self.outcomes[region.id]
        await asyncio.sleep(self.takes_s[region.id])
        rtt_ms = 1_000 * self.takes_s[region.id] if outcome is Outcome.OK else None
        return Probe(outcome=outcome, rtt_ms=rtt_ms, detail=f"met {outcome}")

    async def models(self, region: Region) -> Inventory:
        if region.id == "yto-01":
            self.models_asked_at.append(now())
        return Inventory(self.loaded)


class RecordingStore(MemoryStore):
    """A store that records every view with its time, or fails."""

    def __init__(self) -> None:
        super().__init__(now)
        self.error: StoreError | None = None
        self.views: list[tuple[float, View]] = []

    async def publish(self, view: View) -> int:
        if self.error is not None:
            raise self.error
        self.views.append((now(), view))
        return await super().publish(view)

    @property
    def last(self) -> View:
        return self.views[-1][1]


@dataclass
class Recorder:
    """An observer that records its calls."""

    changes: list[tuple[str, Transition]] = field(default_factory=list)
    faults: list[tuple[str, Probe]] = field(default_factory=list)
    results: list[StoreError | None] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    loops: list[tuple[str, str]] = field(default_factory=list)

    def loop_failed(self, loop: str, error: Exception, wait_s: float) -> None:
        self.loops.append((loop, str(error)))

    def loop_recovered(self, loop: str) -> None:
        self.loops.append((loop, "recovered"))

    def edge_probed(self, region: Region, probe: Probe) -> None:
        pass

    def fault_found(self, region: Region, probe: Probe) -> None:
        self.faults.append((region.id, probe))

    def state_changed(self, region: Region, transition: Transition) -> None:
        self.changes.append((region.id, transition))

    def view_published(self, view: View, error: StoreError | None) -> None:
        self.results.append(error)

    def standing_by(self, vantage: str) -> None:
        pass

    def event_happened(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class Vantage:
    """A running poller with its prober, store and observer."""

    edges: ScriptedProber = field(default_factory=ScriptedProber)
    store: RecordingStore = field(default_factory=RecordingStore)
    recorder: Recorder = field(default_factory=Recorder)
    name: str = "local"
    seed: int = 1
    ahead_s: float = 0.0
    poller: Poller = field(init=False)

    @asynccontextmanager
    async def polling(self) -> AsyncIterator["Vantage"]:
        async def witnesses() -> Sequence[bool]:
            return ()

        def clock() -> float:
            return now() + self.ahead_s

        catalog = a_catalog()
        publisher = Publisher(
            catalog=catalog,
            store=self.store,
            observer=self.recorder,
            vantage=self.name,
            witnesses=witnesses,
            clock=clock,
        )
        self.poller = Poller(
            catalog=catalog,
            prober=self.edges,
            publisher=publisher,
            observer=self.recorder,
            clock=clock,
            monotonic=asyncio.get_running_loop().time,
            rng=random.Random(self.seed),
        )
        task = asyncio.create_task(self.poller.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def state(self, id: str) -> Observed:
        return self.store.last.edges[id].state

    def probed_at(self, id: str) -> float:
        return self.store.last.edges[id].probed_at or 0.0

    def down(self) -> set[str]:
        return {id for id in CITIES if self.state(id) is Observed.DOWN}

    def states(self) -> set[Observed]:
        return {edge.state for edge in self.store.last.edges.values()}


async def until(condition: Callable[[], object], limit_s: float = 600) -> float:
    """Wait until the condition holds; returns the seconds that took."""
    started = now()
    while not condition():
        assert now() - started < limit_s, "the condition never held"
        await asyncio.sleep(0.05)
    return now() - started


async def test_first_view_waits_for_a_verdict_on_every_edge() -> None:
    slow = Vantage()
    slow.edges.takes_s["sfo-01"] = 0.9
    async with slow.polling():
        await until(lambda: slow.store.views)
        first = slow.store.views[0][1]
    assert {edge.state for edge in first.edges.values()} == {Observed.UP}
    assert set(first.edges) == set(CITIES)


async def test_error_in_one_edge_loop_does_not_stop_the_others() -> None:
    vantage = Vantage()
    async with vantage.polling():
        await until(lambda: vantage.store.views)
        vantage.edges.raising = {"sfo-01"}
        await until(lambda: len(vantage.recorder.loops) >= 3)
        failed_at, probed = now(), len(vantage.edges.probes["yto-01"])
        await asyncio.sleep(30)
        assert len(vantage.edges.probes["yto-01"]) - probed >= 30 / INTERVAL_S - 1
        assert len(vantage.edges.probes["sfo-01"]) < 30
        assert vantage.store.last.probed_at > failed_at + 20
        assert vantage.probed_at("sfo-01") < failed_at
        vantage.edges.raising = set()
        await until(lambda: vantage.probed_at("sfo-01") > failed_at + 30)
        await until(lambda: vantage.recorder.loops[-1] == ("probing", "recovered"))
    assert vantage.recorder.loops[0] == ("probing", "sfo-01: RuntimeError: a bug")


async def test_edge_that_never_answers_does_not_delay_the_others() -> None:
    vantage = Vantage()
    vantage.edges.takes_s["sfo-01"] = 1e6
    async with vantage.polling():
        took = await until(lambda: vantage.store.views)
        assert took < 2 * INTERVAL_S
        assert vantage.state("sfo-01") is Observed.UNKNOWN
        assert vantage.state("yto-01") is Observed.UP


async def test_first_probes_are_spread_over_the_interval() -> None:
    async with Vantage().polling() as vantage:
        await until(lambda: vantage.store.views)
        firsts = sorted(times[0] for times in vantage.edges.probes.values())
    assert firsts[-1] - firsts[0] > 1
    assert len({round(at, 1) for at in firsts}) > 5


async def test_healthy_edges_are_probed_at_the_interval_with_jitter() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(120)
        times = vantage.edges.probes["yto-01"]
    gaps = {round(after - before, 3) for before, after in pairwise(times)}
    assert all(2.6 < gap < 3.4 for gap in gaps)
    assert len(gaps) > 10


async def test_view_is_written_every_interval_with_a_rising_seq() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(120)
        views = vantage.store.views[1:]
    seqs = [view.seq for _, view in views]
    assert all(after - before < INTERVAL_S for (before, _), (after, _) in pairwise(views))
    assert seqs == sorted(set(seqs))
    assert seqs[0] > NOW * 1_000


async def test_view_has_the_time_of_its_newest_probe() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(60)
    assert all(0 <= at - view.probed_at < INTERVAL_S for at, view in vantage.store.views)


@pytest.mark.parametrize(
    ("outcome", "takes_s", "limit_s"),
    [
        (Outcome.REFUSED, 0.0, 6.0),
        (Outcome.UNHEALTHY, 0.02, 5.0),
        (Outcome.TIMEOUT, HUNG_S, 9.0),
    ],
)
async def test_edge_that_fails_is_published_down_in_time(
    outcome: Outcome, takes_s: float, limit_s: float
) -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(30)
        vantage.edges.set("yto-01", outcome=outcome, takes_s=takes_s)
        took = await until(lambda: vantage.state("yto-01") is Observed.DOWN)
    assert took < limit_s
    assert vantage.store.last.edges["yto-01"].reason is outcome


async def test_transition_is_published_at_once() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(30)
        vantage.edges.set("yto-01")
        await until(
            lambda: any(
                id == "yto-01" and t.after is Observed.DOWN for id, t in vantage.recorder.changes
            )
        )
        assert await until(lambda: vantage.state("yto-01") is Observed.DOWN) < 0.1


async def test_failing_edge_is_rechecked_every_second() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(30)
        vantage.edges.set("yto-01")
        await until(lambda: vantage.state("yto-01") is Observed.DOWN)
        times = vantage.edges.probes["yto-01"][-3:]
    assert all(0.8 < after - before < 1.3 for before, after in pairwise(times))


async def test_edge_that_recovers_is_published_up_after_its_hold_down() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(30)
        vantage.edges.set("yto-01")
        await until(lambda: vantage.state("yto-01") is Observed.DOWN)
        vantage.edges.set("yto-01", outcome=Outcome.OK)
        took = await until(lambda: vantage.state("yto-01") is Observed.UP)
    assert 28 < took < 35


async def test_local_faults_do_not_change_states() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(30)
        vantage.edges.set(*CITIES, outcome=Outcome.LOCAL)
        failed_at = now()
        await asyncio.sleep(120)
        assert vantage.states() == {Observed.UP}
        assert not vantage.recorder.events
        assert vantage.store.last.probed_at <= failed_at + 1  # the view ages


async def test_vantage_with_only_local_faults_publishes_no_states() -> None:
    blind = Vantage()
    blind.edges.set(*CITIES, outcome=Outcome.LOCAL)
    async with blind.polling():
        await asyncio.sleep(60)
        assert blind.store.views == []
        blind.edges.set(*CITIES, outcome=Outcome.OK)
        await until(lambda: blind.store.views)
        assert await until(lambda: blind.states() == {Observed.UP}) < 2 * INTERVAL_S


async def test_store_error_does_not_stop_the_polling() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(30)
        vantage.store.error = StoreError("Redis: gone")
        vantage.edges.set("yto-01")
        await asyncio.sleep(60)
        vantage.store.error = None
        took = await until(lambda: vantage.state("yto-01") is Observed.DOWN)
    assert took < INTERVAL_S
    assert {type(error) for error in vantage.recorder.results} == {type(None), StoreError}


async def test_models_are_polled_at_their_interval_and_have_a_time() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(120)
        times = vantage.edges.models_asked_at
        edge = vantage.store.last.edges["yto-01"]
    assert all(0.85 < (b - a) / MODELS_INTERVAL_S < 1.15 for a, b in pairwise(times))
    assert edge.models == ("kokoro-82m",)
    assert edge.models_at in times[-2:]


async def test_changed_inventory_is_published_at_once() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(30)
        vantage.edges.loaded = ("kokoro-82m", "whisper")
        count = len(vantage.edges.models_asked_at)
        await until(lambda: len(vantage.edges.models_asked_at) > count)
        expected = ("kokoro-82m", "whisper")
        assert await until(lambda: vantage.store.last.edges["yto-01"].models == expected) < 0.2


async def test_last_inventory_and_its_time_are_kept_if_one_is_missing() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(30)
        dated = vantage.store.last.edges["yto-01"].models_at
        vantage.edges.loaded = None
        await asyncio.sleep(60)
        edge = vantage.store.last.edges["yto-01"]
    assert edge.models == ("kokoro-82m",)
    assert edge.models_at is not None
    assert dated is not None
    assert edge.models_at - dated <= MODELS_INTERVAL_S * 1.1


@pytest.mark.parametrize("jump_s", [-3_600, 3_600])
async def test_setting_the_clock_does_not_change_a_hold_down(jump_s: float) -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(30)
        vantage.edges.set("yto-01")
        await until(lambda: vantage.state("yto-01") is Observed.DOWN)
        vantage.edges.set("yto-01", outcome=Outcome.OK)
        vantage.ahead_s = jump_s
        took = await until(lambda: vantage.state("yto-01") is Observed.UP)
        stamps = vantage.store.last
    assert 28 < took < 35
    assert abs(stamps.probed_at - stamps.edges["yto-01"].since) < INTERVAL_S


@pytest.mark.parametrize("jump_s", [-3_600, 3_600])
async def test_setting_the_clock_does_not_change_the_brake(jump_s: float) -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(30)
        vantage.edges.set(*FALLEN)
        await until(lambda: vantage.store.last.held)
        vantage.ahead_s = jump_s
        assert 110 < await until(lambda: not vantage.store.last.held) < 125


FALLEN = list(CITIES)[:7]


@pytest.mark.parametrize("seed", range(samples(10)))
async def test_fall_of_most_of_the_fleet_is_held_for_two_minutes(seed: int) -> None:
    async with Vantage(seed=seed).polling() as vantage:
        await asyncio.sleep(30)
        vantage.edges.set(*FALLEN)
        await until(lambda: vantage.store.last.held)
        held_at = now()
        await asyncio.sleep(60)
        held = vantage.store.last.held
        assert {vantage.state(id) for id in held} == {Observed.UP}
        assert len(held) >= 4  # some are removed before the brake is on
        await until(lambda: vantage.down() == set(FALLEN))
    assert 110 < now() - held_at < 125
    assert EventKind.BRAKE in {event.kind for event in vantage.recorder.events}


async def test_second_poller_takes_over_when_the_first_ends() -> None:
    async with Vantage().polling() as first:
        await until(lambda: first.store.views)
        second = Vantage(store=first.store)
        second_polling = second.polling()
        await second_polling.__aenter__()
        await asyncio.sleep(20)
    assert await until(lambda: second.recorder.results) < INTERVAL_S
    seqs = [view.seq for _, view in first.store.views]
    assert seqs == sorted(seqs)
    await second_polling.__aexit__(None, None, None)


async def test_successor_never_reports_a_dead_edge_as_up() -> None:
    async with Vantage().polling() as first:
        await asyncio.sleep(30)
        first.edges.set("yto-01")
        await until(lambda: first.state("yto-01") is Observed.DOWN)
    async with Vantage(store=first.store).polling() as second:
        second.edges.set("yto-01")
        await asyncio.sleep(60)
        assert second.down() == {"yto-01"}
        assert Observed.UP not in {event.after for event in second.recorder.events}


# One edge that cannot be probed


async def test_edge_with_only_local_faults_becomes_unknown() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(30)
        vantage.edges.set("yto-01", outcome=Outcome.LOCAL)
        took = await until(lambda: vantage.state("yto-01") is Observed.UNKNOWN)
        edge = vantage.store.last.edges["yto-01"]
        assert 12 < took < 15 + 2 * INTERVAL_S
        assert edge.reason is Outcome.LOCAL
        assert edge.probed_at is not None
        assert vantage.store.last.probed_at - edge.probed_at > 15
        assert [(e.edge, e.after, e.reason) for e in vantage.recorder.events] == [
            ("yto-01", "unknown", "local")
        ]
        vantage.edges.set("yto-01", outcome=Outcome.OK, takes_s=0.02)
        took = await until(lambda: vantage.state("yto-01") is Observed.UP)
        assert took < 2 * INTERVAL_S


# Probe frequency


@pytest.mark.parametrize("takes_s", [0.9, 1.3, 1.9])
async def test_slow_edge_is_probed_as_often_as_any_other(takes_s: float) -> None:
    vantage = Vantage()
    vantage.edges.takes_s["yto-01"] = takes_s
    async with vantage.polling():
        await asyncio.sleep(30)
        before = {id: len(times) for id, times in vantage.edges.probes.items()}
        await asyncio.sleep(120)
        count = {id: len(vantage.edges.probes[id]) - before[id] for id in before}
    assert count["yto-01"] < 1.1 * count["yul-01"]


async def test_edge_that_turns_slow_is_not_probed_twice_as_often() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(60)
        before = len(vantage.edges.probes["yto-01"])
        vantage.edges.takes_s["yto-01"] = 1.2
        await asyncio.sleep(60)
        assert len(vantage.edges.probes["yto-01"]) - before < 1.2 * 60 / 3


async def test_edge_in_hold_down_is_probed_at_the_interval() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(30)
        vantage.edges.set("yto-01")
        await until(lambda: vantage.state("yto-01") is Observed.DOWN)
        vantage.edges.set("yto-01", outcome=Outcome.OK, takes_s=0.02)
        await asyncio.sleep(5)
        before = len(vantage.edges.probes["yto-01"])
        await asyncio.sleep(20)
        assert len(vantage.edges.probes["yto-01"]) - before <= 8


async def test_first_fault_of_an_edge_is_logged_once_until_it_is_up() -> None:
    async with Vantage().polling() as vantage:
        vantage.edges.set("yto-01", outcome=Outcome.BAD_BODY)
        vantage.edges.set("yul-01", outcome=Outcome.REFUSED)
        await asyncio.sleep(60)
        assert [(id, probe.detail) for id, probe in vantage.recorder.faults] == [
            ("yto-01", "met bad_body")
        ]
        vantage.edges.set("yto-01", outcome=Outcome.OK, takes_s=0.02)
        await until(lambda: vantage.state("yto-01") is Observed.UP)
        vantage.edges.set("yto-01", outcome=Outcome.BAD_BODY)
        await until(lambda: len(vantage.recorder.faults) == 2)


# The brake


async def test_short_outage_of_the_monitor_removes_no_edge() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(60)
        vantage.edges.set(*CITIES, outcome=Outcome.TIMEOUT, takes_s=HUNG_S)
        await asyncio.sleep(12)
        assert vantage.store.last.held
        vantage.edges.set(*CITIES, outcome=Outcome.OK, takes_s=0.02)
        await asyncio.sleep(120)
    seen = {edge.state for _, view in vantage.store.views for edge in view.edges.values()}
    assert seen == {Observed.UP}
    assert not vantage.store.last.held


async def test_edges_that_stay_dead_after_a_mass_fall_are_removed() -> None:
    dead = set(list(CITIES)[:4])
    async with Vantage().polling() as vantage:
        await asyncio.sleep(60)
        vantage.edges.set(*CITIES)
        await asyncio.sleep(12)
        vantage.edges.set(*(set(CITIES) - dead), outcome=Outcome.OK, takes_s=0.02)
        took = await until(lambda: vantage.down() == dead)
    assert took < 20


async def test_edge_down_for_both_vantages_is_removed_during_a_brake() -> None:
    store, ids = RecordingStore(), list(CITIES)
    healthy, cut = Vantage(store=store, name="a"), Vantage(store=store, name="b", seed=2)

    def edges_in(name: str, state: Observed) -> set[str]:
        return {id for id, edge in store._views[name].edges.items() if edge.state is state}

    async with healthy.polling(), cut.polling():
        await asyncio.sleep(60)
        cut.edges.set(*ids[:5])
        await until(lambda: edges_in("b", Observed.DOWN) == set(ids[:5]))
        for vantage in (healthy, cut):
            vantage.edges.set(ids[5])
        took = await until(
            lambda: ids[5] in edges_in("a", Observed.DOWN) & edges_in("b", Observed.DOWN)
        )
        assert took < 6 + INTERVAL_S
        assert edges_in("a", Observed.DOWN) == {ids[5]}


async def test_edge_never_seen_working_is_not_held() -> None:
    vantage = Vantage()
    vantage.edges.set(*list(CITIES)[:6], outcome=Outcome.BAD_BODY)
    async with vantage.polling():
        await asyncio.sleep(60)
        assert vantage.store.last.held == ()
        assert vantage.state("yto-01") is Observed.UNKNOWN


# A new catalog


async def test_new_catalog_is_published_after_each_edge_is_probed() -> None:
    new = [a_region(f"new-{number}") for number in range(8)]
    async with Vantage().polling() as vantage:
        await asyncio.sleep(30)
        for region in new:
            vantage.edges.outcomes[region.id] = Outcome.OK
            vantage.edges.takes_s[region.id] = 0.02
            vantage.edges.probes[region.id] = []
        vantage.poller.replace_catalog(a_catalog(*new))
        await until(lambda: "new-0" in vantage.store.last.edges)
        assert vantage.states() == {Observed.UP}


async def test_edge_with_another_weight_keeps_its_health() -> None:
    async with Vantage().polling() as vantage:
        await asyncio.sleep(30)
        asked = len(vantage.edges.probes["yto-01"])
        vantage.poller.replace_catalog(a_catalog(*(a_region(id, weight=2) for id in CITIES)))
        await asyncio.sleep(0.2)
        assert vantage.states() == {Observed.UP}
        assert len(vantage.edges.probes["yto-01"]) <= asked + 1


async def test_new_catalog_keeps_the_health_of_edges_that_stay() -> None:
    async with Vantage().polling() as vantage:
        vantage.edges.set("yul-01")
        await until(lambda: vantage.store.views and vantage.down() == {"yul-01"})
        since = vantage.store.last.edges["yul-01"].since
        vantage.edges.outcomes["yto-09"] = Outcome.OK
        vantage.edges.takes_s["yto-09"] = 0.02
        vantage.edges.probes["yto-09"] = []
        vantage.poller.replace_catalog(a_catalog(a_region("yul-01"), a_region("yto-09")))
        await until(lambda: "yto-09" in vantage.store.last.edges)
        await until(lambda: vantage.state("yto-09") is Observed.UP, INTERVAL_S)
        assert set(vantage.store.last.edges) == {"yul-01", "yto-09"}
        assert vantage.store.last.edges["yul-01"].since == since


async def test_edge_removed_from_the_catalog_is_not_probed() -> None:
    async with Vantage().polling() as vantage:
        await until(lambda: vantage.store.views)
        vantage.poller.replace_catalog(a_catalog(a_region("yul-01")))
        await asyncio.sleep(HUNG_S)
        asked = len(vantage.edges.probes["yto-01"])
        await asyncio.sleep(60)
        assert len(vantage.edges.probes["yto-01"]) == asked
        assert len(vantage.edges.probes["yul-01"]) > 20


async def test_edge_with_a_new_url_keeps_its_published_state_until_probed() -> None:
    async with Vantage().polling() as vantage:
        vantage.edges.set("yul-01")
        await until(lambda: vantage.store.views and vantage.down() == {"yul-01"})
        moved = a_region("yul-01", endpoint="https://elsewhere.example")
        vantage.poller.replace_catalog(a_catalog(moved, a_region("yto-01")))
        await asyncio.sleep(0.1)
        assert vantage.state("yul-01") is Observed.DOWN
        vantage.edges.set("yul-01", outcome=Outcome.OK, takes_s=0.02)
        await until(lambda: vantage.state("yul-01") is Observed.UP, INTERVAL_S)
