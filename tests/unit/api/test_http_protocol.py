"""HTTP on the public listener and its limits, in virtual time and without a network."""

import asyncio
import gc
import itertools
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from router.api.connection_limit import MIN_WAIT_S, REJECTED_S, ConnectionLimit, MemoryBudget
from router.api.http_protocol import (
    KEEP_ALIVE_S,
    LAST_REQUEST_S,
    LINGER_S,
    MAX_UNSENT_BYTES,
    MESSAGE_S,
    SLICE_BYTES,
    SLOW_READER_S,
    STOP_S,
    WHOLE_BYTES,
    HttpConnection,
    Request,
    State,
)
from router.api.request_head import (
    BAD_REQUEST,
    BAD_VERSION,
    MAX_BODY_BYTES,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_PLACING_FIELDS,
)
from router.api.servers import public_listener
from router.routing.response import HEALTHY, OVERLOADED, Answer, Response, Shed
from tests.support.servers import eventually, public_server, served, talk
from tests.support.virtual_loop import VirtualLoop

pytestmark = pytest.mark.anyio

LINE = b"GET /v1/route HTTP/1.1\r\n"
HEAD = LINE + b"Host: x\r\n"
REQUEST = HEAD + b"\r\n"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualLoop}


class Socket(asyncio.Transport):
    """The server's end of a connection: records what is written and when it is closed.

    While `client_reads` is false, everything written stays in the buffer."""

    protocol: HttpConnection

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.client_reads = True
        self.buffered = 0
        self.high_water = 64 * 1024
        self.accepts_data = True
        self.closed = False
        self.aborted = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.7", 40_000) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high_water = 64 * 1024 if high is None else high

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def write(self, data: Any) -> None:
        self.written += bytes(data)
        if not self.client_reads:
            was_high, self.buffered = self.buffered > self.high_water, self.buffered + len(data)
            if not was_high and self.buffered > self.high_water:
                self.protocol.pause_writing()

    def read_all(self) -> None:
        self.client_reads, self.buffered = True, 0
        self.protocol.resume_writing()

    def close(self) -> None:
        self.closed = True
        if not self.buffered:
            self.protocol.connection_lost(None)

    def abort(self) -> None:
        self.closed = self.aborted = True
        self.protocol.connection_lost(None)

    def pause_reading(self) -> None:
        self.accepts_data = False

    def resume_reading(self) -> None:
        self.accepts_data = True


class Connection:
    """A client of a server that answers every request with 200 and the request's number."""

    def __init__(self, limit: ConnectionLimit | None = None) -> None:
        limit = ConnectionLimit(100) if limit is None else limit
        config = public_listener(self._respond, self._reject, limit).config
        config.load()
        self.requests: list[Request] = []
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"today")]
        self.protocol = HttpConnection(config, self.state, {}, reject=self._reject, limit=limit)
        self.socket = Socket()
        self.socket.protocol = self.protocol
        self.protocol.connection_made(self.socket)

    def _respond(self, request: Request) -> Response:
        self.requests.append(request)
        if request.target == b"/fault":
            raise ZeroDivisionError
        body = b"%d" % len(self.requests)
        return Response(b"HTTP/1.1 200 OK\r\n", b"content-length: %d\r\n\r\n%b" % (len(body), body))

    def _reject(self, request: Request) -> Response:
        return OVERLOADED.to_get

    async def send(self, *pieces: bytes, every_s: float = 0.0) -> None:
        for piece in pieces:
            if not self.socket.closed:
                self.protocol.data_received(piece)
            await asyncio.sleep(every_s)

    @property
    def answers(self) -> int:
        return self.socket.written.count(b"HTTP/1.1 200 OK\r\n")

    @property
    def is_open(self) -> bool:
        return not self.socket.closed


# Requests and responses


async def test_handler_gets_the_target_peer_and_relevant_headers() -> None:
    connection = Connection()
    head = b"HOST: x\r\nX-FORWARDED-For:  b c \r\nx-a: y\r\n"
    tags = b'If-None-Match: "z"\r\nif-none-match: "w"\r\n\r\n'
    await connection.send(b"GET /v1/route?a=%20b HTTP/1.1\r\n", head, tags)
    placing = [(b"x-forwarded-for", b"b c")]
    assert connection.requests == [
        Request(b"GET", b"/v1/route?a=%20b", placing, "192.0.2.7", b'"z","w"')
    ]


async def test_response_has_a_date_and_keeps_the_connection_open() -> None:
    connection = Connection()
    await connection.send(REQUEST)
    assert connection.socket.written == (
        b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 1\r\n\r\n1"
    )
    assert connection.is_open


@pytest.mark.parametrize(
    "request_",
    [HEAD + b"Connection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n",
     b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
     HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",
     HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
     HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n\x81\x05hello"],
    ids=["close", "1.0", "1.0 keep-alive", "expect", "websocket", "h2c"],
)  # fmt: skip
async def test_connection_that_is_not_kept_closes_after_the_response(request_: bytes) -> None:
    connection = Connection()
    await connection.send(request_)
    assert (connection.answers, connection.is_open) == (1, False)
    assert b"\r\nconnection: close\r\n" in connection.socket.written


async def test_pipelined_requests_are_answered_in_order() -> None:
    connection = Connection()
    await connection.send(REQUEST * 3 + HEAD, b"\r\n")
    bodies = [part[-1:] for part in connection.socket.written.split(b"HTTP/1.1")[1:]]
    assert bodies == [b"1", b"2", b"3", b"4"]


async def test_requests_after_connection_close_are_ignored() -> None:
    connection = Connection()
    await connection.send(HEAD + b"Connection: close\r\n\r\n" + REQUEST)
    assert (connection.answers, len(connection.requests)) == (1, 1)
    assert b"400" not in connection.socket.written


@given(st.lists(st.integers(1, len(REQUEST) * 3 - 1), max_size=12))
def test_splitting_the_input_does_not_change_the_output(cuts: list[int]) -> None:
    async def written(*pieces: bytes) -> bytes:
        connection = Connection()
        await connection.send(*pieces)
        return connection.socket.written

    edges = [0, *sorted(set(cuts)), len(REQUEST) * 3]
    pieces = [(REQUEST * 3)[a:b] for a, b in itertools.pairwise(edges)]
    with asyncio.Runner() as runner:
        assert runner.run(written(*pieces)) == runner.run(written(REQUEST * 3))


async def test_request_is_answered_before_its_body_arrives() -> None:
    connection = Connection()
    await connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    assert connection.answers == 1
    await connection.send(b"x" * 100, REQUEST)
    assert (connection.answers, connection.is_open) == (2, True)


async def test_chunked_body_is_discarded() -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await connection.send(head + b"3\r\nabc\r\n0\r\n\r\n" + REQUEST)
    assert (connection.answers, connection.is_open) == (2, True)


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/9\r\n\r\n", HEAD + b"A b: c\r\n\r\n"]
)
async def test_malformed_http_is_rejected(data: bytes) -> None:
    connection = Connection()
    await connection.send(data)
    assert connection.socket.written.startswith(
        BAD_REQUEST.to_get.opening + b"connection: close\r\n"
    )
    assert connection.socket.written.endswith(BAD_REQUEST.body)
    assert not connection.is_open


@pytest.mark.parametrize(
    "hosts",
    [b"", b"Host: x\r\nHost: x\r\n", b"Host: x\r\nhost: y\r\n", b"Host: a b\r\n",
     b"Host: x/y\r\n", b"Host: a@b\r\n", b"Host: x:1a\r\n", b"Host: [::1\r\n", b"Host: a,b c\r\n"],
)  # fmt: skip
async def test_request_without_exactly_one_valid_host_is_rejected(hosts: bytes) -> None:
    connection = Connection()
    await connection.send(LINE + hosts + b"\r\n" + REQUEST)
    assert connection.socket.written.startswith(BAD_REQUEST.to_get.opening)
    assert (connection.answers, connection.is_open) == (0, False)


@pytest.mark.parametrize(
    "host",
    [b"", b"x", b"x.example:8080", b"127.0.0.1", b"[::1]:80", b"x:", b"a_b.example", b" x\t"],
)
async def test_valid_host_is_accepted(host: bytes) -> None:
    connection = Connection()
    await connection.send(LINE + b"Host:" + host + b"\r\n\r\n")
    assert (connection.answers, connection.is_open) == (1, True)


async def test_http_1_0_needs_no_host() -> None:
    connection = Connection()
    await connection.send(b"GET / HTTP/1.0\r\n\r\n")
    assert connection.answers == 1


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"GET / RTSP/1.0", BAD_REQUEST),
        (b"GET  /  RTSP/1.1", BAD_REQUEST),
        (b"POST /a.b RTSP/2.0", BAD_REQUEST),
        (b"DESCRIBE / RTSP/1.0", BAD_REQUEST),
        (b"SOURCE / ICE/1.0", BAD_REQUEST),
        (b"GET / ICE/1.0", BAD_REQUEST),
        (b"GET / FTP/1.1", BAD_REQUEST),
        (b"GET / http/1.1", BAD_REQUEST),
        (b"GET /", BAD_REQUEST),
        (b"get / HTTP/1.1", BAD_REQUEST),
        (b"GET / HTTP/0.9", BAD_VERSION),
        (b"GET / HTTP/1.2", BAD_VERSION),
        (b"GET / HTTP/2.0", BAD_VERSION),
        (b"GET / HTTP/3.0", BAD_VERSION),
        (b"PRI * HTTP/2.0", BAD_VERSION),
    ],
)
async def test_other_protocols_and_versions_are_rejected(
    line: bytes, answer: Answer, size: int
) -> None:
    connection = Connection()
    data = line + b"\r\nHost: x\r\nA: b\r\nC: d\r\n\r\n"
    await connection.send(*(data[at : at + size] for at in range(0, len(data), size)))
    assert connection.socket.written.startswith(answer.to_get.opening + b"connection: close\r\n")
    assert (connection.answers, connection.is_open) == (0, False)


@pytest.mark.parametrize("size", [1, 16, 10_000])
async def test_request_of_another_protocol_after_a_good_one_is_rejected(size: int) -> None:
    connection = Connection()
    data = REQUEST + LINE.replace(b"HTTP/1.1", b"RTSP/1.0") + b"Host: x\r\nA: b\r\n\r\n"
    await connection.send(*(data[at : at + size] for at in range(0, len(data), size)))
    assert (connection.answers, connection.is_open) == (1, False)
    assert connection.socket.written.count(BAD_REQUEST.to_get.opening) == 1


async def test_header_that_looks_like_a_request_line_is_accepted() -> None:
    connection = Connection()
    await connection.send(HEAD + b"X: GET / RTSP/1.0\r\nY: RTSP/1.0\r\n\r\n")
    assert connection.answers == 1


@pytest.mark.parametrize(
    "coding",
    [b"xchunked", b"gzip", b"chunked \t", b"chunked, gzip", b"chunked, chunked", b"identity", b""],
)
async def test_last_transfer_coding_must_be_chunked(coding: bytes) -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + coding + b"\r\n\r\n"
    await connection.send(head + b"0\r\n\r\n" + REQUEST)
    assert connection.socket.written.startswith(BAD_REQUEST.to_get.opening)
    assert (connection.answers, connection.is_open) == (0, False)


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked  ", b"gzip, chunked"])
async def test_chunked_as_last_coding_is_read(coding: bytes) -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + coding + b"\r\n\r\n"
    await connection.send(head + b"1\r\na\r\n0\r\n\r\n" + REQUEST)
    assert (connection.answers, connection.is_open) == (2, True)


async def test_transfer_encoding_in_http_1_0_is_rejected() -> None:
    connection = Connection()
    await connection.send(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert connection.socket.written.startswith(BAD_REQUEST.to_get.opening)


@pytest.mark.parametrize(
    "fields", [b"Connection: close\r\nContent-Length: 9\r\n", b"Content-Length: 1048577\r\n"]
)
async def test_missing_body_of_a_last_request_is_not_awaited_for_long(fields: bytes) -> None:
    connection = Connection()
    await connection.send(HEAD + fields + b"\r\n")
    assert (connection.answers, connection.is_open) == (1, True)
    assert b"\r\nconnection: close\r\n" in connection.socket.written
    await asyncio.sleep(LINGER_S + 0.1)
    assert not connection.is_open


async def test_rejected_head_request_gets_no_body() -> None:
    connection = Connection()
    await connection.send(b"HEAD / HTTP/1.1\r\n\r\n")
    assert connection.socket.written.startswith(BAD_REQUEST.to_get.opening)
    assert connection.socket.written.endswith(b"\r\n\r\n")


async def test_trailers_are_ignored() -> None:
    connection = Connection()
    trailers = b"Host: y\r\nX-Forwarded-For: z\r\n" * 50
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    await connection.send(head + trailers + b"\r\n" + REQUEST)
    assert (connection.answers, connection.requests[0].headers) == (2, [])


async def test_request_before_invalid_bytes_is_answered() -> None:
    connection = Connection()
    await connection.send(REQUEST + b"\x00invalid\r\n\r\n")
    assert (connection.answers, connection.is_open) == (1, False)


@pytest.mark.parametrize(
    "data",
    [
        b"Transfer-Encoding: xchunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_malformed_body_gets_no_second_response(data: bytes) -> None:
    connection = Connection()
    await connection.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + data[:40])
    await connection.send(data[40:] + REQUEST)
    assert connection.socket.written.count(b"date: today") == 1
    assert not connection.is_open


async def test_handler_exception_is_a_500_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    connection = Connection()
    await connection.send(b"GET /fault HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.socket.written.startswith(b"HTTP/1.1 500 ")
    assert not connection.is_open
    assert "ZeroDivisionError" in caplog.text


@given(st.binary(max_size=300))
def test_no_input_causes_a_500(data: bytes) -> None:
    async def converse() -> None:
        connection = Connection()
        await connection.send(data, b"\r\n\r\n", REQUEST)
        assert b" 500 " not in connection.socket.written

    with asyncio.Runner() as runner:
        runner.run(converse())


def test_prebuilt_response_matches_its_parts() -> None:
    opening, rest = HEALTHY.to_get
    head, _, body = rest.partition(b"\r\n\r\n")
    assert (opening, body) == (b"HTTP/1.1 200 OK\r\n", HEALTHY.body)
    assert head.split(b"\r\n") == [b"%b: %b" % header for header in HEALTHY.headers]
    assert HEALTHY.to_head == (opening, head + b"\r\n\r\n")


def connection_objects() -> int:
    return sum(isinstance(one, HttpConnection) for one in gc.get_objects())


def test_closed_connections_are_freed_without_garbage_collection() -> None:
    async def open_and_close() -> None:
        async with served(lambda _: HEALTHY.to_get, public_server) as port:
            before = connection_objects()
            for _ in range(5):
                await talk(port, REQUEST + HEAD + b"Connection: close\r\n\r\n", 5)
            await eventually(lambda: connection_objects() == before)

    gc.collect()
    gc.disable()
    try:
        uvloop.run(open_and_close())
    finally:
        gc.enable()


# Time


async def test_silent_client_is_disconnected() -> None:
    connection = Connection()
    await asyncio.sleep(MESSAGE_S - 1)
    assert connection.is_open
    await asyncio.sleep(2)
    assert not connection.is_open


async def test_client_that_drips_its_head_is_disconnected() -> None:
    connection = Connection()
    await connection.send(HEAD, *[b"X: y\r\n"] * 100, every_s=1)
    assert (connection.is_open, connection.answers) == (False, 0)
    assert len(connection.state.connections) == 0


async def test_client_that_drips_a_body_is_disconnected() -> None:
    connection = Connection()
    await connection.send(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n", *[b"x"] * 90, every_s=1
    )
    assert (connection.is_open, connection.answers) == (False, 1)


async def test_second_request_has_the_same_time_limit() -> None:
    connection = Connection()
    await connection.send(REQUEST, HEAD)
    await asyncio.sleep(MESSAGE_S + 1)
    assert (connection.is_open, connection.answers) == (False, 1)


async def test_each_split_request_gets_its_own_time_limit() -> None:
    connection = Connection()
    await connection.send(REQUEST[:9], *[REQUEST[9:] + REQUEST[:9]] * 30, every_s=1)
    assert (connection.is_open, connection.answers) == (True, 30)


async def test_head_sent_byte_by_byte_is_answered() -> None:
    connection = Connection()
    await connection.send(*[bytes((byte,)) for byte in REQUEST], every_s=0.1)
    await asyncio.sleep(MESSAGE_S + 1)
    assert (connection.is_open, connection.answers) == (True, 1)


async def test_idle_connection_is_closed_after_the_keep_alive_time() -> None:
    connection = Connection()
    for _ in range(3):
        await connection.send(REQUEST)
        await asyncio.sleep(KEEP_ALIVE_S - 1)
        assert connection.is_open
    await asyncio.sleep(2)
    assert not connection.is_open


async def test_disconnected_client_leaves_no_timer() -> None:
    connection = Connection()
    connection.protocol.connection_lost(None)
    await asyncio.sleep(KEEP_ALIVE_S + 1)
    assert (connection.socket.closed, len(connection.state.connections)) == (False, 0)


def test_timeout_that_is_already_due_works_with_uvloop() -> None:
    """uvloop returns another kind of handle for a timer that is already due."""

    async def act() -> bool:
        connection = Connection()
        for seconds in (0.0001, 0.0, -1.0, 5.0, 0.0002):
            connection.protocol._expire_in(seconds)
        await eventually(lambda: not connection.is_open)
        return connection.is_open

    assert not uvloop.run(act())


@pytest.mark.parametrize("every_s", [0.1, 1.0, 9.0])
async def test_empty_lines_do_not_extend_the_first_timeout(every_s: float) -> None:
    connection = Connection()
    await connection.send(*[b"\r\n"] * int(2 * MESSAGE_S / every_s), every_s=every_s)
    assert not connection.is_open
    assert connection.protocol.progress_at == 0.0


async def test_empty_lines_do_not_extend_keep_alive() -> None:
    connection = Connection()
    await connection.send(REQUEST, *[b"\r\n"] * int(KEEP_ALIVE_S + 2), every_s=1)
    assert not connection.is_open


async def test_first_timeout_starts_when_the_client_connects() -> None:
    connection = Connection()
    await asyncio.sleep(MESSAGE_S - 1)
    await connection.send(HEAD)
    await asyncio.sleep(1.1)
    assert (connection.is_open, connection.answers) == (False, 0)


async def test_rejected_connection_cannot_extend_its_timeout() -> None:
    limit = ConnectionLimit(1)
    _, rejected = Connection(limit), Connection(limit)
    await asyncio.sleep(REJECTED_S - 0.5)
    await rejected.send(HEAD)
    await asyncio.sleep(0.6)
    assert not rejected.is_open


# Size


@pytest.mark.parametrize(
    ("start", "piece"),
    [(HEAD, b"x" * 60_000), (HEAD, b"X: " + b"y" * 60_000 + b"\r\n"), (b"GET /", b"x" * 60_000)],
    ids=["header name", "headers", "target"],
)
async def test_endless_head_is_rejected(start: bytes, piece: bytes) -> None:
    connection = Connection()
    await connection.send(start, *[piece] * 10)
    assert not connection.is_open
    assert connection.socket.written.startswith(b"HTTP/1.1 400")


async def test_large_head_within_the_limit_is_answered() -> None:
    connection = Connection()
    await connection.send(HEAD, b"X: " + b"y" * (MAX_HEAD_BYTES - 100) + b"\r\n\r\n")
    assert (connection.is_open, connection.answers) == (True, 1)


async def test_many_small_requests_do_not_count_as_a_large_head() -> None:
    connection = Connection()
    for _ in range(2):
        await connection.send(REQUEST * 1_000 + HEAD[:10], HEAD[10:] + b"\r\n")
    await asyncio.sleep(1)
    assert (connection.is_open, connection.answers) == (True, 2_002)


async def test_client_that_sends_an_endless_body_is_disconnected() -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"
    await connection.send(head, *[b"x" * 60_000] * 100)
    assert (connection.is_open, connection.answers) == (False, 1)


@pytest.mark.parametrize(
    "piece", [b"x" * 60_000, b"X-Forwarded-For: y\r\n" * 3_000], ids=["one", "many"]
)
async def test_client_that_sends_endless_trailers_is_disconnected(piece: bytes) -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
    await connection.send(head, *[piece] * 4)
    assert (connection.is_open, connection.answers) == (False, 1)


async def test_body_within_the_limit_keeps_the_connection_open() -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % MAX_BODY_BYTES
    await connection.send(head, b"x" * MAX_BODY_BYTES, REQUEST)
    assert (connection.is_open, connection.answers) == (True, 2)


@pytest.mark.parametrize(
    ("field", "most"),
    [(b"X: y\r\n", MAX_FIELDS - 1), (b"X-Forwarded-For: y\r\n", MAX_PLACING_FIELDS)],
)
async def test_number_of_header_fields_is_limited(field: bytes, most: int) -> None:
    accepted, rejected = Connection(), Connection()
    await accepted.send(HEAD, *[field] * most, b"\r\n")
    await rejected.send(HEAD, *[field] * (most + 1), b"\r\n")
    assert (accepted.answers, rejected.answers) == (1, 0)
    assert rejected.socket.written.startswith(BAD_REQUEST.to_get.opening)


@pytest.mark.parametrize("size", [100, 1_000_000])
async def test_complete_head_over_the_size_limit_is_rejected(size: int) -> None:
    connection = Connection()
    data = HEAD + b"X: " + b"y" * (MAX_HEAD_BYTES + WHOLE_BYTES) + b"\r\n\r\n"
    await connection.send(*(data[at : at + size] for at in range(0, len(data), size)))
    assert connection.socket.written.startswith(BAD_REQUEST.to_get.opening)


def a_limit(budget_bytes: int) -> ConnectionLimit:
    return ConnectionLimit(1_000, MemoryBudget(budget_bytes))


async def test_aborted_connection_frees_its_input_at_once() -> None:
    """The memory is not kept until the transport closes: other connections may need it."""
    connection = Connection()
    connection.socket.abort = lambda: None  # type: ignore[method-assign]
    await connection.send(LINE + b"X-Forwarded-For: x\r\nX: " + b"y" * 20_000)
    connection.protocol.abort()
    protocol = connection.protocol
    assert not any([protocol._parser, protocol._headers, protocol._piece, protocol._target])


async def test_largest_unfinished_head_is_closed_above_the_budget() -> None:
    limit = a_limit(60_000)
    small, large = Connection(limit), Connection(limit)
    await small.send(HEAD)
    await large.send(HEAD + b"X: " + b"y" * 30_000)
    last = Connection(limit)
    await last.send(HEAD + b"X: " + b"y" * 31_000)
    assert [one.socket.aborted for one in (small, large, last)] == [False, False, True]
    assert limit.shed == {Shed.MEMORY: 1}
    await small.send(b"\r\n")
    await large.send(b"\r\n\r\n")
    assert (small.answers, large.answers) == (1, 1)


async def test_placing_fields_count_towards_the_budget() -> None:
    limit = a_limit(100_000)
    connections = [Connection(limit) for _ in range(20)]
    for one in connections:
        await one.send(HEAD, *[b"X-Forwarded-For:\r\n"] * MAX_PLACING_FIELDS)
    assert 8 < sum(one.is_open for one in connections) < 12


async def test_unread_responses_count_towards_the_budget() -> None:
    limit = a_limit(100_000)
    connections = [Connection(limit) for _ in range(20)]
    for one in connections:
        one.socket.client_reads = False
        await one.send(REQUEST * 1_000)
    assert limit._budget.held_bytes <= 100_000
    assert 0 < sum(one.is_open for one in connections) < 10


@pytest.mark.parametrize(
    "data", [HEAD, REQUEST * 1_000, HEAD + b"X: " + b"y" * 9_000], ids=["head", "flood", "large"]
)
async def test_closed_connection_frees_its_budget(data: bytes) -> None:
    limit = a_limit(10_000_000)
    connection = Connection(limit)
    connection.socket.client_reads = False
    await connection.send(data)
    assert limit._budget.held_bytes > 0
    connection.protocol.abort()
    assert limit._budget.held_bytes == 0


async def test_idle_connection_uses_no_budget() -> None:
    limit = a_limit(10_000_000)
    connection = Connection(limit)
    await connection.send(HEAD[:9], HEAD[9:] + b"\r\n", REQUEST * 1_000)
    await asyncio.sleep(1)
    assert (connection.answers, limit._budget.held_bytes) == (1_001, 0)


# Clients that do not read


async def test_buffer_of_unread_responses_is_bounded() -> None:
    connection = Connection()
    connection.socket.client_reads = False
    await connection.send(REQUEST * 20_000)
    await asyncio.sleep(1)
    assert connection.socket.buffered < 2 * MAX_UNSENT_BYTES
    assert not connection.socket.accepts_data


async def test_client_that_never_reads_is_disconnected() -> None:
    connection = Connection()
    connection.socket.client_reads = False
    await connection.send(REQUEST * 5_000)
    await asyncio.sleep(SLOW_READER_S + 1)
    assert connection.socket.aborted


async def test_client_that_never_reads_its_last_response_is_disconnected() -> None:
    connection = Connection()
    connection.socket.client_reads = False
    await connection.send(HEAD + b"Connection: close\r\n\r\n")
    assert (connection.socket.closed, connection.socket.aborted) == (True, False)
    await asyncio.sleep(SLOW_READER_S + 1)
    assert connection.socket.aborted


async def test_client_that_never_reads_one_response_is_disconnected() -> None:
    connection = Connection()
    connection.socket.client_reads = False
    await connection.send(REQUEST)
    await asyncio.sleep(KEEP_ALIVE_S + 1)
    assert (connection.socket.closed, connection.socket.aborted) == (True, False)
    await asyncio.sleep(SLOW_READER_S)
    assert connection.socket.aborted


# Many connections


async def test_flood_on_one_connection_does_not_block_others() -> None:
    flood, other = Connection(), Connection()
    flood.protocol.data_received(REQUEST * 1_000)
    assert (flood.answers <= SLICE_BYTES // 18, flood.socket.accepts_data) == (True, False)
    other.protocol.data_received(REQUEST)
    assert other.answers == 1
    await asyncio.sleep(1)
    assert (flood.answers, flood.socket.accepts_data) == (1_000, True)


async def test_long_head_is_read_at_once() -> None:
    connection = Connection()
    connection.protocol.data_received(HEAD + b"X: " + b"y" * 30_000 + b"\r\n\r\n")
    assert connection.answers == 1


async def test_unread_flood_continues_when_the_client_reads() -> None:
    connection = Connection()
    connection.socket.client_reads = False
    connection.protocol.data_received(REQUEST * 2_000)
    await asyncio.sleep(1)
    assert connection.answers < 2_000
    connection.socket.read_all()
    await asyncio.sleep(1)
    assert (connection.answers, connection.socket.accepts_data) == (2_000, True)


async def test_longest_idle_connection_is_replaced() -> None:
    limit = ConnectionLimit(3)
    silent = Connection(limit)
    await asyncio.sleep(1)
    asked = Connection(limit)
    await asyncio.sleep(1)
    await asked.send(REQUEST)
    fresh, new = Connection(limit), Connection(limit)
    await new.send(REQUEST)
    aborted = [one.socket.aborted for one in (silent, asked, fresh, new)]
    assert aborted == [True, False, False, False]
    assert (new.answers, limit.shed, len(limit)) == (1, {Shed.HUNG_UP: 1}, 3)


async def test_client_that_does_not_read_is_replaced() -> None:
    limit = ConnectionLimit(2)
    unread = Connection(limit)
    unread.socket.client_reads = False
    await unread.send(REQUEST * 2_000)
    await asyncio.sleep(1)
    kept = Connection(limit)
    await asyncio.sleep(MIN_WAIT_S)
    assert Connection(limit).is_open
    assert (unread.socket.aborted, kept.is_open) == (True, True)


EXPECT_WITHOUT_BODY = HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [b"", b"\r\n", REQUEST + b"\r\n", HEAD, REQUEST * 9_000, REQUEST * 200 + EXPECT_WITHOUT_BODY,
     EXPECT_WITHOUT_BODY, HEAD + b"Content-Length: 9\r\n\r\n"],
)  # fmt: skip
async def test_any_waiting_connection_can_be_replaced(data: bytes) -> None:
    limit = ConnectionLimit(1)
    first = Connection(limit)
    first.socket.client_reads = False
    await first.send(data)
    await asyncio.sleep(1)
    new = Connection(limit)
    await new.send(REQUEST)
    assert (first.socket.closed, new.answers) == (True, 1)


async def test_new_connection_over_the_limit_gets_a_503() -> None:
    limit = ConnectionLimit(1)
    first, new = Connection(limit), Connection(limit)
    await new.send(REQUEST)
    head = new.socket.written.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0] == b"HTTP/1.1 503 Service Unavailable"
    assert {b"retry-after: 5", b"cache-control: no-store", b"connection: close"} <= set(head)
    assert (new.is_open, first.is_open) == (False, True)


async def test_oldest_rejected_connections_are_replaced() -> None:
    limit = ConnectionLimit(1)
    connections = [Connection(limit) for _ in range(20)]
    await connections[-1].send(REQUEST)
    assert [one.socket.aborted for one in connections] == [False] + [True] * 11 + [False] * 8
    assert connections[-1].socket.written.startswith(b"HTTP/1.1 503 ")


# Shutdown


async def test_shutdown_closes_an_idle_connection_soon() -> None:
    connection = Connection()
    await connection.send(REQUEST)
    connection.protocol.shutdown()
    await asyncio.sleep(LAST_REQUEST_S + 0.1)
    assert not connection.is_open


async def test_shutdown_answers_a_request_that_arrives_soon() -> None:
    connection = Connection()
    await connection.send(REQUEST)
    connection.protocol.shutdown()
    await asyncio.sleep(LAST_REQUEST_S / 2)
    await connection.send(REQUEST)
    assert (connection.answers, connection.is_open) == (2, False)


async def test_shutdown_answers_an_unfinished_request() -> None:
    connection = Connection()
    await connection.send(HEAD)
    connection.protocol.shutdown()
    await asyncio.sleep(1)
    await connection.send(b"\r\n")
    assert (connection.answers, connection.is_open) == (1, False)
    assert b"\r\nconnection: close\r\n" in connection.socket.written


@pytest.mark.parametrize("data", [b"", b"\r\n", HEAD, REQUEST * 9_000, EXPECT_WITHOUT_BODY])
async def test_no_client_delays_a_stop(data: bytes) -> None:
    connection = Connection()
    connection.socket.client_reads = False
    await connection.send(data)
    connection.protocol.shutdown()
    await connection.send(*[b"\r\n"] * 30, every_s=(STOP_S + 0.1) / 30)
    assert connection.state.connections == set()


# Random input

PIECES = [
    b"\r\n", b"\n", b"\r", REQUEST, HEAD, LINE, b"GET", b"X: y\r\n", b"X-Forwarded-For: z\r\n",
    b"\x00", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", b"abcde",
    b"Connection: close\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"5\r\n", b"0\r\n\r\n",
    b"Expect: 100-continue\r\n", b"GET / HTTP/1.0\r\n\r\n", REQUEST * 60, b"x" * 2_000,
]  # fmt: skip
STEPS = st.one_of(
    st.sampled_from(PIECES),
    st.binary(max_size=9),
    st.floats(0, 30),
    st.sampled_from(["read", "stop reading"]),
)
LONGEST_S = max(KEEP_ALIVE_S, MESSAGE_S) + SLOW_READER_S


class Watched:
    """A connection whose invariants are checked after each step."""

    def __init__(self, limit: ConnectionLimit) -> None:
        self.connection = Connection(limit)
        self.loop = asyncio.get_running_loop()
        self.progress_at = self.loop.time()

    async def apply(self, step: "bytes | float | str") -> None:
        protocol, socket = self.connection.protocol, self.connection.socket
        answers, deadline, state = self.connection.answers, protocol._deadline, protocol.state
        was_at = protocol.progress_at
        if isinstance(step, bytes):
            if socket.accepts_data and not socket.closed:
                protocol.data_received(step)
            if not step.strip(b"\r\n") and state is State.IDLE:
                assert (protocol.progress_at, protocol._deadline) == (was_at, deadline)
            if self.connection.answers > answers:
                assert protocol.progress_at == self.loop.time()
        elif isinstance(step, float):
            await asyncio.sleep(step)
        elif step == "read" and not socket.closed:
            socket.read_all() if protocol._is_unread else None
            socket.client_reads = True
        else:
            socket.client_reads = False
        assert was_at <= protocol.progress_at <= self.loop.time()
        if protocol.state is not State.CLOSED:
            assert self.loop.time() - protocol.progress_at <= LONGEST_S
            assert protocol._deadline - self.loop.time() <= max(KEEP_ALIVE_S, SLOW_READER_S)


@given(st.lists(STEPS, max_size=30), st.integers(1, 3))
def test_time_and_memory_stay_bounded_for_any_input(
    steps: list[bytes | float | str], ending: int
) -> None:
    async def act() -> None:
        limit = ConnectionLimit(1, MemoryBudget(200_000))
        watched = Watched(limit)
        for step in steps:
            await watched.apply(step)
        connection = watched.connection
        if ending == 1:  # an idle connection is closed in time
            await asyncio.sleep(LONGEST_S + 0.1)
        elif ending == 2:  # a new connection replaces it
            await asyncio.sleep(2 * MIN_WAIT_S)
            await (new := Connection(limit)).send(REQUEST)
            assert new.answers == 1
        else:  # empty lines do not delay a stop
            connection.protocol.shutdown()
            await connection.send(*[b"\r\n"] * 30, every_s=(STOP_S + 0.1) / 30)
        assert connection.protocol.state is State.CLOSED
        assert (connection.state.connections, limit._budget._held.get(connection.protocol)) == (
            set(),
            None,
        )

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(act())
