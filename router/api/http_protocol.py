"""HTTP/1.1 as the public listener speaks it: a request in, ready bytes out, nothing awaited.

A protocol for uvicorn's server, which accepts connections and shuts them down. ASGI
between the two would cost more than the answers do (docs/adr/0024-http-without-asgi.md).
Knows HTTP and its bounds; what is answered is for router.api.app.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import httptools
import uvicorn
from uvicorn.server import ServerState

from router.api.connection_limit import REFUSED_S, Crowd
from router.routing.cache_headers import Headers
from router.routing.location import PLACING
from router.routing.response import NO_STORE, Answer, Response, error_answer

MAX_HEAD_BYTES = 128 * 1024  # and what is between and after the chunks of a body
MAX_BODY_BYTES = 1024 * 1024  # read only to keep the connection, and thrown away
MESSAGE_S = 10.0
KEEP_ALIVE_S = 65.0  # longer than CloudFront keeps an origin connection (60 s at most)
SLOW_READER_S = 30.0
LAST_REQUEST_S = 0.25
LINGER_S = 2.0  # for the body of a last request: hanging up on it would lose our answer
SLICE_BYTES = 1_024


class Request(NamedTuple):
    """`target` as sent; `headers`: those that place a viewer, with names in lower case;
    `peer`: an IP address; `known`: If-None-Match."""

    method: bytes
    target: bytes
    headers: Headers
    peer: str | None
    known: bytes = b""


BAD_REQUEST = error_answer(
    400,
    "bad_request",
    "That was no HTTP/1.1 request, or its head was over 128 KiB.",
    NO_STORE,
)
FAULT = error_answer(500, "fault", "The fault is ours. Try again.", NO_STORE)

log = logging.getLogger("autorouter")

Respond = Callable[[Request], Response]


class Wire(asyncio.Protocol):
    """One connection. The `app` of the uvicorn.Config is a Respond."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        refuse: Respond,
        crowd: Crowd,
    ) -> None:
        self._respond = cast(Respond, config.loaded_app)
        self._respond_overloaded = refuse
        self._crowd = crowd
        self._server = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._target = self._known = b""
        self._headers: Headers = []
        self._message_bytes = self._body_bytes = self._answered = 0
        self._unfed = b""
        self._is_queued = False  # what is unfed waits for the next turn of the loop
        self._in_message = self._in_head = self._is_expecting = False
        self._is_paused = False  # the client does not read what we wrote
        self._is_last = False  # close after the request under way, or the next
        self._is_over = False  # closed, but for what is still to be written

    # The transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connects; its first request has to come in time."""
        self._transport = cast(asyncio.Transport, transport)
        address = transport.get_extra_info("peername")
        self._peer = str(address[0]) if isinstance(address, tuple) else None
        self._server.connections.add(self)  # type: ignore[arg-type]
        self._expires_at = self._loop.time() + MESSAGE_S
        self._set_timer()
        if not self._crowd.admit(self, self._loop.time()):
            self._respond, self._is_last = self._respond_overloaded, True
            self._expire_in(REFUSED_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """A client is gone. The parser holds us: without it, no cycle is left behind."""
        self._is_over = True
        self._parser = cast(Any, None)
        self._timer.cancel()
        self._crowd.leave(self)
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Requests, parts of requests, anything."""
        if len(data) > SLICE_BYTES or self._unfed:
            self._unfed += data
            self._feed_slices()
        else:
            self._feed(data)

    def eof_received(self) -> None:
        """The client sends no more; it gets what it asked for."""

    def pause_writing(self) -> None:
        """The client reads too slowly: take nothing more from it meanwhile."""
        self._is_paused = True
        self._transport.pause_reading()
        self._expire_in(SLOW_READER_S)

    def resume_writing(self) -> None:
        """It has read."""
        self._is_paused = False
        if not self._is_over:
            if not self._is_queued:
                self._transport.resume_reading()
            self._expire_in(MESSAGE_S if self._in_message else KEEP_ALIVE_S)
            self._feed_slices()

    # The crowd calls

    @property
    def waiting_since(self) -> float:
        """The client's last sign of life: we never let it wait."""
        if self._is_paused:
            return self._expires_at - SLOW_READER_S
        if self._in_message or not self._target:
            return self._expires_at - MESSAGE_S
        return self._expires_at - KEEP_ALIVE_S

    def hang_up(self) -> None:
        """Whatever is still to be written."""
        self._is_over = True
        self._transport.abort()

    # uvicorn's server calls

    def shutdown(self) -> None:
        """Stop soon: a request that is on its way is answered."""
        self._is_last = True
        if not self._in_message:
            self._expire_in(LAST_REQUEST_S)

    # The parser calls

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._in_message = self._in_head = True
        self._is_expecting = False
        self._target, self._headers, self._known = b"", [], b""
        self._message_bytes = self._body_bytes = 0

    def on_url(self, part: bytes) -> None:
        """The target, or a part of it."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field."""
        name = name.lower()
        if name in PLACING:
            self._headers.append((name, value))
        elif name == b"if-none-match":
            self._known += b"," + value if self._known else value
        elif name == b"expect":
            self._is_expecting = True

    def on_headers_complete(self) -> None:
        """The head is whole: answer, whatever body may follow."""
        self._in_head = False
        if self._is_over:
            return
        parser = self._parser
        if not parser.should_keep_alive() or parser.get_http_version() == "1.0":
            self._is_last = True
        if self._is_expecting:  # whether its body will still come is anybody's guess
            self._is_last = True
        self._answered += 1
        method, headers = parser.get_method(), self._headers
        request = Request(method, self._target, headers, self._peer, self._known)
        self._write(self._respond(request))
        if self._is_expecting:
            self._close()
        elif self._is_last:
            self._expire_in(LINGER_S)

    def on_body(self, part: bytes) -> None:
        """What nobody asked for."""
        self._body_bytes += len(part)
        if self._body_bytes > MAX_BODY_BYTES:
            self._close()

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._in_message = False
        if self._is_last:
            self._close()

    # Ours

    def _feed_slices(self) -> None:
        """A little at a time, so that many requests at once cannot pile up answers, nor
        keep other clients waiting for theirs."""
        while self._unfed and not self._is_queued and not self._is_paused and not self._is_over:
            piece, self._unfed = self._unfed[:SLICE_BYTES], self._unfed[SLICE_BYTES:]
            answered = self._answered
            self._feed(piece)
            if self._unfed and self._answered > answered:
                self._is_queued = True
                self._transport.pause_reading()
                self._loop.call_soon(self._feed_on)

    def _feed_on(self) -> None:
        """What was left for this turn."""
        self._is_queued = False
        self._feed_slices()
        if not (self._unfed or self._is_paused or self._is_over):
            self._transport.resume_reading()

    def _feed(self, data: bytes) -> None:
        was_in_message, answered = self._in_message, self._answered
        self._message_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._close()  # answered like any request; what follows is not HTTP
        except httptools.HttpParserCallbackError:
            log.exception("a request could not be answered")
            self._refuse(FAULT)
        except httptools.HttpParserError:
            self._give_up()
        if self._is_over or self._is_paused:
            return
        if not self._in_message:
            self._expires_at = self._loop.time() + KEEP_ALIVE_S
        elif self._message_bytes - self._body_bytes > MAX_HEAD_BYTES:
            self._give_up()
        elif not was_in_message or (self._in_head and self._answered > answered):
            is_answered_last = self._is_last and not self._in_head
            self._expire_in(LINGER_S if is_answered_last else MESSAGE_S)

    def _write(self, response: Response) -> None:
        date = self._server.default_headers[0][1]
        closing = b"connection: close\r\n" if self._is_last else b""
        self._transport.write(
            b"%b%bdate: %b\r\n%b" % (response.opening, closing, date, response.rest)
        )

    def _give_up(self) -> None:
        """On what is no HTTP, or too much of it."""
        if self._in_message and not self._in_head:
            self._close()  # answered already: a second answer would be taken for another's
        else:
            self._refuse(BAD_REQUEST)

    def _refuse(self, answer: Answer) -> None:
        if not self._is_over:
            self._is_last = True
            self._write(answer.to_get)
            self._close()

    def _close(self) -> None:
        """Once all is written, if the client reads it in time."""
        self._is_over, self._unfed = True, b""
        self._expire_in(SLOW_READER_S)
        self._transport.close()

    def _expire_in(self, seconds: float) -> None:
        """Sooner than the timer is set for, perhaps."""
        self._expires_at = self._loop.time() + seconds
        if self._expires_at < self._checks_at:
            self._timer.cancel()
            self._set_timer()

    def _set_timer(self) -> None:
        self._checks_at = self._expires_at  # uvloop's handle of what is due by now cannot tell
        self._timer = self._loop.call_at(self._expires_at, self._check)

    def _check(self) -> None:
        """Time is up, unless there was some life since."""
        if self._loop.time() < self._expires_at:
            self._set_timer()
        elif self._is_over or self._is_paused:
            self._transport.abort()
        else:
            self._checks_at = math.inf  # the timer has rung, so closing sets another
            self._close()
