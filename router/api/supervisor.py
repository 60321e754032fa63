"""Keeps a number of workers running on one port, sends them data, and sums their counts. Each
worker has its own listening socket on the port (SO_REUSEPORT), which is also open here:
connections in the queue of a worker that dies are served by its replacement. If a worker hangs or
cannot start, its socket is closed: connections in its queue are reset, and new ones go to the
other workers.
"""

import asyncio
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from router.api.channel import (
    Message,
    NewCounts,
    NewInputs,
    StoreContents,
    frame,
    pickle_value,
    unpack_counts,
)
from router.api.child_process import ChildEnd, ChildProcess
from router.api.servers import bind_again
from router.api.worker import run_worker
from router.config.inputs import Inputs
from router.routing.response import Counts
from router.store import Stored
from router.supervised import LoopObserver, keep_running
from router.telemetry.logs import log

RESTART_S = 1.0
ENDED_S = 15.0


class Observer(LoopObserver, Protocol):
    """Is called when workers end; see router.telemetry.metrics."""

    def child_ended(self, child: str, how: str, left: int) -> None:
        """A worker exited, hung or could not start. The number is of workers that still answer."""


@dataclass
class _Place:
    """The place of one worker: its socket, the child process, and the child's counts."""

    bound: socket.socket
    child: ChildProcess
    is_ready: bool = False
    counts: Counts = field(default_factory=Counts)
    lines_dropped: int = 0


class Workers:
    """`run` starts them and replaces those that end or hang; cancel it to stop all. `ready`
    is set once all have answered for the first time."""

    def __init__(
        self, inputs: Inputs, sockets: Sequence[socket.socket], observer: Observer
    ) -> None:
        self._observer = observer
        self._ended = Counts()
        self._ended_lines_dropped = 0
        self._inputs = b""
        self._logging = (inputs.settings.log_level, inputs.settings.log_format)
        self._fed: bytes | None = None
        self._places: list[_Place] = [self._place(bound) for bound in sockets]
        self.ready = asyncio.Event()
        self.replace_inputs(inputs)

    def _place(self, bound: socket.socket) -> _Place:
        place = _Place(
            bound,
            ChildProcess(
                target=run_worker,
                arguments=lambda: (*self._logging, place.bound),
                first_frames=self._first_frames,
                on_message=lambda message: self._on_message(place, message),
            ),
        )
        return place

    @property
    def ready_count(self) -> int:
        """The number of workers that answer now."""
        return sum(place.is_ready for place in self._places)

    @property
    def lines_dropped(self) -> int:
        """Log lines that all workers, past ones included, have lost."""
        return self._ended_lines_dropped + sum(place.lines_dropped for place in self._places)

    def counts(self) -> Counts:
        """The sum of what all workers, past ones included, have done."""
        total = Counts()
        for counts in (self._ended, *(place.counts for place in self._places)):
            total.add(counts)
        return total

    def send_stored(self, stored: Stored) -> None:
        """Send every worker the store contents that the main process holds."""
        self._fed = frame(StoreContents(stored.views, stored.intents))
        for place in self._places:
            place.child.send(self._fed)

    def replace_inputs(self, inputs: Inputs) -> None:
        """Send what was read from files to every worker, including those started later. Workers
        parse no files, so all processes answer from the same input.
        """
        self._inputs = frame(NewInputs(pickle_value(inputs.shared())))
        for place in self._places:
            place.child.send(self._inputs, must_arrive=True)

    def _first_frames(self) -> Iterable[bytes]:
        return (self._inputs,) if self._fed is None else (self._inputs, self._fed)

    async def run(self) -> None:
        """Run until cancelled; then return when all workers have finished their requests."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for place in self._places:
                    tend = partial(self._run_place, place)
                    tasks.create_task(keep_running("worker", tend, self._observer))
        finally:
            await asyncio.to_thread(self._stop)

    async def _run_place(self, place: _Place) -> None:
        """Keep a worker running in this place, for ever."""
        while True:
            try:
                ended = await place.child.live()
            except OSError as error:
                log.error("a worker cannot start; trying again", error=str(error))
                _stop_listening(place)
                self._observer.child_ended("worker", "not_started", self.ready_count)
                await asyncio.sleep(RESTART_S)
                continue
            was_ready = place.is_ready
            self._note_end(place)
            if ended is ChildEnd.HUNG or not was_ready:
                _stop_listening(place)
            self._observer.child_ended("worker", ended, self.ready_count)
            if not was_ready:
                await asyncio.sleep(RESTART_S)

    def _on_message(self, place: _Place, message: Message) -> None:
        if not isinstance(message, NewCounts):
            return
        place.is_ready, place.counts = True, unpack_counts(message)
        place.lines_dropped = message.lines_dropped
        if self.ready_count == len(self._places):
            self.ready.set()

    def _note_end(self, place: _Place) -> None:
        self._ended.add(replace(place.counts, connections=0))
        self._ended_lines_dropped += place.lines_dropped
        place.is_ready, place.counts, place.lines_dropped = False, Counts(), 0

    def _stop(self) -> None:
        """Stop all workers: ask them first, and kill them after a while."""
        for place in self._places:
            place.child.terminate()
        deadline = time.monotonic() + ENDED_S
        for place in self._places:
            place.child.end(max(0.0, deadline - time.monotonic()))
            place.bound.close()


def _stop_listening(place: _Place) -> None:
    """Close this place's socket, so that it gets no connections until a new worker listens."""
    try:
        silent = bind_again(place.bound)
    except OSError as error:
        log.error("connections still queue for a worker that is not there", error=str(error))
        return
    place.bound.close()
    place.bound = silent
