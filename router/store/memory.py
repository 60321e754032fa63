"""The store of one process: what `dev`, and `serve` without Redis, use."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain

from router.model import Event, EventKind, Intent, View
from router.store import EVENTS_KEPT, KIND_KEPT, OTHER_KINDS_KEPT, Change, Logged, Stored
from router.store.bounds import safe_event


class MemoryStore:
    """Keeps the last view of each vantage, intents and events. See Store for the contract."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._views: dict[str, View] = {}
        self._intents: dict[str, Intent] = {}
        self._leases: dict[str, tuple[str, float]] = {}
        self._events: dict[EventKind, deque[Logged]] = {
            kind: deque(maxlen=KIND_KEPT.get(kind, OTHER_KINDS_KEPT)) for kind in EventKind
        }
        self._event_count = 0
        self._history: bytes | None = None
        self._hints = Hints()

    async def publish(self, view: View) -> int:
        """See Store."""
        held = self._views.get(view.vantage)
        if held is not None and held.seq > view.seq:
            return held.seq
        self._views[view.vantage] = view
        self._hints.give()
        return view.seq

    async def read(self, edges: Sequence[str]) -> Stored:
        """See Store."""
        now = self._clock()
        wished = [self._intents[id] for id in edges if id in self._intents]
        intents = tuple(intent for intent in wished if intent.expires_at > now)
        return Stored(tuple(self._views.values()), intents)

    async def changed(self, seen: int, timeout_s: float) -> int:
        """See Store."""
        return await self._hints.after(seen, timeout_s)

    async def hold_lease(self, vantage: str, holder: str, life_s: float) -> bool:
        """See Store."""
        now = self._clock()
        owner, until = self._leases.get(vantage, (holder, now))
        if owner != holder and until > now:
            return False
        self._leases[vantage] = (holder, now + life_s)
        return True

    async def drop_lease(self, vantage: str, holder: str) -> None:
        """See Store."""
        if self._leases.get(vantage, ("", 0.0))[0] == holder:
            del self._leases[vantage]

    async def change_intents(self, changes: Sequence[Change]) -> None:
        """See Store."""
        for change in changes:
            if change.intent is None:
                self._intents.pop(change.edge, None)
            else:
                self._intents[change.edge] = change.intent
            if change.event is not None:
                self._append(change.event)
        self._hints.give()

    async def log_events(self, events: Sequence[Event]) -> None:
        """See Store."""
        for event in events:
            self._append(event)
        if events:
            self._hints.give()

    def _append(self, event: Event) -> None:
        self._event_count += 1
        self._events[event.kind].append(Logged(f"{self._event_count}-0", safe_event(event)))

    async def events(self, after: str = "", limit: int = EVENTS_KEPT) -> tuple[Logged, ...]:
        """See Store."""
        kept = chain.from_iterable(self._events.values())
        later = [logged for logged in kept if _order(logged.id) > _order(after)]
        return tuple(sorted(later, key=lambda logged: _order(logged.id))[-limit:])

    async def history(self) -> bytes | None:
        """See Store."""
        return self._history

    async def save_history(self, body: bytes) -> None:
        """See Store."""
        self._history = body

    async def close(self) -> None:
        """See Store."""


class Hints:
    """Counts hints, and wakes all waiting tasks at the next."""

    def __init__(self) -> None:
        self._count = 0
        self._next = asyncio.Event()

    def give(self) -> None:
        """Count one more hint."""
        self._count += 1
        self._next.set()
        self._next = asyncio.Event()

    async def after(self, seen: int, timeout_s: float) -> int:
        """The count, once it differs from `seen`, or after the timeout."""
        if self._count == seen:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._next.wait()
        return self._count


def _order(id: str) -> int:
    """The number in an id such as `17-0`; 0 for any other text."""
    count = id.partition("-")[0]
    return int(count) if count.isascii() and count.isdigit() else 0
