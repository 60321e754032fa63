"""Runs long work on the event loop in slices, so that it delays no answer.

Work is a generator that yields often; `finished` runs it without a pause.
"""

import asyncio
import time
from collections.abc import Generator
from typing import TypeVar

SLICE_S = 0.001

Result = TypeVar("Result")


class Pace:
    """Lets the event loop run for every SLICE_S of work."""

    def __init__(self) -> None:
        self._started_at = time.perf_counter()

    async def pause(self) -> None:
        """Let others run, if it is time."""
        if time.perf_counter() - self._started_at >= SLICE_S:
            await asyncio.sleep(0)
            self._started_at = time.perf_counter()


async def in_slices(work: Generator[None, None, Result], pace: Pace | None = None) -> Result:
    """What the work comes to. Others run in between. `pace`: shared with work before it."""
    pace = Pace() if pace is None else pace
    while True:
        await pace.pause()
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result


def finished(work: Generator[None, None, Result]) -> Result:
    """The same at once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
