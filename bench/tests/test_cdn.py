"""The CDN figures: the formulas agree with the simulation, and the page has the measured values."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.caches import MAX_AGE_S, STALE_S, calculate, simulate, wrong_answers
from bench.cdn import (
    KEYS,
    RATES,
    REGIONAL_CACHES,
    Share,
    Shares,
    edges_apart,
    in_cells,
    in_one_cache,
    misrouted,
    nearest_cache,
    plot,
    shares_by_kind,
    table,
    wrong_country,
)
from bench.figures import RESULTS
from router.geodata.census import Census, Place
from router.model import Position
from router.routing.cache_headers import STALE_WHILE_REVALIDATE_S, CachePolicy
from tests.support.builders import (
    BERLIN,
    MONTREAL,
    NEW_YORK,
    NOW,
    SAN_FRANCISCO,
    TORONTO,
    VANCOUVER,
    a_catalog,
    a_location,
)

CDN_PAGE = Path(__file__).parents[2] / "docs" / "cdn.md"
rates = st.floats(1e-6, 1e4)

# Formulas


def test_lifetimes_equal_those_of_answers() -> None:
    assert (CachePolicy().max_age_s, STALE_WHILE_REVALIDATE_S) == (MAX_AGE_S, STALE_S)


@pytest.mark.parametrize(
    ("keys", "total", "seconds"), [(1, 20, 9_000), (30, 30, 6_000), (3_000, 100, 3_000)]
)
def test_formulas_agree_with_the_simulation(keys: int, total: float, seconds: float) -> None:
    rng = random.Random(keys)
    weights = [rng.uniform(0.1, 1) for _ in range(keys)]
    asked = [weight * total / sum(weights) for weight in weights]

    exact, counted = calculate(asked), simulate(asked, seconds)

    assert counted.hit_ratio == pytest.approx(exact.hit_ratio, abs=0.005)
    assert counted.origin_rps == pytest.approx(exact.origin_rps, rel=0.02)
    assert counted.wrong_s == pytest.approx(exact.wrong_s, rel=0.15)


@given(rate=rates)
def test_figures_are_within_their_bounds(rate: float) -> None:
    figures = calculate([rate])

    assert 0 <= figures.hit_ratio <= 1
    assert 0 < figures.origin_rps <= min(rate, 1 / MAX_AGE_S) * (1 + 1e-9)
    assert 0 <= figures.wrong_s <= MAX_AGE_S + STALE_S
    assert rate - figures.origin_rps <= rate * (figures.hit_ratio + 1e-9)


def test_rare_requests_never_hit_and_are_never_wrong() -> None:
    figures = calculate([1e-9])

    assert figures.hit_ratio == pytest.approx(0, abs=1e-6)
    assert figures.wrong_s == pytest.approx(0, abs=1e-6)


def test_busy_key_is_fetched_once_a_max_age() -> None:
    figures = calculate([1e6])

    assert figures.origin_rps == pytest.approx(1 / MAX_AGE_S)
    assert figures.wrong_s == pytest.approx(MAX_AGE_S / 2, rel=1e-3)


@given(one=rates, other=rates)
def test_wrong_answers_grow_with_the_rate(one: float, other: float) -> None:
    less, more = sorted([one, other])

    assert wrong_answers(less) <= wrong_answers(more) * (1 + 1e-9)


# Sharing


def a_share(part: float, **changes: Any) -> Shares:
    share = Share(cache="one", key="k", country="CA", city="yto", city_country="CA")
    return {share._replace(**changes): part}


def test_key_of_one_city_misroutes_no_viewer() -> None:
    assert misrouted(a_share(0.7) | a_share(0.3, key="other", city="yul")) == 0


def test_key_of_two_cities_misroutes_viewers() -> None:
    shared = a_share(0.75) | a_share(0.25, city="yul")

    assert misrouted(shared) == pytest.approx(2 * 0.75 * 0.25)


def test_separate_caches_do_not_misroute() -> None:
    apart = a_share(0.75) | a_share(0.25, city="yul", cache="other")

    assert misrouted(apart) == 0
    assert misrouted(in_one_cache(apart)) == pytest.approx(2 * 0.75 * 0.25)


def test_edge_abroad_is_counted_if_the_country_has_an_edge() -> None:
    across = a_share(0.5) | a_share(0.5, country="US", city="nyc", city_country="US")
    homeless = a_share(0.5) | a_share(0.5, country="DE", city="yul")

    assert wrong_country(across) == pytest.approx(0.5)
    assert wrong_country(homeless) == 0


def test_viewers_ask_the_nearest_cache() -> None:
    assert nearest_cache(BERLIN) == "eu-central-1"
    assert nearest_cache(SAN_FRANCISCO) == "us-west-1"
    assert nearest_cache(Position(-90.0, 0.0)) in REGIONAL_CACHES
    assert nearest_cache(None) in REGIONAL_CACHES


@pytest.fixture(scope="module")
def shares() -> dict[str, Shares]:
    near_toronto = Position(TORONTO.latitude + 0.1, TORONTO.longitude)
    places = (
        Place(a_location(TORONTO), 4_096),
        Place(a_location(near_toronto), 4_096),
        Place(a_location(MONTREAL), 4_096),
        Place(a_location(VANCOUVER), 4_096),
        Place(a_location(NEW_YORK, "US"), 8_192),
        Place(a_location(None, "DE"), 4_096),
    )
    return shares_by_kind(Census(database="x", built_at=NOW, places=places), a_catalog(), KEYS)


@pytest.mark.parametrize("kind", KEYS)
def test_shares_of_all_viewers_add_up(shares: dict[str, Shares], kind: str) -> None:
    assert sum(shares[kind].values()) == pytest.approx(1)
    assert sum(in_one_cache(shares[kind]).values()) == pytest.approx(1)


def test_each_kind_of_key_separates_viewers(shares: dict[str, Shares]) -> None:
    keys = {kind: {share.key for share in found} for kind, found in shares.items()}

    assert (len(keys["position"]), len(keys["1° cell"]), len(keys["country"])) == (6, 5, 3)
    assert "CA~yto-01.yto-02.yul-01" in keys["ranked edges"]


def test_new_edges_are_in_separate_metros() -> None:
    suburb = Position(TORONTO.latitude + 0.2, TORONTO.longitude)
    places = (
        Place(a_location(TORONTO), 4_096),
        Place(a_location(suburb), 8_192),
        Place(a_location(MONTREAL), 1_024),
        Place(a_location(None, "US"), 9_999),
    )
    edges = edges_apart(Census(database="x", built_at=NOW, places=places), a_catalog())

    assert [edge.position for edge in edges] == [suburb, MONTREAL]


def test_cells_have_the_same_number_of_addresses() -> None:
    near = Position(TORONTO.latitude + 0.001, TORONTO.longitude)
    places = (Place(a_location(TORONTO), 3), Place(a_location(near), 4))

    assert [
        one.addresses for one in in_cells(Census(database="x", built_at=NOW, places=places)).places
    ] == [7]


def test_ranked_edges_and_position_misroute_no_viewer(shares: dict[str, Shares]) -> None:
    assert misrouted(shares["ranked edges"]) == pytest.approx(0, abs=1e-9)
    assert misrouted(shares["position"]) == pytest.approx(0, abs=1e-9)
    assert misrouted(in_one_cache(shares["country"])) > 0.1


# What was measured


def results() -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((RESULTS / "cdn.json").read_text())
    return figures


def test_page_has_the_measured_tables() -> None:
    page = CDN_PAGE.read_text()

    for kinds in results()["fleets"].values():
        assert "\n".join(table(kinds)) in page


def test_targets_are_met() -> None:
    for kinds in results()["fleets"].values():
        ours = kinds["ranked edges"]["regional"]
        assert ours["rates"]["1000"]["hit_ratio"] >= 0.98
        assert ours["misrouted"] < 1e-9
        assert ours["wrong_country"] < 1e-9


def test_saved_simulation_agrees_with_the_formulas() -> None:
    for kinds in results()["fleets"].values():
        for layouts in kinds.values():
            for found in layouts.values():
                exact, counted = found["rates"]["1000"], found["simulated"]
                assert counted["hit_ratio"] == pytest.approx(exact["hit_ratio"], abs=0.002)
                assert counted["origin_rps"] == pytest.approx(exact["origin_rps"], rel=0.02)
                assert counted["wrong_s"] == pytest.approx(exact["wrong_s"], rel=0.05)


def test_plot_has_a_line_for_each_kind_and_fleet() -> None:
    drawn = plot(results())

    assert drawn == (RESULTS / "cdn.svg").read_text()
    assert drawn.count("<polyline") == 2 * len(KEYS)
    assert all(f"{rate:,}" in drawn for rate in RATES)
