"""Recent counts, from a counter that only grows."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

WINDOW_S = 300
STEP_S = 15

Key = TypeVar("Key")


class RecentCounts(Generic[Key]):
    """Remembers the values of a counter over the last WINDOW_S."""

    def __init__(
        self,
        count: Callable[[], Mapping[Key, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._clock = clock
        self._kept: deque[tuple[float, dict[Key, int]]] = deque()
        self.note()

    async def run(self) -> None:
        """Note the counter every STEP_S, until cancelled."""
        while True:
            await asyncio.sleep(STEP_S)
            self.note()

    def note(self) -> None:
        """Remember the present value, and remove values that are too old."""
        now = self._clock()
        self._kept.append((now, dict(self._count())))
        while len(self._kept) > 1 and self._kept[1][0] <= now - WINDOW_S:
            self._kept.popleft()

    def recent(self) -> dict[Key, int]:
        """The counts of the last WINDOW_S, or since the start if that is shorter."""
        before = self._kept[0][1]
        grown = {key: count - before.get(key, 0) for key, count in self._count().items()}
        return {key: count for key, count in grown.items() if count > 0}
