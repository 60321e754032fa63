"""A simulated fleet of real HTTP edges on loopback, for `autorouter dev` and for tests.

It uses asyncio on plain sockets instead of a web framework, so that it can misbehave at the socket
level. Owns the sockets and the prepared answers of an edge; must not know how health is judged.
"""

import asyncio
import re
import socket
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self

import msgspec

HOST, HEALTH, MODELS, MODELS_STATUS = "127.0.0.1", "/health", "/v1/models", "/v1/models/status"
ELSEWHERE = "/elsewhere"  # where REDIRECT points; healthy, so following a redirect shows
MAX_HEAD_BYTES = 16 * 1024


class Mode(StrEnum):
    """What an edge does with requests that arrive while the mode is set."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"  # this and the next two change /health only
    UNHEALTHY = "unhealthy"
    BACKEND_UNHEALTHY = "backend_unhealthy"
    DOWN = "down"  # drops its connections, refuses new ones
    HANG = "hang"  # accepts, reads, never answers
    SLOW = "slow"  # answers after delay_s
    ERROR = "error"  # 500
    RESET = "reset"  # TCP RST
    HTML = "html"  # 200, text/html
    GARBAGE = "garbage"  # bytes that are not HTTP
    HUGE = "huge"  # 1 GB that starts, and would end, as a healthy JSON document
    REDIRECT = "redirect"  # 302 to ELSEWHERE
    EMPTY = "empty"  # closes without a byte
    TRICKLE = "trickle"  # answers one byte, from the status line on, every drip_s


_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[^ ?]*)\S* HTTP/1\.([01])\r\n")
_LAST = re.compile(rb"(?im)^(connection:.*\bclose\b|content-length: *[1-9]|transfer-encoding)")
_CANNED = {
    Mode.ERROR: (500, "text/plain", b"Internal Server Error"),
    Mode.HTML: (200, "text/html", b"<!doctype html><title>Welcome</title>"),
    Mode.REDIRECT: (302, f"text/plain\r\nLocation: {ELSEWHERE}", b""),
}
_RAW: dict[Mode, tuple[bytes, ...]] = {  # and then the connection ends
    **dict.fromkeys((Mode.HANG, Mode.RESET, Mode.EMPTY), ()),
    Mode.GARBAGE: (b"\x15\x03\x01\x00\x02\x02\x46 this is not HTTP\r\n\r\n",),
    Mode.HUGE: (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n",
        b'{"status":"healthy","padding":"',
        *((b"x" * 100_000,) * 10_000),
        b'"}',
    ),
}


class _Request(NamedTuple):
    method: str
    path: str
    keep_alive: bool


async def _read_request(conn: socket.socket) -> _Request | None:
    """One request; None if the client closed or sent something else. Bodies and pipelining are not
    supported.
    """
    head = b""
    while b"\r\n\r\n" not in head:
        data = await asyncio.get_running_loop().sock_recv(conn, 4096)
        head += data
        if not data or len(head) > MAX_HEAD_BYTES:
            return None
    if (line := _REQUEST_LINE.match(head)) is None:
        return None
    alone = head.find(b"\r\n\r\n") + 4 == len(head) and _LAST.search(head) is None
    return _Request(line[1].decode(), line[2].decode("latin-1"), line[3] == b"1" and alone)


def _reply(request: _Request, status: int, kind: str, body: bytes) -> bytes:
    connection = "keep-alive" if request.keep_alive else "close"
    head = f"HTTP/1.1 {status} \r\nContent-Type: {kind}\r\n"  # the reason phrase is optional
    head += f"Content-Length: {len(body)}\r\nConnection: {connection}\r\n\r\n"
    return head.encode() + (b"" if request.method == "HEAD" else body)


@dataclass(slots=True, eq=False, kw_only=True)
class SimulatedEdge:
    """One edge. Change `mode` by `set_mode`; the other attributes may be set at any time.
    `models_status`: HTTP status of the models paths. `requests`: the number of requests by path.
    """

    id: str
    mode: Mode = Mode.HEALTHY
    models: tuple[str, ...] = ("kokoro-82m",)
    models_status: int = 200
    delay_s: float = 1.0
    drip_s: float = 0.2
    port: int = field(default=0, init=False)
    requests: Counter[str] = field(default_factory=Counter, init=False)
    sent_bytes: int = field(default=0, init=False)
    connections: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _reserved: ExitStack = field(default_factory=ExitStack, init=False)
    _listening: ExitStack = field(default_factory=ExitStack, init=False)

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def start(self) -> None:
        """Binds a free port, which it keeps until `stop`, and listens unless DOWN."""
        reserve = self._reserved.enter_context(socket.socket())
        reserve.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserve.bind((HOST, 0))
        self.port = reserve.getsockname()[1]
        if sys.platform != "linux":  # only Linux lets a listener share its reserved port
            reserve.close()
        if self.mode is not Mode.DOWN:
            self._listen()

    async def stop(self) -> None:
        """Frees the port; leaves the mode DOWN."""
        self._reserved.close()
        self.port = 0
        await self.set_mode(Mode.DOWN)

    async def set_mode(self, mode: Mode) -> None:
        """Requests in progress keep their mode. Raises OSError if another program took the port."""
        if self.port != 0 and self.mode is Mode.DOWN and mode is not Mode.DOWN:
            self._listen()
        self.mode = mode
        if mode is Mode.DOWN:
            self._listening.close()
            for task in self.connections:
                task.cancel()
            await asyncio.gather(*self.connections, return_exceptions=True)

    def _listen(self) -> None:
        listener = self._listening.enter_context(socket.create_server((HOST, self.port)))
        listener.setblocking(False)
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)
        self._listening.callback(asyncio.get_running_loop().remove_reader, listener)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionError):  # the client has already closed
            conn, _ = listener.accept()
            conn.setblocking(False)
            task = asyncio.create_task(self._serve(conn))
            self.connections.add(task)
            task.add_done_callback(self.connections.discard)
            task.add_done_callback(lambda _: conn.close())

    async def _serve(self, conn: socket.socket) -> None:
        with suppress(ConnectionError):  # the client hung up
            while (request := await _read_request(conn)) and await self._answer(conn, request):
                pass

    async def _answer(self, conn: socket.socket, request: _Request) -> bool:
        """Responds as the mode says. Returns False if the connection must end."""
        loop, mode, pieces = asyncio.get_running_loop(), self.mode, self._pieces(request)
        self.requests[request.path] += 1
        if mode is Mode.RESET:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1" + bytes(7))  # RST on close
        while mode is Mode.HANG and await loop.sock_recv(conn, 4096):
            pass
        pace_s = {Mode.SLOW: self.delay_s, Mode.TRICKLE: self.drip_s}.get(mode, 0.0)
        for piece in pieces:
            await asyncio.sleep(pace_s)  # even 0 lets others run while a client reads fast
            await loop.sock_sendall(conn, piece)
            self.sent_bytes += len(piece)
        return request.keep_alive and mode not in _RAW

    def _pieces(self, request: _Request) -> Sequence[bytes]:
        if self.mode in _RAW:
            return _RAW[self.mode][: 1 if request.method == "HEAD" else None]
        whole = self._compose(request)
        return [bytes((byte,)) for byte in whole] if self.mode is Mode.TRICKLE else [whole]

    def _compose(self, request: _Request) -> bytes:
        if self.mode in _CANNED and request.path != ELSEWHERE:
            return _reply(request, *_CANNED[self.mode])
        status, document = self._documents().get(request.path, (404, {"detail": "Not Found"}))
        return _reply(request, status, "application/json", msgspec.json.encode(document))

    def _documents(self) -> dict[str, tuple[int, Any]]:
        verdict = self.mode if self.mode in (Mode.DEGRADED, Mode.UNHEALTHY) else "healthy"
        backend = {"healthy": self.mode is not Mode.BACKEND_UNHEALTHY, "info": {}}
        node = {"node": self.id, "runtime": "simulated", "timestamp": datetime.now(UTC).isoformat()}
        health = 200, {"status": verdict, **node, "features": {}, "backend": backend}
        code, states = self.models_status, dict.fromkeys(self.models, "loaded")
        status = {"loaded": self.models, "loading_status": states, "repository": "/models"}
        listed = {"object": "list", "data": [{"id": model} for model in self.models]}
        models = {MODELS: (code, listed), MODELS_STATUS: (code, status)}
        return {HEALTH: health, ELSEWHERE: health, **models}


class SimulatedFleet:
    """An edge for each id, running inside `async with`, which also fills `endpoints`."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.edges = {id: SimulatedEdge(id=id) for id in ids}
        self.endpoints: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_exit(self.__aexit__)
            for edge in self.edges.values():
                await edge.start()
            stack.pop_all()
        self.endpoints = {id: edge.endpoint for id, edge in self.edges.items()}
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(edge.stop() for edge in self.edges.values()))
