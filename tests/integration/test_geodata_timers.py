"""Whatever keeps the geo database current, its command does: each is run here as it is written."""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.databases import nested, set_built_at, write_mmdb
from tests.support.origins import Served, an_origin
from tests.support.servers import AUTOROUTER, PATIENCE_S, ROOT, clean_env

EVERYWHERE = {"0.0.0.0/1": "Toronto", "128.0.0.0/1": "Toronto", "2000::/3": "Montreal"}
DAY_S = 86_400
INFRA = ROOT / "infra"
ENTRYPOINT = ["autorouter"]  # the image's


def a_database(path: Path, days: float) -> Path:
    path.parent.mkdir(exist_ok=True)
    write_mmdb(path, {network: nested(city) for network, city in EVERYWHERE.items()})
    return set_built_at(path, int(time.time() - days * DAY_S))


def of_systemd() -> list[str]:
    unit = (INFRA / "systemd" / "autorouter-geodata.service").read_text()
    (line,) = re.findall(r"(?m)^ExecStart=/opt/autorouter/bin/(.*)$", unit)
    return shlex.split(line)


def of_compose() -> list[str]:
    service = yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]["geodata"]
    return [*service["entrypoint"], *service["command"]]


def of_init_container() -> list[str]:
    deployment = yaml.safe_load((INFRA / "k8s" / "router" / "deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["initContainers"]
    command: list[str] = container["command"]
    return command


def of_cronjob() -> list[str]:
    job = yaml.safe_load((INFRA / "k8s" / "geodata" / "cronjob.yaml").read_text())
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return [*container.get("command", ENTRYPOINT), *container["args"]]


def commands(folder: Path) -> str:
    """A PATH with the installed command, but for feeds, whose servers are not asked: that is noted.
    `sleep` notes how long, and ends the loop; npm, the second source, reaches nothing."""
    scripts = {
        "autorouter": f'[ "$2" = feeds ] && echo feeds >>{folder}/asked || exec {AUTOROUTER} "$@"',
        "sleep": f'echo "$1" >{folder}/slept\nkill $PPID',
        "npm": "exit 1",
    }
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def run(command: list[str], folder: Path, mirror: str) -> "subprocess.CompletedProcess[str]":
    env = clean_env(GEO_DIR=str(folder / "geo"), GEO_MIRROR=mirror)
    env["PATH"] = commands(folder)
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=PATIENCE_S * 4, check=False
    )


@pytest.mark.parametrize("timer", [of_systemd, of_compose, of_init_container, of_cronjob])
def test_timer_s_command_fetches_a_current_database(
    timer: Callable[[], list[str]], tmp_path: Path
) -> None:
    fresh = a_database(tmp_path / "fresh.mmdb", days=3)
    used = a_database(tmp_path / "geo" / "geo.mmdb", days=46)
    month = time.strftime("%Y-%m", time.gmtime())
    with an_origin() as origin:
        origin.files[f"/free/dbip-city-lite-{month}.mmdb.gz"] = Served(fresh.read_bytes())
        done = run(timer(), tmp_path, origin.url)
    assert used.read_bytes() == fresh.read_bytes(), done.stderr
    if timer is of_compose:
        assert (tmp_path / "slept").read_text() == f"{DAY_S}\n"
    else:
        assert done.returncode == 0
    if timer in {of_compose, of_cronjob}:
        assert (tmp_path / "asked").read_text() == "feeds\n"


def test_pod_starts_without_a_source(tmp_path: Path) -> None:
    done = run(of_init_container(), tmp_path, "http://127.0.0.1:1")
    assert done.returncode == 0
    assert done.stderr


@pytest.mark.parametrize("timer", [of_systemd, of_cronjob])
def test_failure_is_reported_where_somebody_looks(
    timer: Callable[[], list[str]], tmp_path: Path
) -> None:
    done = run(timer(), tmp_path, "http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr
