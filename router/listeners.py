"""Listening sockets and the servers on them: bound before anything starts, closed together."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator, Sequence
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from router.errors import ConfigError
from router.values import Listen
from router.wire import Respond, Wire

BACKLOG = 2_048
KEEP_ALIVE_S = 65  # longer than CloudFront keeps an origin connection (60 s at most)
GRACE_S = 10
MAX_HEAD_BYTES = 128 * 1024
HEAD_S = 10


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 that hangs up on a request whose head is too large, or is not there in time.

    uvicorn's own protocol keeps a head of any size, and waits for its end for ever.
    """

    _head_bytes = 0
    _is_waiting = True
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connects."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """A client is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The parser calls back below, perhaps for several requests."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._is_waiting and self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The head of the request is too large.")
        elif self._is_waiting and self._deadline is None:
            self._wait()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._is_waiting, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The last byte of its head."""
        self._is_waiting = False
        self._stop_waiting()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(HEAD_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Listener(uvicorn.Server):
    """One app on one bound socket; signals are the process's business, not its."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def bind(variable: str, listen: Listen) -> socket.socket:
    """A listening socket, on which connections queue until they are served. Raises
    ConfigError that names the setting when it cannot be had."""
    return _bound(variable, listen, shared=False)


def bind_shared(variable: str, listen: Listen, count: int) -> list[socket.socket]:
    """Several on one port, between which the kernel divides connections."""
    bind(variable, listen).close()  # sockets that share would not notice a stranger's
    first = _bound(variable, listen, shared=True)
    same = Listen(listen.host, first.getsockname()[1])
    return [first, *(_bound(variable, same, shared=True) for _ in range(count - 1))]


def _bound(variable: str, listen: Listen, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
    try:
        bound.bind((listen.host, listen.port))
        bound.listen(BACKLOG)  # two sockets may share a port until one listens
    except OSError as error:
        bound.close()
        reason = error.strerror or str(error)
        raise ConfigError([f"{variable}: cannot listen on {listen}: {reason}"]) from error
    return bound


def listener(app: Any) -> Listener:
    """A server for the app with our limits."""
    return Listener(
        uvicorn.Config(
            app,
            backlog=BACKLOG,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
        )
    )


def public_listener(respond: Respond) -> Listener:
    """A server for what answers at once; see router.wire."""
    return Listener(
        uvicorn.Config(
            cast(Any, respond),
            backlog=BACKLOG,
            http=Wire,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )


async def serve_until_stopped(
    servers: Sequence[tuple[Listener, socket.socket]], stop: asyncio.Event, announce: str = ""
) -> None:
    """Serve on every socket; at `stop`, let open requests end and return. `announce` is
    printed once all accept connections."""
    async with asyncio.TaskGroup() as tasks:
        for server, bound in servers:
            tasks.create_task(server.serve(sockets=[bound]))
        if announce:
            print(announce, flush=True)
        await stop.wait()
        for server, _ in servers:
            server.should_exit = True


def reload_on_signal() -> asyncio.Event:
    """An event that SIGHUP sets."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    return asked


def stop_on_signals() -> asyncio.Event:
    """An event that SIGINT or SIGTERM sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop
