"""One probe of a real edge, whatever it does: an Outcome in time, never an exception."""

import asyncio
import errno
import resource
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from router.health.probe import (
    CONNECT_TIMEOUT_S,
    MAX_BODY_BYTES,
    MAX_MODELS,
    TOTAL_TIMEOUT_S,
    Prober,
    judge_health,
    name_fault,
    open_client,
    read_models,
)
from router.model import Outcome, Probe
from router.processes.simulated_edges import ELSEWHERE, HEALTH, Mode, SimulatedEdge
from tests.support.builders import a_region
from tests.support.servers import HOST, eventually, free_port

pytestmark = pytest.mark.anyio

SLACK_S = 0.5


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


class Answering:
    """A server that says the same bytes to every request, and keeps what it was asked."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.asked: list[bytes] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def answering(*pieces: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Answering]:
    one = Answering(*pieces)
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
async def test_every_mode_has_its_outcome_in_time(
    edge: SimulatedEdge, prober: Prober, mode: Mode, expected: Outcome
) -> None:
    await edge.set_mode(mode)
    started = time.monotonic()
    probe = await prober.health(a_region(endpoint=edge.endpoint))
    assert probe.outcome is expected
    assert time.monotonic() - started < TOTAL_TIMEOUT_S + SLACK_S


async def test_every_mode_is_known_here() -> None:
    marks = test_every_mode_has_its_outcome_in_time.pytestmark  # type: ignore[attr-defined]
    assert {mode for mode, _ in marks[0].args[1]} == set(Mode)


async def test_answered_probe_tells_its_time(edge: SimulatedEdge, prober: Prober) -> None:
    edge.delay_s = 0.1
    await edge.set_mode(Mode.SLOW)
    probe = await prober.health(a_region(endpoint=edge.endpoint))
    assert probe.rtt_ms is not None
    assert 100 <= probe.rtt_ms < 1_000


async def test_failed_probe_tells_no_time(edge: SimulatedEdge, prober: Prober) -> None:
    await edge.set_mode(Mode.DOWN)
    assert await prober.health(a_region(endpoint=edge.endpoint)) == Probe(outcome=Outcome.REFUSED)


async def test_gigabyte_is_dropped_at_64_kib(edge: SimulatedEdge, prober: Prober) -> None:
    await edge.set_mode(Mode.HUGE)
    started = time.monotonic()
    await prober.health(a_region(endpoint=edge.endpoint))
    assert time.monotonic() - started < 1
    await eventually(lambda: not edge.connections)
    assert edge.sent_bytes < 20_000_000  # the kernel's buffers, not the gigabyte


async def test_redirect_is_not_followed(edge: SimulatedEdge, prober: Prober) -> None:
    await edge.set_mode(Mode.REDIRECT)
    await prober.health(a_region(endpoint=edge.endpoint))
    assert edge.requests[ELSEWHERE] == 0


async def test_probe_leaves_no_connection_behind(edge: SimulatedEdge, prober: Prober) -> None:
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


async def test_many_hung_edges_take_no_longer_than_one(edge: SimulatedEdge, prober: Prober) -> None:
    await edge.set_mode(Mode.HANG)
    region = a_region(endpoint=edge.endpoint)
    started = time.monotonic()
    probes = await asyncio.gather(*(prober.health(region) for _ in range(100)))
    assert {probe.outcome for probe in probes} == {Outcome.TIMEOUT}
    assert time.monotonic() - started < TOTAL_TIMEOUT_S + 2 * SLACK_S


async def test_want_of_file_descriptors_is_our_own_fault(
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
    """A server's TLS with a certificate that nobody vouches for."""
    key, certificate = (tmp_path_factory.mktemp("tls") / name for name in ("key", "certificate"))
    command = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 1"
    names = ["-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{HOST}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True, timeout=20)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    return tls


async def test_self_signed_certificate_is_a_tls_fault(
    self_signed: ssl.SSLContext, prober: Prober
) -> None:
    async with answering(a_reply(b'{"status":"healthy"}'), tls=self_signed) as server:
        probe = await health(prober, server.port, "https")
        assert (probe.outcome, server.asked) == (Outcome.TLS, [])


async def test_plain_http_where_tls_is_due_is_a_tls_fault(prober: Prober) -> None:
    async def blurt(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(blurt, HOST, 0)
    probe = await health(prober, server.sockets[0].getsockname()[1], "https")
    server.close()
    assert probe.outcome is Outcome.TLS


HEALTHY = b'{"status":"healthy"}'
HOSTILE = {
    "endless header": ((b"HTTP/1.1 200 OK\r\nX: ", *[b"x" * 65_536] * 200), Outcome.BAD_BODY),
    "many headers": ((b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n" * 10_000] * 20), Outcome.BAD_BODY),
    "interim storm": (tuple([b"HTTP/1.1 103 Hint\r\n\r\n" * 1_000] * 10), Outcome.RESET),
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
        Outcome.STATUS,
    ),
    "deep": ((a_reply(b"[" * 60_000),), Outcome.BAD_BODY),
    "just fits": ((a_reply(HEALTHY.ljust(MAX_BODY_BYTES)),), Outcome.OK),
    "just too large": ((a_reply(HEALTHY.ljust(MAX_BODY_BYTES + 1)),), Outcome.TOO_LARGE),
    "odd type": ((a_reply(HEALTHY, b"Content-Type: image/png"),), Outcome.OK),
    "ancient": ((b"HTTP/1.0 200 OK\r\n\r\n" + HEALTHY,), Outcome.OK),
}


@pytest.mark.parametrize(("pieces", "expected"), HOSTILE.values(), ids=HOSTILE)
async def test_hostile_answers_have_an_outcome(
    prober: Prober, pieces: tuple[bytes, ...], expected: Outcome
) -> None:
    async with answering(*pieces) as server:
        outcome = (await health(prober, server.port)).outcome
    assert outcome is expected


async def test_request_names_us_and_asks_for_plain_json(prober: Prober) -> None:
    async with answering(a_reply(HEALTHY)) as server:
        await health(prober, server.port)
    asked = server.asked[0].lower()
    assert b"user-agent: autorouter/" in asked
    assert b"accept-encoding: identity" in asked
    assert b"authorization" not in asked


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
        (200, b'{"status":"HEALTHY"}', Outcome.BAD_BODY),
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
def test_health_answer_is_judged(status: int, body: bytes, expected: Outcome) -> None:
    assert judge_health(status, body) is expected


def raised(error: BaseException, cause: BaseException) -> BaseException:
    """The error as if raised from the cause."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), Outcome.REFUSED),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), Outcome.LOCAL),
        (socket.gaierror(socket.EAI_FAIL, "no"), Outcome.LOCAL),
        (OSError(errno.ENETUNREACH, "no network"), Outcome.LOCAL),
        (OSError(errno.EMFILE, "too many"), Outcome.LOCAL),
        (OSError(errno.EADDRNOTAVAIL, "no ports"), Outcome.LOCAL),
        (OSError(errno.EHOSTUNREACH, "no route"), Outcome.RESET),
        (ConnectionRefusedError(), Outcome.REFUSED),
        (ExceptionGroup("all addresses", [ConnectionRefusedError()]), Outcome.REFUSED),
        (ssl.SSLCertVerificationError("expired"), Outcome.TLS),
        (RuntimeError("odd"), Outcome.RESET),
    ],
)
def test_fault_is_named_by_its_cause(cause: BaseException, expected: Outcome) -> None:
    assert name_fault(raised(aiohttp.ClientConnectionError("failed"), cause)) is expected


def test_endless_chain_of_causes_ends() -> None:
    error = RuntimeError("a")
    error.__context__ = RuntimeError("b")
    error.__context__.__context__ = error
    assert name_fault(error) is Outcome.RESET


async def test_models_are_read_sorted(edge: SimulatedEdge, prober: Prober) -> None:
    assert await prober.models(a_region(endpoint=edge.endpoint)) == ("kokoro-82m", "whisper")


async def test_edge_without_models_tells_so(edge: SimulatedEdge, prober: Prober) -> None:
    edge.models = ()
    assert await prober.models(a_region(endpoint=edge.endpoint)) == ()


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_withheld_inventory_is_unknown(
    edge: SimulatedEdge, prober: Prober, status: int
) -> None:
    edge.models_status = status
    assert await prober.models(a_region(endpoint=edge.endpoint)) is None
    assert edge.requests == {"/v1/models/status": 1, "/v1/models": 1}


@pytest.mark.parametrize("mode", [Mode.DOWN, Mode.RESET, Mode.HTML, Mode.HUGE, Mode.REDIRECT])
async def test_inventory_of_a_broken_edge_is_unknown(
    edge: SimulatedEdge, prober: Prober, mode: Mode
) -> None:
    await edge.set_mode(mode)
    assert await prober.models(a_region(endpoint=edge.endpoint)) is None


async def test_older_edge_is_asked_for_its_list(prober: Prober) -> None:
    listed = b'{"object":"list","data":[{"id":"whisper"},{"id":"kokoro-82m"}]}'
    async with answering(a_reply(listed)) as server:
        region = a_region(endpoint=f"http://{HOST}:{server.port}")
        assert await prober.models(region) == ("kokoro-82m", "whisper")


async def test_key_goes_to_the_inventory_only(prober: Prober) -> None:
    async with answering(a_reply(b"", status=b"404 Not Found")) as server:
        region = a_region(endpoint=f"http://{HOST}:{server.port}")
        await prober.health(region)
        await prober.models(region)
    kept = [b"Authorization: Bearer a-key\r\n" in asked for asked in server.asked]
    assert kept == [False, True, True]


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
def test_either_inventory_is_read(body: bytes, expected: tuple[str, ...] | None) -> None:
    assert read_models(body) == expected


def test_inventory_is_cut() -> None:
    ids: Any = b",".join(b'"m%d"' % n for n in range(5_000))
    assert len(read_models(b'{"loaded":[' + ids + b"]}") or ()) == MAX_MODELS


async def test_edge_that_comes_back_is_seen(edge: SimulatedEdge, prober: Prober) -> None:
    region = a_region(endpoint=edge.endpoint)
    await edge.set_mode(Mode.DOWN)
    assert (await prober.health(region)).outcome is Outcome.REFUSED
    await edge.set_mode(Mode.HEALTHY)
    assert (await prober.health(region)).outcome is Outcome.OK


@pytest.mark.parametrize("endpoint", ["http://", "http://[::1", "http://a b", "gopher://x"])
async def test_impossible_endpoint_is_an_outcome(prober: Prober, endpoint: str) -> None:
    assert isinstance((await prober.health(a_region(endpoint=endpoint))).outcome, Outcome)


async def test_unused_port_is_refused(prober: Prober) -> None:
    assert (await health(prober, free_port())).outcome is Outcome.REFUSED
