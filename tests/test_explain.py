"""Why a viewer gets this edge, told from the decision that serves it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.caching import CachePolicy, Sharing
from router.explain import describe_edge, describe_fleet, explain
from router.fleet import Fleet
from router.location import Placed
from router.model import Catalog, Intended, Location, Observed, Scope, Status
from router.query import Query
from router.ranking import Ranker
from router.routes import RouteTable
from tests.builders import (
    CITIES,
    NOW,
    a_fleet,
    a_fleet_but,
    a_key,
    a_location,
    a_placed,
    a_ranker_for,
    a_region,
    an_edge,
)
from tests.strategies import catalogs, fleets, locations, queries, seeds


def explained(
    placed: Placed = a_placed(), fleet: Fleet | None = None, query: Query = Query()
) -> dict[str, Any]:
    fleet = fleet or a_fleet()
    return explain(a_ranker_for(fleet), fleet, placed, query, CachePolicy())


def test_place_and_source_are_told() -> None:
    assert explained()["location"] == {
        "country": "CA",
        "latitude": 43.6532,
        "longitude": -79.3832,
        "level": "city",
        "source": "database",
    }


def test_unknown_place_is_told_as_such() -> None:
    told = explained(a_placed(Location()))
    assert told["location"]["level"] == "unknown"
    assert (told["key"], told["reason"]) == ("ZZ~", "default_order")
    assert {each["distance_km"] for each in told["candidates"]} == {None}


def test_candidates_are_told_by_role_and_distance() -> None:
    candidates = explained()["candidates"]
    roles = [each["role"] for each in candidates]
    assert roles == ["pick", *["alternate"] * 3, *["candidate"] * 6]
    assert [each["distance_km"] for each in candidates[:4]] == [0, 0, 504, 504]


def test_country_level_distance_is_from_its_centre() -> None:
    far = explained(a_placed(a_location(None, "DE")))["candidates"][0]["distance_km"]
    assert 5_850 < far < 5_900


@pytest.mark.parametrize("country", ["AQ", "XX"])
def test_country_without_a_centre_has_no_distances(country: str) -> None:
    told = explained(a_placed(a_location(None, country)))
    assert {each["distance_km"] for each in told["candidates"]} == {None}


def test_each_rejected_edge_tells_why() -> None:
    fleet = a_fleet_but(
        an_edge("yto-01", Observed.DOWN), an_edge("yul-01", intended=Intended.DRAINING)
    )
    told = explained(fleet=fleet, query=Query(strict=True))
    why = {each["region"]: each["why"] for each in told["rejected"]}
    assert (why["yto-01"], why["yul-01"], why["nyc-01"]) == ("down", "draining", "abroad")
    assert told["region"] == "yto-02"


def test_problem_leaves_no_pick() -> None:
    told = explained(a_placed(a_location(None, "DE")), query=Query(strict=True))
    assert (told["region"], told["reason"]) == (None, None)
    assert (told["problem"], told["candidates"]) == ("no_edge_in_country", [])
    assert len(told["rejected"]) == len(CITIES)


def test_query_model_and_ttl_are_told() -> None:
    told = explained(fleet=a_fleet(status=Status.STALE), query=Query(model="Kokoro"))
    assert told["query"] == {"scope": "country", "model": "Kokoro", "strict": False, "all": False}
    assert (told["model"], told["ttl"], told["status"]) == ("kokoro-82m", 30, "stale")


def test_cdn_key_is_explained_as_it_came() -> None:
    told = explained(a_placed(Location(country="CA"), key=a_key("yvr-02", "yto-01")))
    assert (told["key"], told["region"]) == ("CA~yvr-02.yto-01", "yvr-02")


def test_cdn_key_with_edges_long_gone_is_explained() -> None:
    told = explained(a_placed(Location(country="CA"), key=a_key("old-01", "yvr-02")))
    assert (told["key"], told["region"]) == ("CA~yvr-02", "yvr-02")


@st.composite
def cases(draw: st.DrawFn) -> tuple[Catalog, Fleet, Placed, Query]:
    catalog = draw(catalogs())
    viewer = a_placed(draw(locations), seed=draw(seeds))
    return catalog, draw(fleets(catalog)), viewer, draw(queries)


@given(cases())
def test_explanation_is_of_the_answer_served(case: tuple[Catalog, Fleet, Placed, Query]) -> None:
    catalog, fleet, viewer, query = case
    ranker = Ranker(catalog)
    told = explain(ranker, fleet, viewer, query, CachePolicy())
    key = ranker.key(viewer.location, viewer.seed, query.scope)
    served = RouteTable(ranker, fleet, CachePolicy()).answer(key, query, Sharing.PRIVATE)
    body = msgspec.json.decode(served.body)
    assert told["region"] == body.get("region")
    assert told["problem"] == body.get("code")
    assert told["reason"] == body.get("reason")


@given(cases())
def test_explanation_is_plain_data(case: tuple[Catalog, Fleet, Placed, Query]) -> None:
    catalog, fleet, viewer, query = case
    told = explain(Ranker(catalog), fleet, viewer, query, CachePolicy())
    assert msgspec.json.decode(msgspec.json.encode(told)) == msgspec.to_builtins(told)
    assert len(told["candidates"]) + len(told["rejected"]) == len(catalog.regions)


def test_edge_is_described_whole() -> None:
    edge = an_edge(
        a_region("yul-02", routable=False, weight=2.0), Observed.DEGRADED, models=["b", "a"]
    )
    assert describe_edge(edge) == {
        "id": "yul-02",
        "name": "Montreal 02",
        "country": "CA",
        "endpoint": "https://api.yul-02.edge.polargrid.ai",
        "routable": False,
        "weight": 2.0,
        "state": "degraded",
        "since": NOW - 3600,
        "reason": None,
        "rtt_ms": None,
        "intent": "enabled",
        "models": ["a", "b"],
        "votes": {"local": "degraded"},
    }


def test_unknown_inventory_is_told_as_none() -> None:
    assert describe_edge(an_edge(models=None))["models"] is None
    assert describe_edge(an_edge(models=[]))["models"] == []


def test_fleet_is_described_in_catalog_order() -> None:
    told = describe_fleet(a_fleet())
    assert (told["status"], told["seen_at"]) == ("ok", NOW)
    assert [edge["id"] for edge in told["edges"]] == list(CITIES)


def test_global_scope_is_explained_across_the_border() -> None:
    seattle = a_location(a_region("sfo-01").position, "CA")
    told = explained(a_placed(seattle), query=Query(scope=Scope.GLOBAL))
    assert (told["region"], told["crossed_border"]) == ("sfo-01", True)
