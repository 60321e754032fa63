"""Which event streams are open and which one is closed for a new one."""

import pytest

from router.ops.event_stream import MAX_STREAMS, MIN_STREAM_S, Streams

pytestmark = pytest.mark.anyio


async def test_oldest_stream_is_closed_after_its_minimum_time() -> None:
    now = 0.0
    streams = Streams(lambda: now)
    scopes = [streams.enter() for _ in range(MAX_STREAMS)]
    now = MIN_STREAM_S - 0.1
    assert not streams.has_room()
    now = MIN_STREAM_S
    assert streams.has_room()
    assert [scope.cancel_called for scope in scopes[:2]] == [True, False]


async def test_ended_stream_frees_its_place() -> None:
    streams = Streams(lambda: 0.0)
    scopes = [streams.enter() for _ in range(MAX_STREAMS)]
    streams.leave(scopes[5])
    assert streams.has_room()
    assert not any(scope.cancel_called for scope in scopes)
