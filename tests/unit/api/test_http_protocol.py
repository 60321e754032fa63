"""HTTP as the public listener speaks it, and its bounds, in virtual time without a network."""

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
    """The server's end of a connection: keeps what is written, knows when it is closed.

    A client that does not read leaves all in the buffer."""

    protocol: HttpConnection

    def __init__(self) -> None:
        super().__init__()
        self.heard = b""
        self.reads = True
        self.buffered = 0
        self.high_water = 64 * 1024
        self.takes_more = True
        self.closed = False
        self.aborted = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.7", 40_000) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high_water = 64 * 1024 if high is None else high

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def write(self, data: Any) -> None:
        self.heard += bytes(data)
        if not self.reads:
            was_high, self.buffered = self.buffered > self.high_water, self.buffered + len(data)
            if not was_high and self.buffered > self.high_water:
                self.protocol.pause_writing()

    def read_all(self) -> None:
        """The client reads again."""
        self.reads, self.buffered = True, 0
        self.protocol.resume_writing()

    def close(self) -> None:
        self.closed = True
        if not self.buffered:
            self.protocol.connection_lost(None)

    def abort(self) -> None:
        self.closed = self.aborted = True
        self.protocol.connection_lost(None)

    def pause_reading(self) -> None:
        self.takes_more = False

    def resume_reading(self) -> None:
        self.takes_more = True


class Connection:
    """A client of a server that answers all with 200 and the number of the request."""

    def __init__(self, limit: ConnectionLimit | None = None) -> None:
        limit = ConnectionLimit(100) if limit is None else limit
        config = public_listener(self._respond, self._reject, limit).config
        config.load()
        self.requests: list[Request] = []
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"today")]
        self.wire = HttpConnection(config, self.state, {}, reject=self._reject, limit=limit)
        self.socket = Socket()
        self.socket.protocol = self.wire
        self.wire.connection_made(self.socket)

    def _respond(self, request: Request) -> Response:
        self.requests.append(request)
        if request.target == b"/fault":
            raise ZeroDivisionError
        body = b"%d" % len(self.requests)
        return Response(b"HTTP/1.1 200 OK\r\n", b"content-length: %d\r\n\r\n%b" % (len(body), body))

    def _reject(self, request: Request) -> Response:
        return OVERLOADED.to_get

    async def say(self, *pieces: bytes, every_s: float = 0.0) -> None:
        for piece in pieces:
            if not self.socket.closed:
                self.wire.data_received(piece)
            await asyncio.sleep(every_s)

    @property
    def answers(self) -> int:
        return self.socket.heard.count(b"HTTP/1.1 200 OK\r\n")

    @property
    def is_open(self) -> bool:
        return not self.socket.closed


# What is heard and said


async def test_request_is_handed_over_with_what_answers_depend_on() -> None:
    connection = Connection()
    head = b"HOST: x\r\nX-FORWARDED-For:  b c \r\nx-a: y\r\n"
    tags = b'If-None-Match: "z"\r\nif-none-match: "w"\r\n\r\n'
    await connection.say(b"GET /v1/route?a=%20b HTTP/1.1\r\n", head, tags)
    placing = [(b"x-forwarded-for", b"b c")]
    assert connection.requests == [
        Request(b"GET", b"/v1/route?a=%20b", placing, "192.0.2.7", b'"z","w"')
    ]


async def test_answer_has_the_date_and_keeps_the_connection() -> None:
    connection = Connection()
    await connection.say(REQUEST)
    assert connection.socket.heard == (
        b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 1\r\n\r\n1"
    )
    assert connection.is_open


@pytest.mark.parametrize(
    "request_",
    [HEAD + b"Connection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n",
     b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"],
    ids=["close", "1.0", "1.0 keep-alive"],
)  # fmt: skip
async def test_connection_is_closed_for_who_does_not_keep_it(request_: bytes) -> None:
    connection = Connection()
    await connection.say(request_)
    assert (connection.answers, connection.is_open) == (1, False)
    assert b"\r\nconnection: close\r\n" in connection.socket.heard


async def test_requests_in_a_row_are_answered_in_order() -> None:
    connection = Connection()
    await connection.say(REQUEST * 3 + HEAD, b"\r\n")
    bodies = [part[-1:] for part in connection.socket.heard.split(b"HTTP/1.1")[1:]]
    assert bodies == [b"1", b"2", b"3", b"4"]


async def test_nothing_is_answered_after_the_last_request() -> None:
    connection = Connection()
    await connection.say(HEAD + b"Connection: close\r\n\r\n" + REQUEST)
    assert (connection.answers, len(connection.requests)) == (1, 1)
    assert b"400" not in connection.socket.heard


@given(st.lists(st.integers(1, len(REQUEST) * 3 - 1), max_size=12))
def test_pieces_make_no_difference(cuts: list[int]) -> None:
    async def heard(*pieces: bytes) -> bytes:
        connection = Connection()
        await connection.say(*pieces)
        return connection.socket.heard

    edges = [0, *sorted(set(cuts)), len(REQUEST) * 3]
    pieces = [(REQUEST * 3)[a:b] for a, b in itertools.pairwise(edges)]
    with asyncio.Runner() as runner:
        assert runner.run(heard(*pieces)) == runner.run(heard(REQUEST * 3))


async def test_body_is_not_waited_for_and_thrown_away() -> None:
    connection = Connection()
    await connection.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    assert connection.answers == 1
    await connection.say(b"x" * 100, REQUEST)
    assert (connection.answers, connection.is_open) == (2, True)


async def test_chunked_body_is_thrown_away() -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await connection.say(head + b"3\r\nabc\r\n0\r\n\r\n" + REQUEST)
    assert (connection.answers, connection.is_open) == (2, True)


async def test_who_asks_before_sending_a_body_is_answered_and_let_go() -> None:
    connection = Connection()
    await connection.say(HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n")
    assert (connection.answers, connection.is_open) == (1, False)


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
async def test_wish_to_upgrade_is_answered_and_let_go(upgrade: bytes) -> None:
    connection = Connection()
    said = HEAD + b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n\r\n\x81\x05hello"
    await connection.say(said)
    assert (connection.answers, connection.is_open) == (1, False)


@pytest.mark.parametrize(
    "said", [b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/9\r\n\r\n", HEAD + b"A b: c\r\n\r\n"]
)
async def test_what_is_not_http_is_refused(said: bytes) -> None:
    connection = Connection()
    await connection.say(said)
    assert connection.socket.heard.startswith(BAD_REQUEST.to_get.opening + b"connection: close\r\n")
    assert connection.socket.heard.endswith(BAD_REQUEST.body)
    assert not connection.is_open


@pytest.mark.parametrize(
    "hosts",
    [b"", b"Host: x\r\nHost: x\r\n", b"Host: x\r\nhost: y\r\n", b"Host: a b\r\n",
     b"Host: x/y\r\n", b"Host: a@b\r\n", b"Host: x:1a\r\n", b"Host: [::1\r\n", b"Host: a,b c\r\n"],
)  # fmt: skip
async def test_request_without_exactly_one_valid_host_is_rejected(hosts: bytes) -> None:
    connection = Connection()
    await connection.say(LINE + hosts + b"\r\n" + REQUEST)
    assert connection.socket.heard.startswith(BAD_REQUEST.to_get.opening)
    assert (connection.answers, connection.is_open) == (0, False)


@pytest.mark.parametrize(
    "host",
    [b"", b"x", b"x.example:8080", b"127.0.0.1", b"[::1]:80", b"x:", b"a_b.example", b" x\t"],
)
async def test_valid_host_is_accepted(host: bytes) -> None:
    connection = Connection()
    await connection.say(LINE + b"Host:" + host + b"\r\n\r\n")
    assert (connection.answers, connection.is_open) == (1, True)


async def test_http_1_0_needs_no_host() -> None:
    connection = Connection()
    await connection.say(b"GET / HTTP/1.0\r\n\r\n")
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
    said = line + b"\r\nHost: x\r\nA: b\r\nC: d\r\n\r\n"
    await connection.say(*(said[at : at + size] for at in range(0, len(said), size)))
    assert connection.socket.heard.startswith(answer.to_get.opening + b"connection: close\r\n")
    assert (connection.answers, connection.is_open) == (0, False)


@pytest.mark.parametrize("size", [1, 16, 10_000])
async def test_request_of_another_protocol_after_a_good_one_is_rejected(size: int) -> None:
    connection = Connection()
    said = REQUEST + LINE.replace(b"HTTP/1.1", b"RTSP/1.0") + b"Host: x\r\nA: b\r\n\r\n"
    await connection.say(*(said[at : at + size] for at in range(0, len(said), size)))
    assert (connection.answers, connection.is_open) == (1, False)
    assert connection.socket.heard.count(BAD_REQUEST.to_get.opening) == 1


async def test_field_that_names_another_protocol_is_no_request_line() -> None:
    connection = Connection()
    await connection.say(HEAD + b"X: GET / RTSP/1.0\r\nY: RTSP/1.0\r\n\r\n")
    assert connection.answers == 1


@pytest.mark.parametrize(
    "coding",
    [b"xchunked", b"gzip", b"chunked \t", b"chunked, gzip", b"chunked, chunked", b"identity", b""],
)
async def test_last_transfer_coding_must_be_chunked(coding: bytes) -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + coding + b"\r\n\r\n"
    await connection.say(head + b"0\r\n\r\n" + REQUEST)
    assert connection.socket.heard.startswith(BAD_REQUEST.to_get.opening)
    assert (connection.answers, connection.is_open) == (0, False)


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked  ", b"gzip, chunked"])
async def test_chunked_as_last_coding_is_read(coding: bytes) -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + coding + b"\r\n\r\n"
    await connection.say(head + b"1\r\na\r\n0\r\n\r\n" + REQUEST)
    assert (connection.answers, connection.is_open) == (2, True)


async def test_http_1_0_has_no_transfer_codings() -> None:
    connection = Connection()
    await connection.say(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert connection.socket.heard.startswith(BAD_REQUEST.to_get.opening)


@pytest.mark.parametrize(
    "fields",
    [b"Connection: close\r\n", b"Expect: 100-continue\r\nContent-Length: 9\r\n",
     b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Content-Length: 1048577\r\n"],
)  # fmt: skip
async def test_close_is_announced_where_we_close(fields: bytes) -> None:
    connection = Connection()
    await connection.say(HEAD + fields + b"\r\n")
    assert connection.answers == 1
    assert b"\r\nconnection: close\r\n" in connection.socket.heard
    await asyncio.sleep(LINGER_S + 0.1)
    assert not connection.is_open


async def test_rejected_head_request_gets_no_body() -> None:
    connection = Connection()
    await connection.say(b"HEAD / HTTP/1.1\r\n\r\n")
    assert connection.socket.heard.startswith(BAD_REQUEST.to_get.opening)
    assert connection.socket.heard.endswith(b"\r\n\r\n")


async def test_trailers_count_for_nothing() -> None:
    connection = Connection()
    trailers = b"Host: y\r\nX-Forwarded-For: z\r\n" * 50
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    await connection.say(head + trailers + b"\r\n" + REQUEST)
    assert (connection.answers, connection.requests[0].headers) == (2, [])


async def test_rubbish_after_a_request_does_not_spoil_its_answer() -> None:
    connection = Connection()
    await connection.say(REQUEST + b"\x00rubbish\r\n\r\n")
    assert (connection.answers, connection.is_open) == (1, False)


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
    await connection.say(said[40:] + REQUEST)
    assert connection.socket.heard.count(b"date: today") == 1
    assert not connection.is_open


async def test_fault_of_ours_is_a_500_and_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    connection = Connection()
    await connection.say(b"GET /fault HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.socket.heard.startswith(b"HTTP/1.1 500 ")
    assert not connection.is_open
    assert "ZeroDivisionError" in caplog.text


@given(st.binary(max_size=300))
def test_no_bytes_break_it(said: bytes) -> None:
    async def converse() -> None:
        connection = Connection()
        await connection.say(said, b"\r\n\r\n", REQUEST)
        assert b" 500 " not in connection.socket.heard

    with asyncio.Runner() as runner:
        runner.run(converse())


def test_ready_answers_are_what_their_parts_say() -> None:
    opening, rest = HEALTHY.to_get
    head, _, body = rest.partition(b"\r\n\r\n")
    assert (opening, body) == (b"HTTP/1.1 200 OK\r\n", HEALTHY.body)
    assert head.split(b"\r\n") == [b"%b: %b" % header for header in HEALTHY.headers]
    assert HEALTHY.to_head == (opening, head + b"\r\n\r\n")


def wires() -> int:
    return sum(isinstance(one, HttpConnection) for one in gc.get_objects())


def test_closed_connections_need_no_collector() -> None:
    async def come_and_go() -> None:
        async with served(lambda _: HEALTHY.to_get, public_server) as port:
            before = wires()
            for _ in range(5):
                await talk(port, REQUEST + HEAD + b"Connection: close\r\n\r\n", 5)
            await eventually(lambda: wires() == before)

    gc.collect()
    gc.disable()
    try:
        uvloop.run(come_and_go())
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
    await connection.say(HEAD, *[b"X: y\r\n"] * 100, every_s=1)
    assert (connection.is_open, connection.answers) == (False, 0)
    assert len(connection.state.connections) == 0


async def test_client_that_drips_a_body_is_disconnected() -> None:
    connection = Connection()
    await connection.say(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n", *[b"x"] * 90, every_s=1
    )
    assert (connection.is_open, connection.answers) == (False, 1)


async def test_second_head_must_come_in_time_as_well() -> None:
    connection = Connection()
    await connection.say(REQUEST, HEAD)
    await asyncio.sleep(MESSAGE_S + 1)
    assert (connection.is_open, connection.answers) == (False, 1)


async def test_requests_cut_across_are_each_given_their_time() -> None:
    connection = Connection()
    await connection.say(REQUEST[:9], *[REQUEST[9:] + REQUEST[:9]] * 30, every_s=1)
    assert (connection.is_open, connection.answers) == (True, 30)


async def test_head_in_pieces_is_answered() -> None:
    connection = Connection()
    await connection.say(*[bytes((byte,)) for byte in REQUEST], every_s=0.1)
    await asyncio.sleep(MESSAGE_S + 1)
    assert (connection.is_open, connection.answers) == (True, 1)


async def test_kept_connection_is_closed_after_its_time() -> None:
    connection = Connection()
    for _ in range(3):
        await connection.say(REQUEST)
        await asyncio.sleep(KEEP_ALIVE_S - 1)
        assert connection.is_open
    await asyncio.sleep(2)
    assert not connection.is_open


async def test_client_that_leaves_leaves_no_timer() -> None:
    connection = Connection()
    connection.wire.connection_lost(None)
    await asyncio.sleep(KEEP_ALIVE_S + 1)
    assert (connection.socket.closed, len(connection.state.connections)) == (False, 0)


def test_bound_that_is_due_at_once_is_no_trouble_to_uvloop() -> None:
    """Its handle of a timer that is due by now is of another kind."""

    async def act() -> bool:
        connection = Connection()
        for seconds in (0.0001, 0.0, -1.0, 5.0, 0.0002):
            connection.wire._expire_in(seconds)
        await eventually(lambda: not connection.is_open)
        return connection.is_open

    assert not uvloop.run(act())


@pytest.mark.parametrize("every_s", [0.1, 1.0, 9.0])
async def test_empty_lines_do_not_prolong_a_first_request(every_s: float) -> None:
    connection = Connection()
    await connection.say(*[b"\r\n"] * int(2 * MESSAGE_S / every_s), every_s=every_s)
    assert not connection.is_open
    began = connection.wire.progress_at
    assert began == 0.0


async def test_empty_lines_do_not_prolong_a_kept_connection() -> None:
    connection = Connection()
    await connection.say(REQUEST, *[b"\r\n"] * int(KEEP_ALIVE_S + 2), every_s=1)
    assert not connection.is_open


async def test_first_request_has_ten_seconds_since_the_connection() -> None:
    connection = Connection()
    await asyncio.sleep(MESSAGE_S - 1)
    await connection.say(HEAD)
    await asyncio.sleep(1.1)
    assert (connection.is_open, connection.answers) == (False, 0)


async def test_rejected_connection_cannot_prolong_its_time() -> None:
    limit = ConnectionLimit(1)
    _, rejected = Connection(limit), Connection(limit)
    await asyncio.sleep(REJECTED_S - 0.5)
    await rejected.say(HEAD)
    await asyncio.sleep(0.6)
    assert not rejected.is_open


# Size


@pytest.mark.parametrize("piece", [b"x" * 60_000, b"X: " + b"y" * 60_000 + b"\r\n"])
async def test_head_without_an_end_is_refused(piece: bytes) -> None:
    connection = Connection()
    await connection.say(HEAD, *[piece] * 100)
    assert not connection.is_open
    assert connection.socket.heard.startswith(b"HTTP/1.1 400")


async def test_head_of_endless_target_is_refused() -> None:
    connection = Connection()
    await connection.say(b"GET /", *[b"x" * 60_000] * 10)
    assert connection.socket.heard.startswith(b"HTTP/1.1 400")


async def test_large_head_within_the_bound_is_answered() -> None:
    connection = Connection()
    await connection.say(HEAD, b"X: " + b"y" * (MAX_HEAD_BYTES - 100) + b"\r\n\r\n")
    assert (connection.is_open, connection.answers) == (True, 1)


async def test_many_requests_at_once_are_no_large_head() -> None:
    connection = Connection()
    for _ in range(5):
        await connection.say(REQUEST * 1_000 + HEAD[:10], HEAD[10:] + b"\r\n")
    await asyncio.sleep(1)
    assert (connection.is_open, connection.answers) == (True, 5_005)


async def test_body_of_a_last_request_is_not_waited_for_long() -> None:
    connection = Connection()
    await connection.say(
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9\r\n\r\n"
    )
    assert (connection.answers, connection.is_open) == (1, True)
    await asyncio.sleep(LINGER_S + 0.1)
    assert not connection.is_open


async def test_endless_body_is_cut_off() -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"
    await connection.say(head, *[b"x" * 60_000] * 100)
    assert (connection.is_open, connection.answers) == (False, 1)


@pytest.mark.parametrize(
    "piece", [b"x" * 60_000, b"X-Forwarded-For: y\r\n" * 3_000], ids=["one", "many"]
)
async def test_endless_trailers_are_cut_off(piece: bytes) -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
    await connection.say(head, *[piece] * 4)
    assert (connection.is_open, connection.answers) == (False, 1)


async def test_body_within_the_bound_keeps_the_connection() -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % MAX_BODY_BYTES
    await connection.say(head, b"x" * MAX_BODY_BYTES, REQUEST)
    assert (connection.is_open, connection.answers) == (True, 2)


@pytest.mark.parametrize(
    ("field", "most"),
    [(b"X: y\r\n", MAX_FIELDS - 1), (b"X-Forwarded-For: y\r\n", MAX_PLACING_FIELDS)],
)
async def test_fields_of_a_head_are_bounded(field: bytes, most: int) -> None:
    accepted, rejected = Connection(), Connection()
    await accepted.say(HEAD, *[field] * most, b"\r\n")
    await rejected.say(HEAD, *[field] * (most + 1), b"\r\n")
    assert (accepted.answers, rejected.answers) == (1, 0)
    assert rejected.socket.heard.startswith(BAD_REQUEST.to_get.opening)


@pytest.mark.parametrize("size", [100, 1_000_000])
async def test_complete_head_over_the_bound_is_rejected(size: int) -> None:
    connection = Connection()
    said = HEAD + b"X: " + b"y" * (MAX_HEAD_BYTES + WHOLE_BYTES) + b"\r\n\r\n"
    await connection.say(*(said[at : at + size] for at in range(0, len(said), size)))
    assert connection.socket.heard.startswith(BAD_REQUEST.to_get.opening)


def a_limit(budget_bytes: int) -> ConnectionLimit:
    return ConnectionLimit(1_000, MemoryBudget(budget_bytes))


async def test_input_of_an_aborted_connection_is_freed_in_the_same_turn() -> None:
    """Not when the transport is gone: until then, thousands of others may bring as much."""
    connection = Connection()
    connection.socket.abort = lambda: None  # type: ignore[method-assign]
    await connection.say(LINE + b"X-Forwarded-For: x\r\nX: " + b"y" * 20_000)
    connection.wire.abort()
    wire = connection.wire
    assert not any([wire._parser, wire._headers, wire._piece, wire._target])


async def test_largest_unfinished_head_is_closed_past_the_budget() -> None:
    limit = a_limit(60_000)
    small, large = Connection(limit), Connection(limit)
    await small.say(HEAD)
    await large.say(HEAD + b"X: " + b"y" * 30_000)
    last = Connection(limit)
    await last.say(HEAD + b"X: " + b"y" * 31_000)
    assert [one.socket.aborted for one in (small, large, last)] == [False, False, True]
    assert limit.shed == {Shed.MEMORY: 1}
    await small.say(b"\r\n")
    await large.say(b"\r\n\r\n")
    assert (small.answers, large.answers) == (1, 1)


async def test_placing_fields_are_charged_what_they_take() -> None:
    limit = a_limit(100_000)
    crowd = [Connection(limit) for _ in range(20)]
    for one in crowd:
        await one.say(HEAD, *[b"X-Forwarded-For:\r\n"] * MAX_PLACING_FIELDS)
    assert 8 < sum(one.is_open for one in crowd) < 12


async def test_answers_that_are_not_read_are_charged_too() -> None:
    limit = a_limit(100_000)
    crowd = [Connection(limit) for _ in range(20)]
    for one in crowd:
        one.socket.reads = False
        await one.say(REQUEST * 1_000)
    assert limit._budget.held_bytes <= 100_000
    assert 0 < sum(one.is_open for one in crowd) < 10


@pytest.mark.parametrize(
    "said", [HEAD, REQUEST * 1_000, HEAD + b"X: " + b"y" * 9_000], ids=["head", "flood", "large"]
)
async def test_nothing_is_charged_for_a_connection_that_is_gone(said: bytes) -> None:
    limit = a_limit(10_000_000)
    connection = Connection(limit)
    connection.socket.reads = False
    await connection.say(said)
    assert limit._budget.held_bytes > 0
    connection.wire.abort()
    assert limit._budget.held_bytes == 0


async def test_nothing_is_charged_once_all_is_answered() -> None:
    limit = a_limit(10_000_000)
    connection = Connection(limit)
    await connection.say(HEAD[:9], HEAD[9:] + b"\r\n", REQUEST * 1_000)
    await asyncio.sleep(1)
    assert (connection.answers, limit._budget.held_bytes) == (1_001, 0)


# Clients that do not read


async def test_answers_do_not_pile_up_for_who_does_not_read() -> None:
    connection = Connection()
    connection.socket.reads = False
    await connection.say(REQUEST * 100_000)
    await asyncio.sleep(1)
    assert connection.socket.buffered < 2 * MAX_UNSENT_BYTES
    assert not connection.socket.takes_more


async def test_client_that_reads_again_gets_the_rest() -> None:
    connection = Connection()
    connection.socket.reads = False
    await connection.say(REQUEST * 5_000)
    await asyncio.sleep(1)
    connection.socket.read_all()
    await asyncio.sleep(1)
    assert (connection.answers, connection.socket.takes_more) == (5_000, True)


async def test_client_that_never_reads_is_cut_off() -> None:
    connection = Connection()
    connection.socket.reads = False
    await connection.say(REQUEST * 5_000)
    await asyncio.sleep(SLOW_READER_S + 1)
    assert connection.socket.aborted


async def test_client_that_never_reads_its_last_answer_is_cut_off() -> None:
    connection = Connection()
    connection.socket.reads = False
    await connection.say(HEAD + b"Connection: close\r\n\r\n")
    assert (connection.socket.closed, connection.socket.aborted) == (True, False)
    await asyncio.sleep(SLOW_READER_S + 1)
    assert connection.socket.aborted


async def test_client_that_never_reads_a_little_is_cut_off() -> None:
    connection = Connection()
    connection.socket.reads = False
    await connection.say(REQUEST)
    await asyncio.sleep(KEEP_ALIVE_S + 1)
    assert (connection.socket.closed, connection.socket.aborted) == (True, False)
    await asyncio.sleep(SLOW_READER_S)
    assert connection.socket.aborted


# Many at once


async def test_flood_on_one_connection_leaves_turns_to_others() -> None:
    flood, other = Connection(), Connection()
    flood.wire.data_received(REQUEST * 5_000)
    assert (flood.answers <= SLICE_BYTES // 18, flood.socket.takes_more) == (True, False)
    other.wire.data_received(REQUEST)
    assert other.answers == 1
    await asyncio.sleep(1)
    assert (flood.answers, flood.socket.takes_more) == (5_000, True)


async def test_long_head_is_read_in_one_turn() -> None:
    connection = Connection()
    connection.wire.data_received(HEAD + b"X: " + b"y" * 30_000 + b"\r\n\r\n")
    assert connection.answers == 1


async def test_flood_that_is_not_read_is_taken_up_again() -> None:
    connection = Connection()
    connection.socket.reads = False
    connection.wire.data_received(REQUEST * 9_000)
    await asyncio.sleep(1)
    assert connection.answers < 9_000
    connection.socket.read_all()
    await asyncio.sleep(1)
    assert (connection.answers, connection.socket.takes_more) == (9_000, True)


async def test_longest_silence_makes_room_for_a_newcomer() -> None:
    limit = ConnectionLimit(3)
    silent = Connection(limit)
    await asyncio.sleep(1)
    asked = Connection(limit)
    await asyncio.sleep(1)
    await asked.say(REQUEST)
    fresh, newcomer = Connection(limit), Connection(limit)
    await newcomer.say(REQUEST)
    hung_up = [one.socket.aborted for one in (silent, asked, fresh, newcomer)]
    assert hung_up == [True, False, False, False]
    assert (newcomer.answers, limit.shed, len(limit)) == (1, {Shed.HUNG_UP: 1}, 3)


async def test_client_that_does_not_read_makes_room_too() -> None:
    limit = ConnectionLimit(2)
    deaf = Connection(limit)
    deaf.socket.reads = False
    await deaf.say(REQUEST * 9_000)
    await asyncio.sleep(1)
    kept = Connection(limit)
    await asyncio.sleep(MIN_WAIT_S)
    assert Connection(limit).is_open
    assert (deaf.socket.aborted, kept.is_open) == (True, True)


EXPECT_AND_NO_BODY = HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"


@pytest.mark.parametrize(
    "said",
    [b"", b"\r\n", REQUEST + b"\r\n", HEAD, REQUEST * 9_000, REQUEST * 200 + EXPECT_AND_NO_BODY,
     EXPECT_AND_NO_BODY, HEAD + b"Content-Length: 9\r\n\r\n"],
)  # fmt: skip
async def test_every_connection_makes_room_after_a_moment(said: bytes) -> None:
    limit = ConnectionLimit(1)
    first = Connection(limit)
    first.socket.reads = False
    await first.say(said)
    await asyncio.sleep(1)
    newcomer = Connection(limit)
    await newcomer.say(REQUEST)
    assert (first.socket.closed, newcomer.answers) == (True, 1)


async def test_newcomer_without_a_place_is_told_so() -> None:
    limit = ConnectionLimit(1)
    first, newcomer = Connection(limit), Connection(limit)
    await newcomer.say(REQUEST)
    head = newcomer.socket.heard.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0] == b"HTTP/1.1 503 Service Unavailable"
    assert {b"retry-after: 5", b"cache-control: no-store", b"connection: close"} <= set(head)
    assert (newcomer.is_open, first.is_open) == (False, True)


async def test_newcomer_without_a_place_has_little_time() -> None:
    limit = ConnectionLimit(1)
    _, newcomer = Connection(limit), Connection(limit)
    await asyncio.sleep(REJECTED_S + 0.1)
    assert not newcomer.is_open


async def test_refused_make_room_for_the_next_to_be_refused() -> None:
    limit = ConnectionLimit(1)
    people = [Connection(limit) for _ in range(20)]
    await people[-1].say(REQUEST)
    assert [one.socket.aborted for one in people] == [False] + [True] * 11 + [False] * 8
    assert people[-1].socket.heard.startswith(b"HTTP/1.1 503 ")


# The end


async def test_shutdown_closes_what_is_idle_soon() -> None:
    connection = Connection()
    await connection.say(REQUEST)
    connection.wire.shutdown()
    await asyncio.sleep(LAST_REQUEST_S + 0.1)
    assert not connection.is_open


async def test_shutdown_answers_a_request_on_its_way() -> None:
    connection = Connection()
    await connection.say(REQUEST)
    connection.wire.shutdown()
    await asyncio.sleep(LAST_REQUEST_S / 2)
    await connection.say(REQUEST)
    assert (connection.answers, connection.is_open) == (2, False)


async def test_shutdown_lets_a_request_under_way_end() -> None:
    connection = Connection()
    await connection.say(HEAD)
    connection.wire.shutdown()
    await asyncio.sleep(1)
    await connection.say(b"\r\n")
    assert (connection.answers, connection.is_open) == (1, False)
    assert b"\r\nconnection: close\r\n" in connection.socket.heard


@pytest.mark.parametrize("said", [b"", b"\r\n", HEAD, REQUEST * 9_000, EXPECT_AND_NO_BODY])
async def test_nobody_delays_a_stop(said: bytes) -> None:
    connection = Connection()
    connection.socket.reads = False
    await connection.say(said)
    connection.wire.shutdown()
    await connection.say(*[b"\r\n"] * 30, every_s=(STOP_S + 0.1) / 30)
    assert connection.state.connections == set()


# All of it, at random

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
    st.sampled_from(["reads", "reads not"]),
)
LONGEST_S = max(KEEP_ALIVE_S, MESSAGE_S) + SLOW_READER_S


class Watched:
    """A connection with what can be seen of it from outside."""

    def __init__(self, limit: ConnectionLimit) -> None:
        self.connection = Connection(limit)
        self.loop = asyncio.get_running_loop()
        self.progress_at = self.loop.time()

    async def take(self, step: "bytes | float | str") -> None:
        wire, socket = self.connection.wire, self.connection.socket
        answers, deadline, state = self.connection.answers, wire._deadline, wire.state
        was_at = wire.progress_at
        if isinstance(step, bytes):
            if socket.takes_more and not socket.closed:
                wire.data_received(step)
            if not step.strip(b"\r\n") and state is State.IDLE:
                assert (wire.progress_at, wire._deadline) == (was_at, deadline)
            if self.connection.answers > answers:
                assert wire.progress_at == self.loop.time()
        elif isinstance(step, float):
            await asyncio.sleep(step)
        elif step == "reads" and not socket.closed:
            socket.read_all() if wire._is_unread else None
            socket.reads = True
        else:
            socket.reads = False
        assert was_at <= wire.progress_at <= self.loop.time()
        if wire.state is not State.CLOSED:
            assert self.loop.time() - wire.progress_at <= LONGEST_S
            assert wire._deadline - self.loop.time() <= max(KEEP_ALIVE_S, SLOW_READER_S)


@given(st.lists(STEPS, max_size=30), st.integers(1, 3))
def test_time_and_room_hold_for_any_bytes_and_clock(
    steps: list[bytes | float | str], ending: int
) -> None:
    async def act() -> None:
        limit = ConnectionLimit(1, MemoryBudget(200_000))
        watched = Watched(limit)
        for step in steps:
            await watched.take(step)
        connection = watched.connection
        if ending == 1:  # left alone, it is closed in time
            await asyncio.sleep(LONGEST_S + 0.1)
        elif ending == 2:  # a newcomer finds room
            await asyncio.sleep(2 * MIN_WAIT_S)
            await (newcomer := Connection(limit)).say(REQUEST)
            assert newcomer.answers == 1
        else:  # a stop is not delayed, by empty lines either
            connection.wire.shutdown()
            await connection.say(*[b"\r\n"] * 30, every_s=(STOP_S + 0.1) / 30)
        assert connection.wire.state is State.CLOSED
        assert (connection.state.connections, limit._budget._held.get(connection.wire)) == (
            set(),
            None,
        )

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(act())
