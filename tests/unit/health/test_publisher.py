"""What one vantage publishes, when, and which events it logs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from router.errors import StoreError
from router.health.publisher import LEASE_S, Publisher, process_name
from router.health.state import Health
from router.health.watched import Watched
from router.model import Event, EventKind, Intended, Intent, Observed, Outcome, View
from router.store import Change
from tests.support.builders import (
    CITIES,
    NOW,
    a_catalog,
    a_region,
    a_view,
    an_edge_view,
    an_intent,
    wishes,
)
from tests.support.clock import Clock
from tests.support.failing_store import STORE_ERROR, FailingStore

pytestmark = pytest.mark.anyio

ALL = tuple(CITIES)
MOST = ALL[:7]


@dataclass
class Recorder:
    """An observer that records its calls."""

    results: list[StoreError | None] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    stood_by_count: int = 0

    def view_published(self, view: View, error: StoreError | None) -> None:
        self.results.append(error)

    def standing_by(self, vantage: str) -> None:
        self.stood_by_count += 1

    def event_happened(self, event: Event) -> None:
        self.events.append(event)


class Vantage:
    """A publisher with its store, observer and probe results; at first every edge is up."""

    def __init__(
        self, clock: Clock, store: FailingStore, name: str = "local", witnesses: Iterable[bool] = ()
    ) -> None:
        async def ask() -> Sequence[bool]:
            return self.witnesses

        self.clock, self.store, self.name = clock, store, name
        self.witnesses = list(witnesses)
        self.recorder = Recorder()
        self.watched = {id: a_watched(id) for id in ALL}
        self.publisher = Publisher(
            catalog=a_catalog(),
            store=store,
            observer=self.recorder,
            vantage=name,
            witnesses=ask,
            clock=clock,
            holder=f"{name} {id(self)}",
        )

    async def publish(self) -> None:
        await self.publisher.publish(list(self.watched.values()))

    async def set_state(self, state: Observed, *ids: str) -> None:
        """Set the state of these edges (default: all) and publish."""
        for id in ids or ALL:
            self.watched[id] = a_watched(id, state, since=self.clock.now, probed_at=self.clock.now)
        await self.publish()

    async def wait(self, seconds: float) -> None:
        """Let time pass without a change and publish."""
        self.clock.now += seconds
        for one in self.watched.values():
            one.probed_at = self.clock.now
        await self.publish()

    @property
    def view(self) -> View:
        return self.store._views[self.name]

    def state(self, id: str) -> Observed:
        return self.view.edges[id].state

    def down(self) -> set[str]:
        return {id for id, edge in self.view.edges.items() if edge.state is Observed.DOWN}

    def logged(self, kind: EventKind) -> list[str | None]:
        return [event.after for event in self.recorder.events if event.kind is kind]


def a_watched(
    id: str,
    state: Observed = Observed.UP,
    *,
    since: float = NOW - 3_600,
    probed_at: float | None = NOW,
) -> Watched:
    streak = {Observed.DOWN: -3, Observed.UNKNOWN: 0}.get(state, 5)
    outcome = Outcome.REFUSED if state is Observed.DOWN else Outcome.OK
    health = Health(state=state, since=since, streak=streak, reason=outcome)
    return Watched(a_region(id), health, probed_at=probed_at)


@pytest.fixture
def store(clock: Clock) -> FailingStore:
    return FailingStore(clock)


@pytest.fixture
def vantage(clock: Clock, store: FailingStore) -> Vantage:
    return Vantage(clock, store)


async def test_nothing_is_published_before_the_first_result(vantage: Vantage) -> None:
    vantage.watched = {id: a_watched(id, Observed.UNKNOWN, probed_at=None) for id in ALL}
    await vantage.publish()
    assert (vantage.store._views, vantage.recorder.results) == ({}, [])
    assert await vantage.store.hold_lease("local", "another", 1)


async def test_view_is_published_after_the_first_result(vantage: Vantage) -> None:
    vantage.watched = {id: a_watched(id, Observed.UNKNOWN, probed_at=None) for id in ALL}
    await vantage.set_state(Observed.UP, "yto-01")
    assert vantage.state("yto-01") is Observed.UP
    assert vantage.state("yul-01") is Observed.UNKNOWN


@pytest.mark.parametrize("others", [None, NOW - 500.0])
async def test_view_has_the_time_of_its_newest_result(
    vantage: Vantage, others: float | None
) -> None:
    vantage.watched = {id: a_watched(id, probed_at=others) for id in ALL}
    vantage.watched["yul-01"].probed_at = NOW - 20
    await vantage.publish()
    assert vantage.view.probed_at == NOW - 20


@pytest.mark.parametrize(("age_s", "reason"), [(5, Outcome.OK), (16, Outcome.LOCAL)])
async def test_edges_keep_their_state_while_every_probe_fails_locally(
    vantage: Vantage, age_s: float, reason: Outcome
) -> None:
    for watched in vantage.watched.values():
        watched.is_local, watched.probed_at = True, NOW - age_s
    await vantage.publish()
    logged = {(edge.state, edge.reason) for edge in vantage.view.edges.values()}
    assert logged == {(Observed.UP, reason)}


async def test_view_has_every_field_of_an_edge(vantage: Vantage) -> None:
    watched = vantage.watched["yto-01"]
    watched.health = replace(watched.health, rtt_ms=12.34)
    watched.models, watched.models_at = ("kokoro-82m",), NOW - 5
    await vantage.publish()
    edge = replace(an_edge_view(models=("kokoro-82m",), models_at=NOW - 5), rtt_ms=12.3)
    edge = replace(edge, streak=5, reason=Outcome.OK, probed_at=NOW, worked=True)
    assert vantage.view.edges["yto-01"] == edge


async def test_longest_inventories_are_dropped_from_a_large_view(
    vantage: Vantage,
) -> None:
    for id, count in (("yto-01", 20_000), ("yul-01", 10)):
        one = vantage.watched[id]
        one.models = tuple(f"{number:0125}" for number in range(count))
        one.models_at = NOW
    await vantage.publish()
    long, short = vantage.view.edges["yto-01"], vantage.view.edges["yul-01"]
    assert (long.models, long.models_fault) == (None, Outcome.TOO_LARGE)
    assert (len(short.models or ()), short.models_fault) == (10, None)
    assert vantage.logged(EventKind.MODELS) == ["unknown"]


async def test_address_that_fails_is_an_event_until_it_works(vantage: Vantage) -> None:
    vantage.watched["yto-01"].addresses = {"::1": 3, "127.0.0.1": 0}
    await vantage.publish()
    assert vantage.view.edges["yto-01"].bad_addresses == ("::1",)
    vantage.watched["yto-01"].addresses = {"::1": 0, "127.0.0.1": 0}
    await vantage.publish()
    assert vantage.logged(EventKind.ADDRESS) == ["failing", "ok"]


async def test_seq_starts_at_the_start_time_and_rises(vantage: Vantage) -> None:
    seqs = []
    for _ in range(3):
        await vantage.wait(1)
        seqs.append(vantage.view.seq)
    assert seqs == [NOW * 1_000 + n for n in (1, 2, 3)]


@pytest.mark.parametrize("probed_at", [None, NOW])
async def test_isolated_view_has_no_verdicts(vantage: Vantage, probed_at: float | None) -> None:
    vantage.watched = {id: a_watched(id, probed_at=probed_at) for id in ALL}
    vantage.witnesses = [False, False, True]
    vantage.clock.now += 7
    await vantage.publish()
    assert vantage.view == View(
        vantage="local",
        seq=vantage.view.seq,
        probed_at=NOW + 7,
        isolated=True,
        isolated_since=NOW + 7,
    )


async def test_start_and_end_of_isolation_are_events(vantage: Vantage) -> None:
    for witnesses in ([True], [False], [False], [True], [True]):
        vantage.witnesses = witnesses
        await vantage.wait(3)
    assert vantage.logged(EventKind.ISOLATION) == ["on", "off"]
    assert len(vantage.recorder.events) == 2


async def test_restarted_poller_keeps_the_times_of_its_predecessor(
    vantage: Vantage, clock: Clock, store: FailingStore
) -> None:
    await vantage.publish()
    await vantage.set_state(Observed.DOWN, "yto-01")
    fallen = clock.now
    clock.now += 60
    second = Vantage(clock, store)
    await second.set_state(Observed.DOWN, "yto-01")
    assert second.view.edges["yto-01"].since == fallen
    second.witnesses = [False]
    await second.publish()
    began = clock.now
    clock.now += 60
    third = Vantage(clock, store, witnesses=[False])
    await third.publish()
    assert third.view.isolated_since == began
    assert third.logged(EventKind.ISOLATION) == []


async def test_fall_during_isolation_is_an_event_after_it(vantage: Vantage) -> None:
    vantage.witnesses = [True]
    await vantage.publish()
    vantage.witnesses = [False]
    await vantage.set_state(Observed.DOWN, "yto-01")
    vantage.witnesses = [True]
    await vantage.publish()
    last = vantage.recorder.events[-1]
    assert (last.edge, last.before, last.after) == ("yto-01", "up", "down")
    assert vantage.logged(EventKind.TRANSITION) == ["down"]


async def test_third_of_the_fleet_that_falls_is_removed_at_once(vantage: Vantage) -> None:
    await vantage.publish()
    await vantage.set_state(Observed.DOWN, *ALL[:3])
    assert (vantage.down(), vantage.view.held) == (set(ALL[:3]), ())


async def test_most_of_the_fleet_keeps_its_last_working_state(vantage: Vantage) -> None:
    await vantage.set_state(Observed.DEGRADED, "yto-01")
    await vantage.set_state(Observed.DOWN, *MOST)
    assert (vantage.down(), vantage.view.held) == (set(), tuple(sorted(MOST)))
    assert vantage.state("yto-01") is Observed.DEGRADED
    assert vantage.state("yul-01") is Observed.UP


async def test_held_edge_has_the_reason_of_its_last_probe(vantage: Vantage) -> None:
    await vantage.publish()
    await vantage.set_state(Observed.DOWN, *MOST)
    edge = vantage.view.edges["yto-01"]
    assert (edge.reason, edge.streak) == (Outcome.REFUSED, -3)


async def test_edge_never_seen_working_is_unknown_under_the_brake(vantage: Vantage) -> None:
    await vantage.set_state(Observed.UNKNOWN)
    await vantage.set_state(Observed.DOWN, *MOST)
    assert vantage.state("yto-01") is Observed.UNKNOWN


async def test_mass_fall_is_published_after_two_minutes(vantage: Vantage) -> None:
    await vantage.publish()
    await vantage.set_state(Observed.DOWN, *MOST)
    await vantage.wait(119)
    assert vantage.down() == set()
    await vantage.wait(1)
    assert (vantage.down(), vantage.view.held) == (set(MOST), ())


async def test_edge_removed_before_the_brake_stays_down(vantage: Vantage) -> None:
    await vantage.publish()
    await vantage.set_state(Observed.DOWN, *ALL[:2])
    await vantage.set_state(Observed.DOWN, *ALL[2:7])
    assert vantage.down() == set(ALL[:2])
    assert vantage.view.held == tuple(sorted(ALL[2:7]))


async def test_passing_witnesses_end_the_brake(vantage: Vantage) -> None:
    await vantage.publish()
    await vantage.set_state(Observed.DOWN, *MOST)
    vantage.witnesses = [True, False]
    await vantage.wait(3)
    assert vantage.down() == set(MOST)


async def test_other_vantage_that_sees_the_same_ends_the_brake(vantage: Vantage) -> None:
    await vantage.publish()
    await vantage.set_state(Observed.DOWN, *MOST)
    down = dict.fromkeys(MOST, Observed.DOWN)
    await vantage.store.publish(a_view("other", down, probed_at=NOW - 60))
    await vantage.wait(3)
    assert vantage.down() == set()
    await vantage.store.publish(a_view("other", down, probed_at=NOW, seq=2))
    await vantage.wait(3)
    assert vantage.down() == set(MOST)


async def test_own_last_view_does_not_confirm_the_brake(vantage: Vantage) -> None:
    await vantage.publish()
    for id in MOST:
        await vantage.set_state(Observed.DOWN, id)
    held = vantage.view.held
    await vantage.wait(3)
    assert held
    assert vantage.view.held == held


async def test_two_vantages_that_agree_end_their_brakes(
    vantage: Vantage, clock: Clock, store: FailingStore
) -> None:
    other = Vantage(clock, store, "other")
    for one in (vantage, other):
        await one.publish()
    for one in (vantage, other, vantage):
        await one.set_state(Observed.DOWN, *MOST)
    assert vantage.down() == set(MOST)
    assert other.down() == set(MOST)


async def test_brake_counts_enabled_edges_only(vantage: Vantage) -> None:
    for id in ALL[6:]:
        await vantage.store.change_intents(wishes(a_disabling_intent(id)))
    await vantage.publish()
    await vantage.set_state(Observed.DOWN, *ALL[:4])
    assert vantage.view.held == tuple(sorted(ALL[:4]))


async def test_disabled_edges_do_not_trigger_the_brake(vantage: Vantage) -> None:
    for id in MOST[:4]:
        await vantage.store.change_intents(wishes(a_disabling_intent(id)))
    await vantage.publish()
    await vantage.set_state(Observed.DOWN, *MOST)
    assert (vantage.down(), vantage.view.held) == (set(MOST), ())


def a_disabling_intent(id: str) -> Intent:
    return an_intent(id, Intended.DISABLED, expires_at=NOW + 3_600)


async def test_operator_ends_a_hold_down_through_the_store(vantage: Vantage) -> None:
    await vantage.set_state(Observed.UP)
    await vantage.set_state(Observed.DOWN, "yto-01")
    one = vantage.watched["yto-01"]
    one.health = replace(one.health, streak=2, held_until=vantage.clock.now + 60)
    await vantage.publish()
    assert vantage.view.edges["yto-01"].back_at == vantage.clock.now + 60
    intent = replace(
        a_disabling_intent("yto-01"), state=Intended.ENABLED, created_at=vantage.clock.now
    )
    await vantage.store.change_intents([Change("yto-01", intent)])
    await vantage.publish()
    assert one.health.held_until > vantage.clock.now  # a dial does not end the hold-down
    await vantage.store.change_intents([Change("yto-01", replace(intent, at_once=True))])
    await vantage.publish()
    assert one.health.held_until <= vantage.clock.now
    assert vantage.view.edges["yto-01"].back_at is None


async def test_waiting_edge_does_not_reset_the_known_intents(vantage: Vantage) -> None:
    await vantage.set_state(Observed.UP)
    vantage.publisher._intents = (a_disabling_intent("nyc-01"),)
    waiting = vantage.watched["yto-01"]
    waiting.health = replace(waiting.health, flapping=True, changes=(NOW,))
    await vantage.publish()
    assert vantage.publisher._intents == (a_disabling_intent("nyc-01"),)


async def test_view_shows_whether_an_edge_ever_worked(vantage: Vantage) -> None:
    await vantage.set_state(Observed.DOWN, "yto-01")
    assert vantage.view.edges["yto-01"].worked is False
    vantage.watched["yto-01"].passes = 1
    await vantage.publish()
    assert vantage.view.edges["yto-01"].worked is True


async def test_view_has_the_start_and_end_of_the_brake(vantage: Vantage) -> None:
    await vantage.set_state(Observed.UP)
    began = vantage.clock.now
    await vantage.set_state(Observed.DOWN)
    assert vantage.view.held
    assert (vantage.view.held_since, vantage.view.held_until) == (began, began + 120)


async def test_brake_remembers_intents_while_the_store_fails(vantage: Vantage) -> None:
    for id in ALL[4:]:
        await vantage.store.change_intents(wishes(a_disabling_intent(id)))
    await vantage.publish()
    await vantage.set_state(Observed.DOWN, *ALL[:4])
    vantage.store.failing = {"read"}
    await vantage.wait(1)
    assert vantage.view.held == tuple(sorted(ALL[:4]))


async def test_brake_needs_no_store(vantage: Vantage) -> None:
    await vantage.publish()
    vantage.store.failing = {"read"}
    await vantage.set_state(Observed.DOWN, *MOST)
    assert vantage.view.held == tuple(sorted(MOST))


async def test_store_is_not_read_while_edges_work(vantage: Vantage) -> None:
    await vantage.publish()
    reads = vantage.store.reads
    await vantage.set_state(Observed.DOWN, *ALL[:2])
    await vantage.wait(3)
    assert vantage.store.reads == reads


async def test_start_and_end_of_the_brake_are_events(vantage: Vantage) -> None:
    await vantage.publish()
    await vantage.set_state(Observed.DOWN, *MOST)
    await vantage.wait(60)
    assert vantage.logged(EventKind.BRAKE) == ["on"]
    assert vantage.logged(EventKind.TRANSITION) == []
    await vantage.wait(60)
    assert vantage.logged(EventKind.BRAKE) == ["on", "off"]
    assert vantage.logged(EventKind.TRANSITION) == ["down"] * len(MOST)


async def test_brake_event_has_the_number_of_edges(vantage: Vantage) -> None:
    await vantage.publish()
    await vantage.set_state(Observed.DOWN, *MOST)
    assert vantage.recorder.events == [
        Event(
            at=NOW,
            kind=EventKind.BRAKE,
            vantage="local",
            after="on",
            reason="7 edges fell at once",
        )
    ]


@pytest.fixture
def rival(clock: Clock, store: FailingStore) -> Vantage:
    """A second poller of the same vantage."""
    clock.now += 1
    return Vantage(clock, store)


async def test_one_of_two_pollers_publishes(vantage: Vantage, rival: Vantage) -> None:
    for one in (vantage, rival, vantage, rival):
        await one.wait(3)
    assert vantage.recorder.results == [None, None]
    assert (rival.recorder.results, rival.recorder.stood_by_count) == ([], 2)


async def test_rival_takes_over_after_the_lease_expires(vantage: Vantage, rival: Vantage) -> None:
    await vantage.publish()
    await rival.wait(LEASE_S - 0.1)
    assert rival.recorder.results == []
    await rival.wait(0.2)
    assert rival.recorder.results == [None]
    await vantage.publish()
    assert vantage.recorder.stood_by_count == 1


async def test_released_lease_is_taken_over_at_once(vantage: Vantage, rival: Vantage) -> None:
    await vantage.publish()
    await vantage.publisher.release()
    await rival.publish()
    assert rival.recorder.results == [None]


async def test_rival_cannot_release_the_lease_of_another(vantage: Vantage, rival: Vantage) -> None:
    await vantage.publish()
    await rival.publisher.release()
    await rival.publish()
    assert rival.recorder.stood_by_count == 1


async def test_pollers_of_two_vantages_both_publish(clock: Clock, store: FailingStore) -> None:
    for name in ("east", "west"):
        await Vantage(clock, store, name).publish()
    assert set(store._views) == {"east", "west"}


def test_each_process_has_its_own_name() -> None:
    assert process_name() != process_name()


async def test_lower_seq_is_not_written_and_logs_no_event(vantage: Vantage) -> None:
    ahead = a_view(seq=2**52)
    await vantage.store.publish(ahead)
    await vantage.set_state(Observed.DOWN, "yto-01")
    assert vantage.view == ahead
    assert vantage.recorder.events == []


async def test_publisher_with_a_lower_seq_catches_up(vantage: Vantage) -> None:
    await vantage.store.publish(a_view(seq=2**52))
    await vantage.set_state(Observed.DOWN, "yto-01")
    await vantage.publish()
    assert (vantage.view.seq, vantage.down()) == (2**52 + 1, {"yto-01"})
    assert vantage.logged(EventKind.TRANSITION) == ["down"]


async def test_poller_that_lost_its_lease_may_publish_again_later(
    vantage: Vantage, rival: Vantage
) -> None:
    await vantage.publish()
    await rival.wait(LEASE_S)
    await rival.publisher.release()
    await vantage.publish()
    await vantage.publish()
    assert vantage.recorder.results == [None, None]
    assert vantage.recorder.stood_by_count == 1  # the rival had a higher seq
    assert vantage.view.probed_at == NOW


async def test_restarted_poller_republishes_edges_it_has_not_probed(
    vantage: Vantage, rival: Vantage
) -> None:
    await vantage.set_state(Observed.DOWN, "yto-01")
    await vantage.publisher.release()
    rival.watched["yto-01"] = a_watched("yto-01", Observed.UNKNOWN, probed_at=None)
    await rival.publish()
    assert rival.down() == {"yto-01"}
    await rival.set_state(Observed.DOWN, "yto-01")
    assert rival.logged(EventKind.TRANSITION) == []


@pytest.mark.parametrize("first", [Observed.UP, Observed.UNKNOWN])
async def test_first_up_is_not_an_event(vantage: Vantage, first: Observed) -> None:
    await vantage.set_state(first)
    await vantage.set_state(Observed.UP)
    assert await vantage.store.events() == ()


async def test_transition_event_has_every_field(vantage: Vantage) -> None:
    await vantage.publish()
    vantage.clock.now += 5
    await vantage.set_state(Observed.DOWN, "yto-01")
    (logged,) = await vantage.store.events()
    assert logged.event == Event(
        at=NOW + 5,
        kind=EventKind.TRANSITION,
        edge="yto-01",
        vantage="local",
        before="up",
        after="down",
        reason="refused",
    )
    assert vantage.recorder.events == [logged.event]


async def test_edge_first_seen_down_is_an_event(vantage: Vantage) -> None:
    await vantage.set_state(Observed.DOWN, "yto-01")
    assert [(event.before, event.after) for event in vantage.recorder.events] == [
        ("unknown", "down")
    ]


async def test_state_that_does_not_change_is_one_event(vantage: Vantage) -> None:
    await vantage.publish()
    for _ in range(3):
        await vantage.set_state(Observed.DOWN, "yto-01")
    assert vantage.logged(EventKind.TRANSITION) == ["down"]


@pytest.mark.parametrize(
    ("now", "logged"),
    [(Observed.DOWN, []), (Observed.UP, ["up"]), (Observed.DEGRADED, ["degraded"])],
)
async def test_successor_logs_only_what_changed(
    vantage: Vantage, rival: Vantage, now: Observed, logged: list[str]
) -> None:
    await vantage.set_state(Observed.DOWN, "yto-01")
    await vantage.publisher.release()
    await rival.set_state(now, "yto-01")
    assert rival.logged(EventKind.TRANSITION) == logged


async def test_successor_keeps_removed_edges_down(vantage: Vantage, rival: Vantage) -> None:
    await vantage.publish()
    await vantage.set_state(Observed.DOWN, *ALL[:2])
    await vantage.set_state(Observed.DOWN, *MOST)
    await rival.publish()
    await vantage.publisher.release()
    await rival.set_state(Observed.DOWN, *MOST)
    assert rival.down() == set(ALL[:2])
    assert rival.view.held == tuple(sorted(MOST[2:]))


async def test_poller_back_from_standby_repeats_no_event(vantage: Vantage, rival: Vantage) -> None:
    await vantage.publish()
    await vantage.publisher.release()
    await rival.set_state(Observed.DOWN, "yto-01")
    await vantage.set_state(Observed.DOWN, "yto-01")
    await rival.publisher.release()
    for _ in range(2):
        await vantage.publish()
    logged = await vantage.store.events()
    assert [one.event.after for one in logged] == ["down"]


@pytest.mark.parametrize("call", ["hold_lease", "read", "publish", "log_events"])
async def test_store_error_is_reported_and_not_raised(vantage: Vantage, call: str) -> None:
    vantage.store.failing = {call}
    await vantage.set_state(Observed.DOWN, "yto-01")
    assert vantage.recorder.results == [STORE_ERROR]


@pytest.mark.parametrize("call", ["hold_lease", "read", "publish"])
async def test_events_that_could_not_be_written_are_written_later(
    vantage: Vantage, call: str
) -> None:
    vantage.store.failing = {call}
    await vantage.set_state(Observed.DOWN, "yto-01")
    assert vantage.recorder.events == []
    vantage.store.failing = set()
    await vantage.publish()
    assert vantage.recorder.results == [STORE_ERROR, None]
    assert vantage.logged(EventKind.TRANSITION) == ["down"]


async def test_error_when_the_lease_is_released_is_not_raised(vantage: Vantage) -> None:
    await vantage.publish()
    vantage.store.failing = {"drop_lease"}
    await vantage.publisher.release()
    assert not await vantage.store.hold_lease("local", "another", 1)
