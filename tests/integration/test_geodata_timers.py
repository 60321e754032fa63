"""The commands in infra that keep the geo database current, run as they are written."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.databases import a_world_file
from tests.support.origins import an_origin
from tests.support.servers import AUTOROUTER, PATIENCE_S, ROOT, clean_env

DAY_S = 86_400
INFRA = ROOT / "infra"
ENTRYPOINT = ["autorouter"]  # of the image


def systemd_command() -> list[str]:
    unit = (INFRA / "systemd" / "autorouter-geodata.service").read_text()
    (line,) = re.findall(r"(?m)^ExecStart=/opt/autorouter/bin/(.*)$", unit)
    return shlex.split(line)


def compose_command() -> list[str]:
    service = yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]["geodata"]
    return [*service["entrypoint"], *service["command"]]


def init_container_command() -> list[str]:
    deployment = yaml.safe_load((INFRA / "k8s" / "router" / "deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["initContainers"]
    command: list[str] = container["command"]
    return command


def cronjob_command() -> list[str]:
    job = yaml.safe_load((INFRA / "k8s" / "geodata" / "cronjob.yaml").read_text())
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return [*container.get("command", ENTRYPOINT), *container["args"]]


def path_with_stubs(folder: Path) -> str:
    """A PATH with the real command and three stubs. `geodata feeds` is recorded and not run,
    because its servers are on the Internet. `sleep` records its time and ends the loop. npm, the
    second source, fails."""
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
    env["PATH"] = path_with_stubs(folder)
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=PATIENCE_S * 4, check=False
    )


@pytest.mark.parametrize(
    "timer_command", [systemd_command, compose_command, init_container_command, cronjob_command]
)
def test_timer_fetches_a_current_database(
    timer_command: Callable[[], list[str]], tmp_path: Path
) -> None:
    fresh = a_world_file(tmp_path / "fresh.mmdb", days_old=3)
    (tmp_path / "geo").mkdir()
    installed = a_world_file(tmp_path / "geo" / "geo.mmdb", days_old=46)
    with an_origin() as origin:
        origin.serve_dbip(fresh.read_bytes())
        done = run(timer_command(), tmp_path, origin.url)
    assert installed.read_bytes() == fresh.read_bytes(), done.stderr
    if timer_command is compose_command:
        assert (tmp_path / "slept").read_text() == f"{DAY_S}\n"
    else:
        assert done.returncode == 0
    if timer_command in {compose_command, cronjob_command}:
        assert (tmp_path / "asked").read_text() == "feeds\n"


def test_pod_starts_without_a_reachable_source(tmp_path: Path) -> None:
    done = run(init_container_command(), tmp_path, "http://127.0.0.1:1")
    assert done.returncode == 0
    assert done.stderr


@pytest.mark.parametrize("timer_command", [systemd_command, cronjob_command])
def test_timer_reports_a_failure(timer_command: Callable[[], list[str]], tmp_path: Path) -> None:
    done = run(timer_command(), tmp_path, "http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr
