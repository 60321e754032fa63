"""`autorouter simulate`: from the current state, with a real database, as text, JSON and map."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.cli.whatif_text import MAX_COUNTRIES, show_moves
from router.geodata.survey import CENSUS_FILE
from tests.support.builders import CITIES
from tests.support.commands import ESCAPE, Done, in_json, on_terminal
from tests.support.servers import (
    HOST,
    Dev,
    RedisServer,
    Start,
    a_regions_file,
    free_port,
    run_autorouter,
    wait_until,
)
from tests.support.worlds import a_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with networks in Toronto, in Germany and in Canada."""
    return str(a_world(tmp_path_factory.mktemp("world")))


@pytest.fixture
def alone(alone: dict[str, str], world: str) -> dict[str, str]:
    """Settings that lead to no server, with the small database."""
    return alone | {"GEO_DB": world}


def simulate(*words: str, **settings: str) -> Any:
    return in_json(run_autorouter("simulate", *words, "--json", **settings))


def row_of(document: Any, id: str) -> Any:
    return next(row for row in document["edges"] if row["region"] == id)


def error_of(done: Done) -> str:
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_without_a_server_every_edge_is_up(alone: dict[str, str]) -> None:
    document = simulate("--drain", "yto-01,yto-02", **alone)

    assert document["from"] == "the catalog alone"
    assert document["change"] == "drained yto-01, yto-02"
    assert document["status"] == {"before": "ok", "after": "ok"}
    assert row_of(document, "yto-01")["before"] > 0.3
    assert row_of(document, "yto-01")["after"] == row_of(document, "yto-02")["after"] == 0
    assert document["countries_left"] == []
    assert document["census"]["addresses"] == 65_536 + 256 + 4_096


def test_text_and_json_agree(alone: dict[str, str]) -> None:
    document = simulate("--down", "yto-01 yto-02", **alone)
    done = run_autorouter("simulate", "--down", "yto-01 yto-02", **alone)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("down yto-01, yto-02; from the catalog alone, scope country\n")
    assert f"{document['moved']:.2%} of the address space gets another edge" in done.stdout
    assert "weighted by 69,888 IPv4 addresses" in done.stdout
    assert all(id in done.stdout for id in CITIES)


def test_dial_moves_the_other_viewers_of_an_edge(alone: dict[str, str]) -> None:
    document = simulate("--dial", "yto-01=70", **alone)

    assert document["change"] == "dialled yto-01 to 70%"
    one = row_of(document, "yto-01")
    # The tolerance is three standard deviations for about 128 networks.
    assert one["after"] / one["before"] == pytest.approx(0.7, abs=0.12)


def test_weight_changes_the_shares_in_a_city(alone: dict[str, str]) -> None:
    document = simulate("--weight", "yto-01=3", **alone)

    assert document["change"] == "weight of yto-01 3"
    one, other = row_of(document, "yto-01")["after"], row_of(document, "yto-02")["after"]
    assert one / (one + other) == pytest.approx(0.75, abs=0.08)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--dial", "yto-01=101"], "ID=SHARE with a number from 0 to 100"),
        (["--weight", "yto-01=0"], "ID=N with a number from 0.001 to 1000"),
        (["--dial", "yto-01"], "ID=SHARE with a number from 0 to 100"),
    ],
)
def test_number_out_of_range_is_rejected(
    alone: dict[str, str], words: list[str], error: str
) -> None:
    done = run_autorouter("simulate", *words, **alone)
    assert done.returncode == 2
    assert error in " ".join(done.stderr.split())


def test_country_left_without_an_edge_is_reported(alone: dict[str, str]) -> None:
    canada = ",".join(id for id, (_, country, _) in CITIES.items() if country == "CA")
    done = run_autorouter("simulate", "--drain", canada, **alone)

    assert "left without an edge: CA" in done.stdout


def test_regions_can_be_added_and_removed(tmp_path: Path, alone: dict[str, str]) -> None:
    further = tmp_path / "further.yaml"
    frankfurt = {"id": "fra-01", "name": "Frankfurt", "country": "DE"}
    place = {"latitude": 50.1, "longitude": 8.7, "endpoint": "https://fra-01.example.com"}
    further.write_text(yaml.safe_dump({"regions": [{**frankfurt, **place}]}))

    document = simulate("--add", str(further), "--without", "yvr-02", **alone)

    germany = next(row for row in document["countries"] if row["country"] == "DE")
    assert germany["abroad"] == {"before": 1, "after": 0}
    assert germany["extra_km"] < -5_000
    assert row_of(document, "fra-01")["after"] == pytest.approx(256 / 69_888, abs=1e-4)
    assert row_of(document, "yvr-02")["after"] == 0


def test_errors_in_added_regions_are_reported(tmp_path: Path, alone: dict[str, str]) -> None:
    further = tmp_path / "further.yaml"
    further.write_text("regions: [{id: fra-01}]\n")

    assert "further.yaml:1: regions[0]" in error_of(
        run_autorouter("simulate", "--add", str(further), **alone)
    )


def test_unknown_edge_is_reported_with_the_choices(alone: dict[str, str]) -> None:
    document = error_of(run_autorouter("simulate", "--drain", "x", "--down", "y", **alone))

    assert "error: no such edge: x; there are dal-01" in document
    assert "error: no such edge: y; there are dal-01" in document


def test_latency_order_moves_viewers_without_an_edge_in_their_country(
    alone: dict[str, str],
) -> None:
    """256 of the 69,888 addresses are in Germany, which has no edge."""
    document = simulate("--nearness", "network", **alone)
    assert document["change"] == "nearness network"
    assert document["moved"] == pytest.approx(256 / 69_888, abs=1e-6)
    assert document["gain_ms"] > 5  # the minimum gain of another city
    assert document["extra_km"] > 0

    same = simulate("--nearness", "distance", **alone)
    assert (same["moved"], same["gain_ms"]) == (0, None)


def test_scope_and_model_are_used(alone: dict[str, str]) -> None:
    document = simulate("--drain", "yto-01", "--scope", "global", "--model", "kokoro", **alone)

    assert document["query"] == {
        "scope": "global",
        "model": "kokoro",
        "strict": False,
        "all": False,
    }


# The state before the change


def test_state_of_the_running_server_is_used(dev: Dev, world: str) -> None:
    drain = ["drain", "yto-01", "--for", "5m", "--reason", "test"]
    assert run_autorouter(*drain, **dev.settings).returncode == 0

    now = simulate("--drain", "yto-02", **dev.settings, GEO_DB=world)
    all_up = simulate("--drain", "yto-02", "--all-up", **dev.settings, GEO_DB=world)

    assert run_autorouter("enable", "yto-01", **dev.settings).returncode == 0
    assert now["from"] == f"http://{dev.settings['OPS_LISTEN']}"
    assert row_of(now, "yto-01")["before"] == 0
    assert row_of(now, "yto-02")["before"] > 0.8
    assert all_up["from"] == "every edge up"
    assert row_of(all_up, "yto-01")["before"] == pytest.approx(
        row_of(all_up, "yto-02")["before"], abs=0.1
    )


def test_server_option_selects_another_server(dev: Dev, alone: dict[str, str]) -> None:
    url = f"http://{dev.settings['OPS_LISTEN']}"

    assert simulate("--drain", "yto-01", "--from", url + "/", **alone)["from"] == url


def test_edges_missing_in_the_catalog_are_reported(
    dev: Dev, tmp_path: Path, alone: dict[str, str]
) -> None:
    here = {id: f"https://{id}.example.com" for id in CITIES if id != "sfo-01"}
    words = ["--drain", "yto-01", "--from", f"http://{dev.settings['OPS_LISTEN']}"]
    catalog = str(a_regions_file(tmp_path / "regions.yaml", here))

    document = simulate(*words, "--regions", catalog, **alone)
    done = run_autorouter("simulate", *words, "--regions", catalog, **alone)

    assert document["not_in_catalog"] == ["sfo-01"]
    assert "ignored, because not in regions.yaml: sfo-01" in done.stdout


@pytest.mark.parametrize(
    ("server", "document"),
    [
        (f"http://{HOST}:1", "no server answers there"),
        ("nonsense", "missing an 'http://' or 'https://' protocol"),
        ("ftp://x", "unsupported protocol"),
    ],
)
def test_unreachable_server_is_an_error(server: str, document: str, alone: dict[str, str]) -> None:
    words = ["simulate", "--drain", "yto-01", "--from", server]

    assert document in error_of(run_autorouter(*words, **alone))


def test_state_in_redis_is_used(
    redis: RedisServer, alone: dict[str, str], start: Start, dev: Dev, tmp_path: Path
) -> None:
    # The edges of `dev` are healthy; nothing listens on the last address, so that edge is down.
    endpoints = {one["id"]: one["endpoint"] for one in dev.ops("/v1/edges").json()["edges"]}
    endpoints["yto-01"] = f"http://{HOST}:{free_port()}"
    catalog = str(a_regions_file(tmp_path / "regions.yaml", endpoints))
    settings = {**alone, "REDIS_URL": redis.url, "REGIONS": catalog}
    start("poll", **settings, POLL_INTERVAL_S="0.5")

    def is_down() -> bool:
        document = in_json(run_autorouter("edges", "--json", **settings))
        return any((one["id"], one["state"]) == ("yto-01", "down") for one in document["edges"])

    wait_until(is_down)
    document = simulate("--drain", "yul-01", **settings)

    assert document["from"] == "Redis"
    assert row_of(document, "yto-01")["before"] == 0


# Maps, progress and saved files


def test_maps_are_written_to_files(tmp_path: Path, alone: dict[str, str]) -> None:
    svg = tmp_path / "map.svg"
    words = ["--drain", "yto-01", "--svg", str(svg)]

    assert run_autorouter("simulate", *words, **alone).returncode == 0
    assert ET.parse(svg).getroot().tag.endswith("svg")


def test_unwritable_map_is_an_error(tmp_path: Path, alone: dict[str, str]) -> None:
    words = ["--drain", "yto-01", "--svg", str(tmp_path / "none" / "map.svg")]
    done = run_autorouter("simulate", *words, **alone)

    assert "No such file or directory" in error_of(done)


def test_progress_is_shown_on_a_terminal_only(world: str) -> None:
    settings = {"AUTOROUTER_GEO_DB": world, "AUTOROUTER_OPS_LISTEN": f"{HOST}:{free_port()}"}
    document = on_terminal("simulate", "--drain", "yto-01", **settings)

    assert "reading world.mmdb" in document
    assert ESCAPE in document


def test_census_is_saved_in_the_state_folder(tmp_path: Path, alone: dict[str, str]) -> None:
    first = simulate("--drain", "yto-01", STATE_DIR=str(tmp_path), **alone)
    kept = (tmp_path / CENSUS_FILE).stat().st_mtime_ns
    again = simulate("--drain", "yto-01", STATE_DIR=str(tmp_path), **alone)

    assert (tmp_path / CENSUS_FILE).stat().st_mtime_ns == kept
    assert first == again


def test_long_list_of_countries_is_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    half = {"before": 0.5, "after": 0.5}
    country: dict[str, Any] = {
        "share": 0.01,
        "moved": 0.5,
        "extra_km": None,
        "abroad": half,
        "moves": [],
    }
    codes = [f"{one}{two}" for one in "ABCDE" for two in "VWXYZ"]
    show_moves(
        {
            "change": "drained x",
            "from": "nowhere",
            "query": {"scope": "country"},
            "status": {"before": "ok", "after": "fail_open"},
            "not_in_catalog": [],
            "countries_left": [],
            "moved": 0.5,
            "extra_km": None,
            "abroad": half,
            "unanswered": {"before": 0.0, "after": 0.25},
            "census": {"addresses": 1, "database": "X", "credit": "", "built_at": 0.0, "places": 1},
            "edges": [],
            "moves": [],
            "countries": [{"country": code, **country} for code in codes],
        }
    )
    document = capsys.readouterr().out

    assert f"and {len(codes) - MAX_COUNTRIES} more countries" in document
    assert "fail_open" in document
    assert "without an answer: 0.00% before, 25.00% after" in document
