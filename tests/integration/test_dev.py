"""`autorouter dev`: the commands that it prints work as printed."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from router.processes.simulated_edges import Mode
from tests.support.builders import CITIES
from tests.support.servers import HOST, Dev, get, is_open, running_dev, wait_until


def printed_commands(dev: Dev) -> list[str]:
    """The commands that `dev` suggests, with continued lines joined."""
    text = dev.process.output.replace("\\\n", "")
    return [line.strip() for line in text.splitlines() if line.startswith("    curl ")]


def run(command: str) -> list[Any]:
    """Run a shell command; return the JSON documents that it prints."""
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=30, check=True
    )
    documents, rest, decoder = [], done.stdout, json.JSONDecoder()
    while rest.strip():
        document, end = decoder.raw_decode(rest.lstrip())
        documents.append(document)
        rest = rest.lstrip()[end:]
    return documents


def put(dev: Dev, path: str) -> httpx.Response:
    with httpx.Client(trust_env=False, verify=False, timeout=5) as client:
        return client.put(f"http://{HOST}:{dev.ops_port}{path}")


def route(dev: Dev, query: str = "", viewer: str = "24.48.0.1") -> dict[str, Any]:
    url = f"http://{HOST}:{dev.port}/v1/route{query}"
    document: dict[str, Any] = get(url, headers={"X-Forwarded-For": viewer}).json()
    return document


def test_three_commands_are_printed(dev: Dev) -> None:
    assert len(printed_commands(dev)) == 3


def test_printed_dashboard_address_works(dev: Dev) -> None:
    (line,) = [line for line in dev.process.output.splitlines() if "dashboard" in line]
    answer = get(line.split()[-1])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_printed_canadian_viewer_gets_a_canadian_edge(dev: Dev) -> None:
    (document,) = run(printed_commands(dev)[0])
    assert (document["country"], document["crossed_border"]) == ("CA", False)
    assert document["endpoint"].startswith(f"http://{HOST}:")


def test_printed_german_viewer_crosses_the_border(dev: Dev) -> None:
    (document,) = run(printed_commands(dev)[1])
    assert (document["reason"], document["crossed_border"]) == ("no_edge_in_country", True)


def test_printed_command_takes_the_edge_of_a_viewer_down(dev: Dev) -> None:
    (before,) = run(printed_commands(dev)[0])
    taken, after = run(printed_commands(dev)[2])
    assert (taken["id"], taken["mode"]) == (before["region"], "down")
    assert after["region"] != before["region"]
    assert (after["country"], after["status"]) == ("CA", "ok")


def test_every_printed_mode_can_be_set(dev: Dev) -> None:
    for mode in Mode:
        assert f"{mode}" in dev.process.output
        assert put(dev, f"/simulation/sfo-01/{mode}").json()["mode"] == mode
    put(dev, "/simulation/sfo-01/healthy")


def test_every_simulated_edge_is_listed_and_answers(dev: Dev) -> None:
    shown = dev.ops("/simulation").json()
    assert list(shown) == list(CITIES)
    assert get(shown["nyc-01"]["endpoint"] + "/health").json()["status"] == "healthy"


def test_models_of_an_edge_can_be_set(dev: Dev) -> None:
    assert put(dev, "/simulation/yvr-02/models/llama-3,whisper").json()["models"] == [
        "llama-3",
        "whisper",
    ]


@pytest.mark.parametrize("path", ["/simulation/nowhere-01/down", "/simulation/yto-01/dead"])
def test_unknown_edge_or_mode_is_404_with_the_choices(dev: Dev, path: str) -> None:
    answer = put(dev, path)
    assert answer.status_code == 404
    assert "trickle" in answer.json()["detail"]
    assert "nyc-02" in answer.json()["detail"]


def test_old_sdk_finds_every_edge(dev: Dev) -> None:
    document = route(dev, "?all=true")
    assert len(document["regions"]) >= 8
    assert get(document["regions"][0]["endpoint"] + "/health").status_code == 200


def test_listeners_are_on_loopback_only(dev: Dev) -> None:
    document = subprocess.run(
        ["hostname", "-I"], capture_output=True, text=True, check=False
    ).stdout
    for address in (one for one in document.split() if "." in one):
        with pytest.raises(httpx.ConnectError):
            get(f"http://{address}:{dev.port}/healthz")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_everything(tmp_path: Path, number: signal.Signals) -> None:
    with running_dev(tmp_path) as dev:
        edge = dev.ops("/simulation").json()["yto-01"]["endpoint"]
        dev.process.send(number)
        assert dev.process.exit_code() == 0
        assert "Traceback" not in dev.process.output
        assert not any(map(is_open, (dev.port, dev.ops_port, int(edge.rpartition(":")[2]))))


def test_catalog_option_sets_the_simulated_edges(tmp_path: Path) -> None:
    regions = tmp_path / "ours.yaml"
    regions.write_text(
        "regions:\n  - {id: ber-01, name: Berlin, country: DE, latitude: 52.5, longitude: 13.4,"
        " endpoint: https://ber-01.example.com}\n"
    )
    with running_dev(tmp_path, "--regions", str(regions)) as dev:
        assert "1 simulated edge" in dev.process.output
        assert route(dev, viewer="85.214.132.117")["reason"] == "nearest_in_country"


def test_redis_setting_is_ignored(tmp_path: Path) -> None:
    with running_dev(tmp_path, REDIS_URL="redis://127.0.0.1:1/0", POLL_INTERVAL_S="0.2") as dev:
        wait_until(dev.is_ready)
        assert route(dev)["status"] == "ok"
