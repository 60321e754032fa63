"""The launcher of the CDN stand-in: its error messages, its children and its cleanup."""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.proc import children_of
from tests.support.servers import (
    HOST,
    Dev,
    Process,
    clean_env,
    free_port,
    get,
    is_open,
    running_dev,
    wait_until,
)
from tests.support.stand_in import RUN, SECRET, running_stand_in

SAN_FRANCISCO_FOR_ALL = """
function handler(event) {
  event.request.headers['x-autorouter-key'] = { value: 'US~sfo-01' };
  return event.request;
}
"""


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with running_dev(tmp_path_factory.mktemp("dev"), CDN_SECRET=SECRET) as one:
        yield one


def refused(*words: str, **settings: str) -> tuple[int, str]:
    """The exit code and stderr of a start that must fail."""
    done = subprocess.run(
        [sys.executable, str(RUN), *words],
        env=clean_env(**settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


@contextlib.contextmanager
def started(folder: Path, *words: str, **settings: str) -> Iterator[Process]:
    """The launcher, once it has printed its examples. Temporary files are in `folder`."""
    env = clean_env(**settings) | {"TMPDIR": str(folder)}
    process = Process([sys.executable, str(RUN), *words], folder / "run.log", env)
    try:
        process.wait_for(lambda: "Ctrl-C" in process.output)
        yield process
    finally:
        process.stop()


def children(pid: int) -> dict[str, int]:
    """The name and pid of each child process."""
    return {Path(f"/proc/{pid}/comm").read_text().strip(): pid for pid in children_of(pid)}


def is_running(group: int) -> bool:
    """Whether a process of this group exists."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def two_ports() -> list[str]:
    return ["--port", str(free_port()), "--cache-port", str(free_port())]


def test_all_errors_are_reported_at_once(dev: Dev) -> None:
    code, errors = refused("--port", str(dev.port), "--cache-port", str(dev.ops_port))

    assert code == 1
    assert "error: AUTOROUTER_CDN_SECRET: set it to that of the origin\n" in errors
    assert f"error: port {dev.port} is taken; choose another, see --help\n" in errors
    assert f"error: port {dev.ops_port} is taken; choose another, see --help\n" in errors


def test_unreachable_origin_is_reported() -> None:
    origin = f"{HOST}:{free_port()}"
    code, errors = refused("--origin", origin, *two_ports(), CDN_SECRET=SECRET)

    assert (code, errors) == (1, f"error: no origin answers on http://{origin}; see --dev\n")


def test_invalid_catalog_is_reported(dev: Dev, tmp_path: Path) -> None:
    (tmp_path / "regions.yaml").write_text("regions: 1\n")
    words = ["--origin", f"{HOST}:{dev.port}", "--regions", str(tmp_path / "regions.yaml")]
    code, errors = refused(*words, *two_ports(), CDN_SECRET=SECRET)

    assert (code, "regions.yaml" in errors) == (1, True)


def test_wrong_usage_is_reported() -> None:
    assert refused("--origin", "localhost")[0] == 2


def test_missing_packages_are_named(tmp_path: Path) -> None:
    nginx = tmp_path / "usr/sbin/nginx"
    nginx.parent.mkdir(parents=True)
    nginx.touch()
    missing = runpy.run_path(str(RUN))["missing_packages"](tmp_path)

    assert missing == [
        "libnginx-mod-http-js",
        "libnginx-mod-http-geoip2",
        "varnish",
        "varnish-modules",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_behind(dev: Dev, tmp_path: Path, number: signal.Signals) -> None:
    words = ["--origin", f"{HOST}:{dev.port}", *two_ports()]
    with started(tmp_path, *words, CDN_SECRET=SECRET) as process:
        pids = children(process.pid).values()
        process.send(number)

        assert process.exit_code() == 0
    wait_until(lambda: not any(is_running(group) for group in pids))
    assert [path.name for path in tmp_path.iterdir()] == ["run.log"]


@pytest.mark.parametrize("name", ["nginx", "varnishd"])
def test_end_of_one_child_ends_all_and_is_reported(dev: Dev, tmp_path: Path, name: str) -> None:
    words = ["--origin", f"{HOST}:{dev.port}", *two_ports()]
    with started(tmp_path, *words, CDN_SECRET=SECRET) as process:
        pids = children(process.pid)
        subprocess.run(["kill", "-KILL", str(pids[name])], check=True)

        assert process.exit_code() == 1
        assert f"error: {name.removesuffix('d')} ended by itself" in process.output
    wait_until(lambda: not any(is_running(group) for group in pids.values()))


def test_custom_function_runs(dev: Dev, tmp_path: Path) -> None:
    (tmp_path / "function.js").write_text(SAN_FRANCISCO_FOR_ALL)
    with running_stand_in(tmp_path, dev.port, "--function", str(tmp_path / "function.js")) as cdn:
        assert cdn.ask().json()["region"] == "sfo-01"


def test_printed_commands_work(tmp_path: Path) -> None:
    port, origin_port, ops_port = free_port(), free_port(), free_port()
    ports = ["--port", str(port), "--cache-port", str(free_port())]
    origin = ["--dev", "--origin", f"{HOST}:{origin_port}", "--ops-port", str(ops_port)]
    with started(tmp_path, *ports, *origin, POLL_INTERVAL_S="0.2") as process:
        lines = [line.strip() for line in process.output.splitlines()]
        canadian, german, purge, kill = [line for line in lines if line.startswith("curl ")]

        edges = f"http://{HOST}:{ops_port}/v1/edges"
        wait_until(lambda: "unknown" not in get(edges).text)
        assert "X-Cache: Miss" in output_of(canadian)
        # When the server learns the states of the edges, it purges its earlier answers.
        wait_until(lambda: "X-Cache: Hit" in output_of(canadian))
        assert '"crossed_border":true' in output_of(german)
        assert "xkey-purged: " in output_of(purge)
        assert '"region":"yul-02"' in output_of(canadian)
        output_of(kill)
        wait_until(lambda: '"region":"yul-01"' in output_of(canadian))
    assert not is_open(origin_port)


def output_of(command: str) -> str:
    """The output of a printed command."""
    return subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=30, check=True
    ).stdout
