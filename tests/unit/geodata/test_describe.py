"""The description of a database and the comparison of two match their contents."""

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
    found = described(path, days=12)
    assert (found["type"], found["age_days"]) == ("DBIP-City-Lite", 12)
    assert found["bytes"] == path.stat().st_size
    assert (found["licence"], found["origin"]) == ("CC BY 4.0", None)
    assert "db-ip.com" in found["attribution"]


def test_shares_of_sampled_addresses_are_reported(tmp_path: Path) -> None:
    records = {**HALVES, "128.0.0.0/2": country_only("US")}
    found = described(a_database(tmp_path / "a.mmdb", records))
    assert found["ipv4"]["city"] == pytest.approx(0.57, abs=0.03)
    assert found["ipv4"]["country"] == pytest.approx(0.28, abs=0.03)
    assert found["ipv6"] == {"city": 1.0, "country": 0.0}


def test_known_networks_are_looked_up() -> None:
    found = described(packaged_database())
    assert [one["country"] for one in found["samples"]] == ["CA", "US", "DE", "JP", "CA", "DE"]


@pytest.mark.parametrize(
    ("records", "type", "days", "words"),
    [
        ({"0.0.0.0/1": nested("Berlin")}, "DBIP-City", 1, "knows nothing of IPv6"),
        ({"0.0.0.0/1": country_only("US")}, "DBIP-City", 1, "knows no cities for IPv4"),
        (HALVES, "DBIP-City", 91, "91 days old"),
        (HALVES, "Somebody-City", 1, "its type does not show its licence"),
    ],
)
def test_what_is_missing_is_reported(
    tmp_path: Path, records: dict[str, Any], type: str, days: int, words: str
) -> None:
    found = described(a_database(tmp_path / "a.mmdb", records, type=type), days)
    assert any(words in line for line in found["missing"])


def test_complete_database_has_nothing_missing(tmp_path: Path) -> None:
    assert described(a_database(tmp_path / "a.mmdb", HALVES))["missing"] == []


def test_samples_are_the_same_each_time_and_public() -> None:
    assert v4_sample(100) == v4_sample(100)
    assert v6_sample(100) == v6_sample(200)[:100]
    assert not any(text.startswith(("10.", "127.", "192.168.", "0.")) for text in v4_sample(5_000))


def compared(one: Path, other: Path) -> dict[str, Any]:
    return compare(open_database(one), open_database(other), Ranker(a_catalog()), 2_000)


def test_database_agrees_with_itself(tmp_path: Path) -> None:
    path = a_database(tmp_path / "a.mmdb", HALVES)
    found = compared(path, path)["ipv4"]
    assert (found["same_country"], found["same_pick"]) == (1.0, 1.0)
    assert found["distance_km"] == {"p50": 0.0, "p90": 0.0, "p99": 0.0}
    assert found["both"] == pytest.approx(0.57, abs=0.03)


def test_disagreement_is_measured(tmp_path: Path) -> None:
    one = a_database(tmp_path / "a.mmdb", HALVES)
    moved = {"0.0.0.0/2": nested("Montreal"), "64.0.0.0/2": nested("Suva")}
    found = compared(one, a_database(tmp_path / "b.mmdb", moved))["ipv4"]
    assert found["same_country"] == pytest.approx(0.5, abs=0.05)
    assert found["same_pick"] == pytest.approx(0.0, abs=0.05)
    assert found["same_pick_country"] == pytest.approx(0.5, abs=0.05)
    assert found["distance_km"]["p90"] > 12_000


def test_addresses_of_country_level_are_spread_over_the_country(tmp_path: Path) -> None:
    path = a_database(tmp_path / "a.mmdb", {"0.0.0.0/1": country_only("US")})
    found = compared(path, path)["ipv4"]
    assert found["first"]["country"] == pytest.approx(0.57, abs=0.03)
    shares = found["spread"]["first"]["US"]
    assert sorted(shares) == ["dal-01", "dal-02", "nyc-01", "nyc-02", "sfo-01"]
    assert all(share == pytest.approx(0.2, abs=0.05) for share in shares.values())


def test_databases_without_common_addresses_have_no_figures(tmp_path: Path) -> None:
    one = a_database(tmp_path / "a.mmdb", {"0.0.0.0/1": nested("Berlin")})
    other = a_database(tmp_path / "b.mmdb", {"128.0.0.0/1": nested("Berlin")})
    found = compared(one, other)["ipv4"]
    assert (found["both"], found["same_country"], found["distance_km"]) == (0.0, None, {})


def test_country_without_a_position_is_compared(tmp_path: Path) -> None:
    path = a_database(tmp_path / "a.mmdb", {"0.0.0.0/1": country_only("AQ")})
    assert compared(path, path)["ipv4"]["same_pick"] == 1.0
