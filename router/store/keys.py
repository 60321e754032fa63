"""Reads many keys in few round trips: of one server by scripts, of a Cluster by pipelines."""

import asyncio
import contextlib
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoPermissionError, ResponseError

from router.store import scripts
from router.store.connect import Client
from router.store.link import raise_first

VANTAGES = "autorouter:vantages"
MAX_NAMES = 5_000
MAX_NAME_BYTES = 64
CHUNK = 1_000


class Refusal(Enum):
    """Why a value is not read."""

    WRONG_TYPE = "has the wrong type in Redis"
    EMPTY = "is empty"
    OVER_BUDGET = "left out: the views before it are as much as is read at once"


class Head(NamedTuple):
    """The first 256 bytes of a value; `length`: None where the ACL does not tell."""

    start: bytes
    length: int | None
    refusal: Refusal | None = None


class Names(NamedTuple):
    """The names of vantages; `total`: how many there are; None: the key is no set."""

    names: list[str]
    total: int | None


Part = bytes | Refusal | None


class Keys(Protocol):
    """Each call is one round trip, but for very many keys in a Cluster."""

    async def survey(
        self, views: Sequence[str], intents: Sequence[str], limit: int
    ) -> tuple[Names, list[Head], list[Part]]:
        """The vantages' names, the heads of views, and intents of at most `limit` bytes."""

    async def heads(self, keys: Sequence[str]) -> list[Head]:
        """How each value begins."""

    async def parts(self, keys: Sequence[str], limit: int, budget: int) -> list[Part]:
        """Each value: at most `limit` bytes and one more, and `budget` for all of them."""


def keys_of(client: Client) -> Keys:
    """The way to read that fits the client."""
    return ClusterKeys(client) if isinstance(client, RedisCluster) else ServerKeys(client)


class ServerKeys:
    """On one server."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def survey(
        self, views: Sequence[str], intents: Sequence[str], limit: int
    ) -> tuple[Names, list[Head], list[Part]]:
        """See Keys."""
        pipe = self._client.pipeline(transaction=False)
        pipe.eval(scripts.NAMES, 1, VANTAGES, MAX_NAMES, MAX_NAME_BYTES)
        pipe.eval(scripts.HEADS, len(views), *views)
        pipe.eval(scripts.PARTS, len(intents), *intents, limit, limit * (len(intents) + 1))
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        raise_first(answers)
        names, heads, parts = answers
        return _names(names), _heads(heads), [_part(part) for part in parts]

    async def heads(self, keys: Sequence[str]) -> list[Head]:
        """See Keys."""
        found: Any = await self._client.eval(scripts.HEADS, len(keys), *keys)
        return _heads(found)

    async def parts(self, keys: Sequence[str], limit: int, budget: int) -> list[Part]:
        """See Keys."""
        args = (*keys, str(limit), str(budget))
        found: Any = await self._client.eval(scripts.PARTS, len(keys), *args)
        return [_part(part) for part in found]


class ClusterKeys:
    """On a Cluster, where a script can use keys of one slot only. An empty value counts as
    none."""

    def __init__(self, client: RedisCluster) -> None:
        self._client = client

    async def survey(
        self, views: Sequence[str], intents: Sequence[str], limit: int
    ) -> tuple[Names, list[Head], list[Part]]:
        """See Keys."""
        names: Any = self._client.eval(scripts.NAMES, 1, VANTAGES, MAX_NAMES, MAX_NAME_BYTES)
        budget = limit * (len(intents) + 1)
        found = await asyncio.gather(names, self.heads(views), self.parts(intents, limit, budget))
        return _names(found[0]), found[1], found[2]

    async def heads(self, keys: Sequence[str]) -> list[Head]:
        """See Keys."""
        starts = await self._ranges(keys, 255)
        lengths = await self._lengths(keys)
        return [
            Head(b"", None, start) if isinstance(start, Refusal) else Head(start or b"", length)
            for start, length in zip(starts, lengths, strict=True)
        ]

    async def parts(self, keys: Sequence[str], limit: int, budget: int) -> list[Part]:
        """See Keys. The caller knows the lengths, and asks for no more than the budget."""
        return await self._ranges(keys, limit)

    async def _ranges(self, keys: Sequence[str], end: int) -> list[Part]:
        found: list[Part] = []
        for start in range(0, len(keys), CHUNK):
            pipe = self._client.pipeline()
            for key in keys[start : start + CHUNK]:
                pipe.getrange(key, 0, end)
            found += [_cluster_part(part) for part in await pipe.execute(raise_on_error=False)]
        return found

    async def _lengths(self, keys: Sequence[str]) -> list[int | None]:
        found: list[Any] = []
        for start in range(0, len(keys), CHUNK):
            pipe = self._client.pipeline()
            for key in keys[start : start + CHUNK]:
                pipe.strlen(key)
            with contextlib.suppress(NoPermissionError):
                found += await pipe.execute(raise_on_error=False)
        lengths = [length if isinstance(length, int) else None for length in found]
        return lengths + [None] * (len(keys) - len(lengths))


def _names(found: Any) -> Names:
    if isinstance(found, Exception):
        raise found
    total, names = found
    texts = [name.decode("utf-8", "replace") for name in names]
    return Names(texts, None if total < 0 else total)


def _heads(found: list[Any]) -> list[Head]:
    return [_head(start, length) for start, length in zip(found[::2], found[1::2], strict=True)]


def _head(start: bytes, length: int) -> Head:
    if length < -1:
        return Head(b"", None, Refusal.WRONG_TYPE if length == -2 else Refusal.EMPTY)
    return Head(start, None if length < 0 else length)


def _part(found: Any) -> Part:
    if isinstance(found, int):
        return Refusal.WRONG_TYPE if found == -1 else Refusal.OVER_BUDGET
    part: bytes | None = found
    return part


def _cluster_part(found: Any) -> Part:
    if isinstance(found, ResponseError) and "WRONGTYPE" in str(found):
        return Refusal.WRONG_TYPE
    if isinstance(found, Exception):
        raise found
    part: bytes = found
    return part or None
