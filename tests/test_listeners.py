"""Sockets and the bounds of a connection, in virtual time and without a network."""

import asyncio
import socket
from typing import Any

import pytest
from uvicorn.server import ServerState

from bench.virtual import VirtualLoop
from router.errors import ConfigError
from router.listeners import HEAD_S, KEEP_ALIVE_S, MAX_HEAD_BYTES, BoundedProtocol, bind, listener
from router.values import Listen
from tests.servers import HOST, is_open

pytestmark = pytest.mark.anyio

HEAD = b"GET /v1/route HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualLoop}


class Wire(asyncio.Transport):
    """The server's end of a connection: keeps what is written, knows when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.heard += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Connection:
    """A client of a server that answers 200."""

    def __init__(self) -> None:
        config = listener(answer).config
        config.load()
        self.wire = Wire()
        self.protocol = BoundedProtocol(config, ServerState(), {})
        self.protocol.connection_made(self.wire)

    async def say(self, *pieces: bytes, every_s: float = 0.0) -> None:
        for piece in pieces:
            if not self.wire.closed:
                self.protocol.data_received(piece)
            await asyncio.sleep(every_s)

    @property
    def answers(self) -> int:
        return self.wire.heard.count(b"HTTP/1.1 200 OK\r\n")


async def answer(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def test_silent_client_is_hung_up_on() -> None:
    connection = Connection()
    await asyncio.sleep(HEAD_S - 1)
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
    await asyncio.sleep(HEAD_S + 1)
    assert (connection.wire.closed, connection.answers) == (True, 1)


async def test_head_in_pieces_is_answered() -> None:
    connection = Connection()
    await connection.say(*[bytes((byte,)) for byte in HEAD + b"\r\n"], every_s=0.1)
    await asyncio.sleep(HEAD_S + 1)
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
    for _ in range(20):
        await connection.say((HEAD + b"\r\n") * 1_000 + HEAD[:10], HEAD[10:] + b"\r\n")
    await asyncio.sleep(1)
    assert (connection.wire.closed, connection.answers) == (False, 20_020)


async def test_large_body_is_no_large_head() -> None:
    connection = Connection()
    await connection.say(
        b"POST / HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n", *[b"x" * 60_000] * 9
    )
    assert (connection.wire.closed, connection.answers) == (False, 1)


async def test_client_that_leaves_leaves_no_timer() -> None:
    connection = Connection()
    connection.protocol.connection_lost(None)
    connection.wire.closed = False
    await asyncio.sleep(HEAD_S + 1)
    assert not connection.wire.closed


async def test_bound_socket_listens_at_once() -> None:
    with bind("AUTOROUTER_LISTEN", Listen(HOST, 0)) as bound:
        assert is_open(bound.getsockname()[1])


async def test_port_in_use_is_named_with_its_setting() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            bind("AUTOROUTER_LISTEN", Listen(HOST, port))
    assert caught.value.faults == (
        f"AUTOROUTER_LISTEN: cannot listen on {HOST}:{port}: Address already in use",
    )


async def test_ipv6_can_be_listened_on() -> None:
    with bind("AUTOROUTER_LISTEN", Listen("::1", 0)) as bound:
        assert bound.family == socket.AF_INET6
