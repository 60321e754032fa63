"""`autorouter check` finds everything that would prevent a start."""

import re
from pathlib import Path

import pytest

from router.cli.check import check
from tests.support.servers import ROOT

A_REGION = "{id: yto-01, name: Toronto, country: CA, latitude: 43.6532, longitude: -79.3832"


def a_file(folder: Path, *, weight: float = 1) -> Path:
    path = folder / "regions.yaml"
    region = f"{A_REGION}, weight: {weight}, endpoint: https://a.example.com}}"
    path.write_text(f"regions: [{region}]\n", encoding="utf-8")
    return path


def test_shipped_files_have_no_errors() -> None:
    found = check({}, None)
    assert (found["ok"], found["faults"]) == (True, [])
    assert [warning for warning in found["warnings"] if "geodata update" not in warning] == []
    assert found["facts"][:2] == [
        "settings: all good",
        f"catalog: 10 regions, 10 routable, in CA, US ({ROOT / 'regions.yaml'})",
    ]


def test_geo_data_is_reported_with_its_age() -> None:
    fact = check({}, None)["facts"][2]
    assert re.fullmatch(r"geo data: [\w-]+, [\d,]+ days? old \(/.*\.mmdb\)", fact)


def test_every_path_in_use_is_reported(tmp_path: Path) -> None:
    secret, latency = tmp_path / "secret", tmp_path / "latency.csv"
    overrides = tmp_path / "overrides.csv"
    secret.write_text("0123456789abcdef\n")
    latency.write_text("country,region,ms\nDE,nyc-01,80\n")
    overrides.write_text("192.0.2.0/24,CA\n")
    environ = {
        "AUTOROUTER_REGIONS": str(a_file(tmp_path)),
        "AUTOROUTER_GEO_OVERRIDES": str(overrides),
        "AUTOROUTER_LATENCY": str(latency),
        "AUTOROUTER_STATE_DIR": str(tmp_path / "state"),
        "AUTOROUTER_CDN_SECRET_FILE": str(secret),
    }
    found = check(environ, None)
    text = "\n".join(found["facts"])
    assert found["faults"] == []
    assert [path for path in environ.values() if path not in text] == []
    assert secret.read_text().strip() not in text


def test_errors_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    environ = {
        "AUTOROUTER_TTL_S": "0",
        "AUTOROUTER_REGIONS": str(a_file(tmp_path, weight=-1)),
        "AUTOROUTER_GEO_DB": str(tmp_path / "none.mmdb"),
    }
    found = check(environ, None)
    assert (found["ok"], found["facts"], len(found["faults"])) == (False, [], 3)
    for fault, about in zip(found["faults"], ("TTL_S", "weight", "none.mmdb"), strict=True):
        assert about in fault


def test_given_catalog_is_checked(tmp_path: Path) -> None:
    file = a_file(tmp_path)
    found = check({"AUTOROUTER_REGIONS": "/nowhere.yaml"}, file)
    assert found["ok"]
    assert f"catalog: 1 region, 1 routable, in CA ({file})" in found["facts"]


@pytest.mark.parametrize("name", ["AUTOROUTER_REGIONS", "AUTOROUTER_GEO_DB"])
def test_missing_file_is_one_error_with_its_path(name: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    faults = check({name: missing}, None)["faults"]
    assert len(faults) == 1
    assert missing in faults[0]


def test_unknown_setting_is_a_warning() -> None:
    found = check({"AUTOROUTER_TTL": "5"}, None)
    assert found["ok"]
    assert "AUTOROUTER_TTL" in found["warnings"][0]


def test_overrides_are_counted_and_their_errors_reported(tmp_path: Path) -> None:
    file = tmp_path / "geofeed.csv"
    file.write_text("192.0.2.0/24,CA\n2001:db8::/32,DE\n", encoding="utf-8")
    environ = {"AUTOROUTER_GEO_OVERRIDES": str(file)}
    assert f"geo overrides: 2 networks ({file})" in check(environ, None)["facts"]
    file.write_text("192.0.2.0/24,CA\nnonsense\n2001:db8::/32,XX\n", encoding="utf-8")
    found = check(environ, None)
    assert not found["ok"]
    assert [fault.split(":")[1] for fault in found["faults"]] == ["2", "3"]


def test_weight_of_an_edge_alone_in_its_city_is_a_warning(tmp_path: Path) -> None:
    found = check({}, a_file(tmp_path, weight=2))
    assert found["ok"]
    assert any("yto-01: its weight of 2 has no effect" in line for line in found["warnings"])
    assert not any("has no effect" in line for line in check({}, a_file(tmp_path))["warnings"])


def test_weight_of_a_lone_edge_affects_viewers_of_unknown_city(tmp_path: Path) -> None:
    file = a_file(tmp_path, weight=2)
    montreal = "{id: yul-01, name: Montreal, country: CA, latitude: 45.5, longitude: -73.6"
    listed = file.read_text(encoding="utf-8").rstrip("]\n")
    file.write_text(f"{listed}, {montreal}, endpoint: https://b.example.com}}]\n", encoding="utf-8")
    warnings = " ".join(check({}, file)["warnings"])
    assert "has no effect, except on viewers whose city is unknown" in warnings
