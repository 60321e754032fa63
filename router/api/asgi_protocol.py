"""uvicorn's HTTP/1.1 protocol for ASGI apps with few clients, with limits added.

uvicorn limits the size of a head and the time between requests, but waits without limit for the
rest of a head, the rest of a body, and a client that does not read. This wrapper watches only
bytes received and messages sent by the app (docs/adr/0033-the-ops-listener.md).
"""

import asyncio
import logging
from typing import Any, cast

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from router.api.connection_limit import REJECTED_S, ConnectionLimit
from router.api.http_protocol import MESSAGE_S
from router.api.request_head import BAD_REQUEST, MAX_BODY_BYTES, MAX_FIELDS, MAX_HEAD_BYTES
from router.routing.response import OVERLOADED, Answer

SLOW_READER_S = 10.0
MAX_UNANSWERED_BYTES = MAX_HEAD_BYTES + MAX_BODY_BYTES  # received since the app last answered

log = logging.getLogger("autorouter")


class BoundedConnection(asyncio.Protocol):
    """One connection. It is closed if the client sends too much before it is answered, does not
    complete its request in time, or does not read the response.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limit: ConnectionLimit,
    ) -> None:
        self._inner = H11Protocol(config, server_state, app_state, _loop)
        self._loop = self._inner.loop
        self._app: Any = self._inner.app
        self._inner.app = self._run_app
        self._limit = limit
        self._unanswered_bytes = 0
        self._is_working = False  # the app has a request
        self._last_progress_at = 0.0
        self._unread_since: float | None = None
        self._request_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None

    @property
    def progress_at(self) -> float | None:
        """See router.api.connection_limit.Connection."""
        if self._unread_since is not None:
            return self._unread_since
        return None if self._is_working else self._last_progress_at

    def abort(self) -> None:
        """Close at once, without sending what is left."""
        self._transport.abort()
        self._forget_input()

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected. Start the timeout of its first request."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)  # report any unread output at once
        self._last_progress_at = self._loop.time()
        self._inner.connection_made(self._transport)
        is_admitted = self._limit.admit(self, self._last_progress_at)
        if not is_admitted:
            self._app = reject
        self._expect_answer(MESSAGE_S if is_admitted else REJECTED_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._limit.leave(self)
        self._stop_request_timer()
        self._stop_reader_timer()
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A part of a request, or more than one."""
        self._unanswered_bytes += len(data)
        if self._unanswered_bytes > MAX_UNANSWERED_BYTES:
            self.abort()
            return
        self._update_budget()
        self._expect_answer(MESSAGE_S)
        try:
            self._inner.data_received(data)
        except Exception:  # uvicorn answers bad bytes with 400, even after it has already answered
            log.debug("bytes that uvicorn cannot take", exc_info=True)
            self.abort()
        if self._transport.is_closing():
            self._forget_input()

    def eof_received(self) -> None:
        """The client sends no more. asyncio closes the connection once all is written."""

    def pause_writing(self) -> None:
        """The client has not read everything."""
        if self._reader_timer is None:
            self._unread_since = self._loop.time()
            self._reader_timer = self._loop.call_later(SLOW_READER_S, self.abort)
        self._update_budget()
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client has read everything."""
        self._stop_reader_timer()
        self._update_budget()
        self._inner.resume_writing()

    # Called by uvicorn

    async def _run_app(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_in_time(message: Any) -> None:
            self._note_answer()
            await send(message)

        has_too_many_fields = len(scope["headers"]) > MAX_FIELDS
        self._is_working = True
        try:
            await (reject_fields if has_too_many_fields else self._app)(
                scope, receive, send_in_time
            )
        finally:
            self._is_working = False
            self._last_progress_at = self._loop.time()

    def _note_answer(self) -> None:
        self._unanswered_bytes = 0
        self._update_budget()
        self._stop_request_timer()

    def _update_budget(self) -> None:
        """Report to the limit how many bytes this connection holds: unread input and output."""
        held = self._unanswered_bytes
        if self._unread_since is not None:
            held += self._transport.get_write_buffer_size()
        self._limit.hold(self, held)

    def _forget_input(self) -> None:
        """Free h11's buffers now: the transport is released only after this iteration of the loop,
        in which thousands of other connections may receive data too.
        """
        self._inner.conn = h11.Connection(h11.SERVER)
        if self._inner.cycle is not None:  # discard what the app may still send
            self._inner.cycle.disconnected = True

    def _expect_answer(self, within_s: float) -> None:
        if self._request_timer is None:
            self._request_timer = self._loop.call_later(within_s, self.abort)

    def _stop_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _stop_reader_timer(self) -> None:
        self._unread_since = None
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None


async def reject(_scope: Any, _receive: Any, send: Any) -> None:
    """ASGI: 503, there are too many connections."""
    await _answer(send, OVERLOADED)


async def reject_fields(_scope: Any, _receive: Any, send: Any) -> None:
    """ASGI: 400, the head has too many fields."""
    await _answer(send, BAD_REQUEST)


async def _answer(send: Any, answer: Answer) -> None:
    headers = [*answer.headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": answer.code, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
