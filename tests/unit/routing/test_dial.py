"""A dial moves its share of viewers and no others, and only to edges that they may use."""

import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import Intended, Intent, Observed, Scope, Status
from router.routing.cache_headers import CachePolicy, Sharing
from router.routing.decision import Decision, decide
from router.routing.dial import apply_dial, dial_position, network_position, slot_position
from router.routing.fleet import Edge, Fleet, combine
from router.routing.query import Query
from router.routing.ranking import Ranker, RouteKey
from router.routing.route_table import RouteTable
from tests.support import strategies
from tests.support.builders import (
    NOW,
    a_catalog,
    a_dialled_fleet,
    a_fleet,
    a_key,
    a_location,
    a_ranker,
    a_view,
    an_edge,
    an_edge_view,
)
from tests.support.samples import samples

SEEDS = range(samples(20_000))
TOLERANCE = 1.4 / len(SEEDS) ** 0.5  # 0.01 of 20,000
shares = st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.95, 1.0])


def a_dial(edge: str = "yto-01", share: float = 0.7, **changes: object) -> Intent:
    intent = Intent(
        edge=edge,
        state=Intended.ENABLED,
        actor="a",
        reason="b",
        created_at=NOW,
        expires_at=NOW + 3_600,
        share=share,
    )
    return replace(intent, **changes)  # type: ignore[arg-type]


def pick(decision: Decision) -> str:
    return decision.candidates[0].region.id


def picks(fleet: Fleet, key: RouteKey, query: Query = Query()) -> list[str]:
    """Returns the pick of a private answer for each seed."""
    full = decide(a_ranker(), fleet, key, query)
    return [
        pick(apply_dial(full, key, dial_position(fleet, key, Sharing.PRIVATE, seed)))
        for seed in SEEDS
    ]


KEY = a_key("yto-01", "yul-01", "yto-02")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_private_answers_keep_the_share(share: float) -> None:
    kept = picks(a_dialled_fleet({"yto-01": share}), KEY).count("yto-01") / len(SEEDS)
    assert kept == pytest.approx(share, abs=TOLERANCE)


def test_viewers_of_one_edge_in_a_metro_keep_the_share() -> None:
    """The seed also chooses the edge in a metro; the two choices must be independent."""
    ranker, viewers, kept = a_ranker(), 0, 0
    for seed in SEEDS:
        key = ranker.key(a_location(), seed, Scope.COUNTRY)
        if key.preferred[0] == "yto-01":
            viewers += 1
            kept += network_position(seed, "yto-01") < 0.7
    assert viewers > len(SEEDS) / 4
    assert kept / viewers == pytest.approx(0.7, abs=2 * TOLERANCE)


def test_lower_share_moves_only_the_difference() -> None:
    at_70, at_60 = (
        picks(a_dialled_fleet({"yto-01": 0.7}), KEY),
        picks(a_dialled_fleet({"yto-01": 0.6}), KEY),
    )
    moved = [(old, new) for old, new in zip(at_70, at_60, strict=True) if old != new]
    assert {old for old, _ in moved} == {"yto-01"}
    assert len(moved) / len(SEEDS) == pytest.approx(0.1, abs=TOLERANCE)


@given(seed=st.integers(0, 2**32 - 1), low=st.floats(0, 1), high=st.floats(0, 1))
def test_viewer_kept_at_a_low_share_is_kept_at_a_high_one(
    seed: int, low: float, high: float
) -> None:
    low, high = sorted((low, high))
    position = network_position(seed, "yto-01")
    assert not position < low or position < high


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_shared_answers_keep_the_share_over_slots(share: float) -> None:
    """Bounds the error over 30 slots (the TTL of a client) and 60 slots (10 minutes).

    Sampled over keys and starts: the median and the 99th percentile.
    """
    wrong: dict[int, list[float]] = {30: [], 60: []}
    for number in range(40):
        key = a_key("yto-01", f"e-{number}")
        is_kept = [slot_position(slot, key, "yto-01") < share for slot in range(1_060)]
        for first in range(0, 1_000, 37):
            for slots, off in wrong.items():
                off.append(abs(sum(is_kept[first : first + slots]) / slots - share))
    assert statistics.median(wrong[30]) <= 0.02
    assert statistics.quantiles(wrong[30], n=100)[98] <= 0.07
    assert statistics.quantiles(wrong[60], n=100)[98] <= 0.035


def test_shared_answers_of_a_city_keep_the_share_within_5_minutes() -> None:
    """Keys have different phases, so the error of several keys together is smaller."""
    keys = [
        a_key("yto-01", second, "nyc-01") for second in ("yto-02", "yul-01", "yul-02", "nyc-02")
    ]
    for share in (0.1, 0.5, 0.9):
        kept = [slot_position(slot, key, "yto-01") < share for slot in range(30) for key in keys]
        assert sum(kept) / len(kept) == pytest.approx(share, abs=0.02)


def test_dialled_edge_is_the_first_alternate() -> None:
    decision = decide(a_ranker(), a_dialled_fleet({"yto-01": 0.0}), KEY, Query())
    moved = apply_dial(decision, KEY, lambda _: 0.5)
    assert [edge.region.id for edge in moved.candidates[:2]] == ["yul-01", "yto-01"]
    assert sorted(edge.region.id for edge in moved.candidates) == sorted(
        edge.region.id for edge in decision.candidates
    )


def test_failure_of_a_neighbour_does_not_raise_a_dialled_share() -> None:
    fleet = a_dialled_fleet({"yto-02": 0.05})
    edges = tuple(
        replace(one, observed=Observed.DOWN) if one.region.id == "yto-01" else one
        for one in fleet.edges
    )
    found = picks(replace(fleet, edges=edges), a_key("yto-01", "yto-02", "yul-01"))
    assert found.count("yto-02") / len(SEEDS) == pytest.approx(0.05, abs=TOLERANCE)
    assert set(found) == {"yto-02", "yul-01"}


def test_two_dialled_edges_each_keep_their_share() -> None:
    found = picks(a_dialled_fleet({"yto-01": 0.5, "yul-01": 0.2}), KEY)
    assert found.count("yto-01") / len(SEEDS) == pytest.approx(0.5, abs=TOLERANCE)
    assert found.count("yul-01") / len(SEEDS) == pytest.approx(0.1, abs=TOLERANCE)


@pytest.mark.parametrize("scope", Scope)
def test_dial_sends_no_viewer_across_a_border(scope: Scope) -> None:
    fleet = a_dialled_fleet({"yvr-02": 0.0})
    edges = tuple(
        replace(one, observed=Observed.DOWN) if one.region.country == "CA" and one.share else one
        for one in fleet.edges
    )
    found = picks(replace(fleet, edges=edges), a_key("yvr-02", "sfo-01"), Query(scope=scope))
    assert set(found) == {"yvr-02"}


def test_dial_sends_no_viewer_to_a_degraded_edge() -> None:
    fleet = a_dialled_fleet({"yto-01": 0.0})
    edges = tuple(
        one if one.region.id == "yto-01" else replace(one, observed=Observed.DEGRADED)
        for one in fleet.edges
    )
    assert set(picks(replace(fleet, edges=edges), KEY)) == {"yto-01"}


def test_dial_sends_no_viewer_to_an_edge_never_seen_working() -> None:
    new = {"local": replace(an_edge_view(Observed.DOWN), worked=False)}
    worked = {"local": replace(an_edge_view(Observed.DOWN), worked=True)}
    others = [replace(edge, observed=Observed.DOWN, seen=new) for edge in a_fleet().edges[1:]]
    dialled_away = replace(an_edge("yto-01", Observed.DOWN), seen=worked, share=0.0)
    fleet = replace(a_fleet(dialled_away, *others, status=Status.FAIL_OPEN), slot=0)
    assert set(picks(fleet, a_key("yto-01", "yto-02"))) == {"yto-01"}


@given(st.data())
def test_any_dial_respects_residency_border_and_health(data: st.DataObject) -> None:
    catalog = data.draw(strategies.bounded_catalogs() | strategies.catalogs())
    plain = data.draw(strategies.fleets(catalog))
    edges = tuple(replace(edge, share=data.draw(shares)) for edge in plain.edges)
    fleet = replace(plain, edges=edges, slot=data.draw(st.integers(0, 10**9)))
    key, query = data.draw(strategies.keys(catalog)), data.draw(strategies.queries)
    sharing, seed = data.draw(st.sampled_from(Sharing)), data.draw(st.integers(0, 2**32 - 1))
    full = decide(Ranker(catalog), fleet, key, query)
    moved = apply_dial(full, key, dial_position(fleet, key, sharing, seed))
    before, after = ([edge.region.id for edge in one.candidates] for one in (full, moved))
    assert sorted(before) == sorted(after)
    if moved.candidates and moved.candidates[0] is not full.candidates[0]:
        old, new = full.candidates[0], moved.candidates[0]
        is_home = old.region.country == key.country
        assert new.region.country == key.country or not is_home
        assert new.observed is not Observed.DEGRADED or old.observed is Observed.DEGRADED
        assert moved.residency is None or new.region.country in moved.residency
        assert moved.candidates[1] is old


@given(st.data())
def test_answer_depends_only_on_key_query_fleet_and_seed(data: st.DataObject) -> None:
    fleet = a_dialled_fleet({"yto-01": data.draw(shares)}, slot=data.draw(st.integers(0, 100)))
    sharing, seed = data.draw(st.sampled_from(Sharing)), data.draw(st.integers(0, 2**32 - 1))
    used = RouteTable(a_ranker(), fleet, CachePolicy())
    for other in range(5):
        used.answer(KEY, Query(), sharing, other)
    fresh = RouteTable(a_ranker(), fleet, CachePolicy())
    assert used.answer(KEY, Query(), sharing, seed) == fresh.answer(KEY, Query(), sharing, seed)
    if sharing is not Sharing.PRIVATE:
        assert used.answer(KEY, Query(), sharing, 1) is used.answer(KEY, Query(), sharing, 2)


# Over time


def combined(*intents: Intent, now: float = NOW) -> Fleet:
    catalog = a_catalog()
    return combine(catalog, [a_view(probed_at=now)], intents, now)


def share_of(fleet: Fleet, id: str = "yto-01") -> float:
    return next(edge.share for edge in fleet.edges if edge.region.id == id)


def test_fleet_has_a_slot_only_while_a_dial_is_active() -> None:
    assert combined().slot is None
    assert combined(a_dial()).slot == NOW // 10
    assert combined(a_dial(), now=NOW + 3_601).slot is None
    assert share_of(combined(a_dial(), now=NOW + 3_601)) == 1.0


def test_dialled_edge_is_enabled() -> None:
    edge = combined(a_dial()).edges[0]
    assert (edge.intended, edge.enabled, edge.share) == (Intended.ENABLED, True, 0.7)


@pytest.mark.parametrize(("after_s", "share"), [(0, 1.0), (450, 0.5), (890, 0.01), (900, 0.0)])
def test_share_changes_linearly_over_time(after_s: float, share: float) -> None:
    gradual = a_dial(share=0.0, from_share=1.0, over_s=900)
    assert share_of(combined(gradual, now=NOW + after_s)) == share


def test_dial_of_a_draining_edge_is_ignored() -> None:
    drained = replace(a_dial(), state=Intended.DRAINING)
    assert share_of(combined(drained)) == 1.0


def test_different_shares_have_different_routing() -> None:
    one, other = combined(a_dial(share=0.5)), combined(a_dial(share=0.4))
    assert one.routing != other.routing
    assert an_edge("yto-01").share == 1.0
    assert isinstance(one.edges[0], Edge)
