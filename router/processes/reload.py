"""Replaces inputs with those in changed files while running: all of them or, with any
fault, none.

Files are checked every second, and read once they have not changed for a second; after SIGHUP they
are read at once. The caller decides what to do with new inputs.
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
from router.safe_text import escaped
from router.store import Store
from router.supervised import call_aside_patiently

CHECK_S = 1.0
READ_TIMEOUT_S = 30.0
MAX_REASON = 500

T = TypeVar("T")
R = TypeVar("R")
Stamp = tuple[Path, int, int, int] | None


class Observer(Protocol):
    """Is called with the outcome of reloads; see router.telemetry.metrics."""

    def files_reloaded(self, faults: Sequence[str]) -> None:
        """New inputs are in use, or were refused for these faults."""

    def event_happened(self, event: Event) -> None:
        """An event happened, to be logged and stored."""


@dataclass(kw_only=True)
class Reload(Generic[T]):
    """Watches the files that `paths` returns, which may be different each time. `read` runs in a
    thread and does all slow work; `replace` runs on the loop. `asked`: set at SIGHUP. `run` never
    returns; cancel it.
    """

    paths: Callable[[], Sequence[Path]]
    read: Callable[[], T]
    replace: Callable[[T], None]
    store: Store
    observer: Observer
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    clock: Callable[[], float] = time.time
    check_s: float = CHECK_S
    _seen: list[Stamp] = field(default_factory=list, init=False)
    _used: list[Stamp] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._seen = self._used = stamps(self.paths())

    async def run(self) -> None:
        """Reload whenever files have changed, or `asked` is set."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.check_s):
                    await self.asked.wait()
            now = await self._read_in_thread(lambda: stamps(self.paths()))
            if self.asked.is_set() or (now != self._used and now == self._seen):
                self.asked.clear()
                await self.reload()
                self._used = now
            self._seen = now

    async def reload(self) -> None:
        """Read everything. Use it if it is valid; otherwise keep the old inputs and report why."""
        faults: tuple[str, ...] = ()
        try:
            self.replace(await self._read_in_thread(self.read))
        except ConfigError as error:
            faults = error.faults
        except Exception as error:  # noqa: BLE001 - whatever files hold, the old inputs stay
            faults = (f"{type(error).__name__}: {error}",)
        await self._report(faults)

    async def _read_in_thread(self, call: Callable[[], R]) -> R:
        """Read in a thread. Files that hang are reported, and delay only this loop."""
        fault = f"the files cannot be read: no answer for {READ_TIMEOUT_S:g} s"
        return await call_aside_patiently(
            call,
            timeout_s=READ_TIMEOUT_S,
            on_timeout=lambda: self.observer.files_reloaded([fault]),
            name="read files",
        )

    async def _report(self, faults: Sequence[str]) -> None:
        self.observer.files_reloaded(faults)
        event = Event(
            at=self.clock(),
            kind=EventKind.RELOAD,
            after="refused" if faults else "ok",
            reason=escaped("; ".join(faults))[:MAX_REASON] or None,
            actor=socket.gethostname(),
        )
        self.observer.event_happened(event)
        with contextlib.suppress(StoreError):
            await self.store.log_events([event])


def stamps(paths: Sequence[Path]) -> list[Stamp]:
    """For each file a stamp that changes with it; None if the file cannot be accessed."""
    return [_stamp(path) for path in paths]


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return path, status.st_mtime_ns, status.st_size, status.st_ino
