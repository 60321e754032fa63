"""Sends one request and reads its response, whatever the other side sends. h11 parses the
response, as in the SDK's own client (HTTPX), so both accept the same responses. Everything that an
edge can make us read or parse is limited here.
"""

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import h11

MAX_HEAD_BYTES = 64 * 1_024
MAX_FIELDS = 500
MAX_INTERIM = 16  # 1xx responses before the real one
MAX_PARTS = 4_096  # maximum number of chunks in a body
RAW_FACTOR = 4  # bytes on the wire for each byte of body, for the framing of chunks
PIECE_BYTES = 4 * 1_024

_ENCODINGS = frozenset({b"gzip", b"x-gzip", b"deflate"})


class TooLargeError(Exception):
    """The other side sent more than the limit; the message says of what."""


class NotUnderstoodError(Exception):
    """The received bytes are not an HTTP response that we can read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response. `body` is decompressed; it is empty if it was not read."""

    status: int
    body: bytes = b""


async def exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    request: h11.Request,
    max_body_bytes: int | None,
) -> Response:
    """Send the request and read its response. The body is not read if its limit is None.

    Raises TooLargeError, NotUnderstoodError, OSError or ssl.SSLError. Has no timeout.
    """
    incoming = _Incoming(reader, RAW_FACTOR * (max_body_bytes or 0) + 2 * MAX_HEAD_BYTES)
    try:
        writer.write(incoming.parser.send(request) or b"")
        writer.write(incoming.parser.send(h11.EndOfMessage()) or b"")
        head = await incoming.head()
        if max_body_bytes is None:
            return Response(status=head.status_code)
        body = await incoming.body(max_body_bytes)
    except h11.RemoteProtocolError as error:
        raise NotUnderstoodError(f"not an HTTP response: {error}") from error
    encodings = [value for name, value in head.headers if name == b"content-encoding"]
    return Response(status=head.status_code, body=_decode(body, encodings, max_body_bytes))


class _Incoming:
    """Reads a response, and counts its bytes."""

    def __init__(self, reader: asyncio.StreamReader, max_raw_bytes: int) -> None:
        self.parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._reader = reader
        self._left_bytes = max_raw_bytes

    async def head(self) -> h11.Response:
        """The status and fields of the response; interim (1xx) responses are skipped."""
        for _ in range(MAX_INTERIM + 1):
            event = await self._next()
            if isinstance(event, h11.Response):
                if len(event.headers) > MAX_FIELDS:
                    raise TooLargeError(f"more than {MAX_FIELDS} header fields")
                return event
        raise TooLargeError(f"more than {MAX_INTERIM} interim (1xx) responses")

    async def body(self, max_bytes: int) -> bytes:
        """The body as it was sent. Raises TooLargeError above the limit."""
        body = bytearray()
        for _ in range(MAX_PARTS):
            event = await self._next()
            if not isinstance(event, h11.Data):
                return bytes(body)
            body += event.data
            if len(body) > max_bytes:
                raise TooLargeError(f"a body of more than {max_bytes:,} bytes")
        raise TooLargeError(f"a body in more than {MAX_PARTS:,} parts")

    async def _next(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self.parser.next_event()) is h11.NEED_DATA:
            await self._receive()
        return event  # type: ignore[return-value]

    async def _receive(self) -> None:
        await asyncio.sleep(0)  # a fast sender must not block the loop
        piece = await self._reader.read(PIECE_BYTES)
        self._left_bytes -= len(piece)
        if self._left_bytes < 0:
            raise TooLargeError("more bytes on the wire than any such response needs")
        if not piece and self.parser.their_state is h11.SEND_RESPONSE:
            raise ConnectionResetError("the connection was closed without a response")
        self.parser.receive_data(piece)


def _decode(body: bytes, encodings: Sequence[bytes], max_bytes: int) -> bytes:
    """The body, decompressed if the edge compressed it unasked."""
    named = [name.strip().lower() for line in encodings for name in line.split(b",")]
    applied = [name for name in named if name not in (b"", b"identity")]
    if not applied:
        return body
    if len(applied) > 1 or applied[0] not in _ENCODINGS:
        shown = b", ".join(applied).decode("latin-1")
        raise NotUnderstoodError(f"a body in Content-Encoding {shown}")
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip or zlib, by its header
    try:
        plain = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise NotUnderstoodError(f"a compressed body that is damaged: {error}") from error
    if len(plain) > max_bytes:
        raise TooLargeError(f"a body of more than {max_bytes:,} bytes")
    if not inflater.eof:
        raise NotUnderstoodError("a compressed body that ends too soon")
    return plain
