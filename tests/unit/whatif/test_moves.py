"""Moves compare the answers before and after a change, weighted by addresses."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.geo.sphere import distance_km
from router.geodata.census import Census, Place
from router.model import Location, Observed, Scope
from router.routing.cache_headers import CachePolicy, Sharing
from router.routing.query import Query
from router.routing.route_table import RouteTable
from router.whatif.moves import Moves, Side, compare, summary
from router.whatif.scenario import NO_CHANGE, Change
from tests.support import strategies
from tests.support.builders import (
    AMERICAN,
    BERLIN,
    CANADIAN,
    DALLAS,
    MONTREAL,
    TORONTO,
    a_catalog,
    a_fleet,
    a_location,
    a_region,
    an_edge,
)
from tests.support.samples import samples
from tests.support.worlds import PLACES, a_census, sides

SAMPLED = samples(6_000)


def outcome_of(
    change: Change, query: Query = Query(), census: Census | None = None
) -> dict[str, Any]:
    before, after = sides(change, query)
    return summary(compare(census or a_census(), before, after, SAMPLED), before, after)


def moves_of(change: Change, query: Query = Query()) -> Moves:
    return compare(a_census(), *sides(change, query), SAMPLED)


def row(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    (found,) = [row for row in rows if wanted.items() <= row.items()]
    return found


@given(data=st.data())
def test_pick_equals_that_of_the_answer(data: st.DataObject) -> None:
    catalog = data.draw(strategies.catalogs())
    fleet, query = data.draw(strategies.fleets(catalog)), data.draw(strategies.queries)
    side = Side(catalog, fleet, query)
    table = RouteTable(side.ranker, fleet, CachePolicy())
    for location in data.draw(st.lists(strategies.locations, max_size=5)):
        seed = data.draw(strategies.seeds)
        key = side.ranker.key(location, seed, query.scope)
        answer = table.answer(key, query, Sharing.PRIVATE)

        assert side.pick(location, seed) == json.loads(answer.body).get("region")


@given(
    drained=st.sets(st.sampled_from([region.id for region in a_catalog().regions]), max_size=9),
    scope=st.sampled_from(Scope),
)
def test_number_of_addresses_is_kept(drained: set[str], scope: Scope) -> None:
    flows = moves_of(Change(drained=drained), Query(scope=scope)).flows

    assert sum(load.addresses for load in flows.values()) == pytest.approx(a_census().addresses)


def test_no_change_moves_no_viewer() -> None:
    assert not any(flow.is_move for flow in moves_of(NO_CHANGE).flows)


@given(edge=st.sampled_from([region.id for region in a_catalog().regions]))
def test_drain_moves_only_viewers_of_the_drained_edge(edge: str) -> None:
    flows = moves_of(Change(drained=[edge])).flows

    assert {flow.before for flow in flows if flow.is_move} <= {edge}
    assert all(flow.after != edge for flow in flows)


def test_neighbour_gets_all_viewers_of_a_drained_edge() -> None:
    outcome = outcome_of(Change(drained=["yto-01"]), census=a_census(PLACES[0]))

    assert row(outcome["edges"], region="yto-01")["before"] == pytest.approx(0.5, abs=0.03)
    assert row(outcome["edges"], region="yto-02")["after"] == 1
    assert [(move["from"], move["to"]) for move in outcome["moves"]] == [("yto-01", "yto-02")]
    assert outcome["extra_km"] == 0


def test_shares_follow_weights() -> None:
    catalog = a_catalog(a_region("yto-01", weight=1), a_region("yto-02", weight=3))
    before, after = sides(NO_CHANGE, catalog=catalog, present=a_fleet(an_edge("yto-01")))
    shares = summary(compare(a_census(PLACES[0]), before, after, SAMPLED), before, after)["edges"]

    assert row(shares, region="yto-02")["before"] == pytest.approx(0.75, abs=0.03)


def test_extra_distance_counts_only_viewers_who_move() -> None:
    outcome = outcome_of(Change(drained=["yto-01", "yto-02"]), census=a_census(*PLACES[:2]))

    (toronto,) = outcome["countries"]
    assert outcome["moved"] == pytest.approx(2 / 3, abs=1e-6)
    assert outcome["extra_km"] == pytest.approx(distance_km(TORONTO, MONTREAL), abs=0.1)
    assert toronto["country"] == "CA"


def test_nearer_edge_has_a_negative_extra_distance() -> None:
    frankfurt = a_region("fra-01", country="DE", position=BERLIN)
    outcome = outcome_of(Change(added=(frankfurt,)), census=a_census(PLACES[3]))

    assert outcome["moved"] == 1
    assert outcome["extra_km"] == pytest.approx(-distance_km(MONTREAL, BERLIN), abs=0.1)
    assert row(outcome["edges"], region="fra-01")["after"] == 1
    assert outcome["abroad"] == {"before": 1, "after": 0}


def test_viewers_of_unknown_place_do_not_change_the_distance() -> None:
    lost, found = Place(Location(), 5_000_000), PLACES[0]
    outcome = outcome_of(Change(drained=["yto-01", "yto-02"]), census=a_census(lost, found))

    assert outcome["moved"] == 1
    assert outcome["extra_km"] == pytest.approx(distance_km(TORONTO, MONTREAL), abs=0.1)


def test_country_that_loses_its_edges_is_reported() -> None:
    outcome = outcome_of(Change(drained=CANADIAN))

    assert outcome["countries_left"] == ["CA"]
    assert row(outcome["countries"], country="CA")["abroad"] == {"before": 0, "after": 1}
    assert row(outcome["countries"], country="US")["abroad"] == {"before": 0, "after": 0}


def test_country_that_keeps_an_edge_is_not_reported() -> None:
    assert outcome_of(Change(drained=["yto-01"]))["countries_left"] == []


def test_global_scope_crosses_where_it_is_nearer() -> None:
    outcome = outcome_of(
        Change(drained=["dal-01", "dal-02"]),
        Query(scope=Scope.GLOBAL),
        a_census(Place(a_location(DALLAS, "MX"), 256)),
    )

    assert outcome["moved"] == 1
    assert outcome["countries_left"] == []


def test_strict_viewers_may_lose_their_answer() -> None:
    outcome = outcome_of(Change(down=AMERICAN), Query(strict=True), a_census(PLACES[2]))

    assert outcome["unanswered"] == {"before": 0, "after": 1}
    assert outcome["extra_km"] is None
    assert outcome["moved"] == 1
    assert outcome["abroad"] == {"before": 0, "after": 0}


def test_whole_fleet_down_changes_no_pick() -> None:
    everything = [region.id for region in a_catalog().regions]
    outcome = outcome_of(Change(down=everything))

    assert outcome["status"] == {"before": "ok", "after": "fail_open"}
    assert outcome["moved"] == 0


def test_country_level_viewers_are_spread_over_metros() -> None:
    outcome = outcome_of(NO_CHANGE, census=a_census(PLACES[4]))
    shares = [edge["before"] for edge in outcome["edges"] if edge["country"] == "US"]

    assert all(share == pytest.approx(0.2, abs=0.04) for share in shares)


def test_shares_sum_to_one() -> None:
    outcome = outcome_of(Change(drained=["yul-01", "nyc-01"], down=["sfo-01"]))

    assert sum(edge["before"] for edge in outcome["edges"]) == pytest.approx(1, abs=1e-4)
    assert sum(edge["after"] for edge in outcome["edges"]) == pytest.approx(1, abs=1e-4)
    assert sum(move["share"] for move in outcome["moves"]) == pytest.approx(
        outcome["moved"], abs=1e-4
    )
    assert sum(row["share"] for row in outcome["countries"]) == pytest.approx(1, abs=1e-4)


def test_most_moved_country_comes_first() -> None:
    outcome = outcome_of(Change(drained=["yvr-02"]))

    assert outcome["countries"][0]["country"] == "CA"


def test_edge_already_down_has_no_viewers_before() -> None:
    present = a_fleet(an_edge("yto-01", Observed.DOWN))
    before, after = sides(Change(drained=["yto-02"]), present=present)
    outcome = summary(compare(a_census(PLACES[0]), before, after, SAMPLED), before, after)

    assert row(outcome["edges"], region="yto-01") | {"before": 0, "after": 0} == row(
        outcome["edges"], region="yto-01"
    )
    assert outcome["extra_km"] == pytest.approx(distance_km(TORONTO, MONTREAL), abs=0.1)


def test_outcome_is_deterministic() -> None:
    assert outcome_of(Change(drained=["yul-01"])) == outcome_of(Change(drained=["yul-01"]))
