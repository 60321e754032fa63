"""Keeps a number of workers answering on one port, feeds them, and sums what they count.

Each has a listening socket of its own on the port (SO_REUSEPORT), held here too: what
waits in the queue of a worker that dies is served by the next. If the next cannot start,
nobody listens there any more: what waits is reset, and connections go to the workers left.
"""

import asyncio
import multiprocessing
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess

from router.api.servers import twin
from router.api.worker import work
from router.api.worker_channel import Counted, Fed, Message, ReadAnew, counts_in, messages, send
from router.config.settings import Settings
from router.routing.response import Counts
from router.store import Stored
from router.telemetry.logs import log

RESTART_S = 1.0
ENDED_S = 15.0


@dataclass
class _Place:
    """A worker's place: its socket, the process in it now, and what that has counted."""

    bound: socket.socket
    process: BaseProcess | None = None
    writer: asyncio.StreamWriter | None = None
    is_ready: bool = False
    counts: Counts = field(default_factory=Counts)


class Workers:
    """`run` starts them and replaces those that die; cancel it to stop all. `ready` is set
    once all have answered for the first time to be fed."""

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._places = [_Place(bound) for bound in sockets]
        self._ended = Counts()
        self._fed: Fed | None = None
        self.ready = asyncio.Event()

    @property
    def ready_count(self) -> int:
        """Workers that answer now."""
        return sum(place.is_ready for place in self._places)

    def counts(self) -> Counts:
        """What all workers that are and were did so far."""
        total = Counts()
        for counts in (self._ended, *(place.counts for place in self._places)):
            total.add(counts)
        return total

    def feed(self, stored: Stored) -> None:
        """Hand every worker what is held now."""
        self._fed = Fed(stored.views, stored.intents)
        self._send(self._fed)

    def read_anew(self, settings: Settings) -> None:
        """Have every worker read the files, which are sound, and those to come start with
        the secrets in them."""
        self._settings = settings
        self._send(ReadAnew())

    def _send(self, message: Message) -> None:
        for place in self._places:
            if place.writer is not None:
                send(place.writer, message)

    async def run(self) -> None:
        """Until cancelled; then until all have answered what they had begun."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for place in self._places:
                    tasks.create_task(self._tend(place))
        finally:
            await asyncio.to_thread(self._stop)

    async def _tend(self, place: _Place) -> None:
        """Have a worker in this place, for ever."""
        while True:
            try:
                reader = await self._start(place)
            except OSError as error:
                log.error("a worker cannot start; trying again", error=str(error))
                _give_way(place)
                await asyncio.sleep(RESTART_S)
                continue
            async for message in messages(reader):
                if isinstance(message, Counted):
                    self._note(place, message)
            if not place.is_ready:
                _give_way(place)
            self._note_end(place)
            await asyncio.sleep(RESTART_S)

    async def _start(self, place: _Place) -> asyncio.StreamReader:
        ours, theirs = socket.socketpair()
        context = multiprocessing.get_context("spawn")
        process = context.Process(
            target=work, args=(self._settings, place.bound, theirs), daemon=True
        )
        try:
            process.start()
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        place.process = process
        reader, place.writer = await asyncio.open_unix_connection(sock=ours)
        if self._fed is not None:
            send(place.writer, self._fed)
        return reader

    def _note(self, place: _Place, message: Counted) -> None:
        place.is_ready, place.counts = True, counts_in(message)
        if self.ready_count == len(self._places):
            self.ready.set()

    def _note_end(self, place: _Place) -> None:
        if place.writer is not None:
            place.writer.close()
        self._ended.add(replace(place.counts, connections=0))
        place.writer, place.is_ready, place.counts = None, False, Counts()
        log.error("a worker ended; starting another", left=self.ready_count)

    def _stop(self) -> None:
        """End all, kindly for a while."""
        processes = [place.process for place in self._places if place.process is not None]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + ENDED_S
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
        for place in self._places:
            place.bound.close()


def _give_way(place: _Place) -> None:
    """Get no connections until a worker in this place listens."""
    try:
        deaf = twin(place.bound)
    except OSError as error:
        log.error("connections still queue for a worker that is not there", error=str(error))
        return
    place.bound.close()
    place.bound = deaf
