"""A store whose calls fail on request."""

import time
from collections.abc import Callable, Iterable, Sequence

from router.errors import StoreError
from router.model import Event, View
from router.store import Change, Stored
from router.store.memory import MemoryStore

STORE_ERROR = StoreError("Redis: gone")


class FailingStore(MemoryStore):
    """A store that counts reads; calls whose name is in `failing` raise STORE_ERROR."""

    def __init__(
        self, clock: Callable[[], float] = time.time, *, failing: Iterable[str] = ()
    ) -> None:
        super().__init__(clock)
        self.failing = set(failing)
        self.reads = 0

    def _check(self, call: str) -> None:
        if call in self.failing:
            raise STORE_ERROR

    async def hold_lease(self, vantage: str, holder: str, life_s: float) -> bool:
        self._check("hold_lease")
        return await super().hold_lease(vantage, holder, life_s)

    async def drop_lease(self, vantage: str, holder: str) -> None:
        self._check("drop_lease")
        await super().drop_lease(vantage, holder)

    async def publish(self, view: View) -> int:
        self._check("publish")
        return await super().publish(view)

    async def read(self, edges: Sequence[str]) -> Stored:
        self.reads += 1
        self._check("read")
        return await super().read(edges)

    async def change_intents(self, changes: Sequence[Change]) -> None:
        self._check("change_intents")
        await super().change_intents(changes)

    async def log_events(self, events: Sequence[Event]) -> None:
        self._check("log_events")
        await super().log_events(events)
