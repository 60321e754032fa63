"""One connection of the public listener. Requests are answered at once; nothing is awaited.

It is a protocol for uvicorn's server, which accepts and shuts down connections. ASGI would cost
more than the answers themselves (docs/adr/0024-http-without-asgi.md). This module handles HTTP/1.1
and its limits in time and memory; router.api.app makes the answers.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, cast

import httptools
import uvicorn
from uvicorn.server import ServerState

from router.api.connection_limit import REJECTED_S, ConnectionLimit
from router.api.request_head import (
    BAD_REQUEST,
    MAX_BODY_BYTES,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    RequestHead,
    error_for,
)
from router.routing.cache_headers import Headers
from router.routing.response import NO_STORE, Answer, Response, error_answer

MESSAGE_S = 10.0
KEEP_ALIVE_S = 65.0  # longer than CloudFront keeps an origin connection (60 s at most)
SLOW_READER_S = 30.0
LAST_REQUEST_S = 0.25
STOP_S = 2.0
LINGER_S = 2.0  # to read the rest of a last request's body: closing earlier would lose our response
WHOLE_BYTES = 1_024  # an ordinary request; parsed in one piece
SLICE_BYTES = 128  # the first of more than that
MAX_UNSENT_BYTES = 4_096  # past that, requests wait until the client has read
FIELD_BYTES = 256  # memory of a kept field besides its text


class Request(NamedTuple):
    """`target` as sent; `headers`: those that locate a viewer, names in lower case; `peer`: an IP
    address; `known`: the value of If-None-Match.
    """

    method: bytes
    target: bytes
    headers: Headers
    peer: str | None
    known: bytes = b""


class State(Enum):
    """What a connection waits for."""

    IDLE = "idle"  # the first byte of a request
    HEAD = "head"  # the rest of a request's head
    BODY = "body"  # the rest of a request that is answered already
    CLOSING = "closing"  # the client, to read the last answer
    CLOSED = "closed"


IDLE, HEAD, BODY, CLOSING, CLOSED = State  # members as globals, which are faster to look up

FAULT = error_answer(500, "fault", "Internal error. Try again.", NO_STORE)

log = logging.getLogger("autorouter")

Respond = Callable[[Request], Response]


class HttpConnection(RequestHead, asyncio.Protocol):
    """One connection. The `app` of the uvicorn.Config is a Respond. `progress_at` is when a
    message last made progress: its first byte came, its head was complete and answered, it ended,
    or the client read what was unread. Only these move `progress_at` and the deadline; other bytes
    do not.
    """

    __slots__ = (
        "_answered",
        "_body_bytes",
        "_deadline",
        "_ends_by",
        "_held_bytes",
        "_is_last",
        "_is_queued",
        "_is_unread",
        "_limit",
        "_loop",
        "_message_bytes",
        "_parsed_bytes",
        "_parser",
        "_peer",
        "_reject",
        "_respond",
        "_server",
        "_timer",
        "_timer_at",
        "_transport",
        "_unparsed",
        "progress_at",
        "state",
    )

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        reject: Respond,
        limit: ConnectionLimit,
    ) -> None:
        super().__init__()
        self._respond = cast(Respond, config.loaded_app)
        self._reject = reject
        self._limit = limit
        self._server = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self.state = IDLE
        self._message_bytes = self._body_bytes = self._answered = self._held_bytes = 0
        self._unparsed, self._parsed_bytes = b"", 0
        self._is_queued = False  # the rest of `_unparsed` waits for the next turn of the loop
        self._is_unread = False  # the client does not read what we wrote
        self._is_last = False  # close after the current request, or the next one

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected. Its first request must be complete in time."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)
        address = transport.get_extra_info("peername")
        self._peer = str(address[0]) if isinstance(address, tuple) else None
        self._server.connections.add(self)  # type: ignore[arg-type]
        self.progress_at = self._loop.time()
        self._ends_by = math.inf
        self._deadline = self.progress_at + MESSAGE_S
        self._set_timer()
        if not self._limit.admit(self, self.progress_at):
            self._respond = self._reject
            self._end_within(REJECTED_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._forget()
        self._limit.leave(self)
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Parse and answer at once; in slices if there is much data."""
        if len(data) > WHOLE_BYTES or self._unparsed:
            self._unparsed = self._unparsed[self._parsed_bytes :] + data
            self._parsed_bytes = 0
            self._parse_slices()
            self._update_budget()
        else:
            self._parse(data)
            if self.state is not IDLE or self._is_unread or self._held_bytes:
                self._update_budget()

    def eof_received(self) -> None:
        """The client sends no more; it still gets its responses."""
        self._close()

    def pause_writing(self) -> None:
        """The client reads too slowly: parse nothing more until it has read."""
        self._is_unread = True
        self._transport.pause_reading()
        if self.state is not CLOSING:
            self._expire_in(SLOW_READER_S)

    def resume_writing(self) -> None:
        """The client has read."""
        self._is_unread = False
        self.progress_at = self._loop.time()
        if self.state not in {CLOSING, CLOSED}:
            if not self._is_queued:
                self._transport.resume_reading()
            self._expire_in(KEEP_ALIVE_S if self.state is IDLE else MESSAGE_S)
            self._parse_slices()
        self._update_budget()

    # Called by ConnectionLimit

    def abort(self) -> None:
        """Close at once, without sending what is left."""
        if self.state is not CLOSED:
            self._forget()
            self._transport.abort()

    # Called by uvicorn's server

    def shutdown(self) -> None:
        """Stop soon; a request in progress is still answered."""
        self._end_within(LAST_REQUEST_S if self.state is IDLE else STOP_S)

    # Called by the parser, as are RequestHead's methods

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self.state is not IDLE:  # closing, but the client sends more
            return
        self.state = HEAD
        self._target = self._known = b""
        self._framing = None
        self._is_plain = True
        self._field_count = self._host_count = self._message_bytes = self._body_bytes = 0
        self._is_malformed = self._is_head_complete = False

    def on_headers_complete(self) -> None:
        """The head is complete: answer, without waiting for a body."""
        self._is_head_complete = True
        if self.state is not HEAD:
            return
        parser = self._parser
        method = parser.get_method()
        is_plain = (  # true for nearly every request; then nothing else needs a check
            self._is_plain
            and self._host_count == 1
            and (method == b"GET" or method == b"HEAD")  # noqa: PLR1714
            and self._field_count <= MAX_FIELDS
            and self._is_first
            and self._piece.startswith(b" HTTP/1.1\r\n", len(method) + 1 + len(self._target))
        )
        if not is_plain:
            version = parser.get_http_version()
            error = self._head_error(method, version)
            if error is not None:
                self._refuse(error)
                return
            self._is_last |= self._ends_here(method, version)
        if not parser.should_keep_alive():
            self._is_last = True
        request = Request(method, self._target, self._headers, self._peer, self._known)
        self._headers = []  # for the next request
        self._write(self._respond(request))
        self.state, self._is_first = BODY, False
        self._answered += 1
        if not is_plain and self._expects_continue():
            self._close()  # the client may send its body or not: RFC 9110, 10.1.1

    def _ends_here(self, method: bytes, version: str) -> bool:
        """Whether no further request can follow, or the body before it is too large to read."""
        return (
            version == "1.0"
            or method == b"CONNECT"
            or self._parser.should_upgrade()
            or self._expects_continue()
            or self._has_large_body()
        )

    def on_body(self, part: bytes) -> None:
        """A part of the body; it is counted and ignored."""
        self._body_bytes += len(part)
        if self._body_bytes > MAX_BODY_BYTES:
            self._close()

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        if self.state is BODY:
            self.state = IDLE
            if self._is_last:
                self._close()

    # Parsing

    def _parse_slices(self) -> None:
        """Parse a little at a time, so that pipelined requests neither pile up responses nor delay
        other clients. Slices grow while a long head goes on.
        """
        size = SLICE_BYTES
        while self._parsed_bytes < len(self._unparsed) and not self._must_wait():
            start, self._parsed_bytes = self._parsed_bytes, self._parsed_bytes + size
            size = min(2 * size, WHOLE_BYTES)
            answered = self._answered
            self._parse(self._unparsed[start : self._parsed_bytes])
            if self._parsed_bytes < len(self._unparsed) and self._answered > answered:
                self._is_queued = True
                self._transport.pause_reading()
                self._loop.call_soon(self._parse_on)
        if self._parsed_bytes >= len(self._unparsed):
            self._unparsed, self._parsed_bytes = b"", 0

    def _must_wait(self) -> bool:
        return self._is_queued or self._is_unread or self.state in {CLOSING, CLOSED}

    def _parse_on(self) -> None:
        """Parse what was left for this iteration of the loop."""
        self._is_queued = False
        self._parse_slices()
        if not (self._unparsed or self._must_wait()):
            self._transport.resume_reading()
        self._update_budget()

    def _parse(self, data: bytes) -> None:
        before, answered = self.state, self._answered
        if before is not HEAD:
            self._piece, self._is_first = data, before is IDLE
        elif not self._field_count:
            self._piece += data  # the request line may not be complete
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._close()  # the request is answered; what follows is not HTTP
        except httptools.HttpParserCallbackError:
            log.exception("request failed")
            self._give_up(FAULT)
        except httptools.HttpParserError as error:
            self._give_up(error_for(error))
        state = self.state
        if state is IDLE:
            self._piece = b""
        elif state is not CLOSED:
            self._message_bytes += len(data)
            self._check_size()
        if self._answered != answered or state is not before:
            self._note_progress()

    def _check_size(self) -> None:
        """Reject an incomplete message whose head, or whose chunk framing, is too large."""
        is_too_large = self._message_bytes - self._body_bytes > MAX_HEAD_BYTES
        if is_too_large or (self.state is HEAD and self._exceeds_bounds):
            self._give_up(BAD_REQUEST)

    def _note_progress(self) -> None:
        now = self.progress_at = self._loop.time()
        if self._is_unread:
            return
        if self.state is IDLE:  # the existing timer fires earlier
            self._deadline = now + KEEP_ALIVE_S
            if self._is_last:
                self._deadline = min(self._deadline, self._ends_by)
        elif self.state is BODY:
            self._expire_in(LINGER_S if self._is_last else MESSAGE_S)
        elif self.state is HEAD and self._answered:  # the first has had its time since connecting
            self._expire_in(MESSAGE_S)

    def _update_budget(self) -> None:
        """Tell the limit how many bytes this connection holds."""
        held = len(self._unparsed)
        if self.state is HEAD:
            held += self._message_bytes + len(self._piece) + FIELD_BYTES * len(self._headers)
        if self._is_unread or self.state is CLOSING:
            held += self._transport.get_write_buffer_size()
        if held != self._held_bytes and self.state is not CLOSED:
            self._held_bytes = held
            self._limit.hold(self, held)

    # Answering and closing

    def _write(self, response: Response) -> None:
        date = self._server.default_headers[0][1]
        closing = b"connection: close\r\n" if self._is_last else b""
        self._transport.write(
            b"%b%bdate: %b\r\n%b" % (response.opening, closing, date, response.rest)
        )

    def _give_up(self, answer: Answer) -> None:
        """Answer with an error and close: the request is malformed or too large, or we failed."""
        if self.state is BODY:
            self._close()  # the client would match a second response to another request
        else:
            self._refuse(answer)

    def _refuse(self, answer: Answer) -> None:
        if self.state is not CLOSING and self.state is not CLOSED:
            self._is_last = True
            is_head = self._is_head_complete and self._parser.get_method() == b"HEAD"
            self._write(answer.to_head if is_head else answer.to_get)
            self._close()

    def _close(self) -> None:
        """Close once everything is written; drop it if the client does not read in time."""
        if self.state is not CLOSED:
            self.state, self._unparsed, self._parsed_bytes = CLOSING, b"", 0
            self._expire_in(SLOW_READER_S)
            self._transport.close()

    def _forget(self) -> None:
        """Free all memory now: the transport is released only after this iteration of the loop, in
        which thousands of other connections may receive data too.
        """
        self.state = CLOSED
        self._parser = cast(Any, None)  # it refers to this object: avoid a reference cycle
        self._unparsed = self._piece = self._target = self._known = b""
        self._headers = []
        self._timer.cancel()

    # Time

    def _end_within(self, seconds: float) -> None:
        """Make the current request, or the next one, the last, and close after this time at the
        latest.
        """
        self._is_last = True
        self._ends_by = min(self._ends_by, self._loop.time() + seconds)
        self._expire_in(seconds)

    def _expire_in(self, seconds: float) -> None:
        """Close after this time unless a message makes progress."""
        self._deadline = min(self._loop.time() + seconds, self._ends_by)
        if self._deadline < self._timer_at:
            self._timer.cancel()
            self._set_timer()

    def _set_timer(self) -> None:
        self._timer_at = self._deadline  # a timer of uvloop forgets it once it is due
        self._timer = self._loop.call_at(self._deadline, self._check)

    def _check(self) -> None:
        """The timer fired: close, unless the deadline was moved since."""
        if self._loop.time() < self._deadline:
            self._set_timer()
        elif self.state is CLOSING or self._is_unread:
            self._transport.abort()
        else:
            self._timer_at = math.inf  # so that a timer for closing is set
            self._close()
