"""Each probe of a real edge has an Outcome in time and never raises."""

import asyncio
import errno
import gzip
import json
import resource
import socket
import ssl
import subprocess
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest

from router.health.answers import MAX_MODELS, Inventory, judge_health, read_models
from router.health.client import ConnectTimeoutError, open_client
from router.health.connect import ConnectError
from router.health.exchange import (
    MAX_FIELDS,
    MAX_INTERIM,
    NotUnderstoodError,
    TooLargeError,
)
from router.health.probe import MAX_BODY_BYTES, MAX_INVENTORY_BYTES, Prober, name_fault
from router.health.resolver import ResolveError
from router.model import Check, HealthFormat, ModelsFormat, Outcome, Probe
from router.processes.simulated_edges import ELSEWHERE, HEALTH, Mode, SimulatedEdge
from tests.support.builders import a_region
from tests.support.servers import HOST, eventually, free_port

pytestmark = pytest.mark.anyio

SLACK_S = 0.5
CONNECT_TIMEOUT_S, TOTAL_TIMEOUT_S = Check().connect_timeout_s, Check().timeout_s


@pytest.fixture
async def edge() -> AsyncIterator[SimulatedEdge]:
    one = SimulatedEdge(id="yto-01", models=("whisper", "kokoro-82m"))
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with open_client() as client:
        yield Prober(client, "a-key")


class StaticServer:
    """A server that sends the same bytes for every request, and records the requests."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.requests: list[bytes] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def answering(
    *pieces: bytes, tls: ssl.SSLContext | None = None
) -> AsyncIterator[StaticServer]:
    one = StaticServer(*pieces)
    server = await asyncio.start_server(one.answer, HOST, 0, ssl=tls)
    one.port = server.sockets[0].getsockname()[1]
    yield one
    server.close()


async def health(prober: Prober, port: int, scheme: str = "http") -> Probe:
    return await prober.health(a_region(endpoint=f"{scheme}://{HOST}:{port}"))


def a_reply(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    head = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers, b"", b""]
    return b"\r\n".join(head) + body


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Mode.HEALTHY, Outcome.OK),
        (Mode.DEGRADED, Outcome.DEGRADED),
        (Mode.UNHEALTHY, Outcome.UNHEALTHY),
        (Mode.BACKEND_UNHEALTHY, Outcome.UNHEALTHY),
        (Mode.DOWN, Outcome.REFUSED),
        (Mode.HANG, Outcome.TIMEOUT),
        (Mode.SLOW, Outcome.OK),
        (Mode.ERROR, Outcome.STATUS),
        (Mode.RESET, Outcome.RESET),
        (Mode.HTML, Outcome.BAD_BODY),
        (Mode.GARBAGE, Outcome.BAD_BODY),
        (Mode.HUGE, Outcome.TOO_LARGE),
        (Mode.REDIRECT, Outcome.STATUS),
        (Mode.EMPTY, Outcome.RESET),
        (Mode.TRICKLE, Outcome.TIMEOUT),
    ],
)
async def test_every_mode_has_its_outcome(
    edge: SimulatedEdge, prober: Prober, mode: Mode, expected: Outcome
) -> None:
    await edge.set_mode(mode)
    started = time.monotonic()
    probe = await prober.health(a_region(endpoint=edge.endpoint))
    assert probe.outcome is expected
    assert time.monotonic() - started < TOTAL_TIMEOUT_S + SLACK_S


async def test_every_mode_is_tested() -> None:
    marks = test_every_mode_has_its_outcome.pytestmark  # type: ignore[attr-defined]
    assert {mode for mode, _ in marks[0].args[1]} == set(Mode)


async def test_answered_probe_has_a_round_trip_time(edge: SimulatedEdge, prober: Prober) -> None:
    edge.delay_s = 0.1
    await edge.set_mode(Mode.SLOW)
    probe = await prober.health(a_region(endpoint=edge.endpoint))
    assert probe.rtt_ms is not None
    assert 100 <= probe.rtt_ms < 1_000


async def test_failed_probe_has_no_round_trip_time(edge: SimulatedEdge, prober: Prober) -> None:
    await edge.set_mode(Mode.DOWN)
    assert await prober.health(a_region(endpoint=edge.endpoint)) == Probe(outcome=Outcome.REFUSED)


async def test_body_over_64_kib_is_dropped(edge: SimulatedEdge, prober: Prober) -> None:
    await edge.set_mode(Mode.HUGE)
    started = time.monotonic()
    await prober.health(a_region(endpoint=edge.endpoint))
    assert time.monotonic() - started < 1
    await eventually(lambda: not edge.connections)
    assert edge.sent_bytes < 20_000_000  # the kernel's buffers


async def test_redirect_is_not_followed(edge: SimulatedEdge, prober: Prober) -> None:
    await edge.set_mode(Mode.REDIRECT)
    await prober.health(a_region(endpoint=edge.endpoint))
    assert edge.requests[ELSEWHERE] == 0


async def test_probe_closes_its_connection(edge: SimulatedEdge, prober: Prober) -> None:
    for _ in range(3):
        await prober.health(a_region(endpoint=edge.endpoint))
    await eventually(lambda: not edge.connections)
    assert edge.requests == {HEALTH: 3}


async def test_full_queue_is_a_connect_timeout(prober: Prober) -> None:
    with socket.socket() as busy, ExitStack() as stack:
        busy.bind((HOST, 0))
        busy.listen(0)
        waiting = [stack.enter_context(socket.socket()) for _ in range(8)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(busy.getsockname())
        started = time.monotonic()
        probe = await health(prober, busy.getsockname()[1])
    assert probe.outcome is Outcome.CONNECT_TIMEOUT
    assert time.monotonic() - started < CONNECT_TIMEOUT_S + SLACK_S


async def test_hung_edges_are_probed_concurrently(edge: SimulatedEdge, prober: Prober) -> None:
    await edge.set_mode(Mode.HANG)
    region = a_region(endpoint=edge.endpoint)
    started = time.monotonic()
    probes = await asyncio.gather(*(prober.health(region) for _ in range(100)))
    assert {probe.outcome for probe in probes} == {Outcome.TIMEOUT}
    assert time.monotonic() - started < TOTAL_TIMEOUT_S + 2 * SLACK_S


async def test_missing_file_descriptors_are_a_local_error(
    edge: SimulatedEdge, prober: Prober
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as highest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno() + 1, limits[1]))
        try:
            with ExitStack() as stack:
                probe = await _without_descriptors(stack, prober, edge)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert probe.outcome is Outcome.LOCAL


async def _without_descriptors(stack: ExitStack, prober: Prober, edge: SimulatedEdge) -> Probe:
    while True:
        try:
            stack.enter_context(socket.socket())
        except OSError:
            return await prober.health(a_region(endpoint=edge.endpoint))


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """TLS of a server with a self-signed certificate."""
    key, certificate = (tmp_path_factory.mktemp("tls") / name for name in ("key", "certificate"))
    command = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 1"
    names = ["-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{HOST}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True, timeout=20)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    return tls


async def test_self_signed_certificate_is_a_tls_error(
    self_signed: ssl.SSLContext, prober: Prober
) -> None:
    async with answering(a_reply(b'{"status":"healthy"}'), tls=self_signed) as server:
        probe = await health(prober, server.port, "https")
        assert (probe.outcome, server.requests) == (Outcome.TLS, [])


async def test_plain_http_instead_of_tls_is_a_tls_error(prober: Prober) -> None:
    async def send_plain_text(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(send_plain_text, HOST, 0)
    probe = await health(prober, server.sockets[0].getsockname()[1], "https")
    server.close()
    assert probe.outcome is Outcome.TLS


HEALTHY = b'{"status":"healthy"}'
HOSTILE = {
    "endless header": ((b"HTTP/1.1 200 OK\r\nX: ", *[b"x" * 65_536] * 200), Outcome.BAD_BODY),
    "endless headers": ((b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n" * 10_000] * 20), Outcome.BAD_BODY),
    "too many headers": ((a_reply(HEALTHY, *[b"X: y"] * MAX_FIELDS),), Outcome.TOO_LARGE),
    "interim storm": (tuple([b"HTTP/1.1 103 Hint\r\n\r\n" * 1_000] * 10), Outcome.TOO_LARGE),
    "compressed bomb": (
        (a_reply(gzip.compress(HEALTHY.ljust(10_000_000)), b"Content-Encoding: gzip"),),
        Outcome.TOO_LARGE,
    ),
    "compressed oddly": ((a_reply(HEALTHY, b"Content-Encoding: br"),), Outcome.BAD_BODY),
    "cut compressed": (
        (a_reply(gzip.compress(HEALTHY)[:-9], b"Content-Encoding: gzip"),),
        Outcome.BAD_BODY,
    ),
    "promised more": ((b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",), Outcome.BAD_BODY),
    "bad length": ((b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",), Outcome.BAD_BODY),
    "two lengths": ((a_reply(HEALTHY, b"Content-Length: 5"),), Outcome.BAD_BODY),
    "bad chunk": (
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",),
        Outcome.BAD_BODY,
    ),
    "compressed": ((a_reply(b"\x1f\x8b\x08", b"Content-Encoding: gzip"),), Outcome.BAD_BODY),
    "no content": ((b"HTTP/1.1 204 No Content\r\n\r\n",), Outcome.STATUS),
    "switch": (
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",),
        Outcome.BAD_BODY,
    ),
    "deep": ((a_reply(b"[" * 60_000),), Outcome.BAD_BODY),
    "just fits": ((a_reply(HEALTHY.ljust(MAX_BODY_BYTES)),), Outcome.OK),
    "just too large": ((a_reply(HEALTHY.ljust(MAX_BODY_BYTES + 1)),), Outcome.TOO_LARGE),
    "long header": ((a_reply(HEALTHY, b"Set-Cookie: a=" + b"x" * 60_000),), Outcome.OK),
    "many headers": ((a_reply(HEALTHY, *[b"X: y"] * 300),), Outcome.OK),
    "hints": ((b"HTTP/1.1 103 Hint\r\n\r\n" * MAX_INTERIM, a_reply(HEALTHY)), Outcome.OK),
    "same length twice": ((a_reply(HEALTHY, b"Content-Length: 20"),), Outcome.OK),
    "not a number": ((a_reply(b'{"status":"healthy","gpu":NaN}'),), Outcome.OK),
    "byte order mark": ((a_reply(b"\xef\xbb\xbf" + HEALTHY),), Outcome.OK),
    "gzip unasked": ((a_reply(gzip.compress(HEALTHY), b"Content-Encoding: gzip"),), Outcome.OK),
    "deflate unasked": (
        (a_reply(zlib.compress(HEALTHY), b"Content-Encoding: deflate"),),
        Outcome.OK,
    ),
    "chunked": (
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14;x=y\r\n",
            HEALTHY + b"\r\n0\r\nTrailer: z\r\n\r\n",
        ),
        Outcome.OK,
    ),
    "odd type": ((a_reply(HEALTHY, b"Content-Type: image/png"),), Outcome.OK),
    "ancient": ((b"HTTP/1.0 200 OK\r\n\r\n" + HEALTHY,), Outcome.OK),
}


@pytest.mark.parametrize(("pieces", "expected"), HOSTILE.values(), ids=HOSTILE)
async def test_hostile_response_has_an_outcome(
    prober: Prober, pieces: tuple[bytes, ...], expected: Outcome
) -> None:
    async with answering(*pieces) as server:
        outcome = (await health(prober, server.port)).outcome
    assert outcome is expected


async def test_request_has_our_user_agent_and_no_encoding(prober: Prober) -> None:
    async with answering(a_reply(HEALTHY)) as server:
        await health(prober, server.port)
    requests = server.requests[0].lower()
    assert b"user-agent: autorouter/" in requests
    assert b"accept-encoding: identity" in requests
    assert b"authorization" not in requests


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"status":"healthy"}', Outcome.OK),
        (200, b'{"status":"healthy","backend":{"healthy":true,"info":{}}}', Outcome.OK),
        (200, b'{"status":"healthy","backend":{}}', Outcome.OK),
        (200, b'{"status":"healthy","backend":null}', Outcome.OK),
        (200, b'{"status":"degraded"}', Outcome.DEGRADED),
        (200, b'{"status":"unhealthy"}', Outcome.UNHEALTHY),
        (200, b'{"status":"healthy","backend":{"healthy":false}}', Outcome.UNHEALTHY),
        (200, b'{"status":"degraded","backend":{"healthy":false}}', Outcome.UNHEALTHY),
        (200, b'{"status":" HEALTHY "}', Outcome.OK),
        (200, b'{"status":"ok"}', Outcome.OK),
        (200, b'{"status":"pass"}', Outcome.OK),
        (200, b'{"status":"UP"}', Outcome.OK),
        (200, b'{"status":"warn"}', Outcome.DEGRADED),
        (200, b'{"status":"fail"}', Outcome.UNHEALTHY),
        (200, b'{"status":"error"}', Outcome.UNHEALTHY),
        (200, b'{"status":"DOWN"}', Outcome.UNHEALTHY),
        (200, b'{"status":"fine"}', Outcome.BAD_BODY),
        (200, b'{"status":["healthy"]}', Outcome.BAD_BODY),
        (200, b'{"status":null}', Outcome.BAD_BODY),
        (200, b"{}", Outcome.BAD_BODY),
        (200, b'["healthy"]', Outcome.BAD_BODY),
        (200, b"", Outcome.BAD_BODY),
        (200, b"\xff\xfe", Outcome.BAD_BODY),
        (200, b'{"status":"healthy"', Outcome.BAD_BODY),
        (201, b'{"status":"healthy"}', Outcome.STATUS),
        (503, b'{"status":"unhealthy"}', Outcome.STATUS),
        (401, b"", Outcome.STATUS),
    ],
)
def test_health_response_has_an_outcome(status: int, body: bytes, expected: Outcome) -> None:
    assert judge_health(status, body).outcome is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ResolveError("no such name", is_local=False), Outcome.REFUSED),
        (ResolveError("no resolver", is_local=True), Outcome.LOCAL),
        (OSError(errno.ENETUNREACH, "no network"), Outcome.LOCAL),
        (OSError(errno.EMFILE, "too many"), Outcome.LOCAL),
        (OSError(errno.EADDRNOTAVAIL, "no ports"), Outcome.LOCAL),
        (OSError(errno.EHOSTUNREACH, "no route"), Outcome.RESET),
        (ConnectError({"::1": ConnectionRefusedError()}), Outcome.REFUSED),
        (
            ConnectError({"::1": OSError(errno.ENETUNREACH, ""), "a": ConnectionRefusedError()}),
            Outcome.REFUSED,
        ),
        (ConnectError({"::1": OSError(errno.ENETUNREACH, "no IPv6")}), Outcome.LOCAL),
        (ConnectTimeoutError(), Outcome.CONNECT_TIMEOUT),
        (TimeoutError(), Outcome.TIMEOUT),
        (ssl.SSLCertVerificationError("expired"), Outcome.TLS),
        (TooLargeError("a body"), Outcome.TOO_LARGE),
        (NotUnderstoodError("no HTTP"), Outcome.BAD_BODY),
        (RuntimeError("odd"), Outcome.RESET),
    ],
    ids=str,
)
def test_connection_error_has_an_outcome(error: BaseException, expected: Outcome) -> None:
    assert name_fault(error).outcome is expected


async def _send_endlessly(head: bytes, piece: bytes, prober: Prober) -> tuple[Outcome, int, float]:
    """Probe an edge that never stops sending; return outcome, bytes sent and seconds."""
    sent = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            while True:
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    started = time.monotonic()
    probe = await health(prober, server.sockets[0].getsockname()[1])
    took_s = time.monotonic() - started
    server.close()
    return probe.outcome, sent, took_s


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 200),
        (CHUNKED, b"1;" + b"x" * 9_000 + b"\r\na\r\n"),
        (CHUNKED + b"1;", b"x" * 9_000),
        (CHUNKED, b"1\r\n\n\r\n" * 1_000),
        (CHUNKED + b"0\r\n", b"X: y\r\n" * 1_000),
        (b"", b"\r\n" * 4_000),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1_000),
    ],
    ids=["interim", "extensions", "extension", "chunks", "trailers", "empty lines", "headers"],
)
async def test_endless_response_is_cut_by_size(prober: Prober, head: bytes, piece: bytes) -> None:
    outcome, _, took_s = await _send_endlessly(head, piece, prober)
    assert outcome in (Outcome.TOO_LARGE, Outcome.BAD_BODY)
    assert took_s < TOTAL_TIMEOUT_S


async def test_endless_response_does_not_block_the_loop(prober: Prober) -> None:
    gaps_s: list[float] = []  # CPU time of this thread, so other processes do not matter

    async def watch() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            gaps_s.append(time.thread_time() - before)

    watching = asyncio.create_task(watch())
    await _send_endlessly(CHUNKED, b"1\r\n\n\r\n" * 10_000, prober)
    watching.cancel()
    assert max(gaps_s) < 0.1


@pytest.mark.parametrize("stopped_s", [1.7, 2.8])
async def test_stopped_process_is_a_local_error(prober: Prober, stopped_s: float) -> None:
    """After 1.7 s a connection attempt is overdue, after 2.8 s the whole probe."""
    with socket.socket() as busy, ExitStack() as stack:
        busy.bind((HOST, 0))
        busy.listen(0)
        for _ in range(8):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(busy.getsockname())
        probing = asyncio.create_task(health(prober, busy.getsockname()[1]))
        await asyncio.sleep(0.1)
        time.sleep(stopped_s)  # noqa: ASYNC251 - blocks the loop on purpose
        probe = await probing
    assert probe.outcome is Outcome.LOCAL


async def test_status_check_reads_no_body(edge: SimulatedEdge, prober: Prober) -> None:
    region = a_region(endpoint=edge.endpoint, check=Check(health=HealthFormat.STATUS))
    for mode, expected in (
        (Mode.HTML, Outcome.OK),
        (Mode.HUGE, Outcome.OK),
        (Mode.UNHEALTHY, Outcome.OK),
        (Mode.ERROR, Outcome.STATUS),
        (Mode.REDIRECT, Outcome.STATUS),
        (Mode.HANG, Outcome.TIMEOUT),
    ):
        await edge.set_mode(mode)
        assert (await prober.health(region)).outcome is expected, mode


async def test_health_url_is_used(edge: SimulatedEdge, prober: Prober) -> None:
    check = Check(url=f"{edge.endpoint}/health?probe=1")
    region = a_region(endpoint=f"http://{HOST}:{free_port()}", check=check)
    assert (await prober.health(region)).outcome is Outcome.OK


async def test_timeouts_of_the_region_are_used(edge: SimulatedEdge, prober: Prober) -> None:
    await edge.set_mode(Mode.HANG)
    started = time.monotonic()
    await prober.health(a_region(endpoint=edge.endpoint, check=Check(timeout_s=0.2)))
    assert time.monotonic() - started < 0.2 + SLACK_S


@pytest.mark.parametrize(
    ("pieces", "detail"),
    [
        ((a_reply(b""),), "an empty body"),
        ((a_reply(b"<html>\x1b[31m"),), "<html>\\x1b[31m"),
        ((a_reply(b'{"state":"fine"}'),), '{"state":"fine"}'),
        ((a_reply(b'{"status":"fine"}'),), "'fine'"),
        ((a_reply(b"", status=b"503 Busy"),), "HTTP 503"),
        ((b"SSH-2.0-x\r\n\r\n",), "not an HTTP response"),
        ((), "without a response"),
    ],
)
async def test_probe_reports_the_details(
    prober: Prober, pieces: tuple[bytes, ...], detail: str
) -> None:
    async with answering(*pieces) as server:
        probe = await health(prober, server.port)
    assert detail in (probe.detail or "")


async def test_plain_http_needs_a_private_address(prober: Prober) -> None:
    probe = await prober.health(a_region(endpoint="http://192.0.0.8"))
    assert probe.outcome is not None
    probe = await prober.health(a_region(endpoint="http://8.8.8.8"))
    assert (probe.outcome, "use https" in (probe.detail or "")) == (Outcome.REFUSED, True)


async def test_models_are_sorted(edge: SimulatedEdge, prober: Prober) -> None:
    found = await prober.models(a_region(endpoint=edge.endpoint))
    assert found == Inventory(("kokoro-82m", "whisper"))


async def test_edge_without_models_has_an_empty_list(edge: SimulatedEdge, prober: Prober) -> None:
    edge.models = ()
    assert await prober.models(a_region(endpoint=edge.endpoint)) == Inventory(())


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_rejected_inventory_request_is_unknown(
    edge: SimulatedEdge, prober: Prober, status: int
) -> None:
    edge.models_status = status
    found = await prober.models(a_region(endpoint=edge.endpoint))
    assert (found.models, found.fault) == (None, Outcome.STATUS)
    assert edge.requests == {"/v1/models/status": 1, "/v1/models": 1}


@pytest.mark.parametrize("mode", [Mode.DOWN, Mode.RESET, Mode.HTML, Mode.HUGE, Mode.REDIRECT])
async def test_inventory_of_a_failing_edge_is_unknown(
    edge: SimulatedEdge, prober: Prober, mode: Mode
) -> None:
    await edge.set_mode(mode)
    found = await prober.models(a_region(endpoint=edge.endpoint))
    assert (found.models, found.fault is None) == (None, False)


async def test_older_edge_is_read_through_its_model_list(prober: Prober) -> None:
    listed = b'{"object":"list","data":[{"id":"whisper"},{"id":"kokoro-82m"}]}'
    async with answering(a_reply(listed)) as server:
        region = a_region(endpoint=f"http://{HOST}:{server.port}")
        assert (await prober.models(region)).models == ("kokoro-82m", "whisper")


async def test_key_is_sent_for_the_inventory_only(prober: Prober) -> None:
    async with answering(a_reply(b"", status=b"404 Not Found")) as server:
        region = a_region(endpoint=f"http://{HOST}:{server.port}")
        await prober.health(region)
        await prober.models(region)
    has_key = [b"Authorization: Bearer a-key\r\n" in requests for requests in server.requests]
    assert has_key == [False, True, True]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"loaded":["b","a","b"]}', ("a", "b")),
        (b'{"loaded":[],"loading_status":{"a":"loaded"}}', ()),
        (b'{"loaded":["a",1,null,{},"",["b"]]}', ("a",)),
        (b'{"loaded":"a"}', None),
        (b'{"data":[{"id":"b"},{"id":"a"}]}', ("a", "b")),
        (b'{"data":[{"id":1},{},null,"a",{"id":"a"}]}', ("a",)),
        (b'{"data":{"id":"a"}}', None),
        (b'["a"]', None),
        (b"{}", None),
        (b"", None),
        (b"[" * 60_000, None),
        (b'{"loaded":["' + b"x" * 129 + b'"]}', ()),
    ],
    ids=range(12),
)
def test_both_inventory_formats_are_read(body: bytes, expected: tuple[str, ...] | None) -> None:
    assert read_models(body).models == expected


def a_card(number: int) -> dict[str, Any]:
    """One model as vLLM lists it."""
    permission = {"id": "modelperm-" + "0" * 32, "object": "model_permission", "group": None}
    return {"id": f"lora-{number}", "object": "model", "permission": [permission] * 2}


def a_list(count: int) -> bytes:
    return json.dumps({"object": "list", "data": [a_card(n) for n in range(count)]}).encode()


async def test_inventory_of_two_mebibytes_is_read(prober: Prober) -> None:
    body = a_list(MAX_MODELS).ljust(3 * 2**20)
    async with answering(a_reply(body)) as server:
        found = await prober.models(a_region(endpoint=f"http://{HOST}:{server.port}"))
    assert (len(found.models or ()), found.fault) == (MAX_MODELS, None)


async def test_too_large_inventory_is_unknown_and_reported(prober: Prober) -> None:
    for body in (a_list(MAX_MODELS + 1), a_list(1).ljust(MAX_INVENTORY_BYTES + 1)):
        async with answering(a_reply(body)) as server:
            found = await prober.models(a_region(endpoint=f"http://{HOST}:{server.port}"))
        assert (found.models, found.fault) == (None, Outcome.TOO_LARGE)


async def test_models_path_none_sends_no_request(edge: SimulatedEdge, prober: Prober) -> None:
    region = a_region(endpoint=edge.endpoint, check=Check(models=ModelsFormat.NONE))
    assert await prober.models(region) == Inventory()
    assert not edge.requests


async def test_recovered_edge_is_healthy(edge: SimulatedEdge, prober: Prober) -> None:
    region = a_region(endpoint=edge.endpoint)
    await edge.set_mode(Mode.DOWN)
    assert (await prober.health(region)).outcome is Outcome.REFUSED
    await edge.set_mode(Mode.HEALTHY)
    assert (await prober.health(region)).outcome is Outcome.OK


@pytest.mark.parametrize("endpoint", ["http://", "http://[::1", "http://a b", "gopher://x"])
async def test_invalid_endpoint_has_an_outcome(prober: Prober, endpoint: str) -> None:
    assert isinstance((await prober.health(a_region(endpoint=endpoint))).outcome, Outcome)


async def test_unused_port_is_refused(prober: Prober) -> None:
    assert (await health(prober, free_port())).outcome is Outcome.REFUSED
