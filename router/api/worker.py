"""One of several processes that answer on one port. The main process reads the files, polls, reads
the store, logs and serves ops, and sends everything to the workers. Composition only.
"""

import asyncio
import signal
import socket
from collections.abc import Coroutine
from typing import Any

import uvloop

from router.api.assembly import Front, settle_memory
from router.api.channel import Fed, FeedStore, Replaced, beat, counted, messages, send, unpickled
from router.api.servers import any_of, serve_until_stopped
from router.config.inputs import Shared
from router.errors import RouterError, StoreError
from router.model import Intent
from router.routing.fleet import Fleet
from router.supervised import keep_running
from router.telemetry.logs import lines, log, start_logging

COUNT_S = 1.0


class _Quiet:
    """The main process reports the fleet; a worker reports only its own failures."""

    def read(self, error: StoreError | None, faults: tuple[str, ...]) -> None: ...

    def wished(self, edge: str, wish: Intent | None) -> None: ...

    def swapped(self, before: Fleet, after: Fleet) -> None: ...

    def loop_failed(self, loop: str, error: Exception, wait_s: float) -> None:
        log.error("a loop of a worker failed", loop=loop, wait_s=wait_s, exc_info=error)

    def loop_recovered(self, loop: str) -> None: ...


def work(log_level: str, log_format: str, bound: socket.socket, channel: socket.socket) -> None:
    """Answer on `bound` until SIGTERM, or until the main process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to every process
    start_logging(log_level, log_format)
    try:
        uvloop.run(_work(bound, channel))
    except Exception as error:
        # multiprocessing would print it to standard error, which may block.
        log.error("a worker cannot go on", exc_info=error)
        raise SystemExit(1) from error


async def _work(bound: socket.socket, channel: socket.socket) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    reader, writer = await asyncio.open_unix_connection(sock=channel)
    main = _Main(reader)
    tasks = [
        _begin(beat(writer), stop),
        _begin(main.listen(), stop),
    ]
    await any_of(main.has_sent_all, stop)
    if main.shared is not None and main.has_sent_all.is_set():
        await _answer(main, main.shared, bound, writer, stop, tasks)
    await _end(tasks)
    writer.close()


async def _answer(
    main: "_Main",
    shared: Shared,
    bound: socket.socket,
    writer: asyncio.StreamWriter,
    stop: asyncio.Event,
    tasks: list[asyncio.Task[None]],
) -> None:
    observer = _Quiet()
    front = Front(shared.inputs(), main.feed, observer)
    main.front = front
    await front.watch.refresh()
    settle_memory()
    tasks += [_begin(keep_running(name, loop.run, observer), stop) for name, loop in front.loops]
    tasks.append(_begin(_count(writer, front), stop))
    await serve_until_stopped([(front.listener(), bound)], stop)
    send(writer, counted(front.counts(), lines.dropped))


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            log.error("a worker failed", exc_info=outcome)


def _begin(loop: Coroutine[Any, Any, None], stop: asyncio.Event) -> asyncio.Task[None]:
    """Run a part that the worker needs: if it fails, the worker stops and is replaced."""
    task = asyncio.create_task(loop)
    task.add_done_callback(lambda _: stop.set())
    return task


class _Main:
    """What the main process has sent. `front`, once it is set, gets new inputs."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.feed = FeedStore()
        self.shared: Shared | None = None
        self.front: Front | None = None
        self.has_sent_all = asyncio.Event()
        self._is_fed = False

    async def listen(self) -> None:
        """Handle every message until the main process has ended."""
        async for message in messages(self._reader):
            if isinstance(message, Fed):
                self.feed.take(message)
                self._is_fed = True
            elif isinstance(message, Replaced):
                await self._replace(message)
            if self._is_fed and self.shared is not None:
                self.has_sent_all.set()

    async def _replace(self, message: Replaced) -> None:
        shared: Shared = unpickled(message.pickled)
        if self.front is not None:
            try:
                self.front.take(await asyncio.to_thread(shared.inputs))
            except RouterError as error:
                log.error("a worker cannot use the new files and is replaced", error=str(error))
                raise
        self.shared = shared


async def _count(writer: asyncio.StreamWriter, front: Front) -> None:
    while True:
        send(writer, counted(front.counts(), lines.dropped))
        await asyncio.sleep(COUNT_S)
