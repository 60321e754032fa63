"""Fixtures shared by the integration tests."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from tests.support.ops_server import geo, server, stand
from tests.support.servers import HOST, Dev, free_port, running_dev, wait_until

__all__ = ["geo", "server", "stand"]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """`autorouter dev` that knows the state of every edge."""
    with running_dev(tmp_path_factory.mktemp("dev"), POLL_INTERVAL_S="0.5") as one:
        wait_until(one.is_ready)
        yield one


@pytest.fixture
def alone() -> dict[str, str]:
    """Settings that lead to no server."""
    return {"OPS_LISTEN": f"{HOST}:{free_port()}"}


@pytest.fixture
def raw(redis_url: str) -> Iterator[Any]:
    """A plain client of the test's Redis, to write values that no release writes."""
    with Redis.from_url(redis_url) as client:
        yield client
