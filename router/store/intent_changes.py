"""Changes intents together with their events. On one server all changes are one transaction. In a
Cluster the keys are in different slots, which no transaction spans: for each edge the event is
written before the intent, so that no intent is in force without an event. If the intent then
fails, another event corrects the first. After a timeout it is unknown whether Redis made the
changes. So they are read over a new connection, which Redis serves after everything that it had
received before, and the result is reported.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import ExecAbortError

from router.errors import StoreError
from router.model import Event
from router.store import Change, scripts
from router.store.bounds import MAX_INTENT_BYTES
from router.store.codec import encode
from router.store.connect import Client
from router.store.event_log import EVENTS, add_trim, append
from router.store.keys import Part, ServerKeys
from router.store.link import Link, raise_first
from router.store.listener import CHANGED
from router.store.reading import intent_key

TRIES = 3


async def change_intents(link: Link, changes: Sequence[Change]) -> None:
    """Make all of these changes. Otherwise raises StoreError, which says what is in force now."""
    try:
        before = await _read_stored(link, changes)
    except StoreError as error:
        raise StoreError(f"{error}. Nothing was changed") from error
    if isinstance(link.client, RedisCluster):
        return await _one_by_one(link, changes)
    try:
        await link.call(lambda client: _transaction(client, changes))
    except StoreError as error:
        if isinstance(error.__cause__, ExecAbortError):
            raise StoreError(f"{error}. Nothing was changed") from error
        await _check_outcome(link, changes, before, error)


async def _read_stored(link: Link, changes: Sequence[Change]) -> list[Part]:
    """The stored intents of these edges."""
    names = [intent_key(change.edge) for change in changes]
    limits = [MAX_INTENT_BYTES] * len(names)
    return await link.call(lambda client: ServerKeys(client).parts(names, limits))


async def _transaction(client: Client, changes: Sequence[Change]) -> None:
    """Make all changes in one MULTI/EXEC, which Redis refuses as a whole if one command is not
    allowed. An events key of a wrong type would fail later, so it is removed first.
    """
    await client.eval(scripts.MEND_EVENTS, 1, EVENTS)
    pipe: Any = client.pipeline(transaction=True)
    for change in changes:
        _add_change(pipe, change)
        if change.event is not None:
            append(pipe, change.event)
    add_trim(pipe)
    pipe.publish(CHANGED, changes[0].edge)
    await pipe.execute()


def _add_change(pipe: Any, change: Change) -> None:
    key, intent = intent_key(change.edge), change.intent
    if intent is None:
        pipe.delete(key)
    else:
        pipe.set(key, encode(intent), pxat=round(intent.expires_at * 1_000))


async def _check_outcome(
    link: Link, changes: Sequence[Change], before: Sequence[Part], error: StoreError
) -> None:
    """Return if the changes were made; otherwise raise StoreError with what is in force."""
    now = await _read_again(link, changes)
    if now is None:
        names = ", ".join(change.edge for change in changes[:10])
        raise StoreError(
            f"{error}. Whether the change of {names} is in force is not known, because Redis "
            "does not answer; look with: autorouter edges"
        ) from error
    wanted = _expected(changes)
    if now == wanted != list(before):
        return
    state = "Nothing was changed" if now == list(before) else "Others changed the same edges"
    raise StoreError(f"{error}. {state}") from error


def _expected(changes: Sequence[Change]) -> list[Part]:
    return [None if one.intent is None else encode(one.intent) for one in changes]


async def _read_again(link: Link, changes: Sequence[Change]) -> list[Part] | None:
    """The stored intents, read over new connections; None if Redis does not answer."""
    for _ in range(TRIES):
        link.renew("the outcome of a change is not known")
        try:
            return await _read_stored(link, changes)
        except StoreError:
            await asyncio.sleep(link.timeout_s / 10)
    return None


async def _one_by_one(link: Link, changes: Sequence[Change]) -> None:
    """In a Cluster: event, then intent, for each edge; stop at the first that fails."""
    for done, change in enumerate(changes):
        try:
            await link.call(lambda client, change=change: _write_one(client, change))  # type: ignore[misc]
        except StoreError as error:
            now = await _read_again(link, [change])
            if now == _expected([change]):
                continue
            if now is not None:
                await _log_correction(link, change)
            names = ", ".join(one.edge for one in changes[:done]) or "none"
            state = "is not known" if now is None else "is not changed"
            raise StoreError(f"{error}. Changed: {names}; {change.edge} {state}") from error
    await link.call(lambda client: _announce(client, changes[0].edge))


async def _write_one(client: Client, change: Change) -> None:
    if change.event is not None:
        pipe: Any = client.pipeline()
        append(pipe, change.event)
        raise_first(await pipe.execute())
    key, intent = intent_key(change.edge), change.intent
    if intent is None:
        await client.delete(key)
    else:
        await client.set(key, encode(intent), pxat=round(intent.expires_at * 1_000))


async def _log_correction(link: Link, change: Change) -> None:
    """Append an event that an intent was not changed, if Redis accepts it."""
    if change.event is None:
        return
    said = replace(
        change.event,
        at=time.time(),
        before=change.event.after,
        after=change.event.before,
        reason="the change before this one failed: Redis did not take it",
        until=None,
    )
    try:
        await link.call(lambda client: _append_one(client, said))
    except StoreError:
        return


async def _append_one(client: Client, event: Event) -> None:
    pipe: Any = client.pipeline()
    append(pipe, event)
    raise_first(await pipe.execute())


async def _announce(client: Client, edge: str) -> None:
    await client.publish(CHANGED, edge)
