"""Reads the views and intents in bounded time and memory. A faulty key affects only itself. A view
is read and decoded only if its first bytes, which contain its `seq`, have changed. Decoding pauses
every millisecond, so that answers are not delayed.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from router.model import Intent, View
from router.store import Stored
from router.store.bounds import (
    MAX_FAULT_LENGTH,
    MAX_FAULTS,
    MAX_INTENT_BYTES,
    MAX_VALUE_BYTES,
    MAX_VANTAGES,
    OutOfBoundsError,
    check_size,
    too_large,
)
from router.store.codec import UNREADABLE, decode, view_in_steps
from router.store.keys import HEAD_BYTES, VANTAGES, Before, Head, Keys, Names, Part, Refusal
from router.store.link import FAULTS
from router.store.slices import Pace, in_slices

MAX_TOTAL_BYTES = 8 * 1024 * 1024
GROWTH_BYTES = 64 * 1024  # how much a view may have grown since its head was read
LARGE_BYTES = 512 * 1024
LARGE_S = 1.0  # time for all large views of one reading
LISTED_READS = 10
KEPT_S = 120.0  # how long a silent vantage still counts as one of the newest
AHEAD_MS = 24 * 3_600_000

_SEQ = re.compile(rb'"seq":(\d{1,16})\b')


def view_key(vantage: str) -> str:
    """The key of a vantage's View."""
    return f"autorouter:view:{vantage}"


def intent_key(edge: str) -> str:
    """The key of an operator's Intent for an edge."""
    return f"autorouter:intent:{edge}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A view as it was last read. If it could not be read, `view` is None and `fault` says why."""

    head: bytes
    length: int
    view: View | None = None
    fault: str = ""


class Reader:
    """Reads everything, and remembers the views that it read last."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._known: dict[str, Known] = {}
        self._names: list[str] = []
        self._held: frozenset[str] = frozenset()
        self._listed: Names | None = None
        self._listed_reads = 0

    async def read(self, keys: Keys, edges: Sequence[str]) -> Stored:
        """Every vantage's view, and the intents for these edges."""
        asked = list(self._names)
        views = [view_key(name) for name in asked]
        wanted = [intent_key(edge) for edge in edges]
        before = Before(self._listed, self._held)
        names, found, parts = await keys.survey(views, wanted, MAX_INTENT_BYTES, before)
        heads = dict(zip(asked, found, strict=True))
        fresh = [name for name in names.names if name not in heads]
        if fresh:
            more = await keys.heads([view_key(name) for name in fresh])
            heads |= dict(zip(fresh, more, strict=True))
        faults = _list_faults(names)
        known = await self._renew(keys, heads, faults)
        intents = await self._intents(edges, parts, faults)
        self._known = known
        self._held = frozenset(key for key, part in parts.items() if part is not None)
        self._cache_names(names)
        # Also vantages whose view exists although the list is lost or too long.
        self._names = sorted({*names.names, *known})
        return Stored(
            views=tuple(one.view for _, one in sorted(known.items()) if one.view),
            intents=tuple(intents),
            unread=frozenset(edge for edge in edges if intent_key(edge) in faults),
            faults=_lines(faults),
        )

    def _cache_names(self, names: Names) -> None:
        """Cache the vantages' names for LISTED_READS readings at most, because another list can
        have the same length.
        """
        if names is not self._listed:
            self._listed, self._listed_reads = names, 0
        self._listed_reads += 1
        if self._listed_reads >= LISTED_READS:
            self._listed = None

    async def _renew(
        self, keys: Keys, heads: dict[str, Head], faults: dict[str, str]
    ) -> dict[str, Known]:
        """The newest vantages' views, read again where they have changed."""
        before = self._known
        here = {name: head for name, head in heads.items() if not _is_gone(head)}
        chosen = sorted(here, key=lambda name: self._rank(before.get(name), here[name]))
        known = {
            name: before[name]
            for name in chosen[:MAX_VANTAGES]
            if name in before and before[name].head == here[name].start
        }
        changed = {name: here[name] for name in chosen[:MAX_VANTAGES] if name not in known}
        left = MAX_TOTAL_BYTES - sum(one.length for one in known.values())
        affordable = _affordable(changed, left, faults)
        small = [name for name in affordable if (changed[name].length or 0) <= LARGE_BYTES]
        known |= await self._fetch(keys, changed, small, faults)
        large = {name: changed[name] for name in affordable if name not in small}
        known |= await self._fetch_in_time(keys, large, faults)
        for name, one in known.items():
            if one.view is None:
                faults[view_key(name)] = one.fault
        return known

    async def _fetch(
        self, keys: Keys, heads: dict[str, Head], names: Sequence[str], faults: dict[str, str]
    ) -> dict[str, Known]:
        """These views, read and decoded."""
        known: dict[str, Known] = {}
        wanted = [view_key(name) for name in names]
        parts = await keys.parts(wanted, [_limit(heads[name]) for name in names])
        pace = Pace()
        for name, part in zip(names, parts, strict=True):
            if isinstance(part, Refusal):
                faults[view_key(name)] = part.value
            elif part is not None:
                known[name] = await self._decode(name, part, pace)
        return known

    async def _fetch_in_time(
        self, keys: Keys, heads: dict[str, Head], faults: dict[str, str]
    ) -> dict[str, Known]:
        """Large views, one by one. One that takes too long is left out until it changes."""
        known: dict[str, Known] = {}
        deadline = time.monotonic() + LARGE_S
        for name, head in heads.items():
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    known |= await self._fetch(keys, heads, [name], faults)
            except FAULTS as error:
                fault = f"too large to be read in time ({type(error).__name__})"
                known[name] = Known(head=head.start, length=len(head.start), fault=fault)
        return known

    async def _decode(self, name: str, text: bytes, pace: Pace) -> Known:
        try:
            check_size(len(text), MAX_VALUE_BYTES)
            view = await in_slices(view_in_steps(text, self._clock()), pace)
            check_same("vantage", view.vantage, name)
        except UNREADABLE as error:
            return Known(head=text[:HEAD_BYTES], length=HEAD_BYTES, fault=str(error))
        return Known(head=text[:HEAD_BYTES], length=len(text), view=view)

    async def _intents(
        self, edges: Sequence[str], parts: Mapping[str, Part], faults: dict[str, str]
    ) -> list[Intent]:
        intents, pace = [], Pace()
        for edge in edges:
            if (part := parts.get(intent_key(edge))) is None:
                continue
            await pace.pause()
            try:
                intents.append(decode_intent(edge, part, self._clock()))
            except UNREADABLE as error:
                faults[intent_key(edge)] = str(error)
        return intents

    def _rank(self, known: Known | None, head: Head) -> tuple[bool, int]:
        """The sort key: vantages that published recently first, then the newest."""
        now = self._clock()
        view = None if known is None else known.view
        is_heard = view is not None and abs(now - view.probed_at) <= KEPT_S
        found = _SEQ.search(head.start)
        seq = int(found[1]) if found else 0
        return not is_heard, 0 if seq > now * 1_000 + AHEAD_MS else -seq


async def silent_names(keys: Keys) -> list[str]:
    """The listed vantages that no longer have a view."""
    names = (await keys.survey((), (), 0, Before())).names.names
    heads = await keys.heads([view_key(name) for name in names]) if names else []
    return [name for name, head in zip(names, heads, strict=True) if _is_gone(head)]


def decode_intent(edge: str, part: bytes | Refusal, now: float) -> Intent:
    """The intent for an edge. Raises one of the exceptions in UNREADABLE."""
    if isinstance(part, Refusal):
        raise OutOfBoundsError(part.value)
    check_size(len(part), MAX_INTENT_BYTES)
    intent = decode(part, Intent, now)
    check_same("edge", intent.edge, edge)
    return intent


def _affordable(heads: dict[str, Head], left: int, faults: dict[str, str]) -> list[str]:
    """The views to read within the budget, the smallest first."""
    names = []
    for name in sorted(heads, key=lambda name: heads[name].length or 0):
        head = heads[name]
        length = MAX_VALUE_BYTES if head.length is None else head.length
        if head.refusal is not None:
            faults[view_key(name)] = head.refusal.value
        elif length > MAX_VALUE_BYTES:
            faults[view_key(name)] = too_large(length, MAX_VALUE_BYTES)
        elif length > left:
            faults[view_key(name)] = Refusal.OVER_BUDGET.value
        else:
            names.append(name)
            left -= length
    return names


def _list_faults(names: Names) -> dict[str, str]:
    """What is wrong with the list of vantages."""
    if names.total is None:
        return {VANTAGES: Refusal.WRONG_TYPE.value}
    if names.total > len(names.names):
        return {VANTAGES: f"{names.total} names; only {len(names.names)} are read"}
    return {}


def _limit(head: Head) -> int:
    """How many bytes of a view to read, so that all together stay within their limit."""
    length = MAX_VALUE_BYTES if head.length is None else head.length + GROWTH_BYTES
    return min(length, MAX_VALUE_BYTES)


def _is_gone(head: Head) -> bool:
    return not head.start and head.refusal is None


def _lines(faults: dict[str, str]) -> tuple[str, ...]:
    lines = (f"{key}: {fault}"[:MAX_FAULT_LENGTH] for key, fault in faults.items())
    return tuple(islice(lines, MAX_FAULTS))


def check_same(name: str, value: str, key: str) -> None:
    """Raises OutOfBoundsError for a value stored under the wrong key."""
    if value != key:
        raise OutOfBoundsError(f"the {name} in the value is not the one in the key")
