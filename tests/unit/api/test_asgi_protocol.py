"""The bounds of connections, in virtual time and without a network."""

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


class Wire(asyncio.Transport):
    """The server's end of a connection: keeps what is written, knows when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = b""
        self.closed = self.aborted = self.paused = False
        self.reads = True  # the client does
        self.protocol: Any = None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def write(self, data: Any) -> None:
        self.heard += bytes(data)
        if not self.reads:
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return 0 if self.reads else len(self.heard)

    def close(self) -> None:
        if not self.closed and self.reads:
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
        self.closed = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def abort(self) -> None:
        if not self.aborted and not (self.closed and self.reads):
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Connection:
    """A client of a server that answers 200."""

    def __init__(self, limit: ConnectionLimit | None = None, app: Any = None) -> None:
        config = listener(answer if app is None else app).config
        config.load()
        self.wire = Wire()
        self.limit = ConnectionLimit(100) if limit is None else limit
        self.protocol = BoundedConnection(config, ServerState(), {}, limit=self.limit)
        self.wire.protocol = self.protocol
        self.protocol.connection_made(self.wire)

    async def say(self, *pieces: bytes, every_s: float = 0.0) -> None:
        for piece in pieces:
            while self.wire.paused and not self.wire.closed:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            if not self.wire.closed:
                self.protocol.data_received(piece)
            await asyncio.sleep(every_s)

    @property
    def answers(self) -> int:
        return self.wire.heard.count(b"HTTP/1.1 200 OK\r\n")

    @property
    def codes(self) -> list[bytes]:
        """The statuses of all answers in order."""
        return re.findall(rb"HTTP/1\.1 (\d{3}) ", self.wire.heard)


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
    assert not connection.wire.closed
    await asyncio.sleep(2)
    assert connection.wire.closed


async def test_client_that_drips_its_head_is_disconnected() -> None:
    connection = Connection()
    await connection.say(HEAD, *[b"X: y\r\n"] * 100, every_s=1)
    assert (connection.wire.closed, connection.answers) == (True, 0)


async def test_second_head_must_come_in_time_as_well() -> None:
    connection = Connection()
    await connection.say(HEAD + b"\r\n", HEAD)
    await asyncio.sleep(MESSAGE_S + 1)
    assert (connection.wire.closed, connection.answers) == (True, 1)


async def test_head_in_pieces_is_answered() -> None:
    connection = Connection()
    await connection.say(*[bytes((byte,)) for byte in HEAD + b"\r\n"], every_s=0.1)
    await asyncio.sleep(MESSAGE_S + 1)
    assert (connection.wire.closed, connection.answers) == (False, 1)


async def test_kept_connection_is_closed_after_its_time() -> None:
    connection = Connection()
    await connection.say(HEAD + b"\r\n")
    await asyncio.sleep(KEEP_ALIVE_S - 1)
    assert not connection.wire.closed
    await asyncio.sleep(2)
    assert connection.wire.closed


@pytest.mark.parametrize("piece", [b"x" * 60_000, b"X: " + b"y" * 60_000 + b"\r\n"])
async def test_head_without_an_end_is_refused(piece: bytes) -> None:
    connection = Connection()
    await connection.say(HEAD, *[piece] * 100)
    assert connection.wire.closed
    assert connection.wire.heard.startswith(b"HTTP/1.1 400")


async def test_head_of_endless_target_is_refused() -> None:
    connection = Connection()
    await connection.say(b"GET /", *[b"x" * 60_000] * 10)
    assert connection.wire.heard.startswith(b"HTTP/1.1 400")


async def test_large_head_within_the_bound_is_answered() -> None:
    connection = Connection()
    filler = b"X: " + b"y" * (MAX_HEAD_BYTES - 100) + b"\r\n\r\n"
    await connection.say(HEAD, filler)
    assert (connection.wire.closed, connection.answers) == (False, 1)


async def test_client_that_leaves_leaves_no_timer() -> None:
    connection = Connection()
    connection.protocol.connection_lost(None)
    await asyncio.sleep(MESSAGE_S + 1)
    assert not connection.wire.aborted


WHOLE = HEAD + b"\r\n"


async def answer_a_body(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body", False):
        pass
    await answer(scope, receive, send)


async def test_requests_sent_ahead_are_answered_in_order() -> None:
    connection = Connection()
    connection.protocol.data_received(WHOLE * 1_000)
    await asyncio.sleep(1)
    assert (connection.answers, connection.wire.paused) == (1_000, False)


async def test_more_than_a_client_may_send_ahead_closes() -> None:
    connection = Connection(app=answer_slowly)
    connection.protocol.data_received(WHOLE * (MAX_UNANSWERED_BYTES // len(WHOLE) + 1))
    assert connection.wire.aborted


async def test_fields_of_a_head_are_bounded() -> None:
    accepted, rejected = Connection(), Connection()
    await accepted.say(HEAD + b"X: y\r\n" * (MAX_FIELDS - 1) + b"\r\n")
    await rejected.say(HEAD + b"X: y\r\n" * MAX_FIELDS + b"\r\n")
    await asyncio.sleep(0.1)
    assert (accepted.codes, rejected.codes) == ([b"200"], [b"400"])
    assert (accepted.wire.closed, rejected.wire.closed) == (False, True)


async def test_unfinished_input_counts_against_the_budget() -> None:
    limit = ConnectionLimit(100, MemoryBudget(100_000))
    crowd = [Connection(limit) for _ in range(20)]
    for one in crowd:
        await one.say(HEAD + b"X: " + b"y" * 9_000)
    await asyncio.sleep(0)
    assert sum(one.wire.aborted for one in crowd) in range(8, 12)
    for one in crowd:
        await one.say(b"\r\n\r\n")
    await asyncio.sleep(0.1)
    assert sum(one.answers for one in crowd) == sum(not one.wire.aborted for one in crowd)
    assert limit._budget.held_bytes == 0


async def test_answers_that_nobody_reads_count_against_the_budget() -> None:
    limit = ConnectionLimit(100, MemoryBudget(500))
    crowd = [Connection(limit) for _ in range(20)]
    for one in crowd:
        one.wire.reads = False
        await one.say(WHOLE)
    await asyncio.sleep(0)
    assert any(one.wire.aborted for one in crowd)
    assert 0 < limit._budget.held_bytes <= 500


@pytest.mark.parametrize("said", [b"GET /" + b"x" * 200_000, b"\x00" * 200_000])
async def test_rejected_input_is_freed_in_the_same_turn(said: bytes) -> None:
    """Not when the transport is gone: until then, thousands of others may bring as much."""
    connection = Connection()
    connection.protocol.data_received(said)
    assert connection.wire.closed
    assert connection.protocol._inner.conn.trailing_data == (b"", False)


async def test_input_of_an_aborted_connection_is_freed_in_the_same_turn() -> None:
    connection = Connection()
    connection.protocol.data_received(b"GET /" + b"x" * 20_000)
    assert connection.protocol._inner.conn.trailing_data[0]
    connection.protocol.abort()
    assert connection.protocol._inner.conn.trailing_data == (b"", False)


async def test_stream_may_last_while_it_is_read() -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(1)
        await send({"type": "http.response.body", "body": b""})

    connection = Connection(app=stream)
    await connection.say(WHOLE)
    await asyncio.sleep(99)
    assert not connection.wire.closed


async def test_stream_that_takes_nothing_for_ten_seconds_makes_room() -> None:
    connection = Connection(app=answer_slowly)
    await connection.say(WHOLE)
    connection.protocol.pause_writing()
    assert connection.protocol.progress_at == asyncio.get_running_loop().time()
    await asyncio.sleep(SLOW_READER_S + 0.1)
    assert connection.wire.aborted


async def test_body_that_never_ends_is_disconnected() -> None:
    connection = Connection(app=answer_a_body)
    await connection.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"x")
    await asyncio.sleep(MESSAGE_S + 1)
    assert (connection.wire.aborted, connection.answers) == (True, 0)


async def test_dripping_body_buys_no_time() -> None:
    connection = Connection(app=answer_a_body)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await connection.say(head, *[b"1\r\nx\r\n"] * 30, every_s=1)
    assert connection.wire.aborted


async def test_empty_lines_between_requests_buy_no_time() -> None:
    connection = Connection()
    await connection.say(WHOLE, *[b"\r\n"] * 30, every_s=1)
    assert (connection.wire.closed, connection.answers) == (True, 1)


async def test_client_that_does_not_read_is_disconnected() -> None:
    connection = Connection()
    await connection.say(WHOLE)
    connection.protocol.pause_writing()
    await asyncio.sleep(SLOW_READER_S + 1)
    assert connection.wire.aborted


async def test_client_that_reads_after_a_while_is_kept() -> None:
    connection = Connection()
    await connection.say(WHOLE)
    connection.protocol.pause_writing()
    await asyncio.sleep(SLOW_READER_S - 1)
    connection.protocol.resume_writing()
    await asyncio.sleep(SLOW_READER_S)
    assert not connection.wire.closed


@pytest.mark.parametrize("said", [WHOLE, HEAD + b"Connection: close\r\n\r\n", b"\x00\r\n\r\n"])
async def test_answer_that_nobody_reads_is_given_up(said: bytes) -> None:
    connection = Connection()
    connection.wire.reads = False
    await connection.say(said)
    await asyncio.sleep(SLOW_READER_S + 1)
    assert connection.wire.aborted


async def test_nothing_is_parsed_after_the_last_answer() -> None:
    connection = Connection()
    connection.protocol.data_received((HEAD + b"Connection: close\r\n\r\n") + WHOLE * 100)
    await asyncio.sleep(1)
    assert (connection.answers, connection.wire.closed) == (1, True)


async def test_target_that_is_none_is_refused() -> None:
    connection = Connection()
    await connection.say(b"CONNECT : HTTP/1.1\r\n\r\n")
    assert (connection.codes, connection.wire.closed) == ([b"400"], True)


@pytest.mark.parametrize(
    "said",
    [
        b"Transfer-Encoding: xchunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_body_that_is_broken_gets_no_second_answer(said: bytes) -> None:
    connection = Connection()
    await connection.say(b"POST / HTTP/1.1\r\nHost: x\r\n" + said[:40])
    await connection.say(said[40:] + WHOLE)
    assert len(connection.codes) == 1
    assert connection.wire.closed


async def test_answer_that_meets_a_closing_connection_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """uvicorn has refused the body, and the app answers in the same turn of the loop."""
    refused = asyncio.Event()

    async def answer_at_once(scope: Any, receive: Any, send: Any) -> None:
        await refused.wait()
        await answer(scope, receive, send)

    connection = Connection(app=answer_at_once)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await connection.say(head)
    refused.set()  # the app wakes before the connection is lost
    await connection.say(b"zz\r\n")
    await asyncio.sleep(1)
    assert connection.codes == [b"400"]
    assert [each for each in caplog.records if each.levelname == "ERROR"] == []


@given(
    st.lists(
        st.binary(min_size=1, max_size=60) | st.sampled_from([WHOLE, HEAD, b"\r\n", b"0"]),
        max_size=9,
    )
)
def test_no_bytes_break_a_connection(pieces: list[bytes]) -> None:
    """Whatever comes: well-formed answers, and in the end nothing is left open."""

    async def act() -> Connection:
        connection = Connection()
        await connection.say(*pieces)
        await asyncio.sleep(KEEP_ALIVE_S + MESSAGE_S)
        return connection

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        connection = runner.run(act())
    assert set(connection.codes) <= {b"200", b"400"}
    assert connection.codes.count(b"400") <= 1
    assert connection.wire.closed


async def test_client_that_we_let_wait_is_not_hung_up_on() -> None:
    limit = ConnectionLimit(1)
    busy = Connection(limit, answer_slowly)
    await busy.say(WHOLE)
    await asyncio.sleep(2 * MIN_WAIT_S)
    newcomer = Connection(limit)
    await newcomer.say(WHOLE)
    assert (busy.codes, newcomer.codes) == ([], [b"503"])
    await asyncio.sleep(SLOWLY_S)
    assert busy.codes == [b"200"]


async def test_newcomer_without_a_place_is_told_so() -> None:
    limit = ConnectionLimit(1)
    first, newcomer = Connection(limit), Connection(limit)
    await newcomer.say(WHOLE)
    head = newcomer.wire.heard.partition(b"\r\n\r\n")[0]
    told = {b"retry-after: 5", b"cache-control: no-store", b"connection: close"}
    assert head.startswith(b"HTTP/1.1 503 ")
    assert told <= set(head.split(b"\r\n"))
    assert (newcomer.wire.closed, first.wire.closed) == (True, False)


async def test_newcomer_without_a_place_has_little_time() -> None:
    limit = ConnectionLimit(1)
    _, newcomer = Connection(limit), Connection(limit)
    await asyncio.sleep(REJECTED_S + 0.5)
    assert newcomer.wire.aborted
