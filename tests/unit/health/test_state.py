"""One edge, probe by probe: what makes it fall, rise, be held down, flap or be slow."""

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


class Patient:
    """An edge probed by a test, and the time."""

    def __init__(self, policy: HealthPolicy = POLICY) -> None:
        self.policy = policy
        self.now = 1_000.0
        self.health = Health(since=self.now)
        self.transitions: list[Transition] = []

    def probed(self, *outcomes: Outcome, rtt_ms: float | None = None, every_s: float = 1.0) -> None:
        for outcome in outcomes:
            self.now += every_s
            probe = Probe(outcome=outcome, rtt_ms=rtt_ms)
            self.health, transition = step(self.health, probe, self.now, self.policy)
            if transition is not None:
                self.transitions.append(transition)

    def fell(self) -> None:
        self.probed(*[REFUSED] * self.policy.fall)
        assert self.health.state is DOWN

    def rose(self) -> None:
        """Passes until the hold-down is over, and the state with it."""
        while self.health.state is DOWN:
            self.probed(OK)

    @property
    def states(self) -> list[Observed]:
        return [transition.after for transition in self.transitions]

    @property
    def held_s(self) -> float:
        return self.health.held_until - self.health.since


def a_patient(*outcomes: Outcome, policy: HealthPolicy = POLICY) -> Patient:
    """An edge that has been up, then probed with these outcomes."""
    patient = Patient(policy)
    patient.probed(OK, *outcomes)
    return patient


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
def test_first_pass_is_up(outcomes: list[Outcome], state: Observed) -> None:
    patient = Patient()
    patient.probed(*outcomes)
    assert patient.health.state is state


def test_first_state_does_not_count_as_a_change() -> None:
    patient = a_patient()
    assert patient.health.changes == ()
    assert patient.states == [UP]


# Falling


@pytest.mark.parametrize("failure", sorted(set(FAILURES) - {UNHEALTHY}))
def test_edge_falls_after_three_failures(failure: Outcome) -> None:
    patient = a_patient(failure, failure)
    assert patient.health.state is UP
    patient.probed(failure)
    assert patient.health.state is DOWN


def test_three_failures_may_differ() -> None:
    assert a_patient(REFUSED, Outcome.TIMEOUT, Outcome.STATUS).health.state is DOWN


@pytest.mark.parametrize("passed", sorted(PASSES))
def test_pass_resets_the_count_of_failures(passed: Outcome) -> None:
    patient = a_patient(REFUSED, REFUSED, passed, REFUSED, REFUSED)
    assert DOWN not in patient.states


@pytest.mark.parametrize("confirmation", FAILURES)
def test_unhealthy_is_down_once_confirmed(confirmation: Outcome) -> None:
    patient = a_patient(UNHEALTHY)
    assert patient.health.state is UP
    patient.probed(confirmation)
    assert patient.health.state is DOWN


def test_unhealthy_confirms_an_earlier_failure() -> None:
    assert a_patient(Outcome.TIMEOUT, UNHEALTHY).health.state is DOWN


def test_pass_clears_unhealthy() -> None:
    assert a_patient(UNHEALTHY, OK, REFUSED, REFUSED).health.state is UP


def test_degraded_edge_falls_like_any_other() -> None:
    patient = a_patient(Outcome.DEGRADED, REFUSED, REFUSED, REFUSED)
    assert patient.states == [UP, DEGRADED, DOWN]


def test_streak_counts_from_the_first_result() -> None:
    patient = a_patient(OK)
    assert patient.health.streak == 2
    patient.probed(REFUSED, REFUSED)
    assert patient.health.streak == -2


def test_transition_has_states_reason_and_time() -> None:
    patient = a_patient(REFUSED, REFUSED, Outcome.TIMEOUT)
    fall = Transition(before=UP, after=DOWN, reason=Outcome.TIMEOUT, at=patient.now)
    assert patient.transitions[-1] == fall
    assert (patient.health.since, patient.health.reason) == (patient.now, Outcome.TIMEOUT)


# Rising


def test_edge_rises_after_two_passes_and_hold_down() -> None:
    patient = a_patient()
    patient.fell()
    patient.probed(OK, every_s=29)
    patient.probed(OK, every_s=0.5)
    assert patient.health.state is DOWN
    patient.probed(OK, every_s=0.5)
    assert patient.health.state is UP


def test_edge_needs_two_passes_after_its_hold_down() -> None:
    patient = a_patient()
    patient.fell()
    patient.probed(OK, every_s=100)
    assert patient.health.state is DOWN
    patient.probed(OK)
    assert patient.health.state is UP


def test_failure_while_recovering_resets_the_passes() -> None:
    patient = a_patient()
    patient.fell()
    patient.probed(OK, REFUSED, OK, every_s=40)
    assert patient.health.state is DOWN


def test_edge_may_come_back_degraded() -> None:
    patient = a_patient()
    patient.fell()
    patient.probed(Outcome.DEGRADED, Outcome.DEGRADED, every_s=31)
    assert patient.health.state is DEGRADED


def test_degraded_edge_is_up_after_two_clean_passes() -> None:
    patient = a_patient(Outcome.DEGRADED, OK)
    assert patient.health.state is DEGRADED
    patient.probed(OK)
    assert patient.health.state is UP


def test_failure_resets_clean_passes() -> None:
    patient = a_patient(Outcome.DEGRADED, OK, REFUSED, OK)
    assert patient.health.state is DEGRADED


# Hold-down


def test_hold_down_grows_with_each_fall() -> None:
    patient, held = a_patient(), []
    for _ in range(4):
        patient.fell()
        held.append(patient.held_s)
        patient.rose()
    assert held == [30, 60, 90, 120]


def test_hold_down_is_capped_at_five_minutes() -> None:
    patient, held = a_patient(), []
    for _ in range(14):
        patient.fell()
        held.append(patient.held_s)
        patient.rose()
    assert held[8:] == [270, 300, 300, 300, 300, 300]


@pytest.mark.parametrize(
    ("quiet_s", "held_s"), [(0, 120), (290, 120), (301, 90), (601, 60), (901, 30), (90_000, 30)]
)
def test_quiet_minutes_forgive_falls(quiet_s: float, held_s: float) -> None:
    patient = a_patient()
    for _ in range(3):
        patient.fell()
        patient.rose()
    patient.probed(OK, every_s=quiet_s)
    patient.fell()
    assert patient.held_s == held_s


def test_degraded_edge_keeps_what_was_forgiven() -> None:
    patient = a_patient()
    for _ in range(3):
        patient.fell()
        patient.rose()
    patient.probed(OK, every_s=1_000)
    patient.probed(Outcome.DEGRADED, OK, OK)
    patient.fell()
    assert patient.held_s == 30


def test_edge_between_up_and_degraded_is_forgiven_too() -> None:
    patient = a_patient()
    for _ in range(3):
        patient.fell()
        patient.rose()
    for _ in range(8):
        patient.probed(Outcome.DEGRADED, every_s=120)
        patient.probed(OK, OK)
    patient.fell()
    assert patient.held_s == 30


def test_fall_held_by_the_brake_leaves_no_trace() -> None:
    before = a_patient(OK, OK).health
    patient = a_patient(OK, OK)
    patient.fell()
    patient.probed(OK, OK)
    health = undo_fall(patient.health, before)
    assert (health.state, health.falls, health.held_until) == (Observed.UP, 0, 0.0)
    assert (health.changes, health.streak) == ((), 2)


def test_hold_down_depends_on_time_only() -> None:
    patient = a_patient()
    patient.fell()
    fell_at = patient.now
    patient.rose()
    assert patient.now == fell_at + 30


# Flapping


def flapping(policy: HealthPolicy = POLICY) -> Patient:
    patient = a_patient(policy=policy)
    patient.fell()
    patient.rose()
    patient.fell()
    patient.rose()
    assert patient.health.flapping
    return patient


def test_fourth_change_in_15_minutes_is_flapping() -> None:
    assert flapping().states == [UP, DOWN, UP, DOWN, DEGRADED]


def test_changes_further_apart_are_not_flapping() -> None:
    patient = a_patient()
    for _ in range(6):
        patient.fell()
        patient.rose()
        patient.probed(OK, every_s=QUIET_S)
    assert set(patient.states) == {UP, DOWN}


def test_three_changes_are_not_flapping() -> None:
    patient = a_patient(Outcome.DEGRADED)
    patient.fell()
    patient.rose()
    assert patient.states == [UP, DEGRADED, DOWN, UP]
    assert not patient.health.flapping


def test_flapping_edge_is_degraded_at_most() -> None:
    patient = flapping()
    patient.probed(*[OK] * int(QUIET_S - 1))
    assert patient.health.state is DEGRADED


def test_flapping_ends_after_15_quiet_minutes() -> None:
    patient = flapping()
    patient.probed(*[OK] * int(QUIET_S))
    assert (patient.health.state, patient.health.flapping) == (UP, False)


def test_flapping_edge_still_falls() -> None:
    patient = flapping()
    patient.fell()
    assert patient.health.flapping


def test_fall_while_flapping_restarts_the_quiet_time() -> None:
    patient = flapping()
    patient.probed(OK, every_s=QUIET_S - 60)
    patient.fell()
    patient.rose()
    patient.probed(*[OK] * 120)
    assert patient.health.state is DEGRADED


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
def test_slow_is_thrice_the_usual_and_half_a_second(
    usual_ms: float, now_ms: float, state: Observed
) -> None:
    patient = Patient()
    patient.probed(*[OK] * 9, rtt_ms=usual_ms)
    patient.probed(OK, OK, rtt_ms=now_ms)
    assert patient.health.state is state


def test_one_slow_probe_changes_nothing() -> None:
    patient = Patient()
    patient.probed(OK, rtt_ms=50)
    patient.probed(OK, rtt_ms=1_900)
    patient.probed(OK, rtt_ms=50)
    assert patient.states == [UP]


def test_slow_edge_never_falls() -> None:
    patient = Patient()
    patient.probed(OK, rtt_ms=50)
    patient.probed(*[OK] * 99, rtt_ms=1_900)
    assert DOWN not in patient.states


def test_edge_that_is_fast_again_is_up() -> None:
    patient = Patient()
    patient.probed(OK, rtt_ms=50)
    patient.probed(OK, OK, rtt_ms=1_900)
    patient.probed(OK, OK, rtt_ms=50)
    assert patient.states == [UP, DEGRADED, UP]


def test_edge_that_moved_away_is_not_slow_for_ever() -> None:
    patient = Patient()
    patient.probed(OK, rtt_ms=50)
    patient.probed(*[OK] * 600, rtt_ms=600, every_s=3.0)
    assert patient.health.state is UP


@pytest.mark.parametrize("every_s", [0.1, 0.85, 3.0])
def test_slow_edge_stays_slow_for_20_minutes_however_often_it_is_probed(every_s: float) -> None:
    patient = Patient()
    patient.probed(*[OK] * 9, rtt_ms=1)
    patient.probed(*[OK] * int(1_200 / every_s), rtt_ms=1_001, every_s=every_s)
    assert patient.health.state is DEGRADED
    assert usual_ms(patient.health) is not None


def test_slow_edge_says_what_is_usual_until_it_is_quick() -> None:
    patient = Patient()
    patient.probed(*[OK] * 9, rtt_ms=1)
    patient.probed(OK, OK, rtt_ms=1_001)
    assert usual_ms(patient.health) == pytest.approx(1, abs=1)
    patient.probed(OK, rtt_ms=1)
    assert usual_ms(patient.health) is None


# What a person is told, and how an operator ends the wait


def test_edge_that_passes_in_its_hold_down_says_when_it_is_back() -> None:
    patient = Patient()
    patient.probed(OK)
    patient.fell()
    assert back_at(patient.health, patient.now) is None
    fell_at = patient.now
    patient.probed(OK)
    assert back_at(patient.health, patient.now) == fell_at + POLICY.hold_down_s


def test_flapping_edge_says_when_it_calms() -> None:
    patient = a_flapping_patient()
    assert calm_at(patient.health, POLICY) == patient.health.changes[-1] + POLICY.flap_window_s


def a_flapping_patient() -> Patient:
    patient = Patient()
    patient.probed(OK)
    for _ in range(2):
        patient.fell()
        patient.rose()
    assert patient.health.flapping
    return patient


def test_released_edge_is_up_after_two_passes() -> None:
    patient = Patient()
    patient.probed(OK)
    patient.fell()
    patient.health = end_hold_down(patient.health, patient.now)
    patient.probed(OK, OK)
    assert patient.health.state is UP


def test_released_edge_flaps_no_more() -> None:
    patient = a_flapping_patient()
    patient.health = end_hold_down(patient.health, patient.now)
    patient.probed(OK, OK)
    assert (patient.health.state, patient.health.flapping) == (UP, False)


def test_fall_after_a_release_is_held_down() -> None:
    patient = Patient()
    patient.probed(OK)
    at = patient.now
    patient.fell()
    assert end_hold_down(patient.health, at) == patient.health


def test_failures_do_not_change_the_usual_time() -> None:
    patient = Patient()
    patient.probed(OK, rtt_ms=50)
    patient.probed(Outcome.TIMEOUT, REFUSED, rtt_ms=2_000)
    assert patient.health.baseline_ms == 50


def test_probe_without_a_time_is_not_slow() -> None:
    assert a_patient(*[OK] * 9).health.baseline_ms is None


# Local faults


@pytest.mark.parametrize("before", [[], [OK], [REFUSED, REFUSED], [OK, REFUSED, REFUSED], [OK] * 5])
def test_local_faults_are_not_counted(before: list[Outcome]) -> None:
    patient = Patient()
    patient.probed(*before)
    health = patient.health
    patient.probed(*[Outcome.LOCAL] * 9)
    assert patient.health == health


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
    patient = Patient()
    patient.probed(*outcomes)
    assert wait_s(patient.health) == expected_s


def test_waiting_follows_the_policy() -> None:
    policy = HealthPolicy(interval_s=9.0, recheck_s=2.0)
    assert wait_s(a_patient().health, policy) == 9.0
    assert wait_s(a_patient(REFUSED).health, policy) == 2.0


@pytest.mark.parametrize("fall", [1, 2, 5])
def test_thresholds_follow_the_policy(fall: int) -> None:
    policy = HealthPolicy(fall=fall, rise=fall, hold_down_s=0.0)
    patient = a_patient(*[REFUSED] * fall, policy=policy)
    assert patient.health.state is DOWN
    patient.probed(*[OK] * (fall - 1))
    assert patient.health.state is DOWN
    patient.probed(OK)
    assert patient.health.state is UP


# Whatever happens

outcomes = st.sampled_from([*Outcome, OK, OK, OK, REFUSED, REFUSED])
probes = st.tuples(
    st.builds(Probe, outcome=outcomes, rtt_ms=st.none() | st.floats(0, 2_000)),
    st.sampled_from([0.9, 1.0, 3.3, 31.0, 301.0, 901.0]),
)


def history(told: Iterable[tuple[Probe, float]]) -> Iterable[tuple[Probe, float, Health, Health]]:
    """Each probe with its time, and the health before and after it."""
    now = 0.0
    health = Health(since=now)
    for probe, gap_s in told:
        now += gap_s
        before, (health, _) = health, step(health, probe, now)
        yield probe, now, before, health


@given(st.lists(probes, max_size=60))
def test_streak_counts_the_latest_results(told: list[tuple[Probe, float]]) -> None:
    for probe, _, before, after in history(told):
        if probe.outcome is Outcome.LOCAL:
            assert after == before
        elif probe.outcome in PASSES:
            assert after.streak == max(before.streak, 0) + 1
        else:
            assert after.streak == min(before.streak, 0) - 1


@given(st.lists(probes, max_size=60))
def test_flapping_is_never_up(told: list[tuple[Probe, float]]) -> None:
    for _, _, _, after in history(told):
        assert not (after.flapping and after.state is UP)


@given(st.lists(probes, max_size=60))
def test_edge_is_down_only_after_enough_failures(told: list[tuple[Probe, float]]) -> None:
    for _, _, before, after in history(told):
        if after.state is DOWN and before.state is not DOWN:
            assert -after.streak >= (2 if after.unhealthy else 3)


@given(st.lists(probes, max_size=60))
def test_failing_edge_never_rises(told: list[tuple[Probe, float]]) -> None:
    for probe, _, before, after in history(told):
        if probe.outcome in FAILURES:
            assert after.state in (before.state, DOWN)


@given(st.lists(probes, max_size=60))
def test_edge_stays_down_during_its_hold_down(told: list[tuple[Probe, float]]) -> None:
    for _, now, before, after in history(told):
        if before.state is DOWN and now < before.held_until:
            assert after.state is DOWN
        assert after.held_until <= now + POLICY.hold_down_cap_s


@given(st.lists(probes, max_size=60))
def test_each_change_is_one_transition(told: list[tuple[Probe, float]]) -> None:
    now, health = 0.0, Health(since=0.0)
    for probe, gap_s in told:
        now += gap_s
        before = health
        health, transition = step(before, probe, now)
        changed = health.state is not before.state
        assert (transition is not None) is changed
        assert health.since == (now if changed else before.since)


@given(st.lists(probes, max_size=40), st.integers(0, 3))
def test_any_edge_recovers_in_the_end(told: list[tuple[Probe, float]], extra: int) -> None:
    patient = Patient()
    for probe, gap_s in told:
        patient.probed(probe.outcome, rtt_ms=probe.rtt_ms, every_s=gap_s)
    patient.probed(*[OK] * (40 + extra), rtt_ms=20, every_s=60)
    assert patient.health.state is UP


@given(st.lists(probes, max_size=40))
def test_any_edge_that_keeps_failing_is_down(told: list[tuple[Probe, float]]) -> None:
    patient = Patient()
    for probe, gap_s in told:
        patient.probed(probe.outcome, every_s=gap_s)
    patient.probed(REFUSED, REFUSED, REFUSED)
    assert patient.health.state is DOWN


@given(st.lists(probes, max_size=60))
def test_memory_stays_bounded(told: list[tuple[Probe, float]]) -> None:
    for _, now, _, after in history(told):
        assert len(after.changes) <= 16
        assert all(at <= now for at in after.changes)
