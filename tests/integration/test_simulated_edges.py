import asyncio
import json
import resource
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from router.processes.simulated_edges import (
    ELSEWHERE,
    HEALTH,
    HOST,
    MAX_HEAD_BYTES,
    MODELS,
    MODELS_STATUS,
    Mode,
    SimulatedEdge,
    SimulatedFleet,
)
from tests.support.servers import eventually, talk

pytestmark = pytest.mark.anyio

SHORT_TIMEOUT = httpx.Timeout(0.1)


@pytest.fixture
async def edge() -> AsyncIterator[SimulatedEdge]:
    one = SimulatedEdge(id="yto-01", models=("kokoro-82m", "llama-3"))
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def client(edge: SimulatedEdge) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=edge.endpoint, trust_env=False) as one:
        yield one


def open_files() -> list[str]:
    return sorted(file.name for file in Path("/dev/fd").iterdir())


def a_get(path: str = HEALTH, *fields: str, version: str = "1.1", method: str = "GET") -> bytes:
    lines = (f"{method} {path} HTTP/{version}", "Host: edge", *fields, "", "")
    return "\r\n".join(lines).encode()


async def test_healthy_edge_reports_itself_healthy(client: httpx.AsyncClient) -> None:
    answer = await client.get(HEALTH)
    health = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert (health["status"], health["node"]) == ("healthy", "yto-01")
    assert health["backend"]["healthy"] is True


@pytest.mark.parametrize(
    ("mode", "status", "backend"),
    [
        (Mode.DEGRADED, "degraded", True),
        (Mode.UNHEALTHY, "unhealthy", True),
        (Mode.BACKEND_UNHEALTHY, "healthy", False),
    ],
)
async def test_unhealthy_mode_changes_only_the_health(
    edge: SimulatedEdge, client: httpx.AsyncClient, mode: Mode, status: str, backend: bool
) -> None:
    await edge.set_mode(mode)
    answer = await client.get(HEALTH)
    assert (answer.status_code, answer.json()["status"]) == (200, status)
    assert answer.json()["backend"]["healthy"] is backend
    assert (await client.get(MODELS_STATUS)).json()["loaded"] == ["kokoro-82m", "llama-3"]


async def test_models_are_served_in_both_formats(client: httpx.AsyncClient) -> None:
    status, listed = (await client.get(MODELS_STATUS)).json(), (await client.get(MODELS)).json()
    assert status["loading_status"] == {"kokoro-82m": "loaded", "llama-3": "loaded"}
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == status["loaded"]


@pytest.mark.parametrize("path", [MODELS, MODELS_STATUS])
async def test_models_status_affects_only_model_paths(
    edge: SimulatedEdge, client: httpx.AsyncClient, path: str
) -> None:
    edge.models_status = 401
    assert (await client.get(path)).status_code == 401
    assert (await client.get(HEALTH)).status_code == 200


async def test_unknown_path_is_404_in_json(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v2/health")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "Not Found"}


async def test_query_is_not_part_of_the_path(client: httpx.AsyncClient) -> None:
    assert (await client.get(HEALTH, params={"deep": "1"})).status_code == 200


async def test_head_has_headers_and_no_body(edge: SimulatedEdge) -> None:
    close = "Connection: close"
    head = await talk(edge.port, a_get(HEALTH, close, method="HEAD"))
    get = await talk(edge.port, a_get(HEALTH, close))
    assert head.endswith(b"\r\n\r\n")
    assert head == get.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


async def test_connection_is_kept_across_requests(
    edge: SimulatedEdge, client: httpx.AsyncClient
) -> None:
    for method in ("HEAD", "GET", "HEAD", "GET"):
        await client.request(method, HEALTH)
        assert len(edge.connections) == 1
    assert edge.requests == {HEALTH: 4}


@pytest.mark.parametrize(
    "sent",
    [
        a_get(HEALTH, "Connection: close"),
        a_get(HEALTH, "connection: TE, Close"),
        a_get(HEALTH, version="1.0"),
        a_get(HEALTH, "Content-Length: 2") + b"{}",
        a_get() + a_get(),
    ],
    ids=["close", "close-among-others", "http-1.0", "body", "pipelined"],
)
async def test_connection_closes_after_one_response(edge: SimulatedEdge, sent: bytes) -> None:
    response = await talk(edge.port, sent)
    assert response.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close\r\n" in response


async def test_request_may_arrive_in_pieces(edge: SimulatedEdge) -> None:
    reader, writer = await asyncio.open_connection(HOST, edge.port)
    for byte in a_get():
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(0)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.transport.abort()


@pytest.mark.parametrize(
    "sent",
    [b"EHLO edge\r\n\r\n", b"x" * (MAX_HEAD_BYTES + 1)],
    ids=["not-http", "too-long"],
)
async def test_invalid_request_is_disconnected(edge: SimulatedEdge, sent: bytes) -> None:
    assert await talk(edge.port, sent) == b""
    assert not edge.requests


async def test_down_edge_refuses_and_returns_on_its_port(
    edge: SimulatedEdge, client: httpx.AsyncClient
) -> None:
    for _ in range(3):
        assert (await client.get(HEALTH)).status_code == 200
        await edge.set_mode(Mode.DOWN)
        with pytest.raises(httpx.ConnectError):
            await client.get(HEALTH)
        await edge.set_mode(Mode.HEALTHY)
    assert (await client.get(HEALTH)).status_code == 200


async def test_down_edge_drops_its_connections(edge: SimulatedEdge) -> None:
    reader, writer = await asyncio.open_connection(HOST, edge.port)
    await eventually(lambda: len(edge.connections) == 1)
    await edge.set_mode(Mode.DOWN)
    assert await reader.read() == b""
    assert not edge.connections
    writer.transport.abort()


async def test_down_edge_keeps_its_port_from_others(edge: SimulatedEdge) -> None:
    await edge.set_mode(Mode.DOWN)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((HOST, edge.port))


async def test_edge_stays_down_if_its_port_is_in_use(edge: SimulatedEdge) -> None:
    await edge.set_mode(Mode.DOWN)
    with socket.create_server((HOST, edge.port)), pytest.raises(OSError, match=str(edge.port)):
        await edge.set_mode(Mode.HEALTHY)
    assert edge.mode is Mode.DOWN
    await edge.set_mode(Mode.HEALTHY)
    assert b"200" in await talk(edge.port, a_get(version="1.0"))


async def test_edge_set_down_before_start_refuses() -> None:
    edge = SimulatedEdge(id="yto-01", mode=Mode.DOWN)
    await edge.start()
    with pytest.raises(ConnectionRefusedError):
        await talk(edge.port, a_get())
    await edge.stop()


@pytest.mark.parametrize("path", [HEALTH, MODELS_STATUS])
async def test_hung_edge_reads_and_never_answers(
    edge: SimulatedEdge, client: httpx.AsyncClient, path: str
) -> None:
    await edge.set_mode(Mode.HANG)
    with pytest.raises(httpx.ReadTimeout):
        await client.get(path, timeout=SHORT_TIMEOUT)
    await eventually(lambda: not edge.connections)
    assert edge.requests == {path: 1}


async def test_slow_edge_answers_after_its_delay(
    edge: SimulatedEdge, client: httpx.AsyncClient
) -> None:
    await edge.set_mode(Mode.SLOW)
    with pytest.raises(httpx.ReadTimeout):
        await client.get(HEALTH, timeout=SHORT_TIMEOUT)
    edge.delay_s = 0.05
    started_at = time.monotonic()
    assert (await client.get(HEALTH)).json()["status"] == "healthy"
    assert time.monotonic() - started_at >= 0.05


@pytest.mark.parametrize("path", [HEALTH, MODELS_STATUS])
async def test_edge_in_error_mode_answers_500(
    edge: SimulatedEdge, client: httpx.AsyncClient, path: str
) -> None:
    await edge.set_mode(Mode.ERROR)
    assert (await client.get(path)).status_code == 500


async def test_resetting_edge_sends_rst(edge: SimulatedEdge) -> None:
    await edge.set_mode(Mode.RESET)
    with pytest.raises(ConnectionResetError):
        await talk(edge.port, a_get())


async def test_html_edge_answers_200_that_is_not_json(
    edge: SimulatedEdge, client: httpx.AsyncClient
) -> None:
    await edge.set_mode(Mode.HTML)
    answer = await client.get(HEALTH)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html")
    assert answer.text.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("mode", "fault"), [(Mode.GARBAGE, "illegal"), (Mode.EMPTY, "without sending")]
)
async def test_garbage_and_empty_modes_are_protocol_errors(
    edge: SimulatedEdge, client: httpx.AsyncClient, mode: Mode, fault: str
) -> None:
    await edge.set_mode(mode)
    with pytest.raises(httpx.RemoteProtocolError, match=fault):
        await client.get(HEALTH)


async def test_huge_response_starts_like_a_healthy_one(
    edge: SimulatedEdge, client: httpx.AsyncClient
) -> None:
    await edge.set_mode(Mode.HUGE)
    async with client.stream("GET", HEALTH) as answer:
        first = await anext(answer.aiter_bytes(64 * 1024))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(first + b'"}')["status"] == "healthy"
    assert (await client.head(HEALTH)).content == b""


async def test_huge_response_waits_for_its_reader(edge: SimulatedEdge) -> None:
    await edge.set_mode(Mode.HUGE)
    reader, writer = await asyncio.open_connection(HOST, edge.port)
    writer.write(a_get())
    await reader.readuntil(b"padding")
    sent = [-1, edge.sent_bytes]
    while sent[-1] > sent[-2]:  # wait until the kernel's buffers are full
        await asyncio.sleep(0.02)
        sent.append(edge.sent_bytes)
    assert sent[-1] < 50_000_000
    writer.transport.abort()
    await eventually(lambda: not edge.connections)


async def test_redirect_leads_to_a_healthy_response(
    edge: SimulatedEdge, client: httpx.AsyncClient
) -> None:
    await edge.set_mode(Mode.REDIRECT)
    assert (await client.get(HEALTH)).status_code == 302
    followed = await client.get(HEALTH, follow_redirects=True)
    assert followed.json()["status"] == "healthy"
    assert edge.requests == {HEALTH: 2, ELSEWHERE: 1}


async def test_trickle_sends_the_response_byte_by_byte(
    edge: SimulatedEdge, client: httpx.AsyncClient
) -> None:
    await edge.set_mode(Mode.TRICKLE)
    reader, writer = await asyncio.open_connection(HOST, edge.port)
    writer.write(a_get())
    assert await reader.read(100) == b"H"
    writer.transport.abort()
    edge.drip_s = 0.0
    assert (await client.get(HEALTH)).json()["status"] == "healthy"


async def test_edge_recovers_from_every_mode(
    edge: SimulatedEdge, client: httpx.AsyncClient
) -> None:
    for mode in Mode:
        await edge.set_mode(mode)
        await edge.set_mode(Mode.HEALTHY)
        assert (await client.get(HEALTH)).json()["status"] == "healthy"


async def test_stop_leaves_no_tasks_or_sockets() -> None:
    tasks, files = asyncio.all_tasks(), open_files()
    edge = SimulatedEdge(id="yto-01", mode=Mode.HANG)
    await edge.start()
    opened = [await asyncio.open_connection(HOST, edge.port) for _ in range(3)]
    opened[0][1].write(a_get())
    await eventually(lambda: edge.requests.total() == 1)
    opened.append(await asyncio.open_connection(HOST, edge.port))  # not accepted yet
    await edge.stop()
    await edge.stop()
    for _, writer in opened:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    assert (asyncio.all_tasks(), open_files()) == (tasks, files)


async def test_stopped_edge_frees_its_port() -> None:
    edge = SimulatedEdge(id="yto-01")
    await edge.start()
    port = edge.port
    await edge.stop()
    with socket.socket() as other:
        other.bind((HOST, port))


async def test_fleet_counts_requests_by_edge_and_path() -> None:
    async with SimulatedFleet(["yto-01", "nyc-01"]) as fleet:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(fleet.endpoints["nyc-01"] + MODELS)
            await client.get(fleet.endpoints["nyc-01"] + HEALTH)
        assert fleet.edges["nyc-01"].requests == {MODELS: 1, HEALTH: 1}
        assert not fleet.edges["yto-01"].requests


async def test_failed_start_of_a_fleet_leaves_no_sockets() -> None:
    files, limits = open_files(), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(files) + 10, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            await SimulatedFleet(f"edge-{n:03}" for n in range(50)).__aenter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert open_files() == files


async def test_200_edges_start_in_well_under_2_s() -> None:
    started_at = time.monotonic()
    async with SimulatedFleet(f"edge-{n:03}" for n in range(200)) as fleet:
        assert time.monotonic() - started_at < 1
        assert len(set(fleet.endpoints.values())) == 200
