"""The store that joins processes and machines, in Redis.

Keys, all bounded in life or size: `autorouter:view:{vantage}`, `autorouter:vantages`
(set), `autorouter:lease:{vantage}`, `autorouter:intent:{edge}`, `autorouter:events`
(stream), `autorouter:history`; channel `autorouter:changed`. A view lives for an hour after
it was written, and the name of its vantage no longer than a minute more. Contents are
hostile: whatever is out of bounds or does not decode to the exact type is reported and left
out.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import RedisCluster

from router.errors import StoreError
from router.model import Event, View
from router.store import EVENTS_KEPT, MAX_HISTORY_BYTES, Change, Logged, Stored, scripts
from router.store.bounds import MAX_VALUE_BYTES, MAX_VANTAGES
from router.store.codec import encode, fit_view
from router.store.connect import TIMEOUT_S, Client
from router.store.event_log import EVENTS, log_events, log_once, read_events
from router.store.intent_changes import change_intents
from router.store.keys import VANTAGES, ServerKeys
from router.store.link import Link, raise_first
from router.store.listener import CHANGED, Listener
from router.store.notices import Notice, Report, no_report
from router.store.reading import Reader, intent_key, silent_names, view_key
from router.store.watchdog import LostIntents, Standstill

__all__ = [
    "CHANGED",
    "EVENTS",
    "MAX_VALUE_BYTES",
    "MAX_VANTAGES",
    "VANTAGES",
    "VIEW_LIFE_S",
    "RedisStore",
    "intent_key",
    "lease_key",
    "view_key",
]

VIEW_LIFE_S = 3_600
PRUNE_S = 60.0
HISTORY = "autorouter:history"
HISTORY_LIFE_S = 86_400
AHEAD_MS = 30 * 24 * 3_600_000


def lease_key(vantage: str) -> str:
    """The key of the lease for publishing as a vantage."""
    return f"autorouter:lease:{vantage}"


class RedisStore:
    """Views, intents, leases and events in Redis. See Store for the contract. Needs a running
    loop.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float = TIMEOUT_S,
        report: Report = no_report,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._report = report
        self._clock = clock
        self._link = Link(url, timeout_s, report)
        self._listener = Listener(url, timeout_s, report)
        self._link.on_renewal = self._listener.restart
        self._reader = Reader(clock)
        self._lost = LostIntents(clock)
        self._standstill = Standstill()
        self._pruned_at = time.monotonic()

    async def publish(self, view: View) -> int:
        """See Store."""
        body = encode(fit_view(view, MAX_VALUE_BYTES))
        highest = round(self._clock() * 1_000) + AHEAD_MS
        args = (view_key(view.vantage), str(view.seq), body, str(VIEW_LIFE_S), str(highest))
        seq, replaced = await self._link.call(lambda client: _publish(client, view.vantage, args))
        if replaced:
            self._report(Notice.WRONG_TYPE, VANTAGES)
        await self._prune()
        return seq

    async def read(self, edges: Sequence[str]) -> Stored:
        """See Store."""
        stored = await self._link.call(lambda client: self._reader.read(ServerKeys(client), edges))
        if self._standstill.is_due(stored.views):
            self._link.renew("no view has changed for long: this may not be the primary any more")
        back, lost = self._lost.find_returned(stored), self._lost.find_lost(stored, edges)
        if back or lost:
            with contextlib.suppress(StoreError):
                await self._report_intents(back, lost)
        return stored

    async def _report_intents(self, back: Sequence[Event], lost: Sequence[Event]) -> None:
        """Report intents that are back after their end, and lost intents that no event explains."""
        for event in back:
            self._report(Notice.INTENT_BACK, f"{event.edge}: {event.reason}")
        recent = await self.events() if lost else ()
        unexplained = self._lost.find_unexplained(lost, [logged.event for logged in recent])
        for event in unexplained:
            self._report(Notice.INTENT_LOST, f"{event.edge}: {event.reason}")
        if events := [*back, *unexplained]:
            await self._link.call(lambda client: log_once(client, events))

    async def changed(self, seen: int, timeout_s: float) -> int:
        """See Store."""
        return await self._listener.hints.after(seen, timeout_s)

    async def hold_lease(self, vantage: str, holder: str, life_s: float) -> bool:
        """See Store."""
        args = (lease_key(vantage), holder, str(round(life_s * 1_000)))
        return bool(await self._link.call(lambda client: client.eval(scripts.HOLD_LEASE, 1, *args)))

    async def drop_lease(self, vantage: str, holder: str) -> None:
        """See Store."""
        args = (lease_key(vantage), holder)
        await self._link.call(lambda client: client.eval(scripts.DROP_LEASE, 1, *args))

    async def change_intents(self, changes: Sequence[Change]) -> None:
        """See Store."""
        if not changes:
            return
        await change_intents(self._link, changes)
        self._lost.forget(change.edge for change in changes)

    async def log_events(self, events: Sequence[Event]) -> None:
        """See Store."""
        if not events:
            return
        if await self._link.call(lambda client: log_events(client, events)):
            self._report(Notice.WRONG_TYPE, EVENTS)
        await self._link.call(lambda client: _announce(client, EVENTS))

    async def events(self, after: str = "", limit: int = EVENTS_KEPT) -> tuple[Logged, ...]:
        """See Store."""
        now = self._clock()
        return await self._link.call(lambda client: read_events(client, after, limit, now))

    async def history(self) -> bytes | None:
        """See Store."""
        most = MAX_HISTORY_BYTES
        (part,) = await self._link.call(lambda client: ServerKeys(client).parts([HISTORY], [most]))
        return part if isinstance(part, bytes) and len(part) <= most else None

    async def save_history(self, body: bytes) -> None:
        """See Store."""
        await self._link.call(lambda client: client.set(HISTORY, body, ex=HISTORY_LIFE_S))

    async def close(self) -> None:
        """See Store."""
        await self._listener.close()
        await self._link.close()

    async def _prune(self) -> None:
        """Periodically remove the names of vantages whose view has expired."""
        if time.monotonic() - self._pruned_at < PRUNE_S:
            return
        self._pruned_at = time.monotonic()
        with contextlib.suppress(StoreError):
            await self._link.call(_prune)


async def _publish(client: Client, vantage: str, args: Sequence[Any]) -> tuple[int, bool]:
    """Returns the `seq` that is now stored, and whether the list of vantages had to be replaced.
    One round trip; two in a Cluster.
    """
    join = (scripts.JOIN, 1, VANTAGES, vantage, str(VIEW_LIFE_S))
    if isinstance(client, RedisCluster):
        seq: Any = await client.eval(scripts.PUBLISH, 1, *args)
        joined, _ = await asyncio.gather(client.eval(*join), _announce(client, vantage))
        return int(seq), bool(joined)
    pipe = client.pipeline(transaction=False)
    pipe.eval(scripts.PUBLISH, 1, *args)
    pipe.eval(*join)
    pipe.publish(CHANGED, vantage)
    answers = await pipe.execute(raise_on_error=False)
    raise_first(answers)
    return int(answers[0]), bool(answers[1])


async def _prune(client: Client) -> None:
    silent = await silent_names(ServerKeys(client))
    if silent:
        await client.eval(scripts.LEAVE, 1, VANTAGES, *silent)


async def _announce(client: Client, what: str) -> None:
    await client.publish(CHANGED, what)
