"""Reads many keys in few round trips."""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeVar

from redis.asyncio import RedisCluster
from redis.exceptions import NoPermissionError, ResponseError

from router.store import scripts
from router.store.connect import Client

VANTAGES = "autorouter:vantages"
MAX_NAMES = 5_000
MAX_NAME_BYTES = 64
HEAD_BYTES = 256
BATCH = 100
CHUNK = 1_000

T = TypeVar("T")
Command = tuple[str | int, ...]

ASK_NAMES: Command = ("EVAL", scripts.NAMES, 1, VANTAGES, MAX_NAMES, MAX_NAME_BYTES)


class Refusal(Enum):
    """Why a value was not read."""

    WRONG_TYPE = "has the wrong type in Redis"
    EMPTY = "is empty"
    OVER_BUDGET = "left out: the views before it are as much as is read at once"


class Head(NamedTuple):
    """The first HEAD_BYTES of a value. `length`: None if the ACL does not allow reading it."""

    start: bytes
    length: int | None
    refusal: Refusal | None = None


class Names(NamedTuple):
    """The names of vantages. `total`: how many there are; None if the key is no set."""

    names: list[str]
    total: int | None


Part = bytes | Refusal | None


class Survey(NamedTuple):
    """The result of a survey. `parts`: key → intent."""

    names: Names
    heads: list[Head]
    parts: dict[str, Part]


class Before(NamedTuple):
    """The result of the previous survey: `names`, which are read again only if their number has
    changed; `intents`, the keys that existed.
    """

    names: Names | None = None
    intents: frozenset[str] = frozenset()


class Keys(Protocol):
    """The commands that a Reader needs; see ServerKeys."""

    async def survey(
        self, views: Sequence[str], intents: Sequence[str], limit: int, before: Before
    ) -> Survey:
        """The vantages' names, the heads of views, and intents of at most `limit` bytes."""

    async def heads(self, keys: Sequence[str]) -> list[Head]:
        """The first HEAD_BYTES of each value."""

    async def parts(self, keys: Sequence[str], limits: Sequence[int]) -> list[Part]:
        """Each value, up to one byte more than `limit`."""


class ServerKeys:
    """Reads by plain commands in pipelines. They cost Redis far less than scripts, and an error
    affects only its own key. `_batch`: the number of keys in one command; one in a Cluster.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._batch = 1 if isinstance(client, RedisCluster) else BATCH

    async def survey(
        self, views: Sequence[str], intents: Sequence[str], limit: int, before: Before
    ) -> Survey:
        """See Keys. One round trip if nothing has changed."""
        there = [key for key in intents if key in before.intents]
        others = list(batched([key for key in intents if key not in before.intents], self._batch))
        answers = await self._ask(
            [
                ASK_NAMES if before.names is None else ("SCARD", VANTAGES),
                *_ask_heads(views),
                *_ask_parts(there, [limit] * len(there)),
                *(("EXISTS", *keys) for keys in others),
            ]
        )
        listed, heads, parts, counts = _split(answers, 1, 3 * len(views), 2 * len(there))
        found = dict(zip(there, _parts(parts), strict=True))
        counted = zip(others, counts, strict=True)
        fresh = [key for keys, count in counted if _or_none(count) != 0 for key in keys]
        found |= zip(fresh, await self.parts(fresh, [limit] * len(fresh)), strict=True)
        return Survey(await self._names(listed[0], before.names), _heads(heads), found)

    async def heads(self, keys: Sequence[str]) -> list[Head]:
        """See Keys."""
        return _heads(await self._ask(_ask_heads(keys)))

    async def parts(self, keys: Sequence[str], limits: Sequence[int]) -> list[Part]:
        """See Keys."""
        return _parts(await self._ask(_ask_parts(keys, limits)))

    async def _names(self, answer: Any, before: Names | None) -> Names:
        if before is None:
            return _names(answer)
        if _is_wrong_type(answer):
            return Names([], None)
        if before.total == _or_none(answer):
            return before
        (names,) = await self._ask([ASK_NAMES])
        return _names(names)

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        """The reply or the error of each command."""
        answers: list[Any] = []
        for some in batched(commands, CHUNK):
            pipe: Any = self._pipeline()
            for command in some:
                pipe.execute_command(*command)
            answers += await pipe.execute(raise_on_error=False)
        return answers

    def _pipeline(self) -> Any:
        if isinstance(self._client, RedisCluster):
            return self._client.pipeline()
        return self._client.pipeline(transaction=False)


def _names(answer: Any) -> Names:
    total, names = _or_raise(answer)
    texts = [name.decode("utf-8", "replace") for name in names]
    return Names(texts, None if total < 0 else total)


def _ask_heads(keys: Sequence[str]) -> list[Command]:
    return [
        command
        for key in keys
        for command in (("GETRANGE", key, 0, HEAD_BYTES - 1), ("STRLEN", key), ("EXISTS", key))
    ]


def _heads(answers: Sequence[Any]) -> list[Head]:
    return [_head(*answers[at : at + 3]) for at in range(0, len(answers), 3)]


def _head(start: Any, length: Any, exists: Any) -> Head:
    if _is_wrong_type(start):
        return Head(b"", None, Refusal.WRONG_TYPE)
    head = Head(_or_raise(start), _or_none(length))
    is_empty = not head.start and bool(_or_none(exists))
    return head._replace(refusal=Refusal.EMPTY) if is_empty else head


def _ask_parts(keys: Sequence[str], limits: Sequence[int]) -> list[Command]:
    return [
        command
        for key, limit in zip(keys, limits, strict=True)
        for command in (("GETRANGE", key, 0, limit), ("EXISTS", key))
    ]


def _parts(answers: Sequence[Any]) -> list[Part]:
    return [_part(*answers[at : at + 2]) for at in range(0, len(answers), 2)]


def _part(found: Any, exists: Any) -> Part:
    if _is_wrong_type(found):
        return Refusal.WRONG_TYPE
    part: bytes = _or_raise(found)
    return part if part or _or_none(exists) else None


def _is_wrong_type(answer: Any) -> bool:
    return isinstance(answer, ResponseError) and "WRONGTYPE" in str(answer)


def _or_raise(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _or_none(answer: Any) -> int | None:
    """The number; None if the ACL does not allow reading it."""
    if isinstance(answer, NoPermissionError):
        return None
    number: int = _or_raise(answer)
    return number


def _split(answers: Sequence[Any], *counts: int) -> list[Sequence[Any]]:
    """The replies divided into groups of these sizes, and the rest."""
    pieces, at = [], 0
    for count in counts:
        pieces.append(answers[at : at + count])
        at += count
    return [*pieces, answers[at:]]


def batched(values: Sequence[T], count: int) -> Iterator[Sequence[T]]:
    """The items in batches of this size."""
    return (values[at : at + count] for at in range(0, len(values), count))
