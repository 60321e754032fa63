"""The last good health on disk, for a server that starts while the store is away.

One file, replaced atomically. A checksum detects a damaged or edited file, which is ignored. A
value in it that is out of bounds is left out. Access to the folder may hang, so both saving and
loading run in a thread for which nothing waits.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from router.model import Intent, View
from router.store import Stored
from router.store.bounds import (
    MAX_EDGES,
    MAX_FAULT_LENGTH,
    MAX_FAULTS,
    MAX_INTENT_BYTES,
    MAX_VALUE_BYTES,
    MAX_VANTAGES,
    check_size,
)
from router.store.codec import UNREADABLE, decode
from router.supervised import call_aside, call_aside_patiently

FILE_NAME = "last-good.json"
MAX_BYTES = 64 * 1024 * 1024
SAVE_INTERVAL_S = 5.0
SAVE_TIMEOUT_S = 5.0
LOAD_TIMEOUT_S = 2.0

_HEX = 32


Value = TypeVar("Value", View, Intent)


class _Saved(msgspec.Struct):
    views: tuple[View, ...]
    intents: tuple[Intent, ...]


class _Loaded(msgspec.Struct):
    """The file's content, with values not yet decoded."""

    views: tuple[msgspec.Raw, ...]
    intents: tuple[msgspec.Raw, ...]


@dataclass(frozen=True, slots=True)
class LastGood:
    """The file in a state folder. Only the owner can read the file, and a folder that is created
    for it.
    """

    folder: Path
    clock: Callable[[], float] = time.time

    def save(self, views: Iterable[View], intents: Iterable[Intent]) -> None:
        """Replace the file. Raises OSError."""
        body = msgspec.json.encode(_Saved(tuple(views), tuple(intents)))
        write_private(self.folder / FILE_NAME, _checksum(body) + b"\n" + body)

    def load(self) -> Stored | None:
        """What was saved, or None if there is no undamaged file. Values out of bounds are left
        out, with a line for each in `faults`.
        """
        try:
            with (self.folder / FILE_NAME).open("rb") as file:
                text = file.read(MAX_BYTES)
            checksum, body = text[:_HEX], text[_HEX + 1 :]
            if checksum != _checksum(body):
                return None
            loaded = msgspec.json.decode(body, type=_Loaded)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        now = self.clock()
        views = _decode_bounded(loaded.views[:MAX_VANTAGES], View, MAX_VALUE_BYTES, now)
        intents = _decode_bounded(loaded.intents[:MAX_EDGES], Intent, MAX_INTENT_BYTES, now)
        faults = tuple(islice(chain(views.faults, intents.faults), MAX_FAULTS))
        return Stored(tuple(views.values), tuple(intents.values), faults)


class Observer(Protocol):
    """Is called with the outcome of saving; see router.telemetry.metrics."""

    def snapshot_saved(self, error: OSError | None) -> None:
        """The last good health was written to disk, or was not (TimeoutError: not in time)."""

    def snapshot_loaded(self, faults: tuple[str, ...]) -> None:
        """The last good health was loaded without some values: a line for each."""


class SnapshotWriter:
    """Saves the newest health, and delays nothing. `run` never returns; cancel it."""

    def __init__(
        self,
        last_good: LastGood,
        observer: Observer,
        *,
        interval_s: float = SAVE_INTERVAL_S,
        timeout_s: float = SAVE_TIMEOUT_S,
    ) -> None:
        self._last_good = last_good
        self._observer = observer
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._newest = Stored((), ())
        self._has_news = asyncio.Event()

    def offer(self, stored: Stored) -> None:
        """Save this next, unless something newer is offered first."""
        if stored.views and stored != self._newest:
            self._newest = stored
            self._has_news.set()

    async def run(self) -> None:
        """Save the newest offer, at most every `interval_s`."""
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            await self._save(self._newest)
            await asyncio.sleep(self._interval_s)

    async def _save(self, stored: Stored) -> None:
        """Save it, and report a save that hangs. The next save begins only when this one has
        ended.
        """
        save = partial(self._last_good.save, stored.views, stored.intents)
        slow = TimeoutError(f"no answer for {self._timeout_s:g} s")
        try:
            await call_aside_patiently(
                save,
                timeout_s=self._timeout_s,
                on_timeout=lambda: self._observer.snapshot_saved(slow),
                name="save health",
            )
        except OSError as error:
            self._observer.snapshot_saved(error)
        else:
            self._observer.snapshot_saved(None)


async def load_in_time(
    last_good: LastGood, observer: Observer, timeout_s: float = LOAD_TIMEOUT_S
) -> Stored | None:
    """What was saved. None if there is no undamaged file, or if the folder does not respond in
    time.
    """
    try:
        saved = await call_aside(last_good.load, timeout_s=timeout_s, name="load health")
    except TimeoutError:
        observer.snapshot_saved(TimeoutError(f"no answer for {timeout_s:g} s at start"))
        return None
    if saved is not None and saved.faults:
        observer.snapshot_loaded(saved.faults)
    return saved


@dataclass(frozen=True, slots=True)
class _Bounded(Generic[Value]):
    values: list[Value] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def _decode_bounded(
    texts: Iterable[msgspec.Raw], kind: type[Value], limit: int, now: float
) -> _Bounded[Value]:
    """The values that are within the bounds of values in Redis."""
    bounded: _Bounded[Value] = _Bounded()
    for number, text in enumerate(texts, 1):
        try:
            check_size(len(text), limit)
            bounded.values.append(decode(bytes(text), kind, now))
        except UNREADABLE as error:
            bounded.faults.append(f"{kind.__name__.lower()} {number}: {error}"[:MAX_FAULT_LENGTH])
    return bounded


def write_private(path: Path, body: bytes) -> None:
    """Replace a file that only the owner may read, in a folder that is created if it is missing.
    Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with open(fresh, "wb", opener=_private) as file:
        os.fchmod(file.fileno(), 0o600)  # also a file of an older release
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=_HEX // 2).hexdigest().encode()
