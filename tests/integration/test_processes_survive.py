"""What breaks beside a server does not break its answers: folders that hang, logs unread."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from router.processes.simulated_edges import Mode
from tests.support.running import DETECTED_S, Site, site
from tests.support.servers import AUTOROUTER, HOST, clean_env, eventually, free_port, plain_client

pytestmark = pytest.mark.anyio

PIPE_BYTES = 65_536

__all__ = ["site"]


async def test_state_folder_that_hangs_freezes_neither_health_nor_the_stop(
    site: Site, tmp_path: Path
) -> None:
    """Opening a pipe that nobody reads blocks, as a file on a dead network folder does."""
    folder = tmp_path / "state"
    folder.mkdir()
    server = site.serve(STATE_DIR=str(folder))
    os.mkfifo(folder / f".last-good.json.{server.process.pid}")
    await eventually(server.is_ready)
    first = (await server.route())["region"]

    async def is_reported() -> bool:
        told = (await server.ops("/v1/edges")).json()
        return "state_dir" in {finding["kind"] for finding in told["findings"]}

    await eventually(is_reported)
    await site.fleet.edges[first].set_mode(Mode.DOWN)

    async def has_moved() -> bool:
        return bool((await server.route())["region"] != first)

    await eventually(has_moved, DETECTED_S)
    assert (
        'autorouter_last_good_saves_total{result="error"} 1.0'
        in (await server.ops("/metrics")).text
    )
    assert "the last good health cannot be saved" in server.process.output
    server.process.send(signal.SIGTERM)
    assert await server.process.ended() == 0


async def test_saved_health_that_hangs_does_not_delay_the_start(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.mkfifo(folder / "last-good.json")
    server = await site.serve_until_ready(STATE_DIR=str(folder))
    assert (await server.route())["status"] == "ok"
    assert "no answer for 2 s at start" in server.process.output


def with_unread_log(settings: dict[str, str]) -> "subprocess.Popen[bytes]":
    """A server whose standard error is a pipe that nobody reads."""
    return subprocess.Popen(
        [str(AUTOROUTER), "serve"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean_env(**settings),
    )


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_log_that_nobody_reads_stops_nothing(site: Site, workers: str) -> None:
    port, ops_port = free_port(), free_port()
    listens = {"LISTEN": f"{HOST}:{port}", "OPS_LISTEN": f"{HOST}:{ops_port}"}
    settings = site.settings | listens | {"LOG_REQUESTS": "all", "WORKERS": workers}
    server = with_unread_log(settings)
    try:
        async with plain_client() as client:

            async def is_up() -> bool:
                with suppress(httpx.HTTPError):
                    told = (await client.get(f"http://{HOST}:{port}/v1/route")).json()
                    return bool(told["status"] == "ok")
                return False

            await eventually(is_up)
            lines = 2 * PIPE_BYTES // 300  # of a request each
            for _ in range(lines):
                answer = await client.get(f"http://{HOST}:{port}/v1/route")
                assert answer.status_code == 200
            assert (await client.get(f"http://{HOST}:{ops_port}/healthz")).status_code == 200

            async def is_reported() -> bool:
                told = (await client.get(f"http://{HOST}:{ops_port}/v1/edges")).json()
                return "log" in {finding["kind"] for finding in told["findings"]}

            if workers == "1":
                await eventually(is_reported)
        server.terminate()
        await eventually(lambda: server.poll() is not None)
        assert server.returncode == 0
    finally:
        server.kill()
        server.communicate()
