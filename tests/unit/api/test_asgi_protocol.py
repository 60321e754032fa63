"""The limits of an ASGI connection, in virtual time and without a network."""

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from router.api.asgi_protocol import MAX_UNANSWERED_BYTES, SLOW_READER_S, BoundedConnection
from router.api.connection_limit import MIN_WAIT_S, REJECTED_S, ConnectionLimit, MemoryBudget
from router.api.http_protocol import KEEP_ALIVE_S, MESSAGE_S
from router.api.request_head import MAX_FIELDS, MAX_HEAD_BYTES
from router.api.servers import listener
from tests.support.virtual_loop import VirtualLoop

pytestmark = pytest.mark.anyio

SLOWLY_S = 5
HEAD = b"GET /v1/route HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualLoop}


class Socket(asyncio.Transport):
    """The server's end of a connection: records what is written and when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.aborted = self.paused = False
        self.client_reads = True
        self.protocol: Any = None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def write(self, data: Any) -> None:
        self.written += bytes(data)
        if not self.client_reads:
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return 0 if self.client_reads else len(self.written)

    def close(self) -> None:
        if not self.closed and self.client_reads:
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
        self.closed = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def abort(self) -> None:
        if not self.aborted and not (self.closed and self.client_reads):
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Connection:
    """A client of a server that answers every request with 200."""

    def __init__(self, limit: ConnectionLimit | None = None, app: Any = None) -> None:
        config = listener(answer if app is None else app).config
        config.load()
        self.socket = Socket()
        self.limit = ConnectionLimit(100) if limit is None else limit
        self.protocol = BoundedConnection(config, ServerState(), {}, limit=self.limit)
        self.socket.protocol = self.protocol
        self.protocol.connection_made(self.socket)

    async def send(self, *pieces: bytes, every_s: float = 0.0) -> None:
        for piece in pieces:
            while self.socket.paused and not self.socket.closed:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            if not self.socket.closed:
                self.protocol.data_received(piece)
            await asyncio.sleep(every_s)

    @property
    def answers(self) -> int:
        return self.socket.written.count(b"HTTP/1.1 200 OK\r\n")

    @property
    def codes(self) -> list[bytes]:
        """The statuses of all answers in order."""
        return re.findall(rb"HTTP/1\.1 (\d{3}) ", self.socket.written)


async def answer(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def answer_slowly(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(SLOWLY_S)
    await answer(scope, receive, send)


async def test_silent_client_is_disconnected() -> None:
    connection = Connection()
    await asyncio.sleep(MESSAGE_S - 1)
    assert not connection.socket.closed
    await asyncio.sleep(2)
    assert connection.socket.closed


async def test_client_that_drips_its_head_is_disconnected() -> None:
    connection = Connection()
    await connection.send(HEAD, *[b"X: y\r\n"] * 100, every_s=1)
    assert (connection.socket.closed, connection.answers) == (True, 0)


async def test_second_request_has_the_same_time_limit() -> None:
    connection = Connection()
    await connection.send(HEAD + b"\r\n", HEAD)
    await asyncio.sleep(MESSAGE_S + 1)
    assert (connection.socket.closed, connection.answers) == (True, 1)


async def test_head_sent_byte_by_byte_is_answered() -> None:
    connection = Connection()
    await connection.send(*[bytes((byte,)) for byte in HEAD + b"\r\n"], every_s=0.1)
    await asyncio.sleep(MESSAGE_S + 1)
    assert (connection.socket.closed, connection.answers) == (False, 1)


async def test_idle_connection_is_closed_after_the_keep_alive_time() -> None:
    connection = Connection()
    await connection.send(HEAD + b"\r\n")
    await asyncio.sleep(KEEP_ALIVE_S - 1)
    assert not connection.socket.closed
    await asyncio.sleep(2)
    assert connection.socket.closed


@pytest.mark.parametrize(
    ("start", "piece"),
    [(HEAD, b"x" * 60_000), (HEAD, b"X: " + b"y" * 60_000 + b"\r\n"), (b"GET /", b"x" * 60_000)],
    ids=["header name", "headers", "target"],
)
async def test_endless_head_is_rejected(start: bytes, piece: bytes) -> None:
    connection = Connection()
    await connection.send(start, *[piece] * 10)
    assert connection.socket.closed
    assert connection.socket.written.startswith(b"HTTP/1.1 400")


async def test_large_head_within_the_limit_is_answered() -> None:
    connection = Connection()
    filler = b"X: " + b"y" * (MAX_HEAD_BYTES - 100) + b"\r\n\r\n"
    await connection.send(HEAD, filler)
    assert (connection.socket.closed, connection.answers) == (False, 1)


async def test_disconnected_client_leaves_no_timer() -> None:
    connection = Connection()
    connection.protocol.connection_lost(None)
    await asyncio.sleep(MESSAGE_S + 1)
    assert not connection.socket.aborted


REQUEST = HEAD + b"\r\n"


async def answer_a_body(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body", False):
        pass
    await answer(scope, receive, send)


async def test_pipelined_requests_are_answered_in_order() -> None:
    connection = Connection()
    connection.protocol.data_received(REQUEST * 1_000)
    await asyncio.sleep(1)
    assert (connection.answers, connection.socket.paused) == (1_000, False)


async def test_too_many_pipelined_requests_close_the_connection() -> None:
    connection = Connection(app=answer_slowly)
    connection.protocol.data_received(REQUEST * (MAX_UNANSWERED_BYTES // len(REQUEST) + 1))
    assert connection.socket.aborted


async def test_number_of_header_fields_is_limited() -> None:
    accepted, rejected = Connection(), Connection()
    await accepted.send(HEAD + b"X: y\r\n" * (MAX_FIELDS - 1) + b"\r\n")
    await rejected.send(HEAD + b"X: y\r\n" * MAX_FIELDS + b"\r\n")
    await asyncio.sleep(0.1)
    assert (accepted.codes, rejected.codes) == ([b"200"], [b"400"])
    assert (accepted.socket.closed, rejected.socket.closed) == (False, True)


async def test_unfinished_input_counts_towards_the_budget() -> None:
    limit = ConnectionLimit(100, MemoryBudget(100_000))
    connections = [Connection(limit) for _ in range(20)]
    for one in connections:
        await one.send(HEAD + b"X: " + b"y" * 9_000)
    await asyncio.sleep(0)
    assert sum(one.socket.aborted for one in connections) in range(8, 12)
    for one in connections:
        await one.send(b"\r\n\r\n")
    await asyncio.sleep(0.1)
    assert sum(one.answers for one in connections) == sum(
        not one.socket.aborted for one in connections
    )
    assert limit._budget.held_bytes == 0


async def test_unread_responses_count_towards_the_budget() -> None:
    limit = ConnectionLimit(100, MemoryBudget(500))
    connections = [Connection(limit) for _ in range(20)]
    for one in connections:
        one.socket.client_reads = False
        await one.send(REQUEST)
    await asyncio.sleep(0)
    assert any(one.socket.aborted for one in connections)
    assert 0 < limit._budget.held_bytes <= 500


@pytest.mark.parametrize("data", [b"GET /" + b"x" * 200_000, b"\x00" * 200_000])
async def test_rejected_input_is_freed_at_once(data: bytes) -> None:
    """The memory is not kept until the transport closes: other connections may need it."""
    connection = Connection()
    connection.protocol.data_received(data)
    assert connection.socket.closed
    assert connection.protocol._inner.conn.trailing_data == (b"", False)


async def test_aborted_connection_frees_its_input_at_once() -> None:
    connection = Connection()
    connection.protocol.data_received(b"GET /" + b"x" * 20_000)
    assert connection.protocol._inner.conn.trailing_data[0]
    connection.protocol.abort()
    assert connection.protocol._inner.conn.trailing_data == (b"", False)


async def test_stream_stays_open_while_it_is_read() -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(1)
        await send({"type": "http.response.body", "body": b""})

    connection = Connection(app=stream)
    await connection.send(REQUEST)
    await asyncio.sleep(99)
    assert not connection.socket.closed


async def test_stream_that_is_not_read_is_disconnected() -> None:
    connection = Connection(app=answer_slowly)
    await connection.send(REQUEST)
    connection.protocol.pause_writing()
    assert connection.protocol.progress_at == asyncio.get_running_loop().time()
    await asyncio.sleep(SLOW_READER_S + 0.1)
    assert connection.socket.aborted


async def test_client_that_never_ends_its_body_is_disconnected() -> None:
    connection = Connection(app=answer_a_body)
    await connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"x")
    await asyncio.sleep(MESSAGE_S + 1)
    assert (connection.socket.aborted, connection.answers) == (True, 0)


async def test_client_that_drips_a_body_is_disconnected() -> None:
    connection = Connection(app=answer_a_body)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await connection.send(head, *[b"1\r\nx\r\n"] * 30, every_s=1)
    assert connection.socket.aborted


async def test_empty_lines_do_not_extend_keep_alive() -> None:
    connection = Connection()
    await connection.send(REQUEST, *[b"\r\n"] * 30, every_s=1)
    assert (connection.socket.closed, connection.answers) == (True, 1)


async def test_client_that_reads_in_time_stays_connected() -> None:
    connection = Connection()
    await connection.send(REQUEST)
    connection.protocol.pause_writing()
    await asyncio.sleep(SLOW_READER_S - 1)
    connection.protocol.resume_writing()
    await asyncio.sleep(SLOW_READER_S)
    assert not connection.socket.closed


@pytest.mark.parametrize("data", [REQUEST, HEAD + b"Connection: close\r\n\r\n", b"\x00\r\n\r\n"])
async def test_client_that_does_not_read_is_disconnected(data: bytes) -> None:
    connection = Connection()
    connection.socket.client_reads = False
    await connection.send(data)
    await asyncio.sleep(SLOW_READER_S + 1)
    assert connection.socket.aborted


async def test_requests_after_connection_close_are_ignored() -> None:
    connection = Connection()
    connection.protocol.data_received((HEAD + b"Connection: close\r\n\r\n") + REQUEST * 100)
    await asyncio.sleep(1)
    assert (connection.answers, connection.socket.closed) == (1, True)


async def test_invalid_target_is_rejected() -> None:
    connection = Connection()
    await connection.send(b"CONNECT : HTTP/1.1\r\n\r\n")
    assert (connection.codes, connection.socket.closed) == ([b"400"], True)


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
    assert len(connection.codes) == 1
    assert connection.socket.closed


async def test_response_to_a_closing_connection_logs_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The app responds in the loop iteration in which uvicorn rejects the body."""
    rejected = asyncio.Event()

    async def answer_at_once(scope: Any, receive: Any, send: Any) -> None:
        await rejected.wait()
        await answer(scope, receive, send)

    connection = Connection(app=answer_at_once)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await connection.send(head)
    rejected.set()  # wakes the app before connection_lost
    await connection.send(b"zz\r\n")
    await asyncio.sleep(1)
    assert connection.codes == [b"400"]
    assert [each for each in caplog.records if each.levelname == "ERROR"] == []


@given(
    st.lists(
        st.binary(min_size=1, max_size=60) | st.sampled_from([REQUEST, HEAD, b"\r\n", b"0"]),
        max_size=9,
    )
)
def test_any_input_gets_valid_responses_and_a_close(pieces: list[bytes]) -> None:
    async def act() -> Connection:
        connection = Connection()
        await connection.send(*pieces)
        await asyncio.sleep(KEEP_ALIVE_S + MESSAGE_S)
        return connection

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        connection = runner.run(act())
    assert set(connection.codes) <= {b"200", b"400"}
    assert connection.codes.count(b"400") <= 1
    assert connection.socket.closed


async def test_client_that_awaits_our_response_is_kept() -> None:
    limit = ConnectionLimit(1)
    busy = Connection(limit, answer_slowly)
    await busy.send(REQUEST)
    await asyncio.sleep(2 * MIN_WAIT_S)
    new = Connection(limit)
    await new.send(REQUEST)
    assert (busy.codes, new.codes) == ([], [b"503"])
    await asyncio.sleep(SLOWLY_S)
    assert busy.codes == [b"200"]


async def test_new_connection_over_the_limit_gets_a_503() -> None:
    limit = ConnectionLimit(1)
    first, new = Connection(limit), Connection(limit)
    await new.send(REQUEST)
    head = new.socket.written.partition(b"\r\n\r\n")[0]
    expected = {b"retry-after: 5", b"cache-control: no-store", b"connection: close"}
    assert head.startswith(b"HTTP/1.1 503 ")
    assert expected <= set(head.split(b"\r\n"))
    assert (new.socket.closed, first.socket.closed) == (True, False)


async def test_rejected_connection_is_closed_soon() -> None:
    limit = ConnectionLimit(1)
    _, new = Connection(limit), Connection(limit)
    await asyncio.sleep(REJECTED_S + 0.5)
    assert new.socket.aborted
