"""What a server's main process and its workers tell each other, over a socket between them.

Down go the views and intents that the main process holds, and the word to read files
anew; up come counts of answers. Each message has its length before it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import msgspec

from router.errors import StoreError
from router.model import Intent, View
from router.routing.response import Counts, Labels, Placement
from router.store import Stored
from router.store.memory import Hints

MAX_BYTES = 256 * 1024 * 1024
MAX_WAITING_BYTES = 1024 * 1024

_LENGTH_BYTES = 4


class Fed(msgspec.Struct, tag="fed"):
    """All that the main process holds of the store."""

    views: tuple[View, ...]
    intents: tuple[Intent, ...]


class ReadAnew(msgspec.Struct, tag="read"):
    """The files have changed and are sound."""


class Counted(msgspec.Struct, tag="counted"):
    """What a worker has counted so far, and its connections now."""

    answers: list[tuple[Labels, int]]
    placements: list[tuple[Placement, int]]
    countries: list[tuple[str | None, int]]
    shed: dict[str, int]
    connections: int


Message = Fed | ReadAnew | Counted

_decoder = msgspec.msgpack.Decoder(Message)


def send(writer: asyncio.StreamWriter, message: Message) -> None:
    """Send without waiting, if the other end is there. What a peer that hangs has not read
    yet is not added to: the next message says it all again."""
    if writer.is_closing() or writer.transport.get_write_buffer_size() > MAX_WAITING_BYTES:
        return
    body = msgspec.msgpack.encode(message)
    writer.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)


async def messages(reader: asyncio.StreamReader) -> AsyncIterator[Message]:
    """Every message until the other end is gone, or can no longer be followed. What another
    release says, if files were replaced under a running server, may not be understood."""
    while True:
        try:
            length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
            if length > MAX_BYTES:
                return
            body = await reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            return
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield _decoder.decode(body)


class FeedStore:
    """A worker's side, as far as a FleetWatch needs a store; see router.store.Store."""

    def __init__(self) -> None:
        self._stored: Stored | None = None
        self._hints = Hints()

    def take(self, fed: Fed) -> None:
        """Hold this from now on."""
        self._stored = Stored(fed.views, fed.intents)
        self._hints.give()

    async def read(self, edges: Sequence[str]) -> Stored:
        """See Store."""
        if self._stored is None:
            raise StoreError("the main process has said nothing yet")
        return self._stored

    async def changed(self, seen: int, timeout_s: float) -> int:
        """See Store."""
        return await self._hints.after(seen, timeout_s)


def counted(counts: Counts) -> Counted:
    """The message for these counts."""
    return Counted(
        answers=list(counts.answers.items()),
        placements=list(counts.placements.items()),
        countries=list(counts.countries.items()),
        shed=counts.shed,
        connections=counts.connections,
    )


def counts_in(message: Counted) -> Counts:
    """The counts of a message."""
    return Counts(
        answers=dict(message.answers),
        placements=dict(message.placements),
        countries=dict(message.countries),
        shed=message.shed,
        connections=message.connections,
    )
