"""A server keeps answering when folders hang, logs are not read or background tasks fail."""

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from router.processes.simulated_edges import Mode
from tests.support.running import DETECTED_S, Running, Site, rewritten, site
from tests.support.servers import (
    AUTOROUTER,
    HOST,
    Process,
    clean_env,
    eventually,
    free_port,
    plain_client,
)

pytestmark = pytest.mark.anyio

PIPE_BYTES = 65_536

__all__ = ["site"]


async def test_hung_state_folder_blocks_neither_health_nor_shutdown(
    site: Site, tmp_path: Path
) -> None:
    """Opening a pipe without a reader blocks, like a file in an unreachable network folder."""
    folder = tmp_path / "state"
    folder.mkdir()
    server = site.serve(STATE_DIR=str(folder))
    os.mkfifo(folder / f".last-good.json.{server.process.pid}")
    await eventually(server.is_ready)
    first = (await server.route())["region"]

    async def is_reported() -> bool:
        document = (await server.ops("/v1/edges")).json()
        return "state_dir" in {finding["kind"] for finding in document["findings"]}

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


async def test_hung_saved_health_does_not_delay_the_start(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.mkfifo(folder / "last-good.json")
    server = await site.serve_until_ready(STATE_DIR=str(folder))
    assert (await server.route())["status"] == "ok"
    assert "no answer for 2 s at start" in server.process.output


def server_with_unread_log(settings: dict[str, str]) -> "subprocess.Popen[bytes]":
    """A server that writes its standard error to a pipe without a reader."""
    return subprocess.Popen(
        [str(AUTOROUTER), "serve"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean_env(**settings),
    )


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_unread_log_blocks_nothing(site: Site, workers: str) -> None:
    port, ops_port = free_port(), free_port()
    listens = {"LISTEN": f"{HOST}:{port}", "OPS_LISTEN": f"{HOST}:{ops_port}"}
    settings = site.settings | listens | {"LOG_REQUESTS": "all", "WORKERS": workers}
    server = server_with_unread_log(settings)
    try:
        async with plain_client() as client:

            async def is_up() -> bool:
                with suppress(httpx.HTTPError):
                    document = (await client.get(f"http://{HOST}:{port}/v1/route")).json()
                    return bool(document["status"] == "ok")
                return False

            await eventually(is_up)
            lines = 2 * PIPE_BYTES // 300  # each is the line of one request
            for _ in range(lines):
                answer = await client.get(f"http://{HOST}:{port}/v1/route")
                assert answer.status_code == 200
            assert (await client.get(f"http://{HOST}:{ops_port}/healthz")).status_code == 200

            async def is_reported() -> bool:
                document = (await client.get(f"http://{HOST}:{ops_port}/v1/edges")).json()
                return "log" in {finding["kind"] for finding in document["findings"]}

            if workers == "1":
                await eventually(is_reported)
        server.terminate()
        await eventually(lambda: server.poll() is not None)
        assert server.returncode == 0
    finally:
        server.kill()
        server.communicate()


# Failing loops


RAISING = """
from router.ops.public_probe import PublicProbe
async def run(self):
    raise ValueError("odd")
PublicProbe.run = run
from router.cli.main import main
main()
"""


async def is_answering(server: Running) -> bool:
    answer = await server.client.get(f"http://{HOST}:{server.port}/v1/route")
    return answer.status_code == 200 and (await server.ops("/healthz")).status_code == 200


async def finding_kinds(server: Running) -> set[str]:
    document = (await server.ops("/v1/edges")).json()
    return {finding["kind"] for finding in document["findings"]}


async def metric_value(server: Running, series: str) -> float:
    """The value of a series in /metrics."""
    for line in (await server.ops("/metrics")).text.splitlines():
        if line.startswith(f"{series} "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no {series}")


async def test_failed_loop_is_restarted_counted_and_reported(site: Site, tmp_path: Path) -> None:
    ports = free_port(), free_port()
    listens = {"LISTEN": f"{HOST}:{ports[0]}", "OPS_LISTEN": f"{HOST}:{ports[1]}"}
    environ = clean_env(**site.settings, **listens)
    command = [sys.executable, "-c", RAISING, "serve"]
    server = Running(Process(command, tmp_path / "raising.log", environ), *ports, site.client)
    try:
        await eventually(server.is_ready)
        series = 'autorouter_loop_failures_total{loop="public_probe"}'

        async def has_failed_three_times() -> bool:
            return await metric_value(server, series) >= 3

        await eventually(has_failed_three_times)
        assert await is_answering(server)
        assert "loop" in await finding_kinds(server)
        assert "a background loop failed" in server.process.output
        server.process.send(signal.SIGTERM)
        assert await server.process.ended() == 0
    finally:
        server.process.kill()


@pytest.fixture
def aws_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The AWS configuration file of the processes that the test starts."""
    path = tmp_path / "aws-config"
    path.write_text("[default]\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return path


async def test_invalid_aws_configuration_at_reload_is_reported(
    site: Site, aws_config: Path
) -> None:
    server = await site.serve_until_ready(PURGE="cloudfront:E1")
    await asyncio.to_thread(aws_config.write_text, "[default\n")
    server.process.send(signal.SIGHUP)

    async def is_counted() -> bool:
        return await metric_value(server, 'autorouter_reloads_total{result="refused"}') == 1

    await eventually(is_counted)
    assert await is_answering(server)
    assert "reload" in await finding_kinds(server)
    assert "cloudfront:E1 cannot be used" in server.process.output


async def test_purge_with_an_unexpected_error_is_reported(
    site: Site, aws_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid response of AWS: botocore raises an error of another library."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\n<not")
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(reply, HOST, 0) as cdn:
        port = cdn.sockets[0].getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}:{port}")
        server = await site.serve_until_ready(PURGE="cloudfront:E1")
        await site.fleet.edges["yto-01"].set_mode(Mode.DOWN)

        async def is_counted() -> bool:
            series = 'autorouter_purges_total{result="error",target="cloudfront"}'
            return await metric_value(server, series) >= 2

        await eventually(is_counted)
        assert await is_answering(server)
        assert "purge" in await finding_kinds(server)
        server.process.send(signal.SIGTERM)
        assert await server.process.ended() == 0


# A hostile edge


ENDLESS = {
    "interim": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 200),
    "extensions": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1;" + b"x" * 9_000 + b"\r\na\r\n",
    ),
}


@asynccontextmanager
async def an_endless_edge(head: bytes, piece: bytes) -> AsyncIterator[int]:
    """The port of an edge whose response never ends."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            while True:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.001)  # because this process also sends requests to the server
        writer.close()

    async with await asyncio.start_server(send, HOST, 0) as server:
        yield server.sockets[0].getsockname()[1]


def children_of(pid: int) -> list[str]:
    """The child processes of a process, without multiprocessing's resource tracker."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


@pytest.mark.parametrize("attack", ENDLESS)
async def test_endless_edge_response_delays_no_client(site: Site, attack: str) -> None:
    """Even without Redis, probes run in another process than responses."""
    async with an_endless_edge(*ENDLESS[attack]) as port:

        def use_endless_edge(document: dict[str, Any]) -> None:
            for region in document["regions"]:
                if region["id"] == "yto-02":
                    region["endpoint"] = f"http://{HOST}:{port}"

        rewritten(Path(site.settings["REGIONS"]), use_endless_edge)
        server = await site.serve_until_ready()
        took_s = []
        for _ in range(300):
            began = time.perf_counter()
            assert (await server.route())["status"] == "ok"
            took_s.append(time.perf_counter() - began)
            await asyncio.sleep(0.005)
        assert len(children_of(server.process.pid)) == 1
        server.process.send(signal.SIGTERM)  # before the edge that it polls stops
        await server.process.ended()
    assert statistics.median(took_s) < 0.05
    assert max(took_s) < 1.0
