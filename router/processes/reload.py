"""Takes in changed files while running: all of them or, with any fault, none.

Files are looked at every second, and taken once they have kept still for one; SIGHUP
takes them at once. What a process does with them is its own business.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from router.errors import ConfigError, StoreError
from router.model import Event, EventKind
from router.store import Store

LOOK_S = 1.0
MAX_TOLD = 500

T = TypeVar("T")
Stamp = tuple[int, int, int] | None


class Observer(Protocol):
    """Hears of reloads; see router.telemetry.metrics."""

    def reloaded(self, faults: Sequence[str]) -> None:
        """New files were taken, or refused for these faults."""

    def happened(self, event: Event) -> None:
        """Something worth a line in the log and in the events."""


@dataclass(kw_only=True)
class Reload(Generic[T]):
    """Follows `paths`. `asked`: set at SIGHUP. `run` never returns; cancel it."""

    paths: Sequence[Path]
    read: Callable[[], T]
    take: Callable[[T], None]
    store: Store
    observer: Observer
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    clock: Callable[[], float] = time.time
    look_s: float = LOOK_S

    async def run(self) -> None:
        """Reload whenever files changed, or somebody asks."""
        taken = seen = stamps(self.paths)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.look_s):
                    await self.asked.wait()
            now = await asyncio.to_thread(stamps, self.paths)
            if self.asked.is_set() or (now != taken and now == seen):
                self.asked.clear()
                await self.reload()
                taken = now
            seen = now

    async def reload(self) -> None:
        """Read everything; take it, or keep the old and say why."""
        faults: tuple[str, ...] = ()
        try:
            inputs = await asyncio.to_thread(self.read)
        except ConfigError as error:
            faults = error.faults
        else:
            self.take(inputs)
        self.observer.reloaded(faults)
        await self._tell(faults)

    async def _tell(self, faults: Sequence[str]) -> None:
        event = Event(
            at=self.clock(),
            kind=EventKind.RELOAD,
            after="refused" if faults else "ok",
            reason="; ".join(faults)[:MAX_TOLD] or None,
            actor=socket.gethostname(),
        )
        self.observer.happened(event)
        with contextlib.suppress(StoreError):
            await self.store.log_events([event])


def stamps(paths: Sequence[Path]) -> list[Stamp]:
    """What tells a changed file from the same one; None for one that cannot be seen."""
    return [_stamp(path) for path in paths]


def _stamp(path: Path) -> Stamp:
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_mtime_ns, told.st_size, told.st_ino
