"""Listening sockets and the servers on them: bound before anything starts, closed together."""

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import uvicorn

from router.api.asgi_protocol import SLOW_READER_S, BoundedConnection
from router.api.connection_limit import ConnectionLimit, limit_for, sockets_for
from router.api.http_protocol import KEEP_ALIVE_S, HttpConnection, Respond
from router.api.request_head import MAX_HEAD_BYTES
from router.config.values import Listen
from router.errors import ConfigError

BACKLOG = 2_048
GRACE_S = 10
OPS_CONNECTIONS = 256
SPARE_FILES = 512  # for everything but public connections; fewer if the process may open few
MIN_SPARE_FILES = 64
MIN_CONNECTIONS = 16


class Listener(uvicorn.Server):
    """One app on one bound socket. It leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def bind(variable: str, listen: Listen) -> socket.socket:
    """A listening socket for few clients; connections queue on it until they are served. Raises
    ConfigError that names the setting if it cannot listen.
    """
    bound = _bind(variable, listen, shared=False)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: for data that a client does not acknowledge
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SLOW_READER_S * 1_000))
    return bound


def bind_shared(variable: str, listen: Listen, count: int) -> list[socket.socket]:
    """Several sockets on one port; the kernel divides connections between them."""
    _bind(
        variable, listen, shared=False
    ).close()  # SO_REUSEPORT would not notice another program's socket
    first = _bind(variable, listen, shared=True)
    same = Listen(listen.host, first.getsockname()[1])
    return [first, *(_bind(variable, same, shared=True) for _ in range(count - 1))]


def _bind(variable: str, listen: Listen, *, shared: bool) -> socket.socket:
    bound = _open_socket(socket.AF_INET6 if ":" in listen.host else socket.AF_INET, shared=shared)
    try:
        bound.bind((listen.host, listen.port))
        bound.listen(BACKLOG)  # two sockets may share a port until one listens
    except OSError as error:
        bound.close()
        reason = error.strerror or str(error)
        raise ConfigError([f"{variable}: cannot listen on {listen}: {reason}"]) from error
    return bound


def bind_again(bound: socket.socket) -> socket.socket:
    """Another socket on the same shared port. It gets no connections until it listens. Raises
    OSError.
    """
    other = _open_socket(bound.family, shared=True)
    try:
        other.bind(bound.getsockname())
    except OSError:
        other.close()
        raise
    return other


def _open_socket(family: int, *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
    return made


def affordable_connections(connections: int) -> int:
    """The number of these connections for which the process may open files, after raising its own
    limit as far as allowed. Raises ConfigError if it is too small to serve.
    """
    wanted = sockets_for(connections) + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    files = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    possible = min(connections, limit_for(files - spare_files(files)))
    if possible < MIN_CONNECTIONS:
        raise ConfigError(
            [
                f"AUTOROUTER_MAX_CONNECTIONS: the limit of {files} open files leaves room for "
                f"fewer than {MIN_CONNECTIONS} connections. Raise the hard limit to {wanted} "
                f"or more: `ulimit -Hn {wanted}`, or LimitNOFILE={wanted} in a systemd unit"
            ]
        )
    return possible


def spare_files(files: int) -> int:
    """How many of all files are kept for everything but public connections."""
    return max(MIN_SPARE_FILES, min(SPARE_FILES, files // 2))


def _ops_connections() -> int:
    """The connection limit of the ops listener: at most half of the spare files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return OPS_CONNECTIONS
    return min(OPS_CONNECTIONS, limit_for(spare_files(soft) // 2))


def listener(app: Any) -> Listener:
    """A server of few clients for an ASGI app."""
    return Listener(
        uvicorn.Config(
            app,
            backlog=BACKLOG,
            http=cast(Any, partial(BoundedConnection, limit=ConnectionLimit(_ops_connections()))),
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            timeout_keep_alive=int(KEEP_ALIVE_S),
            timeout_graceful_shutdown=GRACE_S,
        )
    )


def public_listener(respond: Respond, reject: Respond, limit: ConnectionLimit) -> Listener:
    """The public server: rejects connections above the limit. See router.api.http_protocol."""
    return Listener(
        uvicorn.Config(
            cast(Any, respond),
            backlog=BACKLOG,
            http=cast(Any, partial(HttpConnection, reject=reject, limit=limit)),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )


async def serve_until_stopped(
    servers: Sequence[tuple[Listener, socket.socket]], stop: asyncio.Event
) -> None:
    """Serve on every socket; at `stop`, finish open requests and return."""
    async with asyncio.TaskGroup() as tasks:
        for server, bound in servers:
            tasks.create_task(server.serve(sockets=[bound]))
        await stop.wait()
        for server, _ in servers:
            server.should_exit = True


def reload_on_signal() -> asyncio.Event:
    """An event that SIGHUP sets."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    return asked


async def wait_for_any(*events: asyncio.Event) -> None:
    """Return once one of them is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def stop_on_signals() -> asyncio.Event:
    """An event that SIGINT or SIGTERM sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop
