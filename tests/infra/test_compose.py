"""infra/compose.yaml is valid, its names are defined, and its Redis fails over.

There is no Docker here. Redis servers, Sentinels, the router and the pollers run with the commands
of the file, on loopback addresses.
"""

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from tests.support.image import FINAL
from tests.support.servers import (
    HOST,
    ROOT,
    Process,
    a_regions_file,
    clean_env,
    free_port,
    get,
    is_open,
    running_dev,
    wait_until,
)

FILE = ROOT / "infra" / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
READY = "Ready to accept connections|Sentinel ID is"
LONG_S = 60  # a failover takes some time
OURS = [name for name, service in SERVICES.items() if service["image"] == "autorouter"]
STORE = [name for name, service in SERVICES.items() if service["image"].startswith("redis:")]

# A parser of the compose specification, written in Rust.
PARSE = "import compose_spec, sys; compose_spec.PyCompose.from_yaml(sys.stdin.read())"


def errors_in(document: dict[str, Any]) -> str:
    """The parser's errors, after merges, anchors and variables are resolved."""
    done = subprocess.run(
        [sys.executable, "-c", PARSE],
        # The parser accepts a tag or a digest; Docker accepts both and uses the digest.
        input=re.sub(r"@sha256:[0-9a-f]{64}", "", default_of(json.dumps(document))),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


def document_with(right: str, wrong: str) -> dict[str, Any]:
    """The document with one text replaced."""
    text = FILE.read_text()
    assert right in text
    changed: dict[str, Any] = yaml.safe_load(text.replace(right, wrong))
    return changed


def test_file_follows_the_specification() -> None:
    assert errors_in(COMPOSE) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("read_only:", "readonly:"),
        ("stop_grace_period: 15s", "stop_grace_period: soon"),
        ("internal: true", "internal: perhaps"),
        ("127.0.0.1:8080:8080", "127.0.0.1:http:8080"),
        ("service_healthy", "service_fine"),
        ("retries: 12", "tries: 12"),
    ],
)
def test_violation_of_the_specification_is_detected(right: str, wrong: str) -> None:
    assert errors_in(document_with(right, wrong)) != ""


def default_of(text: str) -> str:
    """The text with each ${NAME:-default} replaced by its default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def source_of(mount: str | dict[str, Any]) -> str:
    """The source of a mount, in the short or the long form."""
    return default_of(mount["source"] if isinstance(mount, dict) else mount.partition(":")[0])


def unknown_names(document: dict[str, Any]) -> set[str]:
    """Names of services, networks and volumes that are used and not defined."""
    loose_names = set()
    for service in document["services"].values():
        mounts = [source_of(mount) for mount in service.get("volumes", ())]
        volumes = {mount for mount in mounts if not mount.startswith(".")}
        loose_names |= set(service.get("depends_on", ())) - set(document["services"])
        loose_names |= set(service.get("networks", ())) - set(document["networks"])
        loose_names |= volumes - set(document["volumes"])
    return loose_names


def test_all_names_are_defined() -> None:
    assert unknown_names(COMPOSE) == set()


def missing_mounts(document: dict[str, Any]) -> set[str]:
    """Folders of this repository that are mounted and do not exist."""
    mounts = {
        source_of(mount)
        for service in document["services"].values()
        for mount in service.get("volumes", ())
        if source_of(mount).startswith(".")
    }
    assert mounts
    return {mount for mount in mounts if not (FILE.parent / mount).exists()}


def test_mounted_folders_exist() -> None:
    assert missing_mounts(COMPOSE) == set()
    assert missing_mounts(document_with("./grafana:", "./graphana:")) == {"./graphana"}


@pytest.mark.parametrize(
    ("right", "wrong", "loose_names"),
    [
        ("networks: [store, edges,", "networks: [store, sea,", "sea"),
        ("sentinel-1: {condition", "sentinel-9: {condition", "sentinel-9"),
        ("last-good:/var", "last-god:/var", "last-god"),
    ],
)
def test_undefined_name_is_detected(right: str, wrong: str, loose_names: str) -> None:
    assert unknown_names(document_with(right, wrong)) == {loose_names}


def test_every_container_is_confined() -> None:
    for name in [*OURS, *STORE]:
        service = SERVICES[name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_redis_network_is_internal() -> None:
    assert COMPOSE["networks"]["store"]["internal"]
    assert all(list(SERVICES[name]["networks"]) == ["store"] for name in STORE)


def test_images_are_pinned_by_release_and_digest() -> None:
    tags = [service["image"] for name, service in SERVICES.items() if name not in OURS]
    assert all(
        re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+[\w-]*@sha256:[0-9a-f]{64}", tag) for tag in tags
    )


def test_state_folder_is_the_home_of_the_user() -> None:
    (user,) = FINAL.all("RUN")
    folder = SERVICES["router"]["environment"]["AUTOROUTER_STATE_DIR"]
    assert f"--create-home --home-dir {folder} " in user
    assert f"last-good:{folder}" in SERVICES["router"]["volumes"]


def test_each_poller_is_its_own_vantage() -> None:
    pollers = [SERVICES[name] for name in OURS if SERVICES[name]["command"] == ["poll"]]
    vantages = {poller["environment"]["AUTOROUTER_VANTAGE"] for poller in pollers}
    assert len(vantages) == len(pollers) == 2


def test_every_long_running_container_has_a_health_check() -> None:
    checked = {name for name in STORE if "healthcheck" in SERVICES[name]}
    for name in OURS:
        document = SERVICES[name]["environment"]
        if SERVICES[name]["command"] == ["serve"] or "AUTOROUTER_POLL_LISTEN" in document:
            checked.add(name)
    assert checked == {*OURS, *STORE} - {"geodata"}


def test_database_is_downloaded_to_the_routers_folder() -> None:
    folders = [
        SERVICES[name]["environment"]["AUTOROUTER_GEO_DIR"] for name in ("geodata", "router")
    ]
    assert folders[0] == folders[1]
    assert SERVICES["geodata"]["volumes"] == ["last-good:/var/lib/autorouter"]
    assert "last-good:/var/lib/autorouter" in SERVICES["router"]["volumes"]
    assert "geodata update" in " ".join(SERVICES["geodata"]["command"])


def test_every_container_of_ours_has_an_init() -> None:
    """The init ends orphaned processes and forwards SIGTERM."""
    assert all(SERVICES[name]["init"] for name in OURS)


def test_catalog_is_mounted_where_the_router_reads_it() -> None:
    (catalog,) = re.findall(r"AUTOROUTER_REGIONS=(\S+)", " ".join(FINAL.all("ENV")))
    for name in set(OURS) - {"geodata"}:
        (mount,) = (each for each in SERVICES[name]["volumes"] if isinstance(each, dict))
        assert mount["source"] == "${REGIONS_FILE:-../regions.yaml}", name
        assert mount["target"] == catalog, name
        assert mount["read_only"], name
        assert mount["bind"] == {"create_host_path": False}, name


def test_guide_uses_absolute_paths_of_catalogs() -> None:
    guide = (ROOT / "docs" / "running.md").read_text() + FILE.read_text()
    named = re.findall(r"REGIONS_FILE=(\S+)", guide)
    assert named
    assert all(path.startswith('"$PWD/') for path in named)


# The containers as processes


class LocalContainers:
    """The containers of the compose file as processes, with the store on loopback addresses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subnet = COMPOSE["networks"]["store"]["ipam"]["config"][0]["subnet"]
        self._subnet = subnet.removesuffix("0/24")
        # Concurrent runs of this test get other addresses of 127.0.0.0/8.
        self._loopback = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}."
        self.processes: dict[str, Process] = {}

    def on_loopback(self, text: str) -> str:
        return text.replace(self._subnet, self._loopback)

    def address(self, name: str) -> str:
        return self.on_loopback(SERVICES[name]["networks"]["store"]["ipv4_address"])

    def start_redis(self, name: str) -> None:
        """Start a Redis server or a Sentinel on its address."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        bound = ["--bind", self.address(name), "--bind-source-addr", self.address(name)]
        command = [self.on_loopback(word) for word in SERVICES[name]["command"]]
        if command[0] == "sh":
            script = command[-1].replace("$$", "$").replace("/data/", f"{home}/").rstrip()
            command[-1] = f"{script} {' '.join(bound)}"
        else:
            command += [*bound, "--dir", str(home)]
        process = Process(command, home / "log")
        self.processes[name] = process
        process.wait_for(lambda: bool(re.search(READY, process.output)))

    def start_ours(self, name: str, **settings: str) -> None:
        """Start the router or a poller with the settings of the file."""
        document = {
            variable.removeprefix("AUTOROUTER_"): self.on_loopback(str(value))
            for variable, value in SERVICES[name]["environment"].items()
            if not str(value).startswith("${")
        }
        command = [str(Path(sys.executable).with_name("autorouter")), *SERVICES[name]["command"]]
        env = clean_env(**(document | settings))
        self.processes[name] = Process(command, self.folder / f"{name}.log", env)

    def primary(self, sentinel: str) -> str:
        """The address of the primary, according to a Sentinel."""
        with redis.Redis(self.address(sentinel), 26379, decode_responses=True) as client:
            host: str = client.sentinel_get_master_addr_by_name("autorouter")[0]
            return host

    def knows_all(self, sentinel: str) -> bool:
        with redis.Redis(self.address(sentinel), 26379, decode_responses=True) as client:
            state: Any = client.sentinel_masters()["autorouter"]
            return bool((state["num-slaves"], state["num-other-sentinels"]) == (1, 2))


@contextmanager
def running(folder: Path) -> Iterator[LocalContainers]:
    containers = LocalContainers(folder)
    try:
        yield containers
    finally:
        for process in containers.processes.values():
            process.kill()


@pytest.fixture
def regions(tmp_path: Path) -> Iterator[Path]:
    """A catalog of healthy edges."""
    with running_dev(tmp_path) as dev:
        simulated = dev.ops("/simulation").json()
        endpoints = {id: edge["endpoint"] for id, edge in simulated.items()}
        yield a_regions_file(tmp_path / "regions.yaml", endpoints)


def fleet(ops_port: int) -> dict[str, Any]:
    document: dict[str, Any] = get(f"http://{HOST}:{ops_port}/v1/edges").json()
    return document


def voting_vantages(ops_port: int) -> set[str]:
    return {vantage for edge in fleet(ops_port)["edges"] for vantage in edge["votes"]}


def is_ok_and_newer(ops_port: int, moment: float) -> bool:
    document = fleet(ops_port)
    return bool(document["status"] == "ok" and document["seen_at"] > moment)


def test_health_outlives_the_primary_redis(tmp_path: Path, regions: Path) -> None:
    port, ops_port = free_port(), free_port()
    settings = {
        "REGIONS": str(regions),
        "LISTEN": f"{HOST}:{port}",
        "OPS_LISTEN": f"{HOST}:{ops_port}",
        "POLL_LISTEN": f"{HOST}:0",
        "STATE_DIR": str(tmp_path),
        "POLL_INTERVAL_S": "0.5",
    }
    sentinels = [name for name in STORE if name.startswith("sentinel")]
    with running(tmp_path) as containers:
        for name in STORE:
            containers.start_redis(name)
        wait_until(lambda: all(containers.knows_all(name) for name in sentinels), LONG_S)
        for name in OURS:
            containers.start_ours(name, **settings)
        wait_until(lambda: is_open(ops_port) and voting_vantages(ops_port) == {"east", "west"})

        containers.processes["redis-1"].kill()
        wait_until(
            lambda: containers.primary(sentinels[1]) == containers.address("redis-2"), LONG_S
        )
        seen_at = fleet(ops_port)["seen_at"]
        wait_until(lambda: is_ok_and_newer(ops_port, seen_at + 1))

        assert get(f"http://{HOST}:{port}/v1/route").json()["status"] == "ok"
