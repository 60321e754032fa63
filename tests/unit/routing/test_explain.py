"""The explanation of an answer comes from the decision that serves it."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import Catalog, Intended, Location, Observed, Scope, Status
from router.routing.cache_headers import CachePolicy, Sharing
from router.routing.explain import explain, parse_country, place_in_country, spread
from router.routing.fleet import Fleet
from router.routing.location import Placed
from router.routing.query import Query
from router.routing.ranking import Ranker
from router.routing.route_table import RouteTable
from tests.support.builders import (
    CANADIAN,
    CITIES,
    NOW,
    VANCOUVER,
    a_dialled_fleet,
    a_fleet,
    a_fleet_but,
    a_held_edge,
    a_key,
    a_location,
    a_placed,
    a_ranker_for,
    a_region,
    an_edge,
    an_edge_view,
)
from tests.support.strategies import catalogs, fleets, locations, queries, seeds


def explained(
    placed: Placed = a_placed(), fleet: Fleet | None = None, query: Query = Query()
) -> dict[str, Any]:
    fleet = fleet or a_fleet()
    return explain(a_ranker_for(fleet), fleet, placed, query, CachePolicy())


def test_every_candidate_has_the_effect_of_its_dial() -> None:
    dials = {"yto-01": 0.0, "yul-01": 0.0, "yvr-02": 0.7}
    found = explained(fleet=a_dialled_fleet(dials, slot=1))
    kept = {one["region"]: (one["share"], one["kept"]) for one in found["candidates"]}
    assert kept["yto-01"] == kept["yul-01"] == (0.0, False)
    assert kept["yvr-02"][0] == 0.7
    assert isinstance(kept["yvr-02"][1], bool)
    assert kept["nyc-01"] == (1.0, None)


def test_edge_never_seen_working_is_marked() -> None:
    seen = {"local": replace(an_edge_view(Observed.DOWN), worked=False)}
    found = explained(fleet=a_fleet_but(replace(an_edge("yto-01", Observed.DOWN), seen=seen)))
    every = {one["region"]: one["never_worked"] for one in found["candidates"] + found["rejected"]}
    assert [id for id, never in every.items() if never] == ["yto-01"]


def test_place_and_source_are_reported() -> None:
    assert explained()["location"] == {
        "country": "CA",
        "country_name": "Canada",
        "latitude": 43.6532,
        "longitude": -79.3832,
        "level": "city",
        "source": "database",
        "feed": None,
        "line": None,
    }


def test_unknown_place_is_reported() -> None:
    found = explained(a_placed(Location()))
    assert found["location"]["level"] == "unknown"
    assert (found["key"], found["reason"]) == ("ZZ~", "default_order")
    assert {each["distance_km"] for each in found["candidates"]} == {None}


def test_candidates_have_role_and_distance() -> None:
    candidates = explained()["candidates"]
    roles = [each["role"] for each in candidates]
    assert roles == ["pick", *["alternate"] * 3, *["candidate"] * 6]
    assert [each["distance_km"] for each in candidates[:4]] == [0, 0, 504, 504]


def test_country_level_distance_is_from_its_centre() -> None:
    far = explained(a_placed(a_location(None, "DE")))["candidates"][0]["distance_km"]
    assert 5_850 < far < 5_900


@pytest.mark.parametrize("country", ["AQ", "XX"])
def test_country_without_a_centre_has_no_distances(country: str) -> None:
    found = explained(a_placed(a_location(None, country)))
    assert {each["distance_km"] for each in found["candidates"]} == {None}


def test_each_rejected_edge_has_a_reason() -> None:
    fleet = a_fleet_but(
        an_edge("yto-01", Observed.DOWN), an_edge("yul-01", intended=Intended.DRAINING)
    )
    found = explained(fleet=fleet, query=Query(strict=True))
    why = {each["region"]: each["why"] for each in found["rejected"]}
    assert (why["yto-01"], why["yul-01"], why["nyc-01"]) == ("down", "draining", "abroad")
    assert found["region"] == "yto-02"


def test_problem_has_no_pick() -> None:
    found = explained(a_placed(a_location(None, "DE")), query=Query(strict=True))
    assert (found["region"], found["reason"]) == (None, None)
    assert (found["problem"], found["candidates"]) == ("no_edge_in_country", [])
    assert len(found["rejected"]) == len(CITIES)


def test_query_model_and_ttl_are_reported() -> None:
    found = explained(fleet=a_fleet(status=Status.STALE), query=Query(model="Kokoro"))
    assert found["query"] == {"scope": "country", "model": "Kokoro", "strict": False, "all": False}
    assert (found["model"], found["ttl"], found["status"]) == ("kokoro-82m", 30, "stale")


def test_cdn_key_is_explained_unchanged() -> None:
    found = explained(a_placed(Location(country="CA"), key=a_key("yvr-02", "yto-01")))
    assert (found["key"], found["region"]) == ("CA~yvr-02.yto-01", "yvr-02")


def test_removed_edges_in_a_cdn_key_are_skipped() -> None:
    found = explained(a_placed(Location(country="CA"), key=a_key("old-01", "yvr-02")))
    assert (found["key"], found["region"]) == ("CA~yvr-02", "yvr-02")


@st.composite
def cases(draw: st.DrawFn) -> tuple[Catalog, Fleet, Placed, Query]:
    catalog = draw(catalogs())
    viewer = a_placed(draw(locations), seed=draw(seeds))
    return catalog, draw(fleets(catalog)), viewer, draw(queries)


@given(cases())
def test_explanation_equals_the_answer(case: tuple[Catalog, Fleet, Placed, Query]) -> None:
    catalog, fleet, viewer, query = case
    ranker = Ranker(catalog)
    found = explain(ranker, fleet, viewer, query, CachePolicy())
    key = ranker.key(viewer.location, viewer.seed, query.scope)
    served = RouteTable(ranker, fleet, CachePolicy()).answer(key, query, Sharing.PRIVATE)
    body = msgspec.json.decode(served.body)
    assert found["region"] == body.get("region")
    assert found["problem"] == body.get("code")
    assert found["reason"] == body.get("reason")


@given(cases())
def test_explanation_can_be_encoded_as_json(case: tuple[Catalog, Fleet, Placed, Query]) -> None:
    catalog, fleet, viewer, query = case
    found = explain(Ranker(catalog), fleet, viewer, query, CachePolicy())
    assert msgspec.json.decode(msgspec.json.encode(found)) == msgspec.to_builtins(found)
    assert len(found["candidates"]) + len(found["rejected"]) == len(catalog.regions)


def test_global_scope_may_cross_the_border() -> None:
    seattle = a_location(a_region("sfo-01").position, "CA")
    found = explained(a_placed(seattle), query=Query(scope=Scope.GLOBAL))
    assert (found["region"], found["crossed_border"]) == ("sfo-01", True)


def test_rejection_by_health_has_its_start() -> None:
    (out,) = explained(fleet=a_fleet_but(an_edge("yto-01", Observed.DOWN)))["rejected"]
    assert (out["why_since"], out["intent_reason"], out["until"]) == (NOW - 3600, None, None)


def test_rejection_by_an_operator_has_start_reason_and_end() -> None:
    fleet = a_fleet_but(a_held_edge("yto-01"))
    (out,) = explained(fleet=fleet)["rejected"]
    assert (out["why"], out["why_since"]) == ("draining", NOW - 60)
    assert (out["intent_reason"], out["until"]) == ("maintenance", NOW + 3600)


def test_rejection_by_the_query_has_no_start() -> None:
    found = explained(query=Query(strict=True))["rejected"]
    assert {(each["why"], each["why_since"]) for each in found} == {("abroad", None)}


def test_headers_equal_those_of_the_answer() -> None:
    found = explained(a_placed(Location(country="CA"), key=a_key("yvr-02", "yto-01")))
    assert found["headers"]["cache-control"].startswith("public, max-age=10,")
    assert found["headers"]["vary"] == "X-Autorouter-Key"
    assert "edge:yvr-02" in found["headers"]["cache-tag"]
    assert explained()["headers"]["cache-control"] == "private, max-age=300"


def test_problem_has_status_and_headers() -> None:
    found = explained(a_placed(a_location(None, "DE")), query=Query(strict=True))
    assert (found["code"], found["headers"]["cache-control"]) == (404, "no-store")


@pytest.mark.parametrize(
    ("text", "code"),
    [("ca", "CA"), (" DE ", "DE"), ("CAN", None), ("1", None), ("EU", None), ("UK", None)],
)
def test_country_code_is_validated(text: str, code: str | None) -> None:
    assert parse_country(text) == code


def test_requested_country_is_explained_from_its_centre() -> None:
    found = explained(place_in_country("DE"))
    assert found["location"]["source"] == "asked"
    assert found["location"]["country_name"] == "Germany"
    assert 5_850 < found["candidates"][0]["distance_km"] < 5_900


def test_requested_position_is_explained() -> None:
    found = explained(place_in_country("CA", VANCOUVER))
    assert (found["region"], found["candidates"][0]["distance_km"]) == ("yvr-02", 0)


def test_viewers_of_a_country_are_spread_over_its_cities() -> None:
    fleet = a_fleet()
    shares = spread(a_ranker_for(fleet), fleet, place_in_country("CA").location, Query())
    assert {each["region"] for each in shares} == {*CANADIAN}
    assert sum(each["share"] for each in shares) == pytest.approx(1)


def test_spread_includes_viewers_without_an_edge() -> None:
    fleet = a_fleet()
    query = Query(strict=True)
    shares = spread(a_ranker_for(fleet), fleet, place_in_country("DE").location, query)
    assert shares == [{"region": None, "share": 1.0}]
