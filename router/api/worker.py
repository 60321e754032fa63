"""One of several processes that answer on one port. The main process reads the files, polls, reads
the store, logs and serves ops, and sends everything to the workers. Composition only.
"""

import asyncio
import signal
import socket
from collections.abc import Coroutine
from typing import Any

import uvloop

from router.api.assembly import PublicParts, settle_memory
from router.api.channel import (
    ChannelStore,
    NewInputs,
    StoreContents,
    beat,
    messages,
    pack_counts,
    send,
    unpickle_value,
)
from router.api.servers import serve_until_stopped, wait_for_any
from router.config.inputs import Shared
from router.errors import RouterError, StoreError
from router.model import Intent
from router.routing.fleet import Fleet
from router.supervised import keep_running
from router.telemetry.logs import lines, log, start_logging

COUNT_S = 1.0


class _WorkerObserver:
    """The main process reports the fleet; a worker reports only its own failures."""

    def store_read(self, error: StoreError | None, faults: tuple[str, ...]) -> None: ...

    def intent_changed(self, edge: str, wish: Intent | None) -> None: ...

    def fleet_replaced(self, before: Fleet, after: Fleet) -> None: ...

    def loop_failed(self, loop: str, error: Exception, wait_s: float) -> None:
        log.error("a loop of a worker failed", loop=loop, wait_s=wait_s, exc_info=error)

    def loop_recovered(self, loop: str) -> None: ...


def run_worker(
    log_level: str, log_format: str, bound: socket.socket, channel: socket.socket
) -> None:
    """Answer on `bound` until SIGTERM, or until the main process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to every process
    start_logging(log_level, log_format)
    try:
        uvloop.run(_run(bound, channel))
    except Exception as error:
        # multiprocessing would print it to standard error, which may block.
        log.error("a worker cannot go on", exc_info=error)
        raise SystemExit(1) from error


async def _run(bound: socket.socket, channel: socket.socket) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    reader, writer = await asyncio.open_unix_connection(sock=channel)
    main = _MainProcess(reader)
    tasks = [
        _start(beat(writer), stop),
        _start(main.listen(), stop),
    ]
    await wait_for_any(main.has_sent_all, stop)
    if main.shared is not None and main.has_sent_all.is_set():
        await _answer(main, main.shared, bound, writer, stop, tasks)
    await _stop(tasks)
    writer.close()


async def _answer(
    main: "_MainProcess",
    shared: Shared,
    bound: socket.socket,
    writer: asyncio.StreamWriter,
    stop: asyncio.Event,
    tasks: list[asyncio.Task[None]],
) -> None:
    observer = _WorkerObserver()
    public = PublicParts(shared.inputs(), main.store, observer)
    main.public = public
    await public.watch.refresh()
    settle_memory()
    tasks += [_start(keep_running(name, loop.run, observer), stop) for name, loop in public.loops]
    tasks.append(_start(_count(writer, public), stop))
    await serve_until_stopped([(public.listener(), bound)], stop)
    send(writer, pack_counts(public.counts(), lines.dropped))


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            log.error("a worker failed", exc_info=outcome)


def _start(loop: Coroutine[Any, Any, None], stop: asyncio.Event) -> asyncio.Task[None]:
    """Run a part that the worker needs: if it fails, the worker stops and is replaced."""
    task = asyncio.create_task(loop)
    task.add_done_callback(lambda _: stop.set())
    return task


class _MainProcess:
    """What the main process has sent. `public`, once it is set, gets new inputs."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.store = ChannelStore()
        self.shared: Shared | None = None
        self.public: PublicParts | None = None
        self.has_sent_all = asyncio.Event()
        self._is_fed = False

    async def listen(self) -> None:
        """Handle every message until the main process has ended."""
        async for message in messages(self._reader):
            if isinstance(message, StoreContents):
                self.store.replace(message)
                self._is_fed = True
            elif isinstance(message, NewInputs):
                await self._replace(message)
            if self._is_fed and self.shared is not None:
                self.has_sent_all.set()

    async def _replace(self, message: NewInputs) -> None:
        shared: Shared = unpickle_value(message.pickled)
        if self.public is not None:
            try:
                self.public.replace_inputs(await asyncio.to_thread(shared.inputs))
            except RouterError as error:
                log.error("a worker cannot use the new files and is replaced", error=str(error))
                raise
        self.shared = shared


async def _count(writer: asyncio.StreamWriter, public: PublicParts) -> None:
    while True:
        send(writer, pack_counts(public.counts(), lines.dropped))
        await asyncio.sleep(COUNT_S)
