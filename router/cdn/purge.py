"""Purges cached answers when an edge changes: decides which tags, when, and how often to retry.

Each server with AUTOROUTER_PURGE purges for a change only after it answers with that change, so
its older answers cannot get back into the cache (docs/adr/0014-who-purges.md). Nothing waits for a
purge. router.cdn.providers sends the requests.
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
LIFE_S = 60.0  # after that, no cache serves an answer from before the change
MAX_TAGS = 30
MAX_REPORTED_TAGS = 5


class Target(Protocol):
    """One CDN; see router.cdn.providers."""

    name: str

    async def purge(self, tags: Sequence[str]) -> None:
        """Purge everything that has one of the tags. Raises PurgeError if the CDN did not accept
        that in time.
        """


class Observer(Protocol):
    """Is called with the outcome of purges; see router.telemetry.metrics."""

    def purge_ended(self, target: str, delay_s: float, error: PurgeError | None) -> None:
        """A purge was accepted or not, this many seconds after the change."""

    def event_happened(self, event: Event) -> None:
        """An event happened, to be logged and stored."""


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

    def schedule(self, before: Fleet, after: Fleet) -> None:
        """The Fleet was replaced: the answers that may differ are due for a purge from now on."""
        now = self.monotonic()
        for id in changed_edges(before, after):
            self._due.setdefault(edge_tag(id), now)
        if self._due:
            self._hint.set()

    async def run(self) -> None:
        """Purge what is due, after a short delay: changes come in groups, and other servers must
        learn about them first.
        """
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
        self.observer.purge_ended(self.target.name, now - min(due.values()), error)
        if error is None:
            self._retry_s = 0.0
            await self._report("ok", ", ".join(tags[:MAX_REPORTED_TAGS]))
        else:
            await self._put_off(due, now, error)

    async def _put_off(self, due: dict[str, float], now: float, error: PurgeError) -> None:
        """Retry later, except for tags whose time is over."""
        is_first = self._retry_s == 0.0
        self._retry_s = min(2 * self._retry_s or FIRST_RETRY_S, LAST_RETRY_S)
        kept = {tag: since for tag, since in due.items() if now - since < LIFE_S}
        self._due = {**self._due, **kept}
        if self._due:
            self._hint.set()
        if len(kept) < len(due):
            await self._report("gave up", str(error))
        elif is_first:
            await self._report("failing", str(error))

    async def _report(self, after: str, reason: str) -> None:
        event = Event(
            at=self.clock(),
            kind=EventKind.PURGE,
            after=after,
            reason=reason,
            actor=self.target.name,
        )
        self.observer.event_happened(event)
        with contextlib.suppress(StoreError):
            await self.store.log_events([event])
