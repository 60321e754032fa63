"""A residency policy holds for every health, query, key and cache."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from router.api.app import ERROR_LABELS, PublicApp
from router.api.http_protocol import Request
from router.api.live_fleet import FleetWatch
from router.cli.check import check
from router.config.catalog import parse_catalog
from router.errors import ConfigError
from router.model import Catalog, Country, Intended, Location, Observed, Position, Scope, Status
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
    CANADIAN,
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
from tests.support.strategies import Question

STAY_HOME = {"CA": frozenset({"CA"}), "DE": frozenset({"US"})}
SECRET = "0123456789abcdef"
bounded_questions = strategies.questions(strategies.bounded_catalogs())


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
    """Returns the countries of the pick, the alternates and the list."""
    body = json.loads(answer.body)
    if answer.code != 200:
        return set()
    return {one["country"] for one in [body, *body["alternates"], *body.get("regions", ())]}


def all_down(country: str) -> Fleet:
    down = [an_edge(id, Observed.DOWN) for id, city in CITIES.items() if city[1] == country]
    return a_fleet_but(*down)


# Properties


@given(bounded_questions)
def test_no_answer_names_an_edge_outside_the_policy(question: Question) -> None:
    catalog, fleet, key, query = question
    answer = answered(key, fleet, query, catalog)
    allowed = catalog.residency.get(key.country or "")
    if allowed is not None:
        assert countries_named(answer) <= allowed
        assert (answer.labels.residency == "kept") is (answer.code == 200)
    else:
        assert answer.labels.residency == ""


@given(bounded_questions)
def test_error_is_labelled_refused_only_if_the_policy_is_the_reason(question: Question) -> None:
    catalog, fleet, key, query = question
    answer = answered(key, fleet, query, catalog)
    free = answered(key, fleet, query, replace(catalog, residency={}))
    if answer.code != 200 and free.code == 200:
        assert answer.labels.residency == "refused"
    if answer.code != 200:
        assert answer.labels in ERROR_LABELS  # counted from zero
    is_same = answer.labels.reason == free.labels.reason
    if is_same and answer.labels.reason in ("no_edge", "model_unavailable"):
        assert answer.labels.residency == ""


@given(bounded_questions, strategies.locations, strategies.seeds)
def test_explanation_has_no_candidate_outside_the_policy(
    question: Question, location: Location, seed: int
) -> None:
    catalog, fleet, _, query = question
    placed = a_placed(location, seed=seed)
    body = explain(Ranker(catalog), fleet, placed, query, CachePolicy())
    allowed = catalog.residency.get(placed.location.country or "")
    if allowed is not None:
        assert {one["country"] for one in body["candidates"]} <= allowed
        assert body["residency"] == sorted(allowed)


@given(bounded_questions)
def test_policy_only_removes_edges(question: Question) -> None:
    catalog, fleet, key, query = question
    query = query._replace(model=None)
    free = decide(Ranker(replace(catalog, residency={})), fleet, key, query)
    kept = decide(Ranker(catalog), fleet, key, query)
    allowed = catalog.residency.get(key.country or "")
    wanted = [one for one in free.candidates if allowed is None or one.region.country in allowed]
    assert list(kept.candidates) == wanted


# Cases


def test_nearest_edge_abroad_is_not_offered() -> None:
    near_the_border = a_key("nyc-01", "nyc-02", "yul-01", country="CA")
    body = json.loads(answered(near_the_border, query=Query(scope=Scope.GLOBAL, all=True)).body)
    assert body["country"] == "CA"
    assert sorted(one["id"] for one in body["regions"]) == sorted(CANADIAN)


def test_viewer_without_an_edge_at_home_stays_in_allowed_countries() -> None:
    answer = answered(a_key("yto-01", "yto-02", "nyc-01", country="DE"))
    assert countries_named(answer) == {"US"}
    assert json.loads(answer.body)["crossed_border"]


@pytest.mark.parametrize("country", ["US", "JP", None])
def test_viewers_of_other_countries_are_not_restricted(country: str | None) -> None:
    fleet = all_down("US")
    answer = answered(a_key("nyc-01", country=country), fleet)
    assert (countries_named(answer), answer.labels.residency) == ({"CA"}, "")


def test_404_if_every_allowed_edge_is_down() -> None:
    answer = answered(fleet=all_down("CA"))
    assert (answer.code, answer.labels.reason) == (404, "no_edge_in_country")
    body = json.loads(answer.body)
    assert body["code"] == "no_edge_in_country"
    assert body["detail"] == "No edge is up in CA, where viewers in CA must stay."


def test_404_if_every_allowed_edge_is_draining() -> None:
    drained = [an_edge(id, intended=Intended.DRAINING) for id in CANADIAN]
    assert answered(fleet=a_fleet_but(*drained)).labels.reason == "no_edge_in_country"


def test_503_if_every_edge_is_disabled() -> None:
    drained = a_fleet(*(an_edge(id, intended=Intended.DISABLED) for id in CITIES))
    assert answered(fleet=drained).code == 503


@pytest.mark.parametrize("status", [Status.FAIL_OPEN, Status.STATIC])
def test_policy_holds_when_health_is_ignored(status: Status) -> None:
    fleet = a_fleet(*(an_edge(id, Observed.DOWN) for id in CITIES), status=status)
    assert countries_named(answered(fleet=fleet, query=Query(all=True))) == {"CA"}


def test_model_only_outside_the_policy_is_unavailable() -> None:
    models = {id: ("m",) if city[1] == "US" else () for id, city in CITIES.items()}
    fleet = a_fleet(*(an_edge(id, models=models[id]) for id in CITIES))
    answer = answered(fleet=fleet, query=Query(model="m"))
    assert answer.labels.reason == "model_unavailable"
    detail = json.loads(answer.body)["detail"]
    assert detail == "No edge in CA, where viewers in CA must stay, has the model 'm' loaded."


def test_model_that_may_be_loaded_at_home_is_routed_at_home() -> None:
    unknown_down = an_edge("yto-01", Observed.DOWN)
    others = [an_edge(id, models=()) for id in CITIES if id != "yto-01"]
    answer = answered(fleet=a_fleet(unknown_down, *others), query=Query(model="m"))
    assert countries_named(answer) == {"CA"}


def test_policy_holds_for_a_model_on_an_edge_that_is_down() -> None:
    edges = [an_edge(id, Observed.DOWN) for id in CANADIAN]
    answer = answered(fleet=a_fleet_but(*edges), query=Query(model="m"))
    assert (answer.code, answer.labels.reason) == (404, "no_edge_in_country")


def test_strict_and_residency_both_apply() -> None:
    answer = answered(a_key("nyc-01", country="DE"), query=Query(strict=True))
    assert (answer.code, answer.labels.reason) == (404, "no_edge_in_country")


def test_explanation_has_the_policy_and_the_rejected_edges() -> None:
    body = explain(Ranker(bounded()), a_fleet(), a_placed(), Query(), CachePolicy())
    assert body["residency"] == ["CA"]
    forbidden = {one["region"] for one in body["rejected"] if one["why"] == Rejection.RESIDENCY}
    assert forbidden == set(CITIES) - set(CANADIAN)


def test_explanation_without_a_policy_has_none() -> None:
    placed = a_placed(a_location(MONTREAL, "US"))
    body = explain(Ranker(bounded()), a_fleet(), placed, Query(), CachePolicy())
    assert body["residency"] is None


# Through the public application


def answer_of_the_app(
    catalog: Catalog, *headers: tuple[bytes, bytes], query: bytes = b""
) -> dict[str, Any]:
    """Returns the answer of a server without health data to a viewer in Canada near New York."""
    watch = FleetWatch(Ranker(catalog), MemoryStore(), Telemetry())
    place = a_location(Position(45.0, -74.7), "CA")
    locator = Locator(lambda _: place, trusted=Networks(), secrets=[SECRET])
    request = Request(b"GET", b"/v1/route?" + query, list(headers), "203.0.113.9")
    response = PublicApp(watch, locator).respond(request)
    body: dict[str, Any] = json.loads(response.rest.partition(b"\r\n\r\n")[2])
    return body


@pytest.mark.parametrize("key", [b"CA~nyc-01.nyc-02.dal-01", b"CA~", b"CA~sfo-01"])
@pytest.mark.parametrize("query", [b"all=true", b"all=true&scope=global", b"all=true&model=x"])
def test_policy_holds_for_a_key_from_the_cdn(key: bytes, query: bytes) -> None:
    secret = (b"x-origin-verify", SECRET.encode())
    body = answer_of_the_app(bounded(), secret, (b"x-autorouter-key", key), query=query)
    assert {one["country"] for one in [body, *body["alternates"], *body["regions"]]} == {"CA"}


def test_policy_holds_for_a_viewer_placed_by_address() -> None:
    body = answer_of_the_app(bounded(), query=b"all=true&scope=global")
    assert {one["country"] for one in body["regions"]} == {"CA"}


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


def test_policy_is_optional() -> None:
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
def test_error_in_the_policy_has_line_key_and_fix(policy: str, words: str) -> None:
    fault = fault_in(policy)
    assert fault.startswith("regions.yaml:1: ")
    assert words in fault


def test_policy_needs_a_routable_edge() -> None:
    assert "no routable region stands in NO" in fault_in("{DE: ['NO']}", routable="false")


def test_error_in_a_region_causes_no_second_error() -> None:
    text = a_file("{DE: ['NO']}").replace("country: 'NO'", "country: norway")
    with pytest.raises(ConfigError) as caught:
        parse_catalog(text, COUNTRIES)
    assert [fault.split(":")[1] for fault in caught.value.faults] == ["4"]


def test_check_reports_the_policy(tmp_path: Path) -> None:
    path = tmp_path / "regions.yaml"
    path.write_text(a_file("{DE: [CA, 'NO']}"), encoding="utf-8")
    assert "residency: viewers in DE stay in CA or NO" in check({}, path)["facts"]
