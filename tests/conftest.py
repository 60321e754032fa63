"""What holds for every test; fixtures for those that need real servers and processes."""

import gc
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.running import joined, site
from tests.support.servers import (
    AUTOROUTER,
    Process,
    RedisServer,
    Start,
    clean_env,
    running_redis,
)

__all__ = ["joined", "site"]  # fixtures of tests.support.running

# A busy machine is no fault of the code: examples are counted, not timed.
# CI tries the same examples each time, people try new ones. `make test` and CI try ten times
# as many as `make check` or a test run by hand.
settings.register_profile(
    "autorouter",
    deadline=None,
    max_examples=80,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("quick", settings.get_profile("autorouter"), max_examples=8)
settings.load_profile("autorouter" if "CI" in os.environ else "quick")

# Thousands of tests are held until the end: looking for garbage among them takes long.
gc.set_threshold(50_000)

# No test reads geo data that whoever runs it has fetched.
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="autorouter-tests-")

# What runs in a shell's background is deaf to Ctrl-C, and so are the processes it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server for one test, to be broken at will."""
    with running_redis(tmp_path) as server:
        yield server


@pytest.fixture
def redis_url(redis: RedisServer) -> str:
    return redis.url


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `autorouter WORDS` with AUTOROUTER_ settings; ends what still runs."""
    started: list[Process] = []

    def run(*words: str, **settings: str) -> Process:
        output = tmp_path / f"autorouter-{len(started)}.log"
        process = Process([str(AUTOROUTER), *words], output, clean_env(**settings))
        started.append(process)
        return process

    yield run
    for process in started:
        if process.is_alive():
            process.kill()
