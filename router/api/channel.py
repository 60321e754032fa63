"""Messages between a server's main process and its children, over a socket pair. Each message is
preceded by its length. Only our own processes hold the ends of the pair, so unpickling is safe.
"""

import asyncio
import contextlib
import pickle
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from router.errors import StoreError
from router.model import Intent, View
from router.routing.response import Counts, Labels, Placement
from router.store import Stored
from router.store.memory import Hints

MAX_BYTES = 256 * 1024 * 1024
MAX_WAITING_BYTES = 1024 * 1024
BEAT_S = 0.5

_LENGTH_BYTES = 4


class StoreContents(msgspec.Struct, tag="fed"):
    """Everything from the store that the main process holds."""

    views: tuple[View, ...]
    intents: tuple[Intent, ...]


class NewInputs(msgspec.Struct, tag="inputs"):
    """What the main process has read from its files: a pickled router.config.inputs.Shared."""

    pickled: bytes


class Beat(msgspec.Struct, tag="beat"):
    """The child's event loop is alive."""


class NewCounts(msgspec.Struct, tag="counted"):
    """What a worker has counted so far, its connections now, and lost log lines so far."""

    answers: list[tuple[Labels, int]]
    placements: list[tuple[Placement, int]]
    countries: list[tuple[str | None, int]]
    shed: dict[str, int]
    connections: int
    lines_dropped: int = 0


class NewCalls(msgspec.Struct, tag="called"):
    """Calls that the prober makes in the main process: pickled (object, method, arguments)."""

    pickled: bytes


Message = StoreContents | NewInputs | Beat | NewCounts | NewCalls
Call = tuple[str, str, tuple[Any, ...]]

_decoder = msgspec.msgpack.Decoder(Message)


def frame(message: Message) -> bytes:
    """A message as bytes, encoded once for all receivers."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def send(writer: asyncio.StreamWriter, message: Message) -> None:
    """Send without waiting; see `send_frame`."""
    send_frame(writer, frame(message))


def send_frame(writer: asyncio.StreamWriter, encoded: bytes, *, must_arrive: bool = False) -> None:
    """Send without waiting, if the other end is open. If the peer has not yet read
    MAX_WAITING_BYTES, the message is dropped unless it must be sent: the next message repeats
    everything.
    """
    if writer.is_closing():
        return
    if must_arrive or writer.transport.get_write_buffer_size() <= MAX_WAITING_BYTES:
        writer.write(encoded)


async def messages(reader: asyncio.StreamReader) -> AsyncIterator[Message]:
    """Yields messages until the other end closes or a message cannot be decoded. That happens if
    another release was installed while the server runs.
    """
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


async def beat(writer: asyncio.StreamWriter) -> None:
    """Report for ever that this event loop is alive."""
    while True:
        send(writer, Beat())
        await asyncio.sleep(BEAT_S)


class ChannelStore:
    """The child's side: the methods of router.store.Store that a FleetWatch needs."""

    def __init__(self) -> None:
        self._stored: Stored | None = None
        self._hints = Hints()

    def replace(self, fed: StoreContents) -> None:
        """Replace what it holds."""
        self._stored = Stored(fed.views, fed.intents)
        self._hints.give()

    async def read(self, edges: Sequence[str]) -> Stored:
        """See Store."""
        if self._stored is None:
            raise StoreError("the main process has sent nothing yet")
        return self._stored

    async def changed(self, seen: int, timeout_s: float) -> int:
        """See Store."""
        return await self._hints.after(seen, timeout_s)


def pack_counts(counts: Counts, lines_dropped: int = 0) -> NewCounts:
    """The message for these counts."""
    return NewCounts(
        answers=list(counts.answers.items()),
        placements=list(counts.placements.items()),
        countries=list(counts.countries.items()),
        shed=counts.shed,
        connections=counts.connections,
        lines_dropped=lines_dropped,
    )


def unpack_counts(message: NewCounts) -> Counts:
    """The counts of a message."""
    return Counts(
        answers=dict(message.answers),
        placements=dict(message.placements),
        countries=dict(message.countries),
        shed=message.shed,
        connections=message.connections,
    )


def pickle_value(value: Any) -> bytes:
    """Bytes for the other end of the channel."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def unpickle_value(data: bytes) -> Any:
    """The object that the other end of the channel pickled."""
    return pickle.loads(data)  # noqa: S301 - only our own processes hold the channel
