"""Streams of server-sent events, with a limit on how many are open."""

from collections.abc import AsyncIterator, Callable

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

MAX_STREAMS = 64
MIN_STREAM_S = 10.0  # a younger stream is not closed for a new one


class Streams:
    """The open streams, oldest first. If too many are open, the oldest is closed for a new one,
    because it may be dead: kernels buffer events for a client that never reads. A browser whose
    stream is closed opens another automatically.
    """

    def __init__(self, clock: Callable[[], float] = anyio.current_time) -> None:
        self._clock = clock
        self._open: dict[anyio.CancelScope, float] = {}

    def has_room(self) -> bool:
        """Whether one more may open. Closes the oldest stream if that is needed and allowed."""
        if len(self._open) < MAX_STREAMS:
            return True
        oldest, opened_at = next(iter(self._open.items()))
        if self._clock() - opened_at < MIN_STREAM_S:
            return False
        del self._open[oldest]
        oldest.cancel()
        return True

    def enter(self) -> anyio.CancelScope:
        """Register a new stream. Cancelling the returned scope ends the stream."""
        scope = anyio.CancelScope()
        self._open[scope] = self._clock()
        return scope

    def leave(self, scope: anyio.CancelScope) -> None:
        """Remove a stream that has ended."""
        self._open.pop(scope, None)


class EventStream(StreamingResponse):
    """A response of server-sent events, registered as an open stream until it ends."""

    def __init__(self, events: AsyncIterator[bytes], streams: Streams) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        place = self._streams.enter()
        try:
            with place:
                await super().__call__(scope, receive, send)
            if place.cancelled_caught:
                await send({"type": "http.response.body", "body": b""})
        finally:
            self._streams.leave(place)
