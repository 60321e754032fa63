"""Cities are ordered by latency only for countries without an edge and only for a real gain."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.config.inputs import read_catalog, with_latency
from router.config.settings import Settings
from router.geo.sphere import distance_km
from router.model import Catalog, LatencyFacts, Level, Location, Nearness, Position, Scope
from router.routing.latency import MIN_GAIN_MS, City, Estimator, in_network_order
from router.routing.ranking import Ranker
from tests.support.builders import BERLIN, COUNTRIES, NEW_YORK, TORONTO

FACTS = LatencyFacts(
    places=(NEW_YORK, TORONTO, BERLIN),
    rtt_ms=((0.0, 15.0, 80.0), (15.0, 0.0, None), (80.0, None, 0.0)),
    homes={"DE": ((BERLIN, 3.0), (Position(48.1, 11.6), 1.0))},
)
ESTIMATOR = Estimator(FACTS, COUNTRIES)


def network(settings: Settings = Settings()) -> Catalog:
    return with_latency(settings, read_catalog(settings))


figures = st.lists(
    st.tuples(st.integers(0, 20_000), st.integers(0, 300)), min_size=1, max_size=12, unique=True
)


@given(figures)
def test_city_precedes_a_nearer_one_only_for_a_gain(cities: list[tuple[int, int]]) -> None:
    km, ms = [float(one[0]) for one in cities], [float(one[1]) for one in cities]
    order = in_network_order(range(len(cities)), km, ms)
    assert sorted(order) == list(range(len(cities)))
    for place, city in enumerate(order):
        for later in order[place + 1 :]:
            if km[later] < km[city]:
                assert ms[city] <= ms[later] - MIN_GAIN_MS


def test_equal_latencies_keep_the_order_by_distance() -> None:
    assert in_network_order(range(3), [300.0, 100.0, 200.0], [50.0, 54.0, 50.0]) == [1, 2, 0]


def test_latency_at_measured_places_is_the_measured_one() -> None:
    assert ESTIMATOR.ms(BERLIN, NEW_YORK) == pytest.approx(80.0, abs=15.0)


def test_latency_far_from_measured_places_follows_distance() -> None:
    south_pole = Position(-89.0, 0.1)
    assert ESTIMATOR.ms(south_pole, NEW_YORK) == 0.016 * distance_km(south_pole, NEW_YORK)


def test_latency_measured_by_an_operator_overrides_estimates() -> None:
    facts = replace(FACTS, measured_ms={"DE": {"nyc-01": 33.0, "nyc-02": 31.0}})
    city = City(("nyc-01", "nyc-02"), NEW_YORK)
    assert Estimator(facts, COUNTRIES).country_ms("DE", city) == 31.0


def test_country_without_population_uses_its_centre() -> None:
    centre = COUNTRIES["JP"].centre
    assert ESTIMATOR.homes("JP") == ((centre, 1.0),)
    assert ESTIMATOR.homes("AQ") == ()
    assert ESTIMATOR.order("AQ", [City(("a",), BERLIN)]) == []


@pytest.mark.parametrize("scope", list(Scope))
def test_countries_without_an_edge_are_ordered_by_latency(scope: Scope) -> None:
    by_distance, by_network = Ranker(read_catalog(Settings())), Ranker(network())
    berlin = Location("DE", BERLIN, Level.CITY)
    first = [ranker.key(berlin, 1, scope).preferred[0][:3] for ranker in (by_distance, by_network)]
    assert first == ["yul", "nyc"]
    assert by_network.key(Location("DE"), 1, scope) == by_network.key(berlin, 1, scope)


@pytest.mark.parametrize("country", ["CA", "US", None])
def test_countries_with_edges_are_ordered_by_distance(country: str | None) -> None:
    here = Location(country, TORONTO, Level.CITY)
    catalogs = (read_catalog(Settings()), network())
    keys = {Ranker(one).key(here, 7, Scope.COUNTRY) for one in catalogs}
    assert len(keys) == 1
    assert Ranker(network()).estimated_ms(country, "nyc-01") is None


def test_operator_figures_change_the_order_of_a_country(tmp_path: Path) -> None:
    path = tmp_path / "latency.csv"
    path.write_text("country,region,ms\nNG,sfo-01,5\n", encoding="utf-8")
    ranker = Ranker(network(Settings(latency=path)))
    assert ranker.key(Location("NG"), 1, Scope.COUNTRY).preferred[0] == "sfo-01"
    assert ranker.estimated_ms("NG", "sfo-01") == 5.0
    assert ranker.catalog.nearness is Nearness.NETWORK
