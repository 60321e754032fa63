"""Starts one child process, reads its messages, and kills it if it hangs. The child sends a
message every BEAT_S to show that its loop is alive. Silence is counted in checks, one each BEAT_S,
so a pause of the whole machine does not count.
"""

import asyncio
import contextlib
import multiprocessing
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Any

from router.api.channel import BEAT_S, Message, messages, send_frame
from router.supervised import call_aside

HUNG_BEATS = 6  # 3 s
START_BEATS = 120  # a minute, for slow disks
EXIT_S = 2.0


class ChildEnd(StrEnum):
    """How a child ended."""

    EXITED = "exited"
    HUNG = "hung"


@dataclass(kw_only=True)
class ChildProcess:
    """`target(*arguments(), channel)` runs in the child. `first_frames` returns the frames to send
    first. `on_message` is called with every message from the child.
    """

    target: Callable[..., None]
    arguments: Callable[[], tuple[Any, ...]]
    first_frames: Callable[[], Iterable[bytes]]
    on_message: Callable[[Message], None]
    process: BaseProcess | None = None
    has_spoken: bool = False
    _writer: asyncio.StreamWriter | None = None
    _silent_beats: int = 0

    async def live(self) -> ChildEnd:
        """Start a process and follow it until it has ended. Raises OSError when it cannot
        be started."""
        reader = await self._start()
        watching = asyncio.create_task(self._watch())
        try:
            async for message in messages(reader):
                self._silent_beats, self.has_spoken = 0, True
                self.on_message(message)
        finally:
            watching.cancel()
            if self._writer is not None:
                self._writer.close()
            self._writer = None
        await self._reap()
        return ChildEnd.HUNG if self._is_hung else ChildEnd.EXITED

    def send(self, frame: bytes, *, must_arrive: bool = False) -> None:
        """Send without waiting, if the child is running. See `send_frame`."""
        if self._writer is not None:
            send_frame(self._writer, frame, must_arrive=must_arrive)

    def terminate(self) -> None:
        """Ask it to stop."""
        if self.process is not None:
            self.process.terminate()

    def end(self, timeout_s: float) -> None:
        """Wait until it ends; kill it if that takes too long. Blocks."""
        if self.process is not None:
            self.process.join(timeout_s)
            if self.process.is_alive():
                self.process.kill()
                self.process.join()

    @property
    def _is_hung(self) -> bool:
        return self._silent_beats >= (HUNG_BEATS if self.has_spoken else START_BEATS)

    async def _start(self) -> asyncio.StreamReader:
        ours, theirs = socket.socketpair()
        context = multiprocessing.get_context("spawn")
        arguments = (*self.arguments(), theirs)
        process = context.Process(target=self.target, args=arguments, daemon=True)
        try:
            await call_aside(process.start, name="start a process")
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.process, self.has_spoken, self._silent_beats = process, False, 0
        reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        for frame in self.first_frames():
            self.send(frame, must_arrive=True)
        return reader

    async def _watch(self) -> None:
        """Count missed beats, and kill a child that hangs, which closes its channel."""
        while not self._is_hung:
            await asyncio.sleep(BEAT_S)
            self._silent_beats += 1
        if self.process is not None:
            self.process.kill()

    async def _reap(self) -> None:
        """A child that closed its channel must have ended before the next one starts."""
        if self.process is not None:
            with contextlib.suppress(TimeoutError):
                await call_aside(partial(self.end, EXIT_S), timeout_s=2 * EXIT_S, name="reap")
