"""Views and intents are combined into a Fleet by quorum, age and intent."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import Catalog, EdgeView, Intended, Intent, Observed, Outcome, Status, View
from router.routing.fleet import Edge, Fleet, FleetPolicy, combine, combine_votes, is_offered
from tests.support.builders import (
    CITIES,
    NOW,
    a_catalog,
    a_fleet,
    a_fleet_but,
    a_region,
    a_view,
    an_edge,
    an_edge_view,
    an_intent,
)
from tests.support.strategies import catalogs, fleets

UP, DEGRADED, DOWN, UNKNOWN = Observed.UP, Observed.DEGRADED, Observed.DOWN, Observed.UNKNOWN
ENABLED, DRAINING, DISABLED = Intended.ENABLED, Intended.DRAINING, Intended.DISABLED

LLAMA = frozenset({"llama-3"})

votes_of_all = st.lists(st.sampled_from(Observed), max_size=7)


def combined(*views: View, intents: tuple[Intent, ...] = (), at: float = NOW) -> Fleet:
    return combine(a_catalog(), views, intents, at)


def the_edge(fleet: Fleet, id: str = "yto-01") -> Edge:
    return next(edge for edge in fleet.edges if edge.region.id == id)


def seen_by(*states: Observed) -> Fleet:
    views = [a_view(f"v{index}", {"yto-01": state}) for index, state in enumerate(states)]
    return combined(*views)


# Quorum


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([], UNKNOWN),
        ([UNKNOWN], UNKNOWN),
        ([UP], UP),
        ([DEGRADED], DEGRADED),
        ([DOWN], DOWN),
        ([DOWN, DOWN], DOWN),
        ([DOWN, UP], DEGRADED),
        ([DOWN, DEGRADED], DEGRADED),
        ([UP, DEGRADED], DEGRADED),
        ([UP, UP, DOWN], DEGRADED),
        ([UP, DOWN, DOWN], DOWN),
        ([DEGRADED, DOWN, DOWN], DOWN),
        ([UP, UP, DEGRADED], UP),
        ([UP, DEGRADED, DEGRADED], DEGRADED),
        ([UP, UP, DOWN, DOWN], DEGRADED),
        ([UP, DOWN, DOWN, DOWN], DOWN),
        ([UP, UP, DOWN, DOWN, DOWN], DOWN),
        ([UP, UP, UP, DOWN, DOWN], DEGRADED),
    ],
)
def test_down_needs_more_than_half(votes: list[Observed], expected: Observed) -> None:
    assert combine_votes(votes) is expected


@given(votes_of_all)
def test_unknown_is_not_a_vote(votes: list[Observed]) -> None:
    assert combine_votes([*votes, UNKNOWN]) is combine_votes(votes)


@given(votes_of_all)
def test_order_of_votes_does_not_matter(votes: list[Observed]) -> None:
    assert combine_votes(reversed(votes)) is combine_votes(sorted(votes)) is combine_votes(votes)


@given(votes_of_all)
def test_one_vote_for_down_prevents_up(votes: list[Observed]) -> None:
    count = Counter(votes)
    majority = 2 * count[DOWN] > count.total() - count[UNKNOWN]
    assert (combine_votes(votes) is DOWN) is majority
    assert combine_votes(votes) is not UP or not count[DOWN]


@pytest.mark.parametrize(
    ("states", "expected"), [([UP, DOWN], DEGRADED), ([DOWN, DOWN, UP], DOWN), ([UNKNOWN], UNKNOWN)]
)
def test_fresh_views_are_counted(states: list[Observed], expected: Observed) -> None:
    edge = the_edge(seen_by(*states))
    assert edge.observed is expected
    assert list(edge.votes.values()) == states


def test_isolated_views_are_not_counted() -> None:
    honest, cut_off = a_view("a"), a_view("b", dict.fromkeys(CITIES, DOWN), isolated=True)
    fleet = combined(honest, cut_off)
    assert the_edge(fleet).observed is UP
    assert the_edge(fleet).votes == {"a": UP}


def test_only_isolated_views_give_a_static_fleet() -> None:
    fleet = combined(a_view(isolated=True))
    assert (fleet.status, fleet.seen_at) == (Status.STATIC, None)


def test_old_views_do_not_outvote_a_fresh_one() -> None:
    old = [a_view(name, dict.fromkeys(CITIES, DOWN), probed_at=NOW - 16) for name in "abc"]
    fleet = combined(a_view("fresh"), *old)
    assert (the_edge(fleet).observed, fleet.status) == (UP, Status.OK)


def test_edge_has_the_earliest_time_of_its_state() -> None:
    seen = {
        "late": an_edge_view(UP, since=NOW - 100),
        "early": an_edge_view(UP, since=NOW - 500),
        "other": an_edge_view(DEGRADED, since=NOW - 900),
    }
    views = [a_view(vantage, {"yto-01": seen}) for vantage, seen in seen.items()]
    assert the_edge(combined(*views)).since == NOW - 500


@pytest.mark.parametrize("calm", [UP, UNKNOWN])
def test_split_vote_has_the_time_of_the_failure(calm: Observed) -> None:
    troubled = {"yto-01": an_edge_view(DOWN, since=NOW - 5)}
    calm_views = [
        a_view(name, {"yto-01": an_edge_view(state)})
        for name, state in {"a": UP, "b": calm}.items()
    ]
    edge = the_edge(combined(*calm_views, a_view("c", troubled)))
    assert (edge.observed, edge.since) == (DEGRADED, NOW - 5)


# Age


@pytest.mark.parametrize(
    ("age_s", "status", "observed"),
    [
        (0.0, Status.OK, UP),
        (15.0, Status.OK, UP),
        (15.1, Status.STALE, UP),
        (120.0, Status.STALE, UP),
        (120.1, Status.STATIC, UNKNOWN),
        (1e9, Status.STATIC, UNKNOWN),
    ],
)
def test_health_ages_to_stale_then_static(age_s: float, status: Status, observed: Observed) -> None:
    fleet = combined(a_view(probed_at=NOW - age_s))
    assert fleet.status is status
    assert {edge.observed for edge in fleet.edges} == {observed}


def test_last_known_state_is_kept_while_stale() -> None:
    fleet = combined(a_view(edges={"yto-01": DOWN, "yto-02": UP}, probed_at=NOW - 60))
    assert (the_edge(fleet).observed, the_edge(fleet, "yto-02").observed) == (DOWN, UP)
    assert fleet.status is Status.STALE


def test_fleet_without_views_is_static() -> None:
    fleet = combined()
    assert (fleet.status, fleet.seen_at) == (Status.STATIC, None)


@pytest.mark.parametrize("ahead_s", [0.5, 60.0, 1e9])
def test_future_timestamps_count_as_now(ahead_s: float) -> None:
    fleet = combined(a_view(probed_at=NOW + ahead_s))
    assert (fleet.status, fleet.seen_at) == (Status.OK, NOW)


def braked(held_s: float, vantage: str = "local") -> View:
    """A view whose vantage has held a removal for `held_s`."""
    return replace(a_view(vantage, held=["nyc-01"]), held_since=NOW - held_s)


@pytest.mark.parametrize(("held_s", "status"), [(15.0, Status.OK), (16.0, Status.STALE)])
def test_health_from_a_braked_vantage_alone_becomes_stale(held_s: float, status: Status) -> None:
    fleet = combine(a_catalog(), [braked(held_s)], [], NOW)
    assert (fleet.status, fleet.by_id["nyc-01"].observed) == (status, Observed.UP)


def test_health_stays_fresh_with_a_vantage_without_a_brake() -> None:
    views = [braked(60.0), a_view("nyc")]
    assert combine(a_catalog(), views, [], NOW).status is Status.OK
    gone = [braked(60.0), a_view("nyc", probed_at=NOW - 16)]
    assert combine(a_catalog(), gone, [], NOW).status is Status.STALE


def test_fleet_has_the_time_of_its_newest_view() -> None:
    fleet = combined(a_view("a", probed_at=NOW - 9), a_view("b", probed_at=NOW - 4))
    assert fleet.seen_at == NOW - 4


@pytest.mark.parametrize("state", [DOWN, UNKNOWN])
def test_fleet_with_nothing_up_fails_open(state: Observed) -> None:
    assert combined(a_view(edges=dict.fromkeys(CITIES, state))).status is Status.FAIL_OPEN


def test_stale_fleet_with_nothing_up_fails_open() -> None:
    view = a_view(edges=dict.fromkeys(CITIES, DOWN), probed_at=NOW - 60)
    assert combined(view).status is Status.FAIL_OPEN


def test_one_degraded_edge_prevents_fail_open() -> None:
    view = a_view(edges=dict.fromkeys(CITIES, DOWN) | {"sfo-01": DEGRADED})
    assert combined(view).status is Status.OK


def test_fleet_with_only_draining_edges_up_fails_open() -> None:
    view = a_view(edges={"yto-01": UP, "yto-02": DOWN})
    assert combined(view, intents=(an_intent("yto-01"),)).status is Status.FAIL_OPEN


def test_unroutable_edge_does_not_prevent_fail_open() -> None:
    catalog = a_catalog(a_region("yto-01", routable=False), a_region("yto-02"))
    fleet = combine(catalog, [a_view(edges={"yto-01": UP, "yto-02": DOWN})], [], NOW)
    assert fleet.status is Status.FAIL_OPEN


def test_ages_follow_the_policy() -> None:
    policy = FleetPolicy(fresh_s=1.0, stale_s=2.0)
    statuses = [
        combine(a_catalog(), [a_view(probed_at=NOW - age_s)], [], NOW, policy).status
        for age_s in (1.0, 1.5, 2.5)
    ]
    assert statuses == [Status.OK, Status.STALE, Status.STATIC]


# Intents


@pytest.mark.parametrize("state", [DRAINING, DISABLED])
def test_intent_disables_an_edge(state: Intended) -> None:
    intent = an_intent("yto-01", state)
    edge = the_edge(combined(a_view(), intents=(intent,)))
    assert (edge.intended, edge.intent, edge.enabled) == (state, intent, False)
    assert edge.observed is UP


@pytest.mark.parametrize(("left_s", "intended"), [(0.1, DRAINING), (0.0, ENABLED), (-60, ENABLED)])
def test_expired_intent_is_ignored(left_s: float, intended: Intended) -> None:
    intent = an_intent("yto-01", DRAINING, expires_at=NOW + left_s)
    assert the_edge(combined(a_view(), intents=(intent,))).intended is intended


def test_intent_for_an_unknown_edge_is_ignored() -> None:
    assert combined(a_view(), intents=(an_intent("nope"),)) == combined(a_view())


@pytest.mark.parametrize(
    ("edge", "offered"),
    [
        (an_edge(), True),
        (an_edge(observed=DEGRADED), True),
        (an_edge(observed=DOWN), False),
        (an_edge(observed=UNKNOWN), False),
        (an_edge(intended=DRAINING), False),
        (an_edge(intended=DISABLED), False),
        (an_edge(a_region(routable=False)), False),
    ],
)
def test_enabled_edges_seen_to_work_are_offered(edge: Edge, *, offered: bool) -> None:
    assert is_offered(edge) is offered


# Models


@pytest.mark.parametrize(("age_s", "models"), [(0, LLAMA), (60, LLAMA), (61, None), (-9, LLAMA)])
def test_inventory_ages_to_unknown(age_s: float, models: frozenset[str] | None) -> None:
    seen = an_edge_view(models=["llama-3"], models_at=NOW - age_s)
    assert the_edge(combined(a_view(edges={"yto-01": seen}))).models == models


def test_newest_inventory_is_used() -> None:
    old = an_edge_view(models=["old"], models_at=NOW - 20)
    new = an_edge_view(models=["new"], models_at=NOW - 10)
    fleet = combined(a_view("a", {"yto-01": new}), a_view("b", {"yto-01": old}))
    assert the_edge(fleet).models == frozenset({"new"})


def test_vantage_without_inventory_does_not_hide_others() -> None:
    known = an_edge_view(models=["llama-3"])
    fleet = combined(a_view("a", {"yto-01": UP}), a_view("b", {"yto-01": known}))
    assert the_edge(fleet).models == LLAMA


def test_empty_inventory_is_known() -> None:
    assert (
        the_edge(combined(a_view(edges={"yto-01": an_edge_view(models=[])}))).models == frozenset()
    )


# The catalog


def test_new_edge_of_the_catalog_is_unknown() -> None:
    edges = {id: UP for id in CITIES if id != "yul-02"}
    edge = the_edge(combined(a_view(edges=edges)), "yul-02")
    assert (edge.observed, edge.since, edge.models, edge.votes) == (UNKNOWN, None, None, {})


def test_edge_outside_the_catalog_is_dropped() -> None:
    fleet = combine(a_catalog(a_region("yto-01")), [a_view()], [], NOW)
    assert [edge.region.id for edge in fleet.edges] == ["yto-01"]


def test_edges_have_the_order_of_the_catalog() -> None:
    assert [edge.region.id for edge in combined(a_view()).edges] == list(CITIES)


@given(catalogs(), st.data())
def test_status_is_fail_open_only_without_offered_edges(
    catalog: Catalog, data: st.DataObject
) -> None:
    fleet = data.draw(fleets(catalog))
    offered = any(is_offered(edge) for edge in fleet.edges)
    assert offered is (fleet.status in (Status.OK, Status.STALE))


# Routing state


@pytest.mark.parametrize(
    "other",
    [
        a_fleet_but(an_edge("yto-01", DOWN)),
        a_fleet_but(an_edge("yto-01", intended=DRAINING)),
        a_fleet_but(an_edge("yto-01", models=["llama-3"])),
        a_fleet_but(an_edge(a_region("yto-01", weight=2.0))),
        a_fleet(status=Status.STALE),
        a_fleet(an_edge("yto-01")),
    ],
)
def test_routing_changes_with_what_answers_depend_on(other: Fleet) -> None:
    assert other.routing != a_fleet().routing


def test_routing_ignores_everything_else() -> None:
    later = a_view(edges={id: an_edge_view(since=NOW) for id in CITIES}, probed_at=NOW - 1, seq=9)
    assert combined(later).routing == combined(a_view()).routing
    assert hash(combined(later).routing) == hash(combined(a_view()).routing)


def test_edge_has_its_last_outcome() -> None:
    seen = EdgeView(state=DOWN, since=NOW - 5, reason=Outcome.TLS, rtt_ms=12.5, streak=-3)
    edge = the_edge(combined(a_view(edges={"yto-01": seen})))
    assert (edge.reason, edge.rtt_ms) == (Outcome.TLS, 12.5)
