"""The counts of `bench.place`, on a list that is small enough to count by hand."""

import json

import pytest

from bench.place import directly, judge, layers, truths
from router.config.inputs import read_catalog
from router.config.settings import Settings
from router.model import Level, Location, Position, Source
from router.routing.ranking import Ranker

TORONTO = Position(43.65, -79.38)
PREFIXES = [
    {"ip_prefix": "24.48.0.0/24", "region": "ca-central-1"},
    {"ip_prefix": "24.49.0.0/24", "region": "us-west-2"},
    {"ip_prefix": "24.50.0.0/24", "region": "us-west-1"},
]
MONTREAL, BOARDMAN = "aws Montréal, CA", "aws Boardman, US"
SAN_JOSE = "aws San Jose, US"


def in_toronto(_: str) -> Location:
    """A database that knows one city."""
    return Location("CA", TORONTO, Level.CITY, Source.DATABASE)


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """Layer → region → share of right cities."""
    path = tmp_path_factory.mktemp("truth") / "ranges.json"
    path.write_text(json.dumps({"prefixes": PREFIXES}, indent=1))
    ranker = Ranker(read_catalog(Settings()))
    some, entries = truths("aws", path)
    return {
        title: {region: one.right for region, one in judge(ranker, some, pick).items()}
        for title, locate in layers(in_toronto, entries)
        for pick in (directly(ranker, locate),)
    }


def test_a_wrong_database_is_wrong_everywhere(right: dict[str, dict[str, float]]) -> None:
    assert set(right["database"].values()) == {0.0}


def test_feeds_with_positions_are_right_everywhere(right: dict[str, dict[str, float]]) -> None:
    assert set(right["with feeds"].values()) == {1.0}


def test_a_geofeed_of_cities_is_right_where_its_city_is_listed(
    right: dict[str, dict[str, float]],
) -> None:
    found = right["geofeed of cities"]
    assert (found[MONTREAL], found[SAN_JOSE]) == (1.0, 1.0)
    assert found[BOARDMAN] < 1.0  # Boardman, Oregon is not listed; Boardman, Ohio is


def test_a_geofeed_of_countries_never_lowers_it(right: dict[str, dict[str, float]]) -> None:
    for region, share in right["geofeed of countries"].items():
        assert share >= right["database"][region]
