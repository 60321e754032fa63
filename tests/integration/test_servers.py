"""Listening sockets, and connection limits that fit the file limit."""

import contextlib
import resource
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from router.api.connection_limit import sockets_for
from router.api.servers import (
    MIN_CONNECTIONS,
    SPARE_FILES,
    affordable_connections,
    bind,
    bind_again,
    bind_shared,
    spare_files,
)
from router.config.values import Listen
from router.errors import ConfigError
from tests.support.servers import (
    AUTOROUTER,
    HOST,
    Process,
    clean_env,
    free_port,
    get,
    is_open,
    wait_until,
)

pytestmark = pytest.mark.anyio


async def test_bound_socket_listens() -> None:
    with bind("AUTOROUTER_LISTEN", Listen(HOST, 0)) as bound:
        assert is_open(bound.getsockname()[1])


async def test_port_in_use_is_reported_with_its_setting() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            bind("AUTOROUTER_LISTEN", Listen(HOST, port))
    assert caught.value.faults == (
        f"AUTOROUTER_LISTEN: cannot listen on {HOST}:{port}: Address already in use",
    )


async def test_ipv6_address_is_accepted() -> None:
    with bind("AUTOROUTER_LISTEN", Listen("::1", 0)) as bound:
        assert bound.family == socket.AF_INET6


async def test_second_socket_gets_no_connections_before_it_listens() -> None:
    (shared,) = bind_shared("AUTOROUTER_LISTEN", Listen(HOST, 0), 1)
    with shared, bind_again(shared) as other:
        port = other.getsockname()[1]
        assert port == shared.getsockname()[1]
        shared.close()
        assert not is_open(port)
        other.listen()
        assert is_open(port)


async def test_port_without_sharing_has_no_second_socket() -> None:
    with (
        bind("AUTOROUTER_LISTEN", Listen(HOST, 0)) as alone,
        pytest.raises(OSError, match="in use"),
    ):
        bind_again(alone)


LIMITS = """
import resource
from router.api.servers import affordable_connections
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(affordable_connections(8_192), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def limits(soft: int, hard: int) -> list[int]:
    """The connection limit (of 8,192 wanted) and the file limits, in a separate process."""
    code = LIMITS.format(soft=soft, hard=hard)
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return [int(number) for number in output.stdout.split()]


def test_process_raises_its_file_limit() -> None:
    assert limits(256, 20_000) == [8_192, sockets_for(8_192) + SPARE_FILES, 20_000]


def test_low_file_limit_lowers_the_connection_limit() -> None:
    connections, soft, hard = limits(256, 1_024)
    assert (soft, hard) == (1_024, 1_024)
    assert connections > 400
    assert sockets_for(connections) + spare_files(1_024) <= 1_024


@pytest.mark.parametrize("files", [96, 128, 256, 512])
def test_very_low_file_limit_leaves_files_for_the_rest(files: int) -> None:
    connections, soft, _ = limits(64, files)
    assert soft == files
    assert connections >= MIN_CONNECTIONS
    assert sockets_for(connections) + spare_files(files) <= files


def server_with_files(files: int, output: Path, **settings: str) -> Process:
    """`autorouter serve` with this file limit."""
    command = ["sh", "-c", f"ulimit -n {files} && exec {AUTOROUTER} serve"]
    return Process(command, output, clean_env(**settings))


def is_answered(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):  # while the other connections are open
        return get(url).status_code == 200
    return False


def test_server_works_with_a_low_file_limit(tmp_path: Path) -> None:
    """It answers with any number of connections to it and to its ops listener."""
    port, ops_port = free_port(), free_port()
    listens = {"LISTEN": f"{HOST}:{port}", "OPS_LISTEN": f"{HOST}:{ops_port}"}
    process = server_with_files(256, tmp_path / "serve.log", **listens)
    try:
        process.wait_for(lambda: is_open(port) and is_open(ops_port))
        with contextlib.ExitStack() as stack:
            for one in (port, ops_port) * 150:
                stack.enter_context(socket.create_connection((HOST, one), 5))
            wait_until(lambda: is_answered(f"http://{HOST}:{port}/v1/route"))
            wait_until(lambda: is_answered(f"http://{HOST}:{ops_port}/healthz"))
        assert process.stop() == 0
        assert "Too many open files" not in process.output
    finally:
        if process.is_alive():
            process.kill()


def test_too_low_file_limit_is_an_error_with_advice(tmp_path: Path) -> None:
    listens = {"LISTEN": f"{HOST}:0", "OPS_LISTEN": f"{HOST}:0"}
    process = server_with_files(80, tmp_path / "serve.log", **listens)
    assert process.exit_code() == 1
    assert "AUTOROUTER_MAX_CONNECTIONS: the limit of 80 open files" in process.output
    assert "`ulimit -Hn 9736`" in process.output


def test_sufficient_file_limit_is_unchanged() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert affordable_connections(16) == 16
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
