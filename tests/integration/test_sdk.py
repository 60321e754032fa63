"""Released SDKs from PyPI with a running router get its pick and not their fallback.

The viewer is in Detroit: New York is nearest in the country, Toronto is nearest overall.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet  # type: ignore[import-untyped]

from tests.support.builders import CITIES
from tests.support.servers import HOST, ROOT, Dev, clean_env, running_dev, wait_until

DRIVER = Path(__file__).parents[1] / "support" / "sdk_driver.py"
SDKS = ROOT / ".venv" / "sdk"
ONLY_IN_DALLAS = "dallas-only"
FALLBACK = "fall"  # "falling back", "using fallback region"


def in_detroit(path: Path) -> Path:
    """A geo database that places loopback in Detroit."""
    writer = MMDBWriter(ip_version=4, database_type="Test-City", languages=["en"])
    record = {
        "country": {"iso_code": "US"},
        "city": {"names": {"en": "Detroit"}},
        "location": {"latitude": 42.3314, "longitude": -83.0458},
    }
    writer.insert_network(IPSet(["127.0.0.0/8"]), record)
    writer.to_db_file(str(path))
    return path


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("sdk")
    geo = in_detroit(folder / "detroit.mmdb")
    with running_dev(folder, GEO_DB=str(geo), POLL_INTERVAL_S="0.3") as one:
        put(one, f"/simulation/dal-02/models/kokoro-82m,{ONLY_IN_DALLAS}")
        wait_until(lambda: one.is_ready() and "dal-02" in edges_with(one, ONLY_IN_DALLAS), 40)
        yield one


def put(dev: Dev, path: str) -> None:
    with httpx.Client(trust_env=False, verify=False, timeout=5) as client:
        client.put(f"http://{HOST}:{dev.ops_port}{path}").raise_for_status()


def edges_with(dev: Dev, model: str) -> list[str]:
    """The edges that, according to the router, have a model loaded."""
    edges = dev.ops("/v1/edges").json()["edges"]
    return [edge["id"] for edge in edges if model in (edge["models"] or ())]


@dataclass
class Created:
    """The edges that clients of an SDK got, and the output of the SDK."""

    clients: list[dict[str, Any]]
    printed: str

    @property
    def id(self) -> str:
        return str(self.clients[0]["id"])


def create(release: str, dev: Dev, *options: dict[str, Any]) -> Created:
    unwanted = ("POLARGRID_", "HTTP", "http", "ALL_PROXY", "all_proxy")
    env = {name: text for name, text in clean_env().items() if not name.startswith(unwanted)}
    done = subprocess.run(
        [sys.executable, str(DRIVER), f"http://{HOST}:{dev.port}", json.dumps(options or [{}])],
        env=env | {"PYTHONPATH": str(SDKS / release)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *printed, last = done.stdout.splitlines()
    return Created(json.loads(last), "\n".join(printed))


def test_new_sdk_takes_the_nearest_edge_in_the_country(dev: Dev) -> None:
    created = create("0.10.0", dev)
    assert created.id in ("nyc-01", "nyc-02")
    assert f"server picked {CITIES[created.id][0]} ({created.id})" in created.printed
    assert FALLBACK not in created.printed


def test_new_sdk_connects_to_the_returned_endpoint(dev: Dev) -> None:
    created = create("0.10.0", dev)
    endpoint = dev.ops("/simulation").json()[created.id]["endpoint"]
    assert created.clients[0]["url"] == endpoint


def test_new_sdk_accepts_the_global_scope(dev: Dev) -> None:
    created = create("0.10.0", dev, {"routing_scope": "global"})
    assert created.id in ("yto-01", "yto-02")
    assert f"({created.id})" in created.printed
    assert FALLBACK not in created.printed


def test_new_sdk_finds_a_model_by_its_alias(dev: Dev) -> None:
    created = create("0.10.0", dev, {"routing_model": "Kokoro"})
    assert created.id in ("nyc-01", "nyc-02")
    assert "server picked" in created.printed


def test_new_sdk_finds_the_only_edge_with_a_model(dev: Dev) -> None:
    options = {"routing_model": f" {ONLY_IN_DALLAS.upper()} ", "routing_scope": "global"}
    created = create("0.10.0", dev, options)
    assert created.id == "dal-02"
    assert FALLBACK not in created.printed


def test_new_sdk_reports_that_no_edge_has_a_model(dev: Dev) -> None:
    created = create("0.10.0", dev, {"routing_model": "nobody-has-this"})
    assert "no edge has nobody-has-this loaded, falling back" in created.printed


def test_new_sdk_caches_its_pick_for_the_ttl(dev: Dev) -> None:
    created = create("0.10.0", dev, {}, {}, {"routing_scope": "global"})
    assert created.printed.count("cache hit") == 1
    assert created.clients[0] == created.clients[1] != created.clients[2]


def test_old_sdk_picks_the_fastest_edge(dev: Dev) -> None:
    for id in CITIES:
        put(dev, f"/simulation/{id}/{'healthy' if id == 'yvr-02' else 'slow'}")
    created = create("0.5.1", dev)
    assert created.id == "yvr-02"
    assert f"found {len(CITIES)} regions, testing latency" in created.printed
    assert FALLBACK not in created.printed


def test_old_sdk_gets_no_edge_that_is_down(dev: Dev) -> None:
    for id in CITIES:
        put(dev, f"/simulation/{id}/healthy")
    put(dev, "/simulation/sfo-01/error")
    wait_until(lambda: "down" in states(dev))
    created = create("0.5.1", dev)
    assert "sfo-01" not in created.printed
    assert "selected" in created.printed


def states(dev: Dev) -> set[str]:
    return {edge["state"] for edge in dev.ops("/v1/edges").json()["edges"]}
