"""The table of latencies and the figures of an operator: every invalid row is reported."""

from pathlib import Path

import pytest

from router.config.inputs import read_catalog
from router.config.latency import MOST_HOMES, homes_of, load_measured, load_table
from router.config.settings import Settings
from router.errors import ConfigError
from router.routing.territory import Cell
from tests.support.builders import COUNTRIES, a_region

SHIPPED = Path(__file__).parents[3] / "geodata" / "latency.csv"


def measured(tmp_path: Path, text: str) -> dict[str, dict[str, float]]:
    path = tmp_path / "own.csv"
    path.write_text(text, encoding="utf-8")
    return load_measured(path, COUNTRIES, (a_region("yto-01"),))


def test_shipped_table_is_square_and_plausible() -> None:
    places, times = load_table(SHIPPED)
    assert len(places) == len(times) == 50
    for one, row in enumerate(times):
        assert row[one] == 0.0
        assert all(row[other] == times[other][one] for other in range(50))


def test_operator_figures_are_read(tmp_path: Path) -> None:
    text = "# ours\ncountry,region,ms\nDE,yto-01,95.5\n\nJP,yto-01,160\n"
    assert measured(tmp_path, text) == {"DE": {"yto-01": 95.5}, "JP": {"yto-01": 160.0}}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("UK,yto-01,90", "country: UK is no country"),
        ("DE,xxx-01,90", "region: xxx-01 is not in regions.yaml"),
        ("DE,yto-01,-1", "ms: -1 is no time"),
        ("DE,yto-01,nan", "ms: nan is no time"),
        ("DE,yto-01", "must be country,region,ms"),
    ],
)
def test_error_in_a_row_has_its_line(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        measured(tmp_path, f"country,region,ms\n{row}\n")
    (fault,) = caught.value.faults
    assert ":2: " in fault
    assert words in fault


def test_homes_are_the_most_populated_cells() -> None:
    cells = {Cell("DE", 70, column): column for column in range(20)}
    (homes,) = homes_of(cells).values()
    assert len(homes) == MOST_HOMES
    assert homes[0][1] == 19.0


def test_network_nearness_loads_the_latency_facts(tmp_path: Path) -> None:
    path = tmp_path / "regions.yaml"
    place = "country: DE, latitude: 52.5, longitude: 13.4"
    region = f"{{id: a, name: A, {place}, endpoint: https://a.example.com}}"
    path.write_text(f"nearness: network\nregions:\n  - {region}\n", encoding="utf-8")
    latency = read_catalog(Settings(regions=path)).latency
    assert latency is not None
    assert len(latency.places) == 50
    path.write_text(f"nearness: near\nregions:\n  - {region}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="distance or network"):
        read_catalog(Settings(regions=path))
