"""The store that joins processes and machines, in Redis.

Keys, all bounded in life or size: `autorouter:view:{vantage}`, `autorouter:vantages`
(set), `autorouter:lease:{vantage}`, `autorouter:intent:{edge}`, `autorouter:events`
(stream); channel `autorouter:changed`. Every command touches one key, so that a Redis
Cluster serves as well. Contents are hostile: what does not decode to the exact type is
reported and left out.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from redis.asyncio import RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from router.errors import StoreError
from router.model import Event, Intent, View
from router.store import EVENTS_KEPT, Logged, Stored
from router.store.codec import Kept, read, written
from router.store.connect import connect, connect_listener, disconnect
from router.store.memory import Hints

CHANGED = "autorouter:changed"
VANTAGES = "autorouter:vantages"
EVENTS = "autorouter:events"
VIEW_LIFE_S = 3_600
MAX_VANTAGES = 64
MAX_VALUE_BYTES = 8 * 1024 * 1024
RECONNECT_S = 0.5
LISTEN_S = 10.0
CALL_S = 1.0

# What redis-py raises for whatever Redis and the network do; a Cluster has a tree of its own.
FAULTS = (RedisError, RedisClusterException, OSError, TimeoutError)

# Replace a view unless the one there is newer; answers the seq now stored. The seq comes
# second in the JSON that we write, so that a look at its head finds it.
_PUBLISH = """
local stored = redis.call('GETRANGE', KEYS[1], 0, 255)
local seq = tonumber(string.match(stored, '"seq":(%d+)') or '0')
if seq > tonumber(ARGV[1]) then return seq end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return tonumber(ARGV[1])
"""

_HOLD_LEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
"""

_DROP_LEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

T = TypeVar("T")


def view_key(vantage: str) -> str:
    """Where a vantage's View is kept."""
    return f"autorouter:view:{vantage}"


def lease_key(vantage: str) -> str:
    """Where the right to publish for a vantage is kept."""
    return f"autorouter:lease:{vantage}"


def intent_key(edge: str) -> str:
    """Where an operator's Intent for an edge is kept."""
    return f"autorouter:intent:{edge}"


class RedisStore:
    """Views, intents, leases and events in Redis. See Store for the promises."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)
        self._listener = connect_listener(url)
        self._hints = Hints()
        self._listening = asyncio.create_task(self._listen(), name="redis listener")

    async def publish(self, view: View) -> int:
        """See Store."""
        body = written(view)
        key = view_key(view.vantage)
        seq = await _within(self._redis.eval(_PUBLISH, 1, key, view.seq, body, VIEW_LIFE_S))
        await _within(self._redis.sadd(VANTAGES, view.vantage))
        await _within(self._redis.expire(VANTAGES, VIEW_LIFE_S))
        await self._announce(view.vantage)
        return int(seq)

    async def read(self, edges: Sequence[str]) -> Stored:
        """See Store."""
        vantages = sorted(await _within(self._redis.smembers(VANTAGES)))[:MAX_VANTAGES]
        faults: dict[str, str] = {}
        views = await self._values([view_key(_text(vantage)) for vantage in vantages])
        intents = await self._values([intent_key(edge) for edge in edges])
        return Stored(
            views=tuple(_decoded(views, View, faults)),
            intents=tuple(_decoded(intents, Intent, faults)),
            unread=frozenset(edge for edge in edges if intent_key(edge) in faults),
            faults=tuple(f"{name}: {fault}" for name, fault in faults.items()),
        )

    async def changed(self, seen: int, timeout_s: float) -> int:
        """See Store."""
        return await self._hints.after(seen, timeout_s)

    async def hold_lease(self, vantage: str, holder: str, life_s: float) -> bool:
        """See Store."""
        args = (lease_key(vantage), holder, round(life_s * 1_000))
        return bool(await _within(self._redis.eval(_HOLD_LEASE, 1, *args)))

    async def drop_lease(self, vantage: str, holder: str) -> None:
        """See Store."""
        await _within(self._redis.eval(_DROP_LEASE, 1, lease_key(vantage), holder))

    async def put_intent(self, intent: Intent) -> None:
        """See Store."""
        key, body = intent_key(intent.edge), written(intent)
        await _within(self._redis.set(key, body, pxat=round(intent.expires_at * 1_000)))
        await self._announce(intent.edge)

    async def drop_intent(self, edge: str) -> None:
        """See Store."""
        await _within(self._redis.delete(intent_key(edge)))
        await self._announce(edge)

    async def log_events(self, events: Sequence[Event]) -> None:
        """See Store."""
        if not events:
            return
        pipe = self._redis.pipeline()
        for event in events[-EVENTS_KEPT:]:
            fields: Any = {"event": written(event)}
            pipe.xadd(EVENTS, fields, maxlen=EVENTS_KEPT, approximate=True)
        await _within(pipe.execute())
        await self._announce(EVENTS)

    async def events(self, after: str = "", limit: int = EVENTS_KEPT) -> tuple[Logged, ...]:
        """See Store."""
        oldest = f"({after}" if after else "-"
        found: Any = await _within(self._redis.xrevrange(EVENTS, "+", oldest, count=limit))
        logged = [
            Logged(_text(id), event)
            for id, fields in reversed(found)
            for event in _decoded([(EVENTS, fields.get(b"event", b""))], Event, {})
        ]
        return tuple(logged)

    async def close(self) -> None:
        """See Store."""
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await disconnect(self._listener)
        await disconnect(self._redis)

    async def _values(self, names: list[str]) -> list[tuple[str, bytes]]:
        if not names:
            return []
        client = self._redis
        many = client.mget_nonatomic if isinstance(client, RedisCluster) else client.mget
        values: list[Any] = await _within(many(names))
        return [
            (name, value) for name, value in zip(names, values, strict=True) if value is not None
        ]

    async def _announce(self, what: str) -> None:
        await _within(self._redis.publish(CHANGED, what))

    async def _listen(self) -> None:
        """Turn messages into hints; after a reconnect hint once, for what was missed."""
        while not _cancellations():  # asked rather than waited for: see _within
            try:
                await _within(self._listener.initialize())
                async with self._listener.pubsub() as pubsub:
                    await pubsub.subscribe(CHANGED)
                    while not _cancellations():
                        if await pubsub.get_message(timeout=LISTEN_S) is not None:
                            self._hints.give()
            except (StoreError, *FAULTS):
                with contextlib.suppress(*FAULTS):
                    await self._listener.aclose()  # so that a Cluster's nodes are asked for anew
                await asyncio.sleep(RECONNECT_S)


async def _within(call: Awaitable[T]) -> T:
    """The call's result, or StoreError; bounded whatever Redis does."""
    cancelled = _cancellations()
    try:
        async with asyncio.timeout(CALL_S):
            return await call
    except FAULTS as error:
        raise StoreError(f"Redis: {str(error) or type(error).__name__}") from error
    finally:
        # redis-py sends by asyncio.wait_for, which before Python 3.12 loses a cancellation
        # that comes just as it ends (github.com/python/cpython/issues/86296).
        if _cancellations() > cancelled:
            raise asyncio.CancelledError


def _cancellations() -> int:
    """How often the current task was asked to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _decoded(
    values: Iterable[tuple[str, bytes]], kind: type[Kept], faults: dict[str, str]
) -> Iterator[Kept]:
    for name, value in values:
        if len(value) > MAX_VALUE_BYTES:
            faults[name] = f"{len(value)} bytes is too large"
            continue
        try:
            yield read(value, kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            faults[name] = str(error)
