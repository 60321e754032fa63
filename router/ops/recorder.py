"""Records the history of one server. It observes the fleet every second, adds a sample each minute,
and saves the history for the next start. Every server records its own. If several share one Redis,
only one of them writes there.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from router.api.live_fleet import FleetWatch
from router.errors import StoreError
from router.model import Observed
from router.ops.history import MINUTE_S, History, decode, encode, sample
from router.routing.fleet import Fleet
from router.routing.response import Counts
from router.store import MAX_HISTORY_BYTES, Store
from router.store.snapshot import write_private
from router.supervised import call_aside

EVERY_S = 1.0
MAX_GAP_S = 5.0  # a longer gap means that the machine slept; only this much of it is counted
FILE_TIMEOUT_S = 5.0
LEASE = ".history"  # cannot be the name of a vantage, which never begins with a dot
LEASE_LIFE_S = 3 * MINUTE_S
FILE_NAME = "history"


class Keeper(Protocol):
    """Saves the history, so that it survives a restart."""

    async def load(self) -> bytes | None:
        """The saved history; None if there is none. Raises StoreError or OSError."""

    async def save(self, body: bytes) -> None:
        """Replace the saved history. Raises StoreError or OSError."""


@dataclass(frozen=True, slots=True)
class StoreKeeper:
    """Saves in the store. Only one server at a time writes."""

    store: Store
    holder: str = field(default_factory=lambda: f"{socket.gethostname()}/{os.getpid()}")

    async def load(self) -> bytes | None:
        """See Keeper."""
        return await self.store.history()

    async def save(self, body: bytes) -> None:
        """See Keeper."""
        if await self.store.hold_lease(LEASE, self.holder, LEASE_LIFE_S):
            await self.store.save_history(body)


@dataclass(frozen=True, slots=True)
class FileKeeper:
    """Saves in a file in the state folder. Access to that folder may hang."""

    folder: Path

    async def load(self) -> bytes | None:
        """See Keeper."""
        return await call_aside(self._read, timeout_s=FILE_TIMEOUT_S, name="load history")

    async def save(self, body: bytes) -> None:
        """See Keeper."""
        await call_aside(
            partial(write_private, self.folder / FILE_NAME, body),
            timeout_s=FILE_TIMEOUT_S,
            name="save history",
        )

    def _read(self) -> bytes | None:
        try:
            with (self.folder / FILE_NAME).open("rb") as file:
                return file.read(MAX_HISTORY_BYTES)
        except FileNotFoundError:
            return None


def choose_keeper(folder: Path | None, store: Store, *, is_shared: bool) -> Keeper:
    """Saves in the store if it is shared or if there is no state folder; else in that folder."""
    return StoreKeeper(store) if is_shared or folder is None else FileKeeper(folder)


@dataclass(kw_only=True)
class Recorder:
    """`counts`: the answers of all processes of this server so far. `run` never returns; cancel
    it.
    """

    watch: FleetWatch
    counts: Callable[[], Counts]
    keeper: Keeper
    clock: Callable[[], float] = time.time
    history: History = field(default_factory=History)

    def __post_init__(self) -> None:
        self._is_loaded = False
        self._looked_at = self.clock()
        self._states: dict[str, Observed] = {}
        self._falls: Counter[str] = Counter()
        self._down_s: defaultdict[str, float] = defaultdict(float)
        self._answers = _Answers()

    async def run(self) -> None:
        """Observe every second until cancelled."""
        await self.load()
        while True:
            await asyncio.sleep(EVERY_S)
            if self.observe():
                await self.save()

    async def load(self) -> None:
        """Put the saved samples before the recorded ones, once. If that fails, each save tries
        again.
        """
        if self._is_loaded:
            return
        with contextlib.suppress(StoreError, OSError):
            body = await self.keeper.load()
            self._is_loaded = True
            if body is not None:
                now = self.clock()
                older = await asyncio.to_thread(decode, body, now)
                self.history.prepend(older, now)

    async def save(self) -> None:
        """Save the history. Does nothing until the saved one is loaded, so that it is not lost."""
        await self.load()
        if not self._is_loaded:
            return
        with contextlib.suppress(StoreError, OSError):
            body = await asyncio.to_thread(encode, self.history.samples)
            await self.keeper.save(body)

    def observe(self) -> bool:
        """Count falls and downtime, and add a sample at the end of a minute. Returns whether a
        sample was added.
        """
        now, fleet = self.clock(), self.watch.fleet
        self._note(fleet, min(max(0.0, now - self._looked_at), MAX_GAP_S))
        is_over = now // MINUTE_S != self._looked_at // MINUTE_S
        self._looked_at = now
        if is_over:
            self._add(fleet, now // MINUTE_S * MINUTE_S)
        return is_over

    def _note(self, fleet: Fleet, elapsed_s: float) -> None:
        states = {edge.region.id: edge.observed for edge in fleet.edges}
        for id, state in states.items():
            before = self._states.get(id)
            if state is Observed.DOWN:
                self._down_s[id] += elapsed_s
                self._falls[id] += before is not None and before is not Observed.DOWN
        self._states = states

    def _add(self, fleet: Fleet, at: float) -> None:
        before, self._answers = self._answers, _answers(self.counts())
        self.history.add(
            sample(
                fleet,
                at=at,
                given=self._answers.given - before.given,
                answers=max(0, self._answers.total - before.total),
                errors=max(0, self._answers.errors - before.errors),
                falls=self._falls,
                down_s=self._down_s,
            )
        )
        self._falls, self._down_s = Counter(), defaultdict(float)


@dataclass(frozen=True, slots=True)
class _Answers:
    """Counts of answers so far. `errors`: answers with status 500 and above."""

    given: Counter[str] = field(default_factory=Counter)
    total: int = 0
    errors: int = 0


def _answers(counts: Counts) -> _Answers:
    given: Counter[str] = Counter()
    errors = 0
    for labels, count in counts.answers.items():
        if labels.region:
            given[labels.region] += count
        errors += count * labels.code.startswith("5")
    return _Answers(given, sum(counts.answers.values()), errors)
