"""The name of a city gives a position only if it is unambiguous."""

from pathlib import Path

import pytest

from router.errors import ConfigError
from router.geo.cities import Cities, fold, load_cities
from router.geo.sphere import distance_km
from router.model import Position

ROWS = """\
country,region,name,alternates,latitude,longitude
US,OR,Portland,,45.52,-122.68
US,ME,Portland,,43.66,-70.26
DE,HE,Frankfurt am Main,Frankfurt|Francfort,50.12,8.68
DE,BB,Frankfurt (Oder),Frankfurt,52.35,14.55
FR,,Saint-Étienne,,45.43,4.39
CH,,Zürich,,47.37,8.55
"""
SHIPPED = Path(__file__).parents[3] / "geodata" / "cities.csv"


@pytest.fixture(scope="module")
def shipped_cities() -> Cities:
    return load_cities(SHIPPED)


def find(tmp_path: Path, country: str, region: str, name: str) -> Position | None:
    path = tmp_path / "cities.csv"
    path.write_text(ROWS, encoding="utf-8")
    return load_cities(path).find(country, region, name)


@pytest.mark.parametrize(
    ("country", "region", "name", "latitude"),
    [
        ("US", "US-OR", "Portland", 45.52),
        ("US", "me", "PORTLAND", 43.66),
        ("US", "", "Portland", None),
        ("US", "US-TX", "Portland", None),
        ("CA", "US-OR", "Portland", None),
        ("DE", "DE-HE", "Frankfurt", 50.12),
        ("DE", "", "Frankfurt", None),
        ("DE", "", "Frankfurt am Main", None),
        ("FR", "FR-ARA", "St. Etienne", 45.43),
        ("CH", "CH-ZH", "Zurich", 47.37),
        ("CH", "CH-ZH", "", None),
    ],
)
def test_ambiguous_name_has_no_position(
    tmp_path: Path, country: str, region: str, name: str, latitude: float | None
) -> None:
    found = find(tmp_path, country, region, name)
    assert (None if found is None else found.latitude) == latitude


def test_spellings_fold_to_the_same_name() -> None:
    assert fold("São Paulo") == fold("SAO  PAULO") == "sao paulo"
    assert fold("Saint-Denis") == fold("St. Denis")
    assert fold("Malmø") == fold("Malmo")


def test_invalid_rows_are_reported_by_line(tmp_path: Path) -> None:
    path = tmp_path / "cities.csv"
    path.write_text(ROWS + "CA,ON,Toronto,,91,0\nCA\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_cities(path)
    assert [fault.split(":")[1] for fault in caught.value.faults] == ["8", "9"]


@pytest.mark.parametrize(
    ("country", "region", "name", "place"),
    [
        ("CA", "CA-NS", "Halifax", Position(44.65, -63.58)),
        ("US", "US-VA", "Ashburn", Position(39.04, -77.49)),
        ("AT", "AT-9", "Vienna", Position(48.21, 16.37)),
        ("AT", "", "Wien", Position(48.21, 16.37)),
        ("DE", "DE-BY", "München", Position(48.14, 11.58)),
        ("AU", "AU-WA", "Perth", Position(-31.95, 115.86)),
        ("US", "US-NY", "New York", Position(40.71, -74.01)),
        ("BR", "BR-SP", "Sao Paulo", Position(-23.55, -46.63)),
    ],
)
def test_shipped_file_contains_cities(
    shipped_cities: Cities, country: str, region: str, name: str, place: Position
) -> None:
    found = shipped_cities.find(country, region, name)
    assert found is not None
    assert distance_km(found, place) < 25
