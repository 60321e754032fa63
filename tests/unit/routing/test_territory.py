"""Which edge serves which cells: the shares equal the answers that viewers get."""

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import Level, Location, Observed, Scope
from router.routing.cache_headers import CachePolicy, Sharing
from router.routing.fleet import Fleet
from router.routing.query import Query
from router.routing.ranking import Ranker, RouteKey
from router.routing.route_table import RouteTable
from router.routing.territory import (
    Block,
    Cell,
    Picks,
    Survey,
    all_up_fleet,
    changes,
    country_shares,
    edge_shares,
    key_shares,
    moves,
    picks,
    survey,
    weigh,
)
from tests.support.builders import (
    CANADIAN,
    CITIES,
    a_dialled_fleet,
    a_fleet,
    a_fleet_but,
    a_ranker,
    a_region,
    an_edge,
)
from tests.support.strategies import catalogs, fleets

T = TypeVar("T")

TORONTO = Cell("CA", 66, 50)
MONTREAL = Cell("CA", 67, 53)
VANCOUVER = Cell("CA", 69, 28)
BERLIN = Cell("DE", 71, 96)
WORLD = {TORONTO: 6.0, MONTREAL: 4.0, VANCOUVER: 2.0, BERLIN: 8.0}


def finish(work: Generator[None, None, T]) -> T:
    """Run the generator to its end and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result


def a_survey(weights: Mapping[Cell, float] | None = None, ranker: Ranker | None = None) -> Survey:
    return finish(survey(ranker or a_ranker(), weights or WORLD))


def picks_of(fleet: Fleet, surveyed: Survey) -> Picks:
    return finish(picks(a_ranker(), fleet, surveyed.groups))


def shares_of(cell: Cell, fleet: Fleet) -> Mapping[str | None, float]:
    surveyed = a_survey()
    return edge_shares(surveyed.groups[surveyed.cells[cell]], picks_of(fleet, surveyed))


def totals(countries: Mapping[str | None, Mapping[str | None, float]]) -> dict[str | None, float]:
    found: dict[str | None, float] = {}
    for shares in countries.values():
        for edge, share in shares.items():
            found[edge] = found.get(edge, 0.0) + share
    return found


def test_cell_is_shared_by_the_edges_of_its_nearest_city() -> None:
    shares = shares_of(TORONTO, a_fleet())
    assert set(shares) == {"yto-01", "yto-02"}
    assert shares["yto-01"] == pytest.approx(0.5, abs=0.1)


def test_cells_of_an_edge_that_is_down_go_to_the_next() -> None:
    fleet = a_fleet_but(an_edge("yto-01", Observed.DOWN))
    assert shares_of(TORONTO, fleet) == {"yto-02": pytest.approx(1)}


def test_cell_of_a_country_without_edges_goes_to_the_nearest() -> None:
    assert set(shares_of(BERLIN, a_fleet())) == {"yul-01", "yul-02"}


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Ranker, Fleet, Cell]:
    catalog = draw(catalogs())
    country = draw(st.sampled_from([*{region.country for region in catalog.regions}, "DE", "JP"]))
    cell = Cell(country, draw(st.integers(0, 89)), draw(st.integers(0, 179)))
    return Ranker(catalog), draw(fleets(catalog)), cell


@given(worlds(), st.integers(0, 255))
def test_every_pick_equals_that_of_the_answer(
    world: tuple[Ranker, Fleet, Cell], number: int
) -> None:
    ranker, fleet, cell = world
    surveyed = finish(survey(ranker, {cell: 1.0}))
    found = finish(picks(ranker, fleet, surveyed.groups))
    location = Location(cell.country, cell.centre, Level.CITY)
    key = list(key_shares(ranker, location))[number % len(key_shares(ranker, location))]
    answer = RouteTable(ranker, fleet, CachePolicy()).answer(key, Query(), Sharing.PRIVATE)
    assert found[key] == (msgspec.json.decode(answer.body).get("region"),)
    assert key in surveyed.groups[surveyed.cells[cell]]


@given(worlds(), st.integers(0, 2**32 - 1))
def test_sample_contains_the_first_edge_of_every_viewer(
    world: tuple[Ranker, Fleet, Cell], seed: int
) -> None:
    ranker, _, cell = world
    location = Location(cell.country, cell.centre, Level.CITY)
    key = ranker.key(location, seed, Scope.COUNTRY)
    sampled = {frozenset(one.preferred) for one in key_shares(ranker, location)}
    assert {one for edges in sampled for one in edges} >= set(key.preferred[:1])


def test_sample_follows_weights() -> None:
    ranker = a_ranker(a_region("yto-01", weight=3.0), a_region("yto-02", weight=1.0))
    surveyed = a_survey({TORONTO: 1.0}, ranker)
    shares = edge_shares(surveyed.groups[0], surveyed.homes)
    assert shares["yto-01"] == pytest.approx(0.75, abs=0.08)


def test_cells_with_the_same_ranking_are_one_group() -> None:
    surveyed = a_survey({TORONTO: 1.0, Cell("CA", 66, 51): 1.0, VANCOUVER: 1.0})
    assert surveyed.cells[TORONTO] == surveyed.cells[Cell("CA", 66, 51)]
    assert surveyed.cells[TORONTO] != surveyed.cells[VANCOUVER]
    assert surveyed.weights[Block("CA", surveyed.cells[TORONTO])] == 2.0


def test_survey_yields_between_cells() -> None:
    steps = sum(1 for _ in survey(a_ranker(), WORLD))
    assert steps >= len(WORLD)


def test_ideal_fleet_is_all_up() -> None:
    fleet = all_up_fleet(a_ranker())
    assert [edge.region.id for edge in fleet.edges] == list(CITIES)
    assert {(edge.observed, edge.enabled) for edge in fleet.edges} == {(Observed.UP, True)}


def test_weights_without_answers_follow_the_cells() -> None:
    surveyed = a_survey()
    weights = weigh(surveyed, {})
    assert weights[Block("DE", surveyed.cells[BERLIN])] == pytest.approx(8 / 20)
    assert sum(weights.values()) == pytest.approx(1)


def test_answers_weigh_countries_and_cells_weigh_inside_them() -> None:
    surveyed = a_survey()
    weights = weigh(surveyed, {"CA": 30, "DE": 10})
    assert weights[Block("CA", surveyed.cells[TORONTO])] == pytest.approx(0.75 * 6 / 12)
    assert weights[Block("DE", surveyed.cells[BERLIN])] == pytest.approx(0.25)


@pytest.mark.parametrize("unknown", [None, "AQ"])
def test_viewers_of_unknown_place_have_a_block(unknown: str | None) -> None:
    surveyed = a_survey()
    weights = weigh(surveyed, {"CA": 1, unknown: 1})
    assert weights[Block(None, len(surveyed.groups) - 1)] == pytest.approx(0.5)
    assert sum(weights.values()) == pytest.approx(1)


def test_country_without_population_has_no_weight() -> None:
    surveyed = a_survey({TORONTO: 1.0, Cell("AQ", 2, 2): 0.0})
    assert {block.country for block in weigh(surveyed, {})} == {"CA", None}


def test_served_shares_sum_to_one() -> None:
    surveyed = a_survey()
    now = country_shares(surveyed, weigh(surveyed, {}), surveyed.homes)
    assert sum(totals(now).values()) == pytest.approx(1)
    assert sum(now["DE"].values()) == pytest.approx(8 / 20)


def test_moves_of_an_edge_are_its_viewers() -> None:
    surveyed = a_survey()
    weights = weigh(surveyed, {})
    after = picks_of(a_fleet_but(an_edge("yvr-02", Observed.DOWN)), surveyed)
    found = moves(surveyed, weights, surveyed.homes, after)
    assert {move.origin for move in found} == {"yvr-02"}
    assert {move.target for move in found} == {"yto-01", "yto-02"}
    assert {move.countries for move in found} == {("CA",)}
    assert sum(move.share for move in found) == pytest.approx(2 / 20)


def test_viewers_bound_by_residency_may_lose_every_edge() -> None:
    catalog = replace(a_ranker().catalog, residency={"DE": frozenset({"CA"})})
    ranker = Ranker(catalog)
    surveyed = a_survey(ranker=ranker)
    down = [an_edge(id, Observed.DOWN) for id in CANADIAN]
    after = finish(picks(ranker, a_fleet_but(*down), surveyed.groups))
    found = moves(surveyed, weigh(surveyed, {}), surveyed.homes, after)
    lost = [move for move in found if move.target is None]
    assert {move.countries for move in lost} == {("DE",)}
    assert sum(move.share for move in lost) == pytest.approx(8 / 20)


def test_equal_picks_have_no_moves() -> None:
    surveyed = a_survey()
    assert moves(surveyed, weigh(surveyed, {}), surveyed.homes, surveyed.homes) == ()


def test_all_viewers_move_to_no_edge_if_every_edge_is_down() -> None:
    surveyed = a_survey()
    no_picks: Picks = dict.fromkeys(surveyed.homes, (None,))
    found = moves(surveyed, weigh(surveyed, {}), surveyed.homes, no_picks)
    assert {move.target for move in found} == {None}
    assert sum(move.share for move in found) == pytest.approx(1)


@given(worlds(), st.data())
def test_moves_equal_the_difference_in_served_shares(
    world: tuple[Ranker, Fleet, Cell], data: st.DataObject
) -> None:
    ranker, fleet, cell = world
    surveyed = finish(survey(ranker, {cell: 1.0}))
    other = data.draw(fleets(ranker.catalog))
    before, after = (finish(picks(ranker, one, surveyed.groups)) for one in (fleet, other))
    weights = weigh(surveyed, {})
    flow = totals(country_shares(surveyed, weights, before))
    for move in moves(surveyed, weights, before, after):
        flow[move.origin] = flow.get(move.origin, 0.0) - move.share
        flow[move.target] = flow.get(move.target, 0.0) + move.share
    found = totals(country_shares(surveyed, weights, after))
    for edge in {*flow, *found}:
        assert flow.get(edge, 0.0) == pytest.approx(found.get(edge, 0.0), abs=1e-9)


def test_dial_reduces_the_share_in_every_group() -> None:
    before = shares_of(TORONTO, a_fleet())
    after = shares_of(TORONTO, a_dialled_fleet({"yto-01": 0.3}))
    assert after["yto-01"] == pytest.approx(0.3 * before["yto-01"], abs=0.001)
    assert sum(after.values()) == pytest.approx(1)


def test_two_dials_are_independent() -> None:
    surveyed = a_survey({TORONTO: 1.0})
    key = next(key for key in surveyed.homes if key.preferred[:2] == ("yto-01", "yto-02"))
    found = picks_of(a_dialled_fleet({"yto-01": 0.5, "yto-02": 0.4}, slot=7), surveyed)[key]
    assert found.count("yto-01") / len(found) == 0.5
    assert found.count("yto-02") / len(found) == pytest.approx(0.2, abs=0.06)


def test_lower_dial_moves_only_the_difference() -> None:
    surveyed = a_survey({TORONTO: 1.0})
    before, after = (
        picks_of(a_dialled_fleet({"yto-01": share}, slot=7), surveyed) for share in (0.7, 0.6)
    )
    home = edge_shares(surveyed.groups[0], surveyed.homes)["yto-01"]
    found = moves(surveyed, weigh(surveyed, {}), before, after)
    assert {move.origin for move in found} == {"yto-01"}
    assert sum(move.share for move in found) == pytest.approx(0.1 * home, abs=0.001)


def test_changes_are_shares_of_the_group() -> None:
    one, two = RouteKey("CA", ("a",)), RouteKey("CA", ("b",))
    found = changes({one: 0.25, two: 0.75}, {one: ("a",), two: ("b",)}, {one: ("b",), two: ("b",)})
    assert found == {("a", "b"): 0.25}
