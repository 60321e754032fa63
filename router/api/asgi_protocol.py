"""HTTP/1.1 for the ASGI apps, which few clients ask: uvicorn's own protocol within bounds.

uvicorn keeps a head of any size, parses all requests that come in one piece before it
answers the first, and waits for ever for the rest of a head, the rest of a body, and a
client that does not read. The bounds are those of router.api.http_protocol.
"""

import asyncio
from collections import deque
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from router.api.connection_limit import REJECTED_S, ConnectionLimit
from router.api.http_protocol import KEEP_ALIVE_S, MESSAGE_S, SLOW_READER_S
from router.api.request_head import BAD_REQUEST, MAX_HEAD_BYTES
from router.routing.response import OVERLOADED

PIECE_BYTES = 1_024  # 56 requests at most, each of which takes 2 KB once it is parsed
MAX_UNREAD_PIECES = 64


class BoundedProtocol(HttpToolsProtocol):
    """A connection that is closed on a client who sends too much, or lets us wait too long
    for the rest of a request or for having read our answers."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        crowd: ConnectionLimit,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._crowd = crowd
        self._unread: deque[bytes] = deque()
        self._is_in_head = self._is_in_request = True
        self._message_bytes = self._body_bytes = 0
        self._waits_since = 0.0
        self._request_due: asyncio.TimerHandle | None = None
        self._reply_due: asyncio.TimerHandle | None = None

    @property
    def progress_at(self) -> float | None:
        """See Connection."""
        if self._request_due is not None or self._reply_due is not None:
            return self._waits_since
        idle = self.timeout_keep_alive_task
        return None if idle is None else idle.when() - KEEP_ALIVE_S

    def abort(self) -> None:
        """See Connection."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connects."""
        super().connection_made(transport)
        is_admitted = self._crowd.admit(self, self.loop.time())
        if not is_admitted:
            self.app = refuse
        self._expect_request(MESSAGE_S if is_admitted else REJECTED_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """A client is gone."""
        self._crowd.leave(self)
        self._unread.clear()
        self._stop_expecting_request()
        self._stop_expecting_reading()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse in pieces: what is behind a request that is under way can wait."""
        if len(data) <= PIECE_BYTES and not self._unread:
            self._parse(data)
            return
        self._unread.extend(
            data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)
        )
        self._parse_unread()
        if len(self._unread) > MAX_UNREAD_PIECES:
            self.abort()

    def _parse_unread(self) -> None:
        while self._unread and not self.pipeline and not self.transport.is_closing():
            self._parse(self._unread.popleft())
        if self._unread:
            self.flow.pause_reading()

    def _parse(self, data: bytes) -> None:
        """The parser calls back below, perhaps for several requests."""
        self._message_bytes += len(data)
        super().data_received(data)
        if self._message_bytes - self._body_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The head of the request, or its trailers, are too large.")
        elif self._request_due is None and (self._is_in_request or self.cycle.response_complete):
            self._expect_request(MESSAGE_S)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._is_in_head = self._is_in_request = True
        self._message_bytes = self._body_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The last byte of its head."""
        super().on_headers_complete()
        self._is_in_head = False

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of its body."""
        self._is_in_request = False
        self._stop_expecting_request()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The last byte of an answer is on its way."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._expect_reading()
        elif self._unread:
            self._parse_unread()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_expecting_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing more was asked. Closed kindly, it would wait for a client to read."""
        self.abort()

    def send_400_response(self, msg: str) -> None:
        """Nothing more can be understood. What was asked before is answered first."""
        self._unread.clear()
        is_in_body = self._is_in_request and not self._is_in_head
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_in_body and (self.pipeline or self.cycle.response_started):
            self.transport.close()  # a second answer would be taken for another's
        elif is_answering and not is_in_body:
            self.cycle.keep_alive = False
        else:
            if is_answering:
                self.cycle.disconnected = True  # and so says no more
                self.cycle.message_event.set()
            opening, rest = BAD_REQUEST.to_get
            self.transport.write(b"%bconnection: close\r\n%b" % (opening, rest))
            self.transport.close()
        self._expect_reading()

    def _expect_request(self, within_s: float) -> None:
        self._waits_since = self.loop.time()
        self._request_due = self.loop.call_later(within_s, self.abort)

    def _expect_reading(self) -> None:
        if self._reply_due is None:
            self._waits_since = self.loop.time()
            self._reply_due = self.loop.call_later(SLOW_READER_S, self.abort)

    def _stop_expecting_request(self) -> None:
        if self._request_due is not None:
            self._request_due.cancel()
            self._request_due = None

    def _stop_expecting_reading(self) -> None:
        if self._reply_due is not None:
            self._reply_due.cancel()
            self._reply_due = None


async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
    """ASGI: 503 to whoever is one too many."""
    headers = [*OVERLOADED.headers, (b"connection", b"close")]
    start = {"type": "http.response.start", "status": OVERLOADED.code, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": OVERLOADED.body})
