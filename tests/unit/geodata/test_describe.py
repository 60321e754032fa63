"""What is told of a database, and of two, is what is in them."""

from pathlib import Path
from typing import Any

import pytest

from router.geo.database import open_database, packaged_database
from router.geodata import describe as describing
from router.geodata.compare import compare
from router.geodata.describe import describe
from router.geodata.sample import v4_sample, v6_sample
from router.routing.ranking import Ranker
from tests.support.builders import a_catalog
from tests.support.databases import country_only, nested, write_mmdb

DAY_S = 86_400
HALVES = {"0.0.0.0/1": nested("Toronto"), "2000::/3": nested("Toronto")}


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "SAMPLED", 2_000)


def a_database(path: Path, records: dict[str, Any], *, type: str = "DBIP-City-Lite") -> Path:
    return write_mmdb(path, records, type=type)


def described(path: Path, days: float = 1) -> dict[str, Any]:
    database = open_database(path)
    return describe(database, database.built_at + days * DAY_S)


def test_type_age_size_and_terms_are_reported(tmp_path: Path) -> None:
    path = a_database(tmp_path / "a.mmdb", HALVES)
    told = described(path, days=12)
    assert (told["type"], told["age_days"]) == ("DBIP-City-Lite", 12)
    assert told["bytes"] == path.stat().st_size
    assert (told["licence"], told["origin"]) == ("CC BY 4.0", None)
    assert "db-ip.com" in told["attribution"]


def test_shares_of_sampled_addresses_are_reported(tmp_path: Path) -> None:
    records = {**HALVES, "128.0.0.0/2": country_only("US")}
    told = described(a_database(tmp_path / "a.mmdb", records))
    assert told["ipv4"]["city"] == pytest.approx(0.57, abs=0.03)
    assert told["ipv4"]["country"] == pytest.approx(0.28, abs=0.03)
    assert told["ipv6"] == {"city": 1.0, "country": 0.0}


def test_known_networks_are_looked_up() -> None:
    told = described(packaged_database())
    assert [one["country"] for one in told["samples"]] == ["CA", "US", "DE", "JP", "CA", "DE"]


@pytest.mark.parametrize(
    ("records", "type", "days", "words"),
    [
        ({"0.0.0.0/1": nested("Berlin")}, "DBIP-City", 1, "knows nothing of IPv6"),
        ({"0.0.0.0/1": country_only("US")}, "DBIP-City", 1, "knows no cities for IPv4"),
        (HALVES, "DBIP-City", 91, "91 days old"),
        (HALVES, "Somebody-City", 1, "its licence cannot be told"),
    ],
)
def test_what_is_missing_is_reported(
    tmp_path: Path, records: dict[str, Any], type: str, days: int, words: str
) -> None:
    told = described(a_database(tmp_path / "a.mmdb", records, type=type), days)
    assert any(words in line for line in told["missing"])


def test_nothing_is_missing_of_a_good_one(tmp_path: Path) -> None:
    assert described(a_database(tmp_path / "a.mmdb", HALVES))["missing"] == []


def test_samples_are_the_same_each_time_and_public() -> None:
    assert v4_sample(100) == v4_sample(100)
    assert v6_sample(100) == v6_sample(200)[:100]
    assert not any(text.startswith(("10.", "127.", "192.168.", "0.")) for text in v4_sample(5_000))


def compared(one: Path, other: Path) -> dict[str, Any]:
    return compare(open_database(one), open_database(other), Ranker(a_catalog()), 2_000)


def test_database_agrees_with_itself(tmp_path: Path) -> None:
    path = a_database(tmp_path / "a.mmdb", HALVES)
    told = compared(path, path)["ipv4"]
    assert (told["same_country"], told["same_pick"]) == (1.0, 1.0)
    assert told["distance_km"] == {"p50": 0.0, "p90": 0.0, "p99": 0.0}
    assert told["both"] == pytest.approx(0.57, abs=0.03)


def test_disagreement_is_measured(tmp_path: Path) -> None:
    one = a_database(tmp_path / "a.mmdb", HALVES)
    moved = {"0.0.0.0/2": nested("Montreal"), "64.0.0.0/2": nested("Suva")}
    told = compared(one, a_database(tmp_path / "b.mmdb", moved))["ipv4"]
    assert told["same_country"] == pytest.approx(0.5, abs=0.05)
    assert told["same_pick"] == pytest.approx(0.0, abs=0.05)
    assert told["same_pick_country"] == pytest.approx(0.5, abs=0.05)
    assert told["distance_km"]["p90"] > 12_000


def test_those_known_by_country_are_spread_over_it(tmp_path: Path) -> None:
    path = a_database(tmp_path / "a.mmdb", {"0.0.0.0/1": country_only("US")})
    told = compared(path, path)["ipv4"]
    assert told["first"]["country"] == pytest.approx(0.57, abs=0.03)
    shares = told["spread"]["first"]["US"]
    assert sorted(shares) == ["dal-01", "dal-02", "nyc-01", "nyc-02", "sfo-01"]
    assert all(share == pytest.approx(0.2, abs=0.05) for share in shares.values())


def test_databases_with_nothing_in_common_compare_to_nothing(tmp_path: Path) -> None:
    one = a_database(tmp_path / "a.mmdb", {"0.0.0.0/1": nested("Berlin")})
    other = a_database(tmp_path / "b.mmdb", {"128.0.0.0/1": nested("Berlin")})
    told = compared(one, other)["ipv4"]
    assert (told["both"], told["same_country"], told["distance_km"]) == (0.0, None, {})


def test_country_without_a_place_is_compared_too(tmp_path: Path) -> None:
    path = a_database(tmp_path / "a.mmdb", {"0.0.0.0/1": country_only("AQ")})
    assert compared(path, path)["ipv4"]["same_pick"] == 1.0
