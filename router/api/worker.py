"""One of several processes that answer on one port: fed by the main process, which alone
polls, reads the store, logs and serves ops. Wires; holds no rules.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Coroutine
from typing import Any

import uvloop

from router.api.assembly import Front, settle_memory
from router.api.servers import any_of, serve_until_stopped
from router.api.worker_channel import Fed, FeedStore, ReadAnew, counted, messages, send
from router.config.inputs import Inputs, read_all, read_inputs
from router.config.settings import Settings
from router.errors import ConfigError, StoreError
from router.model import Intent
from router.routing.fleet import Fleet
from router.telemetry.logs import log, start_logging

COUNT_S = 1.0


class _Quiet:
    """The main process tells all there is to tell."""

    def read(self, error: StoreError | None, faults: tuple[str, ...]) -> None: ...

    def wished(self, edge: str, wish: Intent | None) -> None: ...

    def saved(self, error: OSError | None) -> None: ...

    def swapped(self, before: Fleet, after: Fleet) -> None: ...


def work(settings: Settings, bound: socket.socket, channel: socket.socket) -> None:
    """Answer on `bound` until SIGTERM, or until the main process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to every process
    start_logging(settings.log_level, settings.log_format)
    uvloop.run(_work(settings, bound, channel))


async def _work(settings: Settings, bound: socket.socket, channel: socket.socket) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    reader, writer = await asyncio.open_unix_connection(sock=channel)
    feed, is_fed = FeedStore(), asyncio.Event()
    front = Front(Inputs(settings, *read_all(settings)), feed, _Quiet())
    loops = [_begin(_listen(reader, settings, feed, is_fed, front), stop)]
    await any_of(is_fed, stop)
    await front.watch.refresh()
    settle_memory()
    loops += [_begin(loop.run(), stop) for loop in front.loops]
    loops.append(_begin(_count(writer, front), stop))
    await serve_until_stopped([(front.listener(), bound)], stop)
    send(writer, counted(front.counts()))
    for loop in loops:
        loop.cancel()
    for outcome in await asyncio.gather(*loops, return_exceptions=True):
        if isinstance(outcome, Exception):
            log.error("a worker failed", exc_info=outcome)
    writer.close()


def _begin(loop: Coroutine[Any, Any, None], stop: asyncio.Event) -> asyncio.Task[None]:
    """Run a part of the worker; without it the worker stops, and is replaced."""
    task = asyncio.create_task(loop)
    task.add_done_callback(lambda _: stop.set())
    return task


async def _listen(
    reader: asyncio.StreamReader,
    settings: Settings,
    feed: FeedStore,
    is_fed: asyncio.Event,
    front: Front,
) -> None:
    """Do as the main process says, until it is gone."""
    async for message in messages(reader):
        if isinstance(message, Fed):
            feed.take(message)
            is_fed.set()
        elif isinstance(message, ReadAnew):
            try:
                front.take(await asyncio.to_thread(read_inputs, settings, os.environ))
            except ConfigError as error:  # changed again since the main process read them
                log.error("files not taken; going on with the old", faults=error.faults)


async def _count(writer: asyncio.StreamWriter, front: Front) -> None:
    while True:
        send(writer, counted(front.counts()))
        await asyncio.sleep(COUNT_S)
