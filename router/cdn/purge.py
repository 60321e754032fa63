"""Takes cached answers back when an edge changes: which, when, and how often it is tried.

Each server with AUTOROUTER_PURGE purges what it has itself learnt, once it answers by it:
so what it gave before cannot come back into the cache (docs/adr/0014-who-purges.md).
Nothing waits for a purge. How to ask a CDN is for router.cdn.providers.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from router.errors import PurgeError, StoreError
from router.model import Event, EventKind
from router.routing.cache_headers import EVERY_TAG, edge_tag
from router.routing.fleet import Fleet, changed_edges
from router.store import Store

DEBOUNCE_S = 0.25
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 15.0
LIFE_S = 60.0  # what a cache may still hold then was asked for anew long before
MAX_TAGS = 30
MAX_TOLD_TAGS = 5


class Target(Protocol):
    """One CDN; see router.cdn.providers."""

    name: str

    async def purge(self, tags: Sequence[str]) -> None:
        """Have the CDN forget what bears one of the tags. PurgeError when it did not say yes
        in bounded time."""


class Observer(Protocol):
    """Hears how purges go; see router.telemetry.metrics."""

    def purged(self, target: str, delay_s: float, error: PurgeError | None) -> None:
        """A purge was accepted, or not, so long after the change."""

    def happened(self, event: Event) -> None:
        """Something worth a line in the log and in the events."""


@dataclass(kw_only=True)
class Purge:
    """Purges one target. `run` never returns; cancel it."""

    target: Target
    store: Store
    observer: Observer
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _due: dict[str, float] = field(default_factory=dict, init=False)
    _hint: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _retry_s: float = field(default=0.0, init=False)

    def swapped(self, before: Fleet, after: Fleet) -> None:
        """Answers come from another Fleet: what may differ is due, since now."""
        now = self.monotonic()
        for id in changed_edges(before, after):
            self._due.setdefault(edge_tag(id), now)
        if self._due:
            self._hint.set()

    async def run(self) -> None:
        """Purge what is due, a moment after it became so: changes come in flocks, and
        other servers have to learn of them."""
        while True:
            await self._hint.wait()
            await self.sleep(self._retry_s or DEBOUNCE_S)
            self._hint.clear()
            await self._purge()

    async def _purge(self) -> None:
        due, self._due = self._due, {}
        tags = sorted(due) if len(due) <= MAX_TAGS else [EVERY_TAG]
        error = None
        try:
            await self.target.purge(tags)
        except PurgeError as fault:
            error = fault
        except Exception as fault:  # noqa: BLE001 - what is due must not be lost
            error = PurgeError(f"{type(fault).__name__}: {fault}")
        now = self.monotonic()
        self.observer.purged(self.target.name, now - min(due.values()), error)
        if error is None:
            self._retry_s = 0.0
            await self._tell("ok", ", ".join(tags[:MAX_TOLD_TAGS]))
        else:
            await self._put_off(due, now, error)

    async def _put_off(self, due: dict[str, float], now: float, error: PurgeError) -> None:
        """Try again later what is still worth it."""
        is_first = self._retry_s == 0.0
        self._retry_s = min(2 * self._retry_s or FIRST_RETRY_S, LAST_RETRY_S)
        kept = {tag: since for tag, since in due.items() if now - since < LIFE_S}
        self._due = {**self._due, **kept}
        if self._due:
            self._hint.set()
        if len(kept) < len(due):
            await self._tell("gave up", str(error))
        elif is_first:
            await self._tell("failing", str(error))

    async def _tell(self, after: str, reason: str) -> None:
        event = Event(
            at=self.clock(),
            kind=EventKind.PURGE,
            after=after,
            reason=reason,
            actor=self.target.name,
        )
        self.observer.happened(event)
        with contextlib.suppress(StoreError):
            await self.store.log_events([event])
