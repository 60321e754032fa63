"""Messages between the main process and its workers arrive complete or not at all."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from router.api.channel import (
    MAX_WAITING_BYTES,
    Beat,
    ChannelStore,
    Message,
    NewCounts,
    StoreContents,
    messages,
    pack_counts,
    send,
    unpack_counts,
)
from router.errors import StoreError
from router.model import Intended, Level, Source
from router.routing.location import PlacedBy
from router.routing.response import Counts, Labels, Placement, Shed
from tests.support.builders import CITIES, a_view, an_intent

pytestmark = pytest.mark.anyio

LABELS = Labels(
    code="200", region="yto-01", reason="nearest_in_country", status="ok", scope="country"
)
COUNTS = Counts(
    answers={LABELS: 7},
    placements={Placement(Source.DATABASE, Level.CITY, PlacedBy.PEER): 5},
    countries={"CA": 4, None: 1},
    shed={Shed.HUNG_UP: 2},
    connections=3,
)


@asynccontextmanager
async def channel() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connected reader and writer."""
    ours, theirs = socket.socketpair()
    reader, idle = await asyncio.open_unix_connection(sock=ours)
    _, writer = await asyncio.open_unix_connection(sock=theirs)
    yield reader, writer
    for end in (idle, writer):
        end.close()


def a_feed(count: int = 1) -> StoreContents:
    views = tuple(a_view(f"vantage-{number}") for number in range(count))
    return StoreContents(views, (an_intent("yto-01", Intended.DISABLED),))


async def received(reader: asyncio.StreamReader) -> list[Message]:
    return [message async for message in messages(reader)]


async def test_messages_arrive_unchanged() -> None:
    sent: list[Message] = [a_feed(), Beat(), pack_counts(COUNTS), StoreContents((), ())]
    async with channel() as (reader, writer):
        for message in sent:
            send(writer, message)
        writer.close()
        assert await received(reader) == sent


async def test_counts_arrive_unchanged() -> None:
    async with channel() as (reader, writer):
        send(writer, pack_counts(COUNTS))
        writer.close()
        (message,) = await received(reader)
    assert isinstance(message, NewCounts)
    assert unpack_counts(message) == COUNTS


async def test_incomplete_message_is_dropped() -> None:
    async with channel() as (reader, writer):
        send(writer, Beat())
        writer.write(b"\x00\x00\x01\x00half")
        writer.close()
        assert await received(reader) == [Beat()]


async def test_buffer_for_a_hung_peer_is_bounded() -> None:
    large = a_feed(400)
    async with channel() as (_, writer):
        for _ in range(100):
            send(writer, large)
            await asyncio.sleep(0)
        assert writer.transport.get_write_buffer_size() < 2 * MAX_WAITING_BYTES


async def test_read_before_the_first_feed_is_a_store_error() -> None:
    feed = ChannelStore()
    with pytest.raises(StoreError, match="nothing yet"):
        await feed.read(list(CITIES))
    fed = a_feed()
    feed.replace(fed)
    stored = await feed.read(list(CITIES))
    assert (stored.views, stored.intents, stored.faults) == (fed.views, fed.intents, ())


async def test_new_feed_wakes_waiting_readers() -> None:
    feed = ChannelStore()
    waiting = asyncio.create_task(feed.changed(0, 10))
    await asyncio.sleep(0)
    feed.replace(a_feed())
    async with asyncio.timeout(1):
        assert await waiting == 1
