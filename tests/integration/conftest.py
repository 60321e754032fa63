"""Fixtures shared by the integration tests."""

from collections.abc import Iterator

import pytest

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
