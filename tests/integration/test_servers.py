"""Sockets that listen, and as many connections as there may be files."""

import resource
import socket
import subprocess
import sys

import pytest

from router.api.connection_limit import sockets_for
from router.api.servers import SPARE_FILES, affordable, bind, bind_shared, twin
from router.config.values import Listen
from router.errors import ConfigError
from tests.support.servers import HOST, is_open

pytestmark = pytest.mark.anyio


async def test_bound_socket_listens_at_once() -> None:
    with bind("AUTOROUTER_LISTEN", Listen(HOST, 0)) as bound:
        assert is_open(bound.getsockname()[1])


async def test_port_in_use_is_named_with_its_setting() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            bind("AUTOROUTER_LISTEN", Listen(HOST, port))
    assert caught.value.faults == (
        f"AUTOROUTER_LISTEN: cannot listen on {HOST}:{port}: Address already in use",
    )


async def test_ipv6_can_be_listened_on() -> None:
    with bind("AUTOROUTER_LISTEN", Listen("::1", 0)) as bound:
        assert bound.family == socket.AF_INET6


async def test_twin_takes_no_connections_before_somebody_listens() -> None:
    (shared,) = bind_shared("AUTOROUTER_LISTEN", Listen(HOST, 0), 1)
    with shared, twin(shared) as other:
        port = other.getsockname()[1]
        assert port == shared.getsockname()[1]
        shared.close()
        assert not is_open(port)
        other.listen()
        assert is_open(port)


async def test_port_that_is_not_shared_has_no_twin() -> None:
    with (
        bind("AUTOROUTER_LISTEN", Listen(HOST, 0)) as alone,
        pytest.raises(OSError, match="in use"),
    ):
        twin(alone)


LIMITS = """
import resource
from router.api.servers import affordable
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(affordable(8_192), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def limits(soft: int, hard: int) -> list[int]:
    """What is affordable of 8,192 connections, and the limits then, in a process of its own."""
    code = LIMITS.format(soft=soft, hard=hard)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return [int(number) for number in told.stdout.split()]


def test_process_takes_the_files_that_it_may_have() -> None:
    assert limits(256, 20_000) == [8_192, sockets_for(8_192) + SPARE_FILES, 20_000]


def test_few_files_are_few_connections() -> None:
    connections, soft, hard = limits(256, 1_024)
    assert (soft, hard) == (1_024, 1_024)
    assert connections > 400
    assert sockets_for(connections) + SPARE_FILES <= 1_024


def test_enough_files_are_left_alone() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert affordable(16) == 16
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
