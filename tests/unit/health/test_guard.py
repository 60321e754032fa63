"""The fleet brake and isolation: when a vantage does not trust its own probes."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.health.guard import (
    Brake,
    VantagePolicy,
    confirmed_edges,
    held_edges,
    is_confirmed,
    is_isolated,
    judge_brake,
)
from router.health.state import Health
from router.model import Observed, View
from tests.support.builders import CITIES, NOW, a_view

POLICY = VantagePolicy()
ALL = tuple(CITIES)
LONG_AGO = NOW - 3_600


def up() -> Health:
    return Health(state=Observed.UP, since=LONG_AGO, streak=9)


def fallen(ago_s: float = 1.0) -> Health:
    return Health(state=Observed.DOWN, since=NOW - ago_s, streak=-3)


def suspect(state: Observed = Observed.UP) -> Health:
    """Failing, but not often enough to be down."""
    return Health(state=state, since=LONG_AGO, streak=-1)


def healths_of(*groups: tuple[int, Health]) -> dict[str, Health]:
    """Health by edge: each group is a number of edges and their health; the rest are up."""
    seen: list[Health] = []
    for count, health in groups:
        seen += [health] * count
    seen += [up()] * (len(ALL) - len(seen))
    return dict(zip(ALL, seen, strict=True))


def a_brake(*ids: str, since: float = NOW - 10, believed: bool = False) -> Brake:
    return Brake(since=since, fallen=frozenset(ids), believed=believed)


def judged(
    healths: dict[str, Health],
    brake: Brake | None = None,
    enabled: Collection[str] = ALL,
    now: float = NOW,
) -> Brake | None:
    return judge_brake(brake, healths, enabled, now)


@pytest.mark.parametrize(
    ("groups", "is_on"),
    [
        ([], False),
        ([(3, fallen())], False),
        ([(5, fallen())], False),
        ([(6, fallen())], True),
        ([(10, fallen())], True),
        ([(6, suspect())], True),
        ([(6, suspect(Observed.DEGRADED))], True),
        ([(6, suspect(Observed.UNKNOWN))], True),
        ([(2, fallen()), (4, suspect())], True),
        ([(2, fallen()), (3, suspect())], False),
        ([(6, fallen(30))], True),
        ([(6, fallen(31))], False),
        ([(5, fallen(31)), (5, fallen())], False),
        ([(4, fallen(31)), (6, fallen())], True),
    ],
)
def test_brake_is_on_while_more_than_half_fall_at_once(
    groups: list[tuple[int, Health]], is_on: bool
) -> None:
    assert (judged(healths_of(*groups)) is not None) is is_on


@pytest.mark.parametrize(("enabled", "is_on"), [(1, False), (2, False), (3, True), (4, True)])
def test_brake_needs_three_falls_in_a_small_fleet(enabled: int, is_on: bool) -> None:
    healths = healths_of((10, fallen()))
    assert (judged(healths, enabled=ALL[:enabled]) is not None) is is_on


def test_new_brake_has_its_time_and_edges() -> None:
    assert judged(healths_of((2, fallen()), (4, suspect()))) == a_brake(*ALL[:6], since=NOW)


def test_edges_disabled_by_operators_do_not_count() -> None:
    healths = healths_of((6, fallen()))
    assert judged(healths, enabled=ALL[4:]) is None
    assert judged(healths, enabled=ALL[:7]) == a_brake(*ALL[:6], since=NOW)
    assert judged(healths_of((4, fallen())), enabled=ALL[:7]) == a_brake(*ALL[:4], since=NOW)


def test_edge_without_a_probe_counts_as_enabled() -> None:
    healths = {id: fallen() for id in ALL[:5]}
    assert judged(healths) is None
    assert judged(healths, enabled=ALL[:9]) is not None


def test_brake_stays_when_its_falls_are_old() -> None:
    brake = judged(healths_of((6, fallen(60))), a_brake(*ALL[:6], since=NOW - 60))
    assert brake == a_brake(*ALL[:6], since=NOW - 60)


def test_edge_that_falls_later_joins_the_brake() -> None:
    healths = healths_of((6, fallen(60)), (1, fallen()))
    brake = judged(healths, a_brake(*ALL[:6], since=NOW - 60))
    assert brake == a_brake(*ALL[:7], since=NOW - 60)


def test_edge_down_since_before_the_brake_never_joins() -> None:
    healths = healths_of((6, fallen(60)), (1, fallen(500)))
    brake = judged(healths, a_brake(*ALL[:6], since=NOW - 60))
    assert brake is not None
    assert ALL[6] not in brake.fallen


def test_brake_is_lifted_when_half_of_the_fleet_answers() -> None:
    healths = healths_of((5, fallen()))
    lifted = judged(healths, a_brake(*ALL[:6]))
    assert lifted == replace(a_brake(*ALL[:6]), lifted_at=NOW)
    assert held_edges(lifted, healths, removed=()) == set(ALL[:5])
    assert judged(healths, lifted, now=NOW + POLICY.settle_s - 1) == lifted
    assert judged(healths, lifted, now=NOW + POLICY.settle_s) is None


def test_lifted_brake_is_on_again_when_most_fail_again() -> None:
    lifted = replace(a_brake(*ALL[:6]), lifted_at=NOW - 5)
    assert judged(healths_of((6, fallen())), lifted) == a_brake(*ALL[:6])


def test_edge_that_another_vantage_saw_fall_is_not_held() -> None:
    healths, brake = healths_of((6, fallen())), a_brake(*ALL[:6])
    other = a_view("other", {ALL[0]: Observed.DOWN, ALL[1]: Observed.UP, ALL[9]: Observed.DOWN})
    confirmed = confirmed_edges(brake, [other], NOW, POLICY)
    assert confirmed == {ALL[0]}
    assert held_edges(replace(brake, confirmed=confirmed), healths, ()) == set(ALL[1:6])


@pytest.mark.parametrize("changes", [{"isolated": True}, {"probed_at": NOW - 16}])
def test_edge_is_not_confirmed_by_an_old_or_isolated_view(changes: dict[str, Any]) -> None:
    other = replace(a_view("other", {ALL[0]: Observed.DOWN}), **changes)
    assert not confirmed_edges(a_brake(*ALL[:6]), [other], NOW, POLICY)


@pytest.mark.parametrize(("age_s", "believed"), [(119, False), (120, True), (500, True)])
def test_brake_believes_falls_after_two_minutes(age_s: float, believed: bool) -> None:
    brake = judged(healths_of((6, fallen(age_s))), a_brake(*ALL[:6], since=NOW - age_s))
    assert brake is not None
    assert brake.believed is believed


def test_believed_brake_stays_believed() -> None:
    brake = judged(healths_of((7, fallen())), a_brake(*ALL[:6], believed=True))
    assert brake == a_brake(*ALL[:7], believed=True)


def test_next_mass_fall_puts_the_brake_on_again() -> None:
    believed = a_brake(*ALL[:6], believed=True)
    between = judged(healths_of(), believed)
    assert judged(healths_of((6, fallen())), between) == a_brake(*ALL[:6], since=NOW)


@pytest.mark.parametrize(
    ("brake", "held"),
    [
        (None, set()),
        (a_brake(*ALL[:6]), set(ALL[1:4])),
        (a_brake(*ALL[:6], believed=True), set()),
    ],
)
def test_held_edges_are_down_and_not_removed_yet(brake: Brake | None, held: set[str]) -> None:
    healths = healths_of((4, fallen()), (2, suspect()))
    assert held_edges(brake, healths, removed=ALL[:1]) == held


def seen_by(
    *down: str, held: Collection[str] = (), ago_s: float = 0.0, isolated: bool = False
) -> View:
    """The view of another vantage."""
    edges = dict.fromkeys(ALL, Observed.UP) | dict.fromkeys(down, Observed.DOWN)
    view = a_view("other", edges, probed_at=NOW - ago_s, isolated=isolated)
    return replace(view, held=tuple(held))


@pytest.mark.parametrize(
    ("others", "confirmed"),
    [
        ([], False),
        ([seen_by()], False),
        ([seen_by(*ALL[:6])], True),
        ([seen_by(*ALL[:4])], True),
        ([seen_by(*ALL[:3])], False),
        ([seen_by(*ALL[6:])], False),
        ([seen_by(*ALL[:6], ago_s=15)], True),
        ([seen_by(*ALL[:6], ago_s=16)], False),
        ([seen_by(*ALL[:6], isolated=True)], False),
        ([seen_by(held=ALL[:6])], True),
        ([seen_by(ALL[0], ALL[1], held=ALL[2:4])], True),
        ([seen_by(*ALL[:2], held=ALL[:2])], False),
        ([seen_by(held=ALL[:6], ago_s=16)], False),
        ([seen_by(*ALL[:3]), seen_by(*ALL[3:6])], False),
        ([seen_by(), seen_by(*ALL[:6])], True),
        ([a_view("other", {})], False),
    ],
)
def test_brake_is_confirmed_by_one_fresh_vantage_that_saw_most_fall(
    others: list[View], confirmed: bool
) -> None:
    assert is_confirmed(a_brake(*ALL[:6]), others, NOW, POLICY) is confirmed


@pytest.mark.parametrize(
    ("passed", "isolated"),
    [
        ([], False),
        ([True], False),
        ([False], True),
        ([True, False], False),
        ([False, False], True),
        ([True, True, False], False),
        ([True, False, False], True),
        ([True, True, False, False], False),
        ([True, False, False, False], True),
    ],
)
def test_vantage_is_isolated_when_most_witnesses_fail(passed: list[bool], isolated: bool) -> None:
    assert is_isolated(passed) is isolated


states_seen = st.builds(
    Health,
    state=st.sampled_from(Observed),
    since=st.floats(NOW - 300, NOW),
    streak=st.integers(-5, 5),
)
fleets_seen = st.dictionaries(st.sampled_from(ALL), states_seen)
brakes = st.none() | st.builds(
    Brake,
    since=st.floats(NOW - 300, NOW),
    fallen=st.frozensets(st.sampled_from(ALL)),
    believed=st.booleans(),
)
some_edges = st.sets(st.sampled_from(ALL))


@given(healths=fleets_seen, brake=brakes, enabled=some_edges, removed=some_edges)
def test_only_enabled_edges_that_are_down_and_not_removed_are_held(
    healths: dict[str, Health], brake: Brake | None, enabled: set[str], removed: set[str]
) -> None:
    held = held_edges(judged(healths, brake, enabled), healths, removed)
    assert all(healths[id].state is Observed.DOWN for id in held)
    assert held <= enabled - removed


@given(healths=fleets_seen, brake=brakes, enabled=some_edges)
def test_brake_has_at_least_three_and_most_enabled_edges(
    healths: dict[str, Health], brake: Brake | None, enabled: set[str]
) -> None:
    judgement = judged(healths, brake, enabled)
    if judgement is not None and judgement.lifted_at is None:
        assert len(judgement.fallen) >= POLICY.brake_count
        assert 2 * len(judgement.fallen) > len(enabled)


@given(healths=fleets_seen, enabled=some_edges)
def test_no_edge_is_held_for_more_than_two_minutes(
    healths: dict[str, Health], enabled: set[str]
) -> None:
    first = judged(healths, None, enabled)
    second = judged(healths, first, enabled, now=NOW + POLICY.hold_s)
    assert held_edges(second, healths, removed=()) == frozenset()


@given(healths=fleets_seen, brake=brakes, enabled=some_edges)
def test_judging_twice_gives_the_same_brake(
    healths: dict[str, Health], brake: Brake | None, enabled: set[str]
) -> None:
    once = judged(healths, brake, enabled)
    assert judged(healths, once, enabled) == once
