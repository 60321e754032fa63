"""Runs long work on the event loop in slices, so that it delays no answer.

Work is a generator that yields often; router.routing.steps runs it without a pause.
"""

import asyncio
import time
from collections.abc import Generator
from typing import Any, TypeVar

SLICE_S = 0.001

Result = TypeVar("Result")


class Pace:
    """Lets the event loop run after every SLICE_S of work. `rests`: sleeps as long as the work
    took, so that others get half of the time.
    """

    def __init__(self, *, rests: bool = False) -> None:
        self._rests = rests
        self._started_at = time.perf_counter()

    async def pause(self) -> None:
        """Let others run, if it is time."""
        took_s = time.perf_counter() - self._started_at
        if took_s >= SLICE_S:
            await asyncio.sleep(took_s if self._rests else 0)
            self._started_at = time.perf_counter()


async def in_slices(work: Generator[None, None, Result], pace: Pace | None = None) -> Result:
    """The result of the work. Other tasks run in between. `pace`: shared with earlier work."""
    pace = Pace() if pace is None else pace
    while True:
        await pace.pause()
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result


async def free_in_slices(values: list[Any]) -> None:
    """Empty the list in slices: to free what many values hold takes as long as to make it."""
    pace = Pace()
    while values:
        values.pop()
        await pace.pause()
