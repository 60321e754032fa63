"""The health of one edge after each probe: fall, rise, hold-down, flapping, slowness."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.health.state import (
    Health,
    HealthPolicy,
    Transition,
    back_at,
    calm_at,
    end_hold_down,
    step,
    undo_fall,
    usual_ms,
    wait_s,
)
from router.model import Observed, Outcome, Probe

UP, DEGRADED, DOWN, UNKNOWN = Observed.UP, Observed.DEGRADED, Observed.DOWN, Observed.UNKNOWN
OK, REFUSED, UNHEALTHY = Outcome.OK, Outcome.REFUSED, Outcome.UNHEALTHY
POLICY = HealthPolicy()
PASSES = {Outcome.OK, Outcome.DEGRADED}
FAILURES = sorted(set(Outcome) - PASSES - {Outcome.LOCAL})
QUIET_S = 900.0


class ProbedEdge:
    """An edge that the test probes, with its health and the time."""

    def __init__(self, policy: HealthPolicy = POLICY) -> None:
        self.policy = policy
        self.now = 1_000.0
        self.health = Health(since=self.now)
        self.transitions: list[Transition] = []

    def probe(self, *outcomes: Outcome, rtt_ms: float | None = None, every_s: float = 1.0) -> None:
        for outcome in outcomes:
            self.now += every_s
            result = Probe(outcome=outcome, rtt_ms=rtt_ms)
            self.health, transition = step(self.health, result, self.now, self.policy)
            if transition is not None:
                self.transitions.append(transition)

    def fail(self) -> None:
        self.probe(*[REFUSED] * self.policy.fall)
        assert self.health.state is DOWN

    def recover(self) -> None:
        """Pass probes until the edge is no longer down."""
        while self.health.state is DOWN:
            self.probe(OK)

    @property
    def states(self) -> list[Observed]:
        return [transition.after for transition in self.transitions]

    @property
    def held_s(self) -> float:
        return self.health.held_until - self.health.since


def a_probed_edge(*outcomes: Outcome, policy: HealthPolicy = POLICY) -> ProbedEdge:
    """An edge that has been up, then probed with these outcomes."""
    edge = ProbedEdge(policy)
    edge.probe(OK, *outcomes)
    return edge


# The first verdict


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ([], UNKNOWN),
        ([OK], UP),
        ([Outcome.DEGRADED], DEGRADED),
        ([REFUSED], UNKNOWN),
        ([REFUSED, REFUSED], UNKNOWN),
        ([REFUSED, OK], UP),
        ([REFUSED, REFUSED, REFUSED], DOWN),
        ([UNHEALTHY], UNKNOWN),
        ([UNHEALTHY, UNHEALTHY], DOWN),
        ([Outcome.LOCAL] * 9, UNKNOWN),
    ],
)
def test_first_state_needs_one_pass_or_enough_failures(
    outcomes: list[Outcome], state: Observed
) -> None:
    edge = ProbedEdge()
    edge.probe(*outcomes)
    assert edge.health.state is state


def test_first_state_does_not_count_as_a_change() -> None:
    edge = a_probed_edge()
    assert edge.health.changes == ()
    assert edge.states == [UP]


# Falling


@pytest.mark.parametrize("failure", sorted(set(FAILURES) - {UNHEALTHY}))
def test_edge_falls_after_three_failures(failure: Outcome) -> None:
    edge = a_probed_edge(failure, failure)
    assert edge.health.state is UP
    edge.probe(failure)
    assert edge.health.state is DOWN


def test_three_failures_may_differ() -> None:
    assert a_probed_edge(REFUSED, Outcome.TIMEOUT, Outcome.STATUS).health.state is DOWN


@pytest.mark.parametrize("passed", sorted(PASSES))
def test_pass_resets_the_count_of_failures(passed: Outcome) -> None:
    edge = a_probed_edge(REFUSED, REFUSED, passed, REFUSED, REFUSED)
    assert DOWN not in edge.states


@pytest.mark.parametrize("confirmation", FAILURES)
def test_unhealthy_is_down_once_confirmed(confirmation: Outcome) -> None:
    edge = a_probed_edge(UNHEALTHY)
    assert edge.health.state is UP
    edge.probe(confirmation)
    assert edge.health.state is DOWN


def test_unhealthy_confirms_an_earlier_failure() -> None:
    assert a_probed_edge(Outcome.TIMEOUT, UNHEALTHY).health.state is DOWN


def test_pass_clears_unhealthy() -> None:
    assert a_probed_edge(UNHEALTHY, OK, REFUSED, REFUSED).health.state is UP


def test_degraded_edge_falls_like_any_other() -> None:
    edge = a_probed_edge(Outcome.DEGRADED, REFUSED, REFUSED, REFUSED)
    assert edge.states == [UP, DEGRADED, DOWN]


def test_streak_counts_from_the_first_result() -> None:
    edge = a_probed_edge(OK)
    assert edge.health.streak == 2
    edge.probe(REFUSED, REFUSED)
    assert edge.health.streak == -2


def test_transition_has_states_reason_and_time() -> None:
    edge = a_probed_edge(REFUSED, REFUSED, Outcome.TIMEOUT)
    fall = Transition(before=UP, after=DOWN, reason=Outcome.TIMEOUT, at=edge.now)
    assert edge.transitions[-1] == fall
    assert (edge.health.since, edge.health.reason) == (edge.now, Outcome.TIMEOUT)


# Rising


def test_edge_rises_after_two_passes_and_hold_down() -> None:
    edge = a_probed_edge()
    edge.fail()
    edge.probe(OK, every_s=29)
    edge.probe(OK, every_s=0.5)
    assert edge.health.state is DOWN
    edge.probe(OK, every_s=0.5)
    assert edge.health.state is UP


def test_edge_needs_two_passes_after_its_hold_down() -> None:
    edge = a_probed_edge()
    edge.fail()
    edge.probe(OK, every_s=100)
    assert edge.health.state is DOWN
    edge.probe(OK)
    assert edge.health.state is UP


def test_failure_while_recovering_resets_the_passes() -> None:
    edge = a_probed_edge()
    edge.fail()
    edge.probe(OK, REFUSED, OK, every_s=40)
    assert edge.health.state is DOWN


def test_edge_may_come_back_degraded() -> None:
    edge = a_probed_edge()
    edge.fail()
    edge.probe(Outcome.DEGRADED, Outcome.DEGRADED, every_s=31)
    assert edge.health.state is DEGRADED


def test_degraded_edge_is_up_after_two_clean_passes() -> None:
    edge = a_probed_edge(Outcome.DEGRADED, OK)
    assert edge.health.state is DEGRADED
    edge.probe(OK)
    assert edge.health.state is UP


def test_failure_resets_clean_passes() -> None:
    edge = a_probed_edge(Outcome.DEGRADED, OK, REFUSED, OK)
    assert edge.health.state is DEGRADED


# Hold-down


def test_hold_down_grows_with_each_fall_to_five_minutes() -> None:
    edge, held = a_probed_edge(), []
    for _ in range(12):
        edge.fail()
        held.append(edge.held_s)
        edge.recover()
    assert held == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]


@pytest.mark.parametrize(
    ("quiet_s", "held_s"), [(0, 120), (290, 120), (301, 90), (601, 60), (901, 30), (90_000, 30)]
)
def test_quiet_time_shortens_the_hold_down(quiet_s: float, held_s: float) -> None:
    edge = a_probed_edge()
    for _ in range(3):
        edge.fail()
        edge.recover()
    edge.probe(OK, every_s=quiet_s)
    edge.fail()
    assert edge.held_s == held_s


def test_degraded_state_does_not_restore_forgiven_falls() -> None:
    edge = a_probed_edge()
    for _ in range(3):
        edge.fail()
        edge.recover()
    edge.probe(OK, every_s=1_000)
    edge.probe(Outcome.DEGRADED, OK, OK)
    edge.fail()
    assert edge.held_s == 30


def test_edge_that_alternates_up_and_degraded_is_forgiven() -> None:
    edge = a_probed_edge()
    for _ in range(3):
        edge.fail()
        edge.recover()
    for _ in range(8):
        edge.probe(Outcome.DEGRADED, every_s=120)
        edge.probe(OK, OK)
    edge.fail()
    assert edge.held_s == 30


def test_undone_fall_has_no_effect() -> None:
    before = a_probed_edge(OK, OK).health
    edge = a_probed_edge(OK, OK)
    edge.fail()
    edge.probe(OK, OK)
    health = undo_fall(edge.health, before)
    assert (health.state, health.falls, health.held_until) == (Observed.UP, 0, 0.0)
    assert (health.changes, health.streak) == ((), 2)


# Flapping


def a_flapping_edge() -> ProbedEdge:
    edge = a_probed_edge()
    edge.fail()
    edge.recover()
    edge.fail()
    edge.recover()
    assert edge.health.flapping
    return edge


def test_fourth_change_in_15_minutes_is_flapping() -> None:
    assert a_flapping_edge().states == [UP, DOWN, UP, DOWN, DEGRADED]


def test_changes_further_apart_are_not_flapping() -> None:
    edge = a_probed_edge()
    for _ in range(6):
        edge.fail()
        edge.recover()
        edge.probe(OK, every_s=QUIET_S)
    assert set(edge.states) == {UP, DOWN}


def test_three_changes_are_not_flapping() -> None:
    edge = a_probed_edge(Outcome.DEGRADED)
    edge.fail()
    edge.recover()
    assert edge.states == [UP, DEGRADED, DOWN, UP]
    assert not edge.health.flapping


def test_flapping_edge_is_degraded_at_most() -> None:
    edge = a_flapping_edge()
    edge.probe(*[OK] * int(QUIET_S - 1))
    assert edge.health.state is DEGRADED


def test_flapping_ends_after_15_quiet_minutes() -> None:
    edge = a_flapping_edge()
    edge.probe(*[OK] * int(QUIET_S))
    assert (edge.health.state, edge.health.flapping) == (UP, False)


def test_flapping_edge_still_falls() -> None:
    edge = a_flapping_edge()
    edge.fail()
    assert edge.health.flapping


def test_fall_while_flapping_restarts_the_quiet_time() -> None:
    edge = a_flapping_edge()
    edge.probe(OK, every_s=QUIET_S - 60)
    edge.fail()
    edge.recover()
    edge.probe(*[OK] * 120)
    assert edge.health.state is DEGRADED


# Slowness


@pytest.mark.parametrize(
    ("usual_ms", "now_ms", "state"),
    [
        (100, 501, DEGRADED),
        (100, 499, UP),
        (100, 310, UP),
        (300, 899, UP),
        (300, 950, DEGRADED),
        (10, 2_000, DEGRADED),
    ],
)
def test_slow_means_three_times_the_usual_and_500_ms(
    usual_ms: float, now_ms: float, state: Observed
) -> None:
    edge = ProbedEdge()
    edge.probe(*[OK] * 9, rtt_ms=usual_ms)
    edge.probe(OK, OK, rtt_ms=now_ms)
    assert edge.health.state is state


def test_one_slow_probe_changes_nothing() -> None:
    edge = ProbedEdge()
    edge.probe(OK, rtt_ms=50)
    edge.probe(OK, rtt_ms=1_900)
    edge.probe(OK, rtt_ms=50)
    assert edge.states == [UP]


def test_slow_edge_never_falls() -> None:
    edge = ProbedEdge()
    edge.probe(OK, rtt_ms=50)
    edge.probe(*[OK] * 99, rtt_ms=1_900)
    assert DOWN not in edge.states


def test_edge_that_is_fast_again_is_up() -> None:
    edge = ProbedEdge()
    edge.probe(OK, rtt_ms=50)
    edge.probe(OK, OK, rtt_ms=1_900)
    edge.probe(OK, OK, rtt_ms=50)
    assert edge.states == [UP, DEGRADED, UP]


def test_lasting_higher_latency_becomes_usual() -> None:
    edge = ProbedEdge()
    edge.probe(OK, rtt_ms=50)
    edge.probe(*[OK] * 600, rtt_ms=600, every_s=3.0)
    assert edge.health.state is UP


@pytest.mark.parametrize("every_s", [0.1, 0.85, 3.0])
def test_slow_edge_stays_slow_for_20_minutes_at_any_probe_rate(every_s: float) -> None:
    edge = ProbedEdge()
    edge.probe(*[OK] * 9, rtt_ms=1)
    edge.probe(*[OK] * int(1_200 / every_s), rtt_ms=1_001, every_s=every_s)
    assert edge.health.state is DEGRADED
    assert usual_ms(edge.health) is not None


def test_slow_edge_has_a_usual_time_until_it_is_fast() -> None:
    edge = ProbedEdge()
    edge.probe(*[OK] * 9, rtt_ms=1)
    edge.probe(OK, OK, rtt_ms=1_001)
    assert usual_ms(edge.health) == pytest.approx(1, abs=1)
    edge.probe(OK, rtt_ms=1)
    assert usual_ms(edge.health) is None


# Times shown to operators, and release


def test_passing_edge_in_hold_down_has_a_return_time() -> None:
    edge = ProbedEdge()
    edge.probe(OK)
    edge.fail()
    assert back_at(edge.health, edge.now) is None
    fell_at = edge.now
    edge.probe(OK)
    assert back_at(edge.health, edge.now) == fell_at + POLICY.hold_down_s


def test_flapping_edge_has_an_end_time() -> None:
    edge = a_flapping_edge()
    assert calm_at(edge.health, POLICY) == edge.health.changes[-1] + POLICY.flap_window_s


def test_released_edge_is_up_after_two_passes() -> None:
    edge = ProbedEdge()
    edge.probe(OK)
    edge.fail()
    edge.health = end_hold_down(edge.health, edge.now)
    edge.probe(OK, OK)
    assert edge.health.state is UP


def test_released_edge_is_no_longer_flapping() -> None:
    edge = a_flapping_edge()
    edge.health = end_hold_down(edge.health, edge.now)
    edge.probe(OK, OK)
    assert (edge.health.state, edge.health.flapping) == (UP, False)


def test_fall_after_a_release_is_held_down() -> None:
    edge = ProbedEdge()
    edge.probe(OK)
    at = edge.now
    edge.fail()
    assert end_hold_down(edge.health, at) == edge.health


def test_failures_do_not_change_the_usual_time() -> None:
    edge = ProbedEdge()
    edge.probe(OK, rtt_ms=50)
    edge.probe(Outcome.TIMEOUT, REFUSED, rtt_ms=2_000)
    assert edge.health.baseline_ms == 50


def test_probe_without_a_time_is_not_slow() -> None:
    assert a_probed_edge(*[OK] * 9).health.baseline_ms is None


# Local faults


@pytest.mark.parametrize("before", [[], [OK], [REFUSED, REFUSED], [OK, REFUSED, REFUSED], [OK] * 5])
def test_local_faults_are_not_counted(before: list[Outcome]) -> None:
    edge = ProbedEdge()
    edge.probe(*before)
    health = edge.health
    edge.probe(*[Outcome.LOCAL] * 9)
    assert edge.health == health


# When to probe again


@pytest.mark.parametrize(
    ("outcomes", "expected_s"),
    [
        ([], 3.0),
        ([OK], 3.0),
        ([OK, REFUSED], 0.85),
        ([OK, UNHEALTHY], 0.85),
        ([OK, REFUSED, REFUSED], 0.85),
        ([REFUSED], 0.85),
        ([OK, REFUSED, REFUSED, REFUSED], 3.0),
        ([OK, REFUSED, REFUSED, REFUSED, REFUSED], 3.0),
        ([OK, REFUSED, REFUSED, REFUSED, OK], 0.85),
        ([OK, REFUSED, OK], 3.0),
        ([Outcome.DEGRADED], 3.0),
    ],
)
def test_next_probe_is_sooner_while_the_state_may_change(
    outcomes: list[Outcome], expected_s: float
) -> None:
    edge = ProbedEdge()
    edge.probe(*outcomes)
    assert wait_s(edge.health) == expected_s


def test_waiting_follows_the_policy() -> None:
    policy = HealthPolicy(interval_s=9.0, recheck_s=2.0)
    assert wait_s(a_probed_edge().health, policy) == 9.0
    assert wait_s(a_probed_edge(REFUSED).health, policy) == 2.0


@pytest.mark.parametrize("fall", [1, 2, 5])
def test_thresholds_follow_the_policy(fall: int) -> None:
    policy = HealthPolicy(fall=fall, rise=fall, hold_down_s=0.0)
    edge = a_probed_edge(*[REFUSED] * fall, policy=policy)
    assert edge.health.state is DOWN
    edge.probe(*[OK] * (fall - 1))
    assert edge.health.state is DOWN
    edge.probe(OK)
    assert edge.health.state is UP


# Any sequence of probes

outcomes = st.sampled_from([*Outcome, OK, OK, OK, REFUSED, REFUSED])
probes = st.tuples(
    st.builds(Probe, outcome=outcomes, rtt_ms=st.none() | st.floats(0, 2_000)),
    st.sampled_from([0.9, 1.0, 3.3, 31.0, 301.0, 901.0]),
)


def history(steps: Iterable[tuple[Probe, float]]) -> Iterable[tuple[Probe, float, Health, Health]]:
    """Each probe with its time, and the health before and after it."""
    now = 0.0
    health = Health(since=now)
    for probe, gap_s in steps:
        now += gap_s
        before, (health, _) = health, step(health, probe, now)
        yield probe, now, before, health


@given(st.lists(probes, max_size=60))
def test_streak_counts_the_latest_results(steps: list[tuple[Probe, float]]) -> None:
    for probe, _, before, after in history(steps):
        if probe.outcome is Outcome.LOCAL:
            assert after == before
        elif probe.outcome in PASSES:
            assert after.streak == max(before.streak, 0) + 1
        else:
            assert after.streak == min(before.streak, 0) - 1


@given(st.lists(probes, max_size=60))
def test_flapping_is_never_up(steps: list[tuple[Probe, float]]) -> None:
    for _, _, _, after in history(steps):
        assert not (after.flapping and after.state is UP)


@given(st.lists(probes, max_size=60))
def test_edge_is_down_only_after_enough_failures(steps: list[tuple[Probe, float]]) -> None:
    for _, _, before, after in history(steps):
        if after.state is DOWN and before.state is not DOWN:
            assert -after.streak >= (2 if after.unhealthy else 3)


@given(st.lists(probes, max_size=60))
def test_failing_edge_never_rises(steps: list[tuple[Probe, float]]) -> None:
    for probe, _, before, after in history(steps):
        if probe.outcome in FAILURES:
            assert after.state in (before.state, DOWN)


@given(st.lists(probes, max_size=60))
def test_edge_stays_down_during_its_hold_down(steps: list[tuple[Probe, float]]) -> None:
    for _, now, before, after in history(steps):
        if before.state is DOWN and now < before.held_until:
            assert after.state is DOWN
        assert after.held_until <= now + POLICY.hold_down_cap_s


@given(st.lists(probes, max_size=60))
def test_each_change_is_one_transition(steps: list[tuple[Probe, float]]) -> None:
    now, health = 0.0, Health(since=0.0)
    for probe, gap_s in steps:
        now += gap_s
        before = health
        health, transition = step(before, probe, now)
        changed = health.state is not before.state
        assert (transition is not None) is changed
        assert health.since == (now if changed else before.since)


@given(st.lists(probes, max_size=40), st.integers(0, 3))
def test_any_edge_recovers_eventually(steps: list[tuple[Probe, float]], extra: int) -> None:
    edge = ProbedEdge()
    for probe, gap_s in steps:
        edge.probe(probe.outcome, rtt_ms=probe.rtt_ms, every_s=gap_s)
    edge.probe(*[OK] * (40 + extra), rtt_ms=20, every_s=60)
    assert edge.health.state is UP


@given(st.lists(probes, max_size=40))
def test_any_edge_that_keeps_failing_is_down(steps: list[tuple[Probe, float]]) -> None:
    edge = ProbedEdge()
    for probe, gap_s in steps:
        edge.probe(probe.outcome, every_s=gap_s)
    edge.probe(REFUSED, REFUSED, REFUSED)
    assert edge.health.state is DOWN


@given(st.lists(probes, max_size=60))
def test_memory_stays_bounded(steps: list[tuple[Probe, float]]) -> None:
    for _, now, _, after in history(steps):
        assert len(after.changes) <= 16
        assert all(at <= now for at in after.changes)
