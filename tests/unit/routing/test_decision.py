"""Which edge an answer names and why: every reason and every tier."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import Intended, Observed, Position, Region, Scope, Status
from router.routing import decision
from router.routing.decision import (
    Decision,
    ModelState,
    Problem,
    Rejection,
    RouteReason,
    decide,
    model_state,
    resolve_model,
)
from router.routing.fleet import Edge, Fleet, changed_edges, version
from router.routing.query import Query
from router.routing.ranking import Ranker, RouteKey
from tests.support import strategies
from tests.support.builders import (
    AMERICAN,
    CANADIAN,
    CITIES,
    a_catalog,
    a_fleet,
    a_fleet_but,
    a_key,
    a_ranker,
    a_ranker_for,
    a_region,
    an_edge,
    an_edge_view,
)
from tests.support.strategies import Question, bounded_catalogs, catalogs, questions

UP, DEGRADED, DOWN, UNKNOWN = Observed.UP, Observed.DEGRADED, Observed.DOWN, Observed.UNKNOWN
TORONTONIAN = a_key("yto-01", "yto-02", "yul-01", country="CA")
UNPLACED = RouteKey(None, ())
GERMAN = a_key("yul-01", "yul-02", "nyc-01", country="DE")
STRICT = Query(strict=True)
GLOBAL = Query(scope=Scope.GLOBAL)
LLAMA = Query(model="llama-3")


def decided(fleet: Fleet, key: RouteKey = TORONTONIAN, query: Query = Query()) -> Decision:
    return decide(a_ranker_for(fleet), fleet, key, query)


def offered(decision: Decision) -> list[str]:
    return [edge.region.id for edge in decision.candidates]


def rejections(decision: Decision) -> dict[str, Rejection]:
    return {edge.region.id: why for edge, why in decision.rejected}


def all_but(observed: Observed, *others: Edge, ids: list[str] = CANADIAN) -> Fleet:
    """The edges of `ids` are `observed`, `others` are as given and the rest are up."""
    return a_fleet_but(*(an_edge(id, observed) for id in ids), *others)


def a_fleet_loading(**loaded: list[str] | None) -> Fleet:
    """A fleet that is up; inventories are empty unless given (`yto_01=[…]`)."""
    inventories = {id.replace("_", "-"): models for id, models in loaded.items()}
    return a_fleet(*(an_edge(id, models=inventories.get(id, [])) for id in CITIES))


# Reasons


@pytest.mark.parametrize(
    ("key", "query", "fleet", "pick", "reason", "crossed"),
    [
        (TORONTONIAN, Query(), a_fleet(), "yto-01", RouteReason.NEAREST_IN_COUNTRY, False),
        (TORONTONIAN, STRICT, a_fleet(), "yto-01", RouteReason.NEAREST_IN_COUNTRY, False),
        (TORONTONIAN, GLOBAL, a_fleet(), "yto-01", RouteReason.NEAREST_GLOBAL, False),
        (
            a_key("yvr-02", "sfo-01", "dal-01", country="US"),
            GLOBAL,
            a_fleet(),
            "yvr-02",
            RouteReason.NEAREST_GLOBAL,
            True,
        ),
        (GERMAN, Query(), a_fleet(), "yul-01", RouteReason.NO_EDGE_IN_COUNTRY, True),
        (GERMAN, GLOBAL, a_fleet(), "yul-01", RouteReason.NEAREST_GLOBAL, True),
        (
            TORONTONIAN,
            Query(),
            all_but(DOWN),
            "nyc-01",
            RouteReason.COUNTRY_UNAVAILABLE,
            True,
        ),
        (
            TORONTONIAN,
            Query(),
            all_but(DEGRADED),
            "nyc-01",
            RouteReason.COUNTRY_UNAVAILABLE,
            True,
        ),
        (
            TORONTONIAN,
            LLAMA,
            a_fleet_loading(dal_01=["llama-3"]),
            "dal-01",
            RouteReason.MODEL_ELSEWHERE,
            True,
        ),
        (UNPLACED, Query(), a_fleet(), "yto-01", RouteReason.DEFAULT_ORDER, False),
        (UNPLACED, GLOBAL, a_fleet(), "yto-01", RouteReason.DEFAULT_ORDER, False),
        (
            RouteKey(None, ("dal-01",)),
            Query(),
            a_fleet(),
            "dal-01",
            RouteReason.NEAREST_GLOBAL,
            False,
        ),
    ],
)
def test_decision_has_the_reason_for_its_edge(
    key: RouteKey, query: Query, fleet: Fleet, pick: str, reason: RouteReason, *, crossed: bool
) -> None:
    decision = decided(fleet, key, query)
    assert offered(decision)[0][:3] == pick[:3]
    assert decision.reason is reason
    assert decision.crossed_border is crossed


@pytest.mark.parametrize("key", [TORONTONIAN, GERMAN, UNPLACED])
@pytest.mark.parametrize("query", [Query(), GLOBAL, LLAMA])
def test_fail_open_is_the_reason_for_every_request(key: RouteKey, query: Query) -> None:
    fleet = a_fleet(*(an_edge(id, DOWN) for id in CITIES), status=Status.FAIL_OPEN)
    assert decided(fleet, key, query).reason is RouteReason.FAIL_OPEN


def test_unroutable_edge_covers_no_country() -> None:
    fleet = a_fleet(an_edge(a_region("yto-01", routable=False)), an_edge("nyc-01"))
    decision = decided(fleet, a_key("nyc-01"))
    assert decision.reason is RouteReason.NO_EDGE_IN_COUNTRY


@pytest.mark.parametrize("status", [Status.OK, Status.STALE, Status.STATIC])
def test_decision_has_the_status_of_the_fleet(status: Status) -> None:
    assert decided(a_fleet(status=status)).status is status


# Preference order


def test_up_at_home_beats_nearer_degraded_edges() -> None:
    degraded = [an_edge(id, DEGRADED) for id in ("yto-01", "yto-02", "yul-01", "yul-02")]
    assert offered(decided(a_fleet_but(*degraded)))[0] == "yvr-02"


def test_up_abroad_beats_degraded_at_home() -> None:
    assert offered(decided(all_but(DEGRADED, an_edge("nyc-01", DOWN))))[0] == "nyc-02"


def test_degraded_at_home_beats_degraded_abroad() -> None:
    fleet = a_fleet_but(*(an_edge(id, DEGRADED) for id in CITIES), an_edge("yto-01", DOWN))
    decision = decided(fleet)
    assert offered(decision)[:4] == ["yto-02", "yul-01", "yul-02", "yvr-02"]
    assert decision.reason is RouteReason.NEAREST_IN_COUNTRY


def test_degraded_abroad_is_used_if_home_is_down() -> None:
    fleet = all_but(DOWN, *(an_edge(id, DEGRADED) for id in AMERICAN))
    assert offered(decided(fleet))[0] in {"nyc-01", "nyc-02"}


def test_unknown_is_offered_only_when_failing_open() -> None:
    fleet = all_but(UNKNOWN, *(an_edge(id, DOWN) for id in AMERICAN if id != "sfo-01"))
    assert offered(decided(fleet)) == ["sfo-01"]
    assert rejections(decided(fleet))["yto-01"] is Rejection.UNKNOWN


def test_failing_open_offers_every_enabled_edge_by_distance() -> None:
    edges = [an_edge(id, DOWN) for id in CITIES if id != "yto-01"]
    held = an_edge("yto-01", intended=Intended.DRAINING)
    decision = decided(a_fleet_but(held, *edges, status=Status.FAIL_OPEN))
    assert offered(decision)[0] == "yto-02"
    assert sorted(offered(decision)) == sorted(set(CITIES) - {"yto-01"})


def test_static_fleet_ignores_health() -> None:
    fleet = a_fleet_but(an_edge("yto-01", DOWN), status=Status.STATIC)
    assert offered(decided(fleet))[0] == "yto-01"


def test_stale_fleet_avoids_edges_last_seen_down() -> None:
    fleet = a_fleet_but(an_edge("yto-01", DOWN), status=Status.STALE)
    assert offered(decided(fleet))[0] == "yto-02"


def test_global_scope_ignores_the_country() -> None:
    key = a_key("yvr-02", "sfo-01", "dal-01", country="US")
    fleet = a_fleet_but(an_edge("yvr-02", DOWN))
    assert offered(decided(fleet, key, GLOBAL))[0] == "sfo-01"


def test_global_scope_still_prefers_up_to_degraded() -> None:
    decision = decided(all_but(DEGRADED), TORONTONIAN, GLOBAL)
    assert offered(decision)[0] in {"nyc-01", "nyc-02"}
    assert decision.reason is RouteReason.NEAREST_GLOBAL


# Strict


def test_strict_offers_only_edges_at_home() -> None:
    decision = decided(a_fleet(), TORONTONIAN, STRICT)
    assert sorted(offered(decision)) == CANADIAN
    assert {rejections(decision)[id] for id in AMERICAN} == {Rejection.ABROAD}


def test_strict_uses_degraded_edges_at_home() -> None:
    assert offered(decided(all_but(DEGRADED), TORONTONIAN, STRICT))[0] == "yto-01"


@pytest.mark.parametrize(
    ("fleet", "key"), [(all_but(DOWN), TORONTONIAN), (a_fleet(), GERMAN), (a_fleet(), UNPLACED)]
)
def test_strict_without_home_edge_is_a_problem(fleet: Fleet, key: RouteKey) -> None:
    decision = decided(fleet, key, STRICT)
    assert decision.problem is Problem.NO_EDGE_IN_COUNTRY
    assert decision.candidates == ()


def test_strict_overrides_global_scope() -> None:
    decision = decided(all_but(DOWN), TORONTONIAN, Query(scope=Scope.GLOBAL, strict=True))
    assert decision.problem is Problem.NO_EDGE_IN_COUNTRY


def test_strict_fails_open_at_home() -> None:
    fleet = a_fleet(*(an_edge(id, DOWN) for id in CITIES), status=Status.FAIL_OPEN)
    assert sorted(offered(decided(fleet, TORONTONIAN, STRICT))) == CANADIAN


# Intent and rejection


@pytest.mark.parametrize(
    ("edge", "why"),
    [
        (an_edge("yto-01", DOWN), Rejection.DOWN),
        (an_edge("yto-01", UNKNOWN), Rejection.UNKNOWN),
        (an_edge("yto-01", intended=Intended.DRAINING), Rejection.DRAINING),
        (an_edge("yto-01", intended=Intended.DISABLED), Rejection.DISABLED),
        (an_edge(a_region("yto-01", routable=False)), Rejection.NOT_ROUTABLE),
        (an_edge("yto-01", DOWN, intended=Intended.DRAINING), Rejection.DRAINING),
        (an_edge("yto-01", models=["other"]), Rejection.MODEL_NOT_LOADED),
    ],
)
def test_each_rejected_edge_has_its_reason(edge: Edge, why: Rejection) -> None:
    fleet = a_fleet_but(edge, an_edge("yto-02", models=["llama-3"]))
    decision = decided(fleet, a_key("yto-02"), LLAMA)
    assert rejections(decision) == {"yto-01": why}


@pytest.mark.parametrize("intended", [Intended.DRAINING, Intended.DISABLED])
def test_fleet_without_enabled_edges_is_a_problem(intended: Intended) -> None:
    fleet = a_fleet(*(an_edge(id, intended=intended) for id in CITIES), status=Status.FAIL_OPEN)
    decision = decided(fleet)
    assert decision.problem is Problem.NO_EDGE
    assert len(decision.rejected) == len(CITIES)


# Models


@pytest.mark.parametrize(
    ("fleet", "pick", "state"),
    [
        (a_fleet_loading(yto_02=["llama-3"]), "yto-02", ModelState.LOADED),
        (a_fleet_loading(yto_01=None, yul_01=["llama-3"]), "yul-01", ModelState.LOADED),
        (a_fleet_loading(yto_01=None, dal_01=["llama-3"]), "dal-01", ModelState.LOADED),
        (a_fleet_loading(yvr_02=None, nyc_01=None), "yvr-02", ModelState.UNKNOWN),
        (a_fleet_loading(nyc_01=None), "nyc-01", ModelState.UNKNOWN),
        (a_fleet(), "yto-01", ModelState.UNKNOWN),
    ],
)
def test_loaded_model_beats_unknown_at_any_distance(
    fleet: Fleet, pick: str, state: ModelState
) -> None:
    decision = decided(fleet, TORONTONIAN, LLAMA)
    assert offered(decision)[0] == pick
    assert decision.model_state is state


def test_edges_without_the_model_are_not_alternates() -> None:
    decision = decided(a_fleet_loading(yto_02=["llama-3"], sfo_01=None), TORONTONIAN, LLAMA)
    assert offered(decision) == ["yto-02", "sfo-01"]


def test_model_loaded_nowhere_is_a_problem() -> None:
    decision = decided(a_fleet_loading(), TORONTONIAN, LLAMA)
    assert decision.problem is Problem.MODEL_UNAVAILABLE
    assert decision.model == "llama-3"


def test_one_unknown_inventory_keeps_the_model_possible() -> None:
    assert decided(a_fleet_loading(sfo_01=None), TORONTONIAN, LLAMA).problem is None


def test_unknown_inventory_of_a_disabled_edge_does_not_count() -> None:
    held = an_edge("sfo-01", intended=Intended.DISABLED)
    fleet = a_fleet(held, *(an_edge(id, models=[]) for id in CANADIAN))
    assert decided(fleet, TORONTONIAN, LLAMA).problem is Problem.MODEL_UNAVAILABLE


@pytest.mark.parametrize("models", [None, ["llama-3"]])
def test_model_only_on_edges_that_are_down_is_unknown(models: list[str] | None) -> None:
    lost = an_edge("sfo-01", DOWN, models=models)
    fleet = a_fleet(*(an_edge(id, models=[]) for id in CANADIAN), lost)
    decision = decided(fleet, TORONTONIAN, LLAMA)
    assert offered(decision)[0] == "yto-01"
    assert decision.model_state is ModelState.UNKNOWN


def test_strict_without_the_model_at_home_is_a_problem() -> None:
    fleet = a_fleet_loading(dal_01=["llama-3"])
    decision = decided(fleet, TORONTONIAN, Query(model="llama-3", strict=True))
    assert decision.problem is Problem.NO_EDGE_IN_COUNTRY


@pytest.mark.parametrize(("observed", "models"), [(DOWN, ["llama-3"]), (DEGRADED, [])])
def test_unavailable_home_is_not_reported_as_model_elsewhere(
    observed: Observed, models: list[str]
) -> None:
    home = [an_edge(id, observed, models=models) for id in CANADIAN]
    fleet = a_fleet_but(*home, an_edge("dal-01", models=["llama-3"]))
    assert decided(fleet, TORONTONIAN, LLAMA).reason is RouteReason.COUNTRY_UNAVAILABLE


@pytest.mark.parametrize("asked", ["kokoro", "KOKORO", "Kokoro", "kokoro-82m", "Kokoro-82M"])
def test_aliases_and_case_find_the_model(asked: str) -> None:
    fleet = a_fleet_loading(yul_01=["kokoro-82m"])
    decision = decided(fleet, TORONTONIAN, Query(model=asked))
    assert offered(decision) == ["yul-01"]
    assert (decision.model, decision.model_state) == ("kokoro-82m", ModelState.LOADED)


@pytest.mark.parametrize(
    ("asked", "reported", "resolved"),
    [
        ("llama-3", ["LLaMA-3"], "LLaMA-3"),
        ("llama-3", ["LLaMA-3", "llama-3"], "llama-3"),
        ("LLAMA-3", ["llama-3", "LLaMA-3"], "LLaMA-3"),
        ("never-heard-of", ["llama-3"], "never-heard-of"),
        ("Kokoro", [], "kokoro-82m"),
        ("STRASSE", ["straße"], "straße"),
    ],
)
def test_model_resolves_to_what_edges_report(
    asked: str, reported: list[str], resolved: str
) -> None:
    fleet = a_fleet(an_edge("yto-01", models=reported), an_edge("yto-02"))
    assert resolve_model(asked, a_catalog(), fleet) == resolved


@pytest.mark.parametrize(
    ("models", "state"),
    [
        (None, ModelState.UNKNOWN),
        ([], ModelState.ABSENT),
        (["other"], ModelState.ABSENT),
        (["LLAMA-3"], ModelState.LOADED),
    ],
)
def test_model_state_follows_the_inventory(models: list[str] | None, state: ModelState) -> None:
    assert model_state(an_edge(models=models), "llama-3") is state


def test_decision_without_a_model_reports_none() -> None:
    decision = decided(a_fleet_loading())
    assert (decision.model, decision.model_state) == (None, None)


# Any fleet


def can_serve(edge: Edge, fleet: Fleet) -> bool:
    """The rule of the contract, written again: enabled, and up unless health is ignored."""
    trusted = fleet.status in (Status.OK, Status.STALE)
    return edge.enabled and (not trusted or edge.observed in (UP, DEGRADED))


@given(questions())
def test_every_eligible_edge_is_offered(
    question: Question,
) -> None:
    catalog, fleet, key, query = question
    decision = decide(Ranker(catalog), fleet, key, query._replace(model=None))
    home = [e for e in fleet.edges if not query.strict or e.region.country == key.country]
    eligible = {edge.region.id for edge in home if can_serve(edge, fleet)}
    assert set(offered(decision)) == eligible
    assert (decision.problem is None) is bool(eligible)


@given(questions())
def test_model_is_unavailable_only_if_no_edge_may_have_it(
    question: Question,
) -> None:
    catalog, fleet, key, query = question
    decision = decide(Ranker(catalog), fleet, key, query._replace(strict=False))
    inventories = [edge.models for edge in fleet.edges if edge.enabled]
    if decision.problem is Problem.MODEL_UNAVAILABLE:
        assert decision.model is not None
        assert all(models is not None and decision.model not in models for models in inventories)
    else:
        assert (decision.problem is Problem.NO_EDGE) is (not inventories)


@given(questions(catalogs() | bounded_catalogs()))
def test_every_edge_is_offered_or_rejected_once(
    question: Question,
) -> None:
    catalog, fleet, key, query = question
    decision = decide(Ranker(catalog), fleet, key, query)
    listed = [*offered(decision), *(edge.region.id for edge, _ in decision.rejected)]
    assert sorted(listed) == sorted(region.id for region in catalog.regions)
    assert (decision.reason is None) is (decision.problem is not None)


@given(questions())
def test_better_tiers_come_first(
    question: Question,
) -> None:
    catalog, fleet, key, query = question
    decision = decide(Ranker(catalog), fleet, key, query._replace(model=None))
    trusted = fleet.status in (Status.OK, Status.STALE)
    tiers = [
        (
            trusted and edge.observed is DEGRADED,
            query.scope is Scope.COUNTRY and edge.region.country != key.country,
        )
        for edge in decision.candidates
    ]
    assert tiers == sorted(tiers)


@given(questions())
def test_preference_decides_within_a_tier(
    question: Question,
) -> None:
    catalog, fleet, key, query = question
    ranker = Ranker(catalog)
    decision = decide(ranker, fleet, key, query)
    place = {region.id: index for index, region in enumerate(ranker.order(key, query.scope))}
    by_tier: dict[object, list[int]] = {}
    for edge in decision.candidates:
        has_model = decision.model is not None and model_state(edge, decision.model)
        tier = (edge.observed, edge.region.country == key.country, has_model)
        by_tier.setdefault(tier, []).append(place[edge.region.id])
    assert all(places == sorted(places) for places in by_tier.values())


@given(questions())
def test_strict_never_crosses_the_border(question: Question) -> None:
    catalog, fleet, key, query = question
    decision = decide(Ranker(catalog), fleet, key, query._replace(strict=True))
    assert not decision.crossed_border
    assert {edge.region.country for edge in decision.candidates} <= {key.country}


@given(questions())
def test_home_comes_first_in_country_scope(
    question: Question,
) -> None:
    catalog, fleet, key, query = question
    decision = decide(Ranker(catalog), fleet, key, Query(strict=query.strict))
    home = [edge for edge in fleet.edges if edge.region.country == key.country]
    if fleet.status is Status.OK and any(edge.enabled and edge.observed is UP for edge in home):
        assert decision.candidates[0].region.country == key.country
        assert decision.reason is RouteReason.NEAREST_IN_COUNTRY


@given(questions())
def test_last_edge_up_is_offered(
    question: Question,
) -> None:
    _, fleet, key, _ = question
    decision = decided(fleet, key)
    if decision.candidates and decision.status is Status.OK:
        pick = decision.candidates[0]
        edges = [
            edge if edge == pick else an_edge(edge.region, DOWN, intended=edge.intended)
            for edge in fleet.edges
        ]
        assert decided(a_fleet(*edges), key).candidates == (pick,)


@pytest.mark.parametrize(("country", "pick"), [("CA", "yto-01"), ("US", "nyc-01")])
def test_country_alone_picks_an_edge_at_home(country: str, pick: str) -> None:
    decision = decided(a_fleet(), RouteKey(country, ()))
    assert offered(decision)[0] == pick
    assert decision.reason is RouteReason.NEAREST_IN_COUNTRY


# Short decisions


def spread(country: str, count: int, first: int = 0) -> list[Region]:
    """Regions of a country, far from each other."""
    return [
        a_region(
            f"{country.lower()}-{number:02}",
            country=country,
            position=Position(number * 7 % 80, number * 31 % 180),
        )
        for number in range(first, first + count)
    ]


@given(st.data())
def test_short_decision_is_a_prefix_of_the_full_one(data: st.DataObject) -> None:
    catalog = data.draw(strategies.catalogs() | strategies.bounded_catalogs())
    fleet = data.draw(strategies.fleets(catalog))
    ranker, key = Ranker(catalog), data.draw(strategies.keys(catalog))
    query, enough = data.draw(strategies.queries), data.draw(st.integers(1, 4))
    assert_prefix(ranker, fleet, key, query, enough)


def assert_prefix(ranker: Ranker, fleet: Fleet, key: RouteKey, query: Query, enough: int) -> None:
    short = decide(ranker, fleet, key, query, enough)
    full = decide(ranker, fleet, key, query)
    assert short.candidates == full.candidates[:enough]
    assert replace(short, candidates=(), rejected=()) == replace(full, candidates=(), rejected=())


MOSTLY_UP = st.sampled_from([Observed.UP] * 4 + [Observed.DEGRADED, Observed.DOWN])
MOSTLY_ENABLED = st.sampled_from([Intended.ENABLED] * 4 + [Intended.DRAINING])
INVENTORIES = st.none() | st.sets(st.sampled_from(["a", "A", "b"]))


@given(st.data())
def test_short_decision_on_a_model_is_a_prefix_of_the_full_one(data: st.DataObject) -> None:
    catalog = data.draw(strategies.catalogs())
    edges = [
        an_edge(
            region,
            data.draw(MOSTLY_UP),
            models=data.draw(INVENTORIES),
            intended=data.draw(MOSTLY_ENABLED),
        )
        for region in catalog.regions
    ]
    fleet = a_fleet(*edges, status=data.draw(st.sampled_from(Status)))
    query = Query(data.draw(st.sampled_from(Scope)), data.draw(st.sampled_from("aAbBc")))
    key = data.draw(strategies.keys(catalog))
    assert_prefix(Ranker(catalog), fleet, key, query, data.draw(st.integers(1, 4)))


@pytest.mark.parametrize("model", [None, "that-no-edge-reports"])
def test_decision_visits_few_of_many_edges(model: str | None) -> None:
    regions = [*spread("CA", 40), *spread("US", 40, first=40)]
    visited: list[Region] = []

    class Watched(Ranker):
        def in_order(self, key: RouteKey, scope: Scope) -> Iterator[Region]:
            for region in super().in_order(key, scope):
                visited.append(region)
                yield region

    key = a_key("ca-03", "ca-05", "ca-01")
    ranker, fleet = Watched(a_catalog(*regions)), a_fleet(*map(an_edge, regions))
    assert len(decide(ranker, fleet, key, Query(model=model), 4).candidates) == 4
    assert len(visited) == 4


def test_search_for_a_distant_model_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old code counted all previous edges again at each edge."""
    compared = 0

    class Counted(tuple[bool, ...]):
        __slots__ = ()

        def __le__(self, other: tuple[bool, ...]) -> bool:
            nonlocal compared
            compared += 1
            return super().__le__(other)

    regions = spread("CA", 100)
    edges = [*map(an_edge, regions[:-1]), an_edge(regions[-1], models={"far"})]
    tier = decision._tier
    monkeypatch.setattr(decision, "_tier", lambda *args: Counted(tier(*args)))
    found = decide(a_ranker(*regions), a_fleet(*edges), a_key("ca-00"), Query(model="far"), 4)
    assert found.candidates[0] is edges[-1]
    assert 0 < compared <= 8 * len(edges)  # there are at most eight tiers


# Edges never seen working


def never_worked(region: Region | str, observed: Observed = DOWN) -> Edge:
    seen = {"local": replace(an_edge_view(observed), worked=False)}
    return replace(an_edge(region, observed), seen=seen)


def failing_open(*changed: Edge) -> Fleet:
    """Every shipped edge is down but has worked before, except `changed`."""
    by_id = {id: has_worked(id) for id in CITIES} | {edge.region.id: edge for edge in changed}
    return a_fleet(*by_id.values(), status=Status.FAIL_OPEN)


def has_worked(id: str) -> Edge:
    seen = {"local": replace(an_edge_view(DOWN), worked=True)}
    return replace(an_edge(id, DOWN), seen=seen)


@pytest.mark.parametrize("observed", [DOWN, UNKNOWN])
def test_edge_never_seen_working_is_offered_last(observed: Observed) -> None:
    new = never_worked("yto-01", observed)
    found = offered(decided(failing_open(new)))
    assert found[0] == "yto-02"
    assert found[-1] == "yto-01"


def test_edge_never_seen_working_is_not_a_first_alternate() -> None:
    short = decide(a_ranker(), failing_open(never_worked("yto-02")), TORONTONIAN, Query(), 3)
    assert "yto-02" not in [edge.region.id for edge in short.candidates]


def test_country_never_seen_working_comes_last() -> None:
    decision = decided(failing_open(*(never_worked(id) for id in CANADIAN)))
    assert set(offered(decision)[: len(AMERICAN)]) == set(AMERICAN)
    assert decision.crossed_border


def test_strict_viewer_still_gets_an_edge_never_seen_working() -> None:
    fleet = failing_open(*(never_worked(id) for id in CANADIAN))
    assert offered(decided(fleet, query=STRICT))[0] == "yto-01"


def test_fleet_never_seen_working_is_offered_by_distance() -> None:
    fresh = a_fleet(*(never_worked(id) for id in CITIES), status=Status.FAIL_OPEN)
    known = a_fleet(*(has_worked(id) for id in CITIES), status=Status.FAIL_OPEN)
    assert offered(decided(fresh)) == offered(decided(known))


def test_edge_without_the_field_counts_as_seen_working() -> None:
    silent = replace(an_edge("yto-01", DOWN), seen={"local": an_edge_view(DOWN)})
    assert offered(decided(failing_open(silent)))[0] == "yto-01"


def test_one_vantage_that_saw_it_working_is_enough() -> None:
    new = never_worked("yto-01")
    worked = replace(an_edge_view(DOWN), worked=True)
    seen = replace(new, seen={**new.seen, "other": worked})
    assert offered(decided(failing_open(seen)))[0] == "yto-01"


def test_routing_changes_when_an_edge_has_worked() -> None:
    before, after = failing_open(never_worked("yto-01")), failing_open()
    assert before.routing != after.routing
    assert version(before) != version(after)
    assert changed_edges(before, after) == ("yto-01",)
