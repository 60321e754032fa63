"""Where viewers must stay, nothing sends them elsewhere: no health, query, key or cache."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.api.app import PublicApp
from router.api.http_protocol import Request
from router.api.live_fleet import FleetWatch
from router.cli.check import check
from router.config.catalog import parse_catalog
from router.errors import ConfigError
from router.model import Catalog, Country, Intended, Observed, Position, Scope, Status
from router.routing.cache_headers import CachePolicy, Sharing
from router.routing.client_address import Networks
from router.routing.decision import Rejection, decide
from router.routing.explain import explain
from router.routing.fleet import Fleet
from router.routing.location import Locator
from router.routing.query import Query
from router.routing.ranking import Ranker, RouteKey
from router.routing.response import Answer
from router.routing.route_table import RouteTable
from router.store.memory import MemoryStore
from router.telemetry.metrics import Telemetry
from tests.support import strategies
from tests.support.builders import (
    CITIES,
    MONTREAL,
    a_catalog,
    a_fleet,
    a_fleet_but,
    a_key,
    a_location,
    a_placed,
    an_edge,
)

STAY_HOME = {"CA": frozenset({"CA"}), "DE": frozenset({"US"})}
CANADIANS = [id for id, (_, country, _) in CITIES.items() if country == "CA"]
SECRET = "0123456789abcdef"
queries = strategies.queries


def bounded(policy: dict[str, frozenset[str]] = STAY_HOME) -> Catalog:
    return replace(a_catalog(), residency=policy)


def answered(
    key: RouteKey = a_key(),
    fleet: Fleet | None = None,
    query: Query = Query(),
    catalog: Catalog | None = None,
) -> Answer:
    table = RouteTable(Ranker(catalog or bounded()), fleet or a_fleet(), CachePolicy())
    return table.answer(key, query, Sharing.KEYED)


def countries_named(answer: Answer) -> set[str]:
    """Of the pick, the alternates and the list."""
    told = json.loads(answer.body)
    if answer.code != 200:
        return set()
    return {one["country"] for one in [told, *told["alternates"], *told.get("regions", ())]}


def all_down(country: str) -> Fleet:
    down = [an_edge(id, Observed.DOWN) for id, city in CITIES.items() if city[1] == country]
    return a_fleet_but(*down)


# Properties


@given(data=st.data())
def test_no_answer_names_an_edge_beyond_the_policy(data: st.DataObject) -> None:
    catalog = data.draw(strategies.bounded_catalogs())
    fleet = data.draw(strategies.fleets(catalog))
    key, query = data.draw(strategies.keys(catalog)), data.draw(queries)
    answer = answered(key, fleet, query, catalog)
    allowed = catalog.residency.get(key.country or "")
    if allowed is not None:
        assert countries_named(answer) <= allowed
        assert (answer.labels.residency == "kept") is (answer.code == 200)
    else:
        assert answer.labels.residency == ""


@given(data=st.data())
def test_refusal_is_blamed_on_the_policy_only_where_it_is_the_reason(data: st.DataObject) -> None:
    catalog = data.draw(strategies.bounded_catalogs())
    fleet = data.draw(strategies.fleets(catalog))
    key, query = data.draw(strategies.keys(catalog)), data.draw(queries)
    answer = answered(key, fleet, query, catalog)
    free = answered(key, fleet, query, replace(catalog, residency={}))
    if answer.code != 200 and free.code == 200:
        assert answer.labels.residency == "refused"
    is_same = answer.labels.reason == free.labels.reason
    if is_same and answer.labels.reason in ("no_edge", "model_unavailable"):
        assert answer.labels.residency == ""


@given(data=st.data())
def test_no_viewer_is_told_of_an_edge_beyond_the_policy(data: st.DataObject) -> None:
    catalog = data.draw(strategies.bounded_catalogs())
    fleet = data.draw(strategies.fleets(catalog))
    placed = a_placed(data.draw(strategies.locations), seed=data.draw(strategies.seeds))
    told = explain(Ranker(catalog), fleet, placed, data.draw(queries), CachePolicy())
    allowed = catalog.residency.get(placed.location.country or "")
    if allowed is not None:
        assert {one["country"] for one in told["candidates"]} <= allowed
        assert told["residency"] == sorted(allowed)


@given(data=st.data())
def test_policy_only_takes_edges_away(data: st.DataObject) -> None:
    catalog = data.draw(strategies.bounded_catalogs())
    fleet = data.draw(strategies.fleets(catalog))
    key = data.draw(strategies.keys(catalog))
    query = data.draw(queries)._replace(model=None)
    free = decide(Ranker(replace(catalog, residency={})), fleet, key, query)
    kept = decide(Ranker(catalog), fleet, key, query)
    allowed = catalog.residency.get(key.country or "")
    wanted = [one for one in free.candidates if allowed is None or one.region.country in allowed]
    assert list(kept.candidates) == wanted


@given(data=st.data())
def test_every_edge_is_either_offered_or_explained(data: st.DataObject) -> None:
    catalog = data.draw(strategies.bounded_catalogs())
    fleet = data.draw(strategies.fleets(catalog))
    key, query = data.draw(strategies.keys(catalog)), data.draw(queries)
    decision = decide(Ranker(catalog), fleet, key, query)
    told = [*decision.candidates, *(edge for edge, _ in decision.rejected)]
    assert sorted(edge.region.id for edge in told) == sorted(e.region.id for e in fleet.edges)
    assert (decision.problem is None) is bool(decision.candidates)


# Cases


def test_nearest_edge_abroad_is_not_offered() -> None:
    near_the_border = a_key("nyc-01", "nyc-02", "yul-01", country="CA")
    told = json.loads(answered(near_the_border, query=Query(scope=Scope.GLOBAL, all=True)).body)
    assert told["country"] == "CA"
    assert sorted(one["id"] for one in told["regions"]) == sorted(CANADIANS)


def test_viewer_without_an_edge_at_home_stays_where_allowed() -> None:
    answer = answered(a_key("yto-01", "yto-02", "nyc-01", country="DE"))
    assert countries_named(answer) == {"US"}
    assert json.loads(answer.body)["crossed_border"]


@pytest.mark.parametrize("country", ["US", "JP", None])
def test_viewers_of_other_countries_go_anywhere(country: str | None) -> None:
    fleet = all_down("US")
    answer = answered(a_key("nyc-01", country=country), fleet)
    assert (countries_named(answer), answer.labels.residency) == ({"CA"}, "")


def test_when_nothing_allowed_works_the_viewer_gets_404() -> None:
    answer = answered(fleet=all_down("CA"))
    assert (answer.code, answer.labels.reason) == (404, "no_edge_in_country")
    told = json.loads(answer.body)
    assert told["code"] == "no_edge_in_country"
    assert told["detail"] == "No edge is up in CA, where viewers in CA must stay."


def test_when_everything_allowed_is_drained_the_viewer_gets_404() -> None:
    drained = [an_edge(id, intended=Intended.DRAINING) for id in CANADIANS]
    assert answered(fleet=a_fleet_but(*drained)).labels.reason == "no_edge_in_country"


def test_when_everything_is_drained_the_viewer_is_asked_to_come_back() -> None:
    drained = a_fleet(*(an_edge(id, intended=Intended.DISABLED) for id in CITIES))
    assert answered(fleet=drained).code == 503


@pytest.mark.parametrize("status", [Status.FAIL_OPEN, Status.STATIC])
def test_health_ignored_is_no_way_out(status: Status) -> None:
    fleet = a_fleet(*(an_edge(id, Observed.DOWN) for id in CITIES), status=status)
    assert countries_named(answered(fleet=fleet, query=Query(all=True))) == {"CA"}


def test_model_that_only_others_have_is_unavailable() -> None:
    models = {id: ("m",) if city[1] == "US" else () for id, city in CITIES.items()}
    fleet = a_fleet(*(an_edge(id, models=models[id]) for id in CITIES))
    answer = answered(fleet=fleet, query=Query(model="m"))
    assert answer.labels.reason == "model_unavailable"
    detail = json.loads(answer.body)["detail"]
    assert detail == "No edge in CA, where viewers in CA must stay, has the model 'm' loaded."


def test_model_that_may_be_loaded_at_home_is_offered_at_home() -> None:
    unknown_down = an_edge("yto-01", Observed.DOWN)
    others = [an_edge(id, models=()) for id in CITIES if id != "yto-01"]
    answer = answered(fleet=a_fleet(unknown_down, *others), query=Query(model="m"))
    assert countries_named(answer) == {"CA"}


def test_model_on_a_fallen_edge_is_no_way_out() -> None:
    fallen = [an_edge(id, Observed.DOWN) for id in CANADIANS]
    answer = answered(fleet=a_fleet_but(*fallen), query=Query(model="m"))
    assert (answer.code, answer.labels.reason) == (404, "no_edge_in_country")


def test_strict_and_residency_together_mean_both() -> None:
    answer = answered(a_key("nyc-01", country="DE"), query=Query(strict=True))
    assert (answer.code, answer.labels.reason) == (404, "no_edge_in_country")


def test_explain_tells_the_policy_and_what_it_forbids() -> None:
    told = explain(Ranker(bounded()), a_fleet(), a_placed(), Query(), CachePolicy())
    assert told["residency"] == ["CA"]
    forbidden = {one["region"] for one in told["rejected"] if one["why"] == Rejection.RESIDENCY}
    assert forbidden == set(CITIES) - set(CANADIANS)


def test_explain_of_a_free_viewer_tells_no_policy() -> None:
    placed = a_placed(a_location(MONTREAL, "US"))
    told = explain(Ranker(bounded()), a_fleet(), placed, Query(), CachePolicy())
    assert told["residency"] is None


# Through the public application


def asked(catalog: Catalog, *headers: tuple[bytes, bytes], query: bytes = b"") -> dict[str, Any]:
    """What a server with no health yet says to a viewer near New York, in Canada."""
    watch = FleetWatch(Ranker(catalog), MemoryStore(), Telemetry())
    place = a_location(Position(45.0, -74.7), "CA")
    locator = Locator(lambda _: place, trusted=Networks(), secrets=[SECRET])
    request = Request(b"GET", b"/v1/route?" + query, list(headers), "203.0.113.9")
    response = PublicApp(watch, locator).respond(request)
    told: dict[str, Any] = json.loads(response.rest.partition(b"\r\n\r\n")[2])
    return told


@pytest.mark.parametrize("key", [b"CA~nyc-01.nyc-02.dal-01", b"CA~", b"CA~sfo-01"])
@pytest.mark.parametrize("query", [b"all=true", b"all=true&scope=global", b"all=true&model=x"])
def test_key_from_the_cdn_cannot_lead_abroad(key: bytes, query: bytes) -> None:
    own_words = (b"x-origin-verify", SECRET.encode())
    told = asked(bounded(), own_words, (b"x-autorouter-key", key), query=query)
    assert {one["country"] for one in [told, *told["alternates"], *told["regions"]]} == {"CA"}


def test_viewer_placed_by_address_stays_too() -> None:
    told = asked(bounded(), query=b"all=true&scope=global")
    assert {one["country"] for one in told["regions"]} == {"CA"}


# In regions.yaml


COUNTRIES = {
    code: Country(code=code, name=code, centre=None) for code in ("CA", "DE", "FR", "NO", "US")
}


def a_file(residency: str, routable: str = "true") -> str:
    """The policy on line 1, a region in Canada on line 3 and one in Norway on line 4."""
    place = "latitude: 1, longitude: 1"
    return (
        f"residency: {residency}\nregions:\n"
        f"  - {{id: a, name: A, country: CA, {place}, endpoint: 'https://a.example'}}\n"
        f"  - {{id: b, name: B, country: 'NO', {place}, endpoint: 'https://b.example',"
        f" routable: {routable}}}\n"
    )


def fault_in(residency: str, routable: str = "true") -> str:
    with pytest.raises(ConfigError) as caught:
        parse_catalog(a_file(residency, routable), COUNTRIES)
    (fault,) = caught.value.faults
    return fault


def test_policy_is_read() -> None:
    catalog = parse_catalog(a_file("{CA: [CA], NO: ['NO', CA]}"), COUNTRIES)
    assert catalog.residency == {"CA": frozenset({"CA"}), "NO": frozenset({"NO", "CA"})}


def test_catalog_without_a_policy_bounds_nobody() -> None:
    text = a_file("{}").split("\n", 1)[1]
    assert parse_catalog(text, COUNTRIES).residency == {}


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("{XX: [CA]}", "residency.XX: XX is no country"),
        ("{CA: [XX, CA]}", "residency.CA[0]: XX is no country"),
        ("{ca: [CA]}", "residency.ca: is not accepted; map countries to lists"),
        ("{CA: CA}", "residency.CA: CA is not a list; list the countries"),
        ("{CA: []}", "list the countries whose edges may be used"),
        ("{CA: [CA, CA]}", "list the countries whose edges may be used, each once"),
        ("{CA: [NO]}", 'residency.CA[0]: NO is false in YAML, not text; quote it: "NO"'),
        ("{CA: [CA], CA: [US]}", "residency.CA: is given on line 1 already"),
        ("[CA]", "residency: this is not a mapping; map countries to lists"),
        ("{DE: [DE, FR]}", "residency.DE: no routable region stands in DE or FR; add one"),
    ],
)
def test_faulty_policy_names_line_key_and_fix(policy: str, words: str) -> None:
    fault = fault_in(policy)
    assert fault.startswith("regions.yaml:1: ")
    assert words in fault


def test_edge_that_is_not_routable_meets_no_policy() -> None:
    assert "no routable region stands in NO" in fault_in("{DE: ['NO']}", routable="false")


def test_faults_of_regions_do_not_make_up_more() -> None:
    text = a_file("{DE: ['NO']}").replace("country: 'NO'", "country: norway")
    with pytest.raises(ConfigError) as caught:
        parse_catalog(text, COUNTRIES)
    assert [fault.split(":")[1] for fault in caught.value.faults] == ["4"]


def test_check_tells_who_stays_where(tmp_path: Path) -> None:
    path = tmp_path / "regions.yaml"
    path.write_text(a_file("{DE: [CA, 'NO']}"), encoding="utf-8")
    assert "residency: viewers in DE stay in CA or NO" in check({}, path)["facts"]
