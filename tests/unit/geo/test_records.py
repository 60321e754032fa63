"""How a database record affects the pick: nearest at home, nearest anywhere or default order."""

from pathlib import Path
from typing import Any

import pytest

from router.config.catalog import load_catalog
from router.config.inputs import packaged_path
from router.geo.countries import load_countries
from router.geo.database import open_database
from router.model import Scope
from router.routing.decision import decide
from router.routing.query import Query
from router.routing.ranking import Ranker
from tests.support.builders import a_fleet, an_edge
from tests.support.databases import VIEWER, a_country, a_file

WORLD = """
defaults:
  endpoint: https://api.{id}.edge.example.com
regions:
  - {id: akl-01, name: Auckland, country: NZ, latitude: -36.8485, longitude: 174.7633}
  - {id: anc-01, name: Anchorage, country: US, latitude: 61.2181, longitude: -149.9003}
  - {id: fra-01, name: Frankfurt, country: DE, latitude: 50.1109, longitude: 8.6821}
  - {id: hnd-01, name: Tokyo, country: JP, latitude: 35.6762, longitude: 139.6503}
  - {id: nyc-01, name: New York, country: US, latitude: 40.7128, longitude: -74.006}
  - {id: sof-01, name: Sofia, country: BG, latitude: 42.6977, longitude: 23.3219}
"""


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Ranker:
    path = tmp_path_factory.mktemp("world") / "regions.yaml"
    path.write_text(WORLD)
    return Ranker(load_catalog(path, load_countries(packaged_path("geodata/countries.csv"))))


def pick(ranker: Ranker, folder: Path, record: Any) -> tuple[str, str]:
    """Returns the edge for a viewer with this record, and the reason."""
    location = open_database(a_file(folder, record, known=a_country())).locate(VIEWER)
    key = ranker.key(location, 1, Scope.COUNTRY)
    fleet = a_fleet(*(an_edge(region) for region in ranker.catalog.regions))
    decision = decide(ranker, fleet, key, Query())
    return decision.candidates[0].region.id, str(decision.reason)


def a_record(code: str | None, latitude: float, longitude: float, radius: int = 20) -> Any:
    place = {"latitude": latitude, "longitude": longitude, "accuracy_radius": radius}
    named = {"city": {"names": {"en": "Somewhere"}}, "location": place}
    return named if code is None else {**named, "country": {"iso_code": code}}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (a_record("US", 40.7, -74.0), "nyc-01"),
        (a_record("US", 61.0, -150.0), "anc-01"),
        (a_record("us", 61.0, -150.0), "anc-01"),
    ],
)
def test_place_in_a_country_with_edges_gets_the_nearest_at_home(
    ranker: Ranker, tmp_path: Path, record: Any, expected: str
) -> None:
    assert pick(ranker, tmp_path, record) == (expected, "nearest_in_country")


@pytest.mark.parametrize("longitude", [180.0, -180.0])
def test_place_on_the_date_line_gets_the_nearest_edge(
    ranker: Ranker, tmp_path: Path, longitude: float
) -> None:
    assert pick(ranker, tmp_path, a_record("FJ", -16.8, longitude))[0] == "akl-01"


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [(-90.0, 0.0, "akl-01"), (-90.0, 139.27, "akl-01"), (90.0, 45.0, "anc-01")],
)
def test_pole_gets_the_nearest_edge_at_any_longitude(
    ranker: Ranker, tmp_path: Path, latitude: float, longitude: float, expected: str
) -> None:
    assert pick(ranker, tmp_path, a_record("AQ", latitude, longitude))[0] == expected


@pytest.mark.parametrize("code", [None, "EU", "AP", "XX", "ZZ", "UK", "AN", "T1", "A1", "A2", "-"])
@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [(44.6, 33.5, "sof-01"), (47.0, 8.0, "fra-01"), (40.7, -74.0, "nyc-01")],
)
def test_place_without_a_country_gets_the_nearest_anywhere(
    ranker: Ranker,
    tmp_path: Path,
    code: str | None,
    latitude: float,
    longitude: float,
    expected: str,
) -> None:
    record = a_record(code, latitude, longitude)
    assert pick(ranker, tmp_path, record) == (expected, "nearest_global")


@pytest.mark.parametrize("code", ["EU", "AP", "XX", "ZZ", "UK", "AN", "T1", "A1", "A2", "-"])
def test_invalid_country_alone_gets_the_default_order(
    ranker: Ranker, tmp_path: Path, code: str
) -> None:
    unknown = pick(ranker, tmp_path, {"traits": {"is_anycast": True}})
    assert pick(ranker, tmp_path, {"country": {"iso_code": code}}) == unknown
    assert unknown[1] == "default_order"
