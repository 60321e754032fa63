"""The bounds of connections, in virtual time and without a network."""

import asyncio
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from router.api.asgi_protocol import MAX_UNREAD_PIECES, PIECE_BYTES, BoundedProtocol
from router.api.connection_limit import MIN_WAIT_S, REJECTED_S, ConnectionLimit
from router.api.http_protocol import KEEP_ALIVE_S, MESSAGE_S, SLOW_READER_S
from router.api.request_head import MAX_HEAD_BYTES
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
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.heard += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Connection:
    """A client of a server that answers 200."""

    def __init__(self, crowd: ConnectionLimit | None = None, app: Any = None) -> None:
        config = listener(answer if app is None else app).config
        config.load()
        self.wire = Wire()
        self.crowd = ConnectionLimit(100) if crowd is None else crowd
        self.protocol = BoundedProtocol(config, ServerState(), {}, crowd=self.crowd)
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


async def test_silent_client_is_hung_up_on() -> None:
    connection = Connection()
    await asyncio.sleep(MESSAGE_S - 1)
    assert not connection.wire.closed
    await asyncio.sleep(2)
    assert connection.wire.closed


async def test_client_that_drips_its_head_is_hung_up_on() -> None:
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


async def test_many_requests_at_once_are_no_large_head() -> None:
    connection = Connection()
    for _ in range(4):
        await connection.say((HEAD + b"\r\n") * 1_000 + HEAD[:10], HEAD[10:] + b"\r\n")
    await asyncio.sleep(1)
    assert (connection.wire.closed, connection.answers) == (False, 4_004)


async def test_large_body_is_no_large_head() -> None:
    connection = Connection()
    await connection.say(
        b"POST / HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n", *[b"x" * 60_000] * 9
    )
    assert (connection.wire.closed, connection.answers) == (False, 1)


@pytest.mark.parametrize(
    "piece", [b"x" * 60_000, b"X-Forwarded-For: y\r\n" * 3_000], ids=["one", "many"]
)
async def test_endless_trailers_are_cut_off(piece: bytes) -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
    await connection.say(head, *[piece] * 4)
    assert (connection.wire.closed, connection.answers) == (True, 1)


async def test_client_that_leaves_leaves_no_timer() -> None:
    connection = Connection()
    connection.protocol.connection_lost(None)
    connection.wire.closed = False
    await asyncio.sleep(MESSAGE_S + 1)
    assert not connection.wire.closed


WHOLE = HEAD + b"\r\n"


async def test_body_that_never_ends_is_hung_up_on() -> None:
    connection = Connection()
    await connection.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"x")
    await asyncio.sleep(MESSAGE_S + 1)
    assert (connection.wire.aborted, connection.answers) == (True, 1)


async def test_dripping_body_buys_no_time() -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await connection.say(head, *[b"1\r\nx\r\n"] * 30, every_s=1)
    assert connection.wire.aborted


async def test_empty_lines_between_requests_buy_no_time() -> None:
    connection = Connection()
    await connection.say(WHOLE, *[b"\r\n"] * 30, every_s=1)
    assert (connection.wire.aborted, connection.answers) == (True, 1)


async def test_client_that_does_not_read_is_hung_up_on() -> None:
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


async def test_last_answer_that_nobody_reads_is_given_up() -> None:
    connection = Connection()
    await connection.say(HEAD + b"Connection: close\r\n\r\n")
    await asyncio.sleep(1)
    assert (connection.wire.closed, connection.wire.aborted) == (True, False)
    await asyncio.sleep(SLOW_READER_S)
    assert connection.wire.aborted


async def test_kept_connection_is_closed_even_if_nobody_reads() -> None:
    connection = Connection()
    await connection.say(WHOLE)
    await asyncio.sleep(KEEP_ALIVE_S + 1)
    assert connection.wire.aborted


async def test_what_is_asked_ahead_waits_unparsed() -> None:
    connection = Connection()
    connection.protocol.data_received(WHOLE * 1_000)
    assert len(connection.protocol.pipeline) <= PIECE_BYTES // 18
    assert connection.wire.paused
    await asyncio.sleep(1)
    assert (connection.answers, connection.wire.paused) == (1_000, False)


async def test_who_asks_ahead_without_end_is_hung_up_on() -> None:
    connection = Connection()
    connection.protocol.pause_writing()
    connection.protocol.data_received(WHOLE * (PIECE_BYTES * (MAX_UNREAD_PIECES + 2) // len(WHOLE)))
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


async def test_garbage_after_requests_is_refused_once_they_are_answered() -> None:
    connection = Connection()
    await connection.say(WHOLE * 3 + b"\x00garbage\r\n\r\n")
    await asyncio.sleep(1)
    assert (connection.codes, connection.wire.closed) == ([b"200"] * 3, True)


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


async def test_refusal_of_bad_http_is_json_that_nobody_keeps() -> None:
    connection = Connection()
    await connection.say(b"\x00garbage\r\n\r\n")
    head, _, body = connection.wire.heard.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert {b"cache-control: no-store", b"connection: close"} <= set(head.split(b"\r\n"))
    assert json.loads(body)["code"] == "bad_request"
    assert connection.wire.closed


@given(st.lists(st.binary(max_size=60) | st.sampled_from([WHOLE, HEAD, b"\r\n", b"0"]), max_size=9))
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
    crowd = ConnectionLimit(1)
    busy = Connection(crowd, answer_slowly)
    await busy.say(WHOLE)
    await asyncio.sleep(2 * MIN_WAIT_S)
    newcomer = Connection(crowd)
    await newcomer.say(WHOLE)
    assert (busy.codes, newcomer.codes) == ([], [b"503"])
    await asyncio.sleep(SLOWLY_S)
    assert busy.codes == [b"200"]


async def test_newcomer_without_a_place_is_told_so() -> None:
    crowd = ConnectionLimit(1)
    first, newcomer = Connection(crowd), Connection(crowd)
    await newcomer.say(WHOLE)
    head = newcomer.wire.heard.partition(b"\r\n\r\n")[0]
    told = {b"retry-after: 5", b"cache-control: no-store", b"connection: close"}
    assert head.startswith(b"HTTP/1.1 503 ")
    assert told <= set(head.split(b"\r\n"))
    assert (newcomer.wire.closed, first.wire.closed) == (True, False)


async def test_newcomer_without_a_place_has_little_time() -> None:
    crowd = ConnectionLimit(1)
    _, newcomer = Connection(crowd), Connection(crowd)
    await asyncio.sleep(REJECTED_S + 0.5)
    assert newcomer.wire.aborted
