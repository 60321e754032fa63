"""The store that joins processes and machines: one Redis value a vantage, never torn.

Keys, all bounded in life: `autorouter:view:{vantage}`, `autorouter:vantages` (set),
`autorouter:intent:{edge}`; channel `autorouter:changed`. Contents are hostile: what
does not decode to the exact type is reported and left out.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from router.errors import StoreError
from router.model import Intent, View
from router.store import Stored
from router.store.memory import hinted

CHANGED = "autorouter:changed"
VANTAGES = "autorouter:vantages"
TIMEOUT_S = 0.25
VIEW_LIFE_S = 3_600
MAX_VANTAGES = 64
MAX_VALUE_BYTES = 8 * 1024 * 1024
RECONNECT_S = 1.0
LISTEN_S = 10.0

T = TypeVar("T", View, Intent)

_FAULTS = (RedisError, OSError, TimeoutError)


def view_key(vantage: str) -> str:
    """Where a vantage's View is kept."""
    return f"autorouter:view:{vantage}"


def intent_key(edge: str) -> str:
    """Where an operator's Intent for an edge is kept."""
    return f"autorouter:intent:{edge}"


class RedisStore:
    """Views and intents in Redis. See Store for the promises."""

    def __init__(self, url: str) -> None:
        once = Retry(NoBackoff(), 0)
        self._redis = Redis.from_url(
            url, socket_connect_timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S, retry=once
        )
        self._listener = Redis.from_url(
            url, socket_connect_timeout=TIMEOUT_S, socket_timeout=None, retry=once
        )
        self._hint = asyncio.Event()
        self._listening = asyncio.create_task(self._listen(), name="redis listener")

    async def publish(self, view: View) -> None:
        """See Store."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(view_key(view.vantage), msgspec.json.encode(view), ex=VIEW_LIFE_S)
            pipe.sadd(VANTAGES, view.vantage)
            pipe.expire(VANTAGES, VIEW_LIFE_S)
            pipe.publish(CHANGED, view.vantage)
            await _run(pipe)

    async def read(self, edges: Sequence[str]) -> Stored:
        """See Store."""
        try:
            vantages = sorted(await self._redis.smembers(VANTAGES))[:MAX_VANTAGES]
            names = [view_key(_text(vantage)) for vantage in vantages]
            views = await self._values(names)
            intents = await self._values([intent_key(edge) for edge in edges])
        except _FAULTS as error:
            raise _store_error("read", error) from error
        faults: list[str] = []
        return Stored(
            tuple(_decoded(views, View, faults)),
            tuple(_decoded(intents, Intent, faults)),
            tuple(faults),
        )

    async def changed(self, timeout_s: float) -> None:
        """See Store."""
        await hinted(self._hint, timeout_s)

    async def close(self) -> None:
        """See Store."""
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await self._listener.aclose()
        await self._redis.aclose()

    async def _values(self, names: list[str]) -> list[tuple[str, bytes]]:
        if not names:
            return []
        values: list[Any] = await self._redis.mget(names)
        return [
            (name, value) for name, value in zip(names, values, strict=True) if value is not None
        ]

    async def _listen(self) -> None:
        """Turn messages into hints; after a reconnect hint once, for what was missed."""
        while True:
            try:
                async with self._listener.pubsub() as pubsub:
                    await pubsub.subscribe(CHANGED)
                    while True:
                        if await pubsub.get_message(timeout=LISTEN_S) is not None:
                            self._hint.set()
            except _FAULTS:
                await asyncio.sleep(RECONNECT_S)


async def _run(pipe: Pipeline) -> None:
    try:
        await pipe.execute()
    except _FAULTS as error:
        raise _store_error("write", error) from error


def _store_error(verb: str, error: Exception) -> StoreError:
    return StoreError(f"Redis, {verb}: {error or type(error).__name__}")


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("ascii", "replace")


def _decoded(values: Iterable[tuple[str, bytes]], kind: type[T], faults: list[str]) -> Iterator[T]:
    for name, value in values:
        if len(value) > MAX_VALUE_BYTES:
            faults.append(f"{name}: {len(value)} bytes is too large")
            continue
        try:
            yield msgspec.json.decode(value, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            faults.append(f"{name}: {error}")
