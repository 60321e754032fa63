"""The head of one HTTP/1.1 request, collected from httptools' callbacks within limits. Keeps the
fields that answers depend on, and rejects what llhttp accepts but RFC 9112 forbids.
"""

import re

from router.routing.cache_headers import Headers
from router.routing.location import PLACING
from router.routing.response import NO_STORE, Answer, error_answer

MAX_HEAD_BYTES = 32 * 1024
MAX_FIELDS = 100
MAX_PLACING_FIELDS = 32
MAX_BODY_BYTES = 1024 * 1024  # read and discarded to keep the connection

BAD_REQUEST = error_answer(
    400,
    "bad_request",
    "Malformed HTTP/1.1 request, not exactly one Host, or a head over 32 KiB or 100 fields.",
    NO_STORE,
)
BAD_VERSION = error_answer(505, "bad_version", "Send the request as HTTP/1.1.", NO_STORE)

_OPTIONAL_WHITE_SPACE = b" \t"  # RFC 9110, 5.6.3
# Fields that decide how a message is framed, or whether its connection stays open.
_FRAMING = frozenset({b"transfer-encoding", b"content-length", b"expect", b"upgrade"})
# RFC 3986, 3.2.2 and 3.2.3. Empty is valid (RFC 9110, 7.2).
_HOST = re.compile(rb"([\w.~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:\d*)?", re.ASCII)
# Methods of RTSP and Icecast, which llhttp also accepts.
_FOREIGN_METHODS = frozenset(
    b"DESCRIBE ANNOUNCE SETUP PLAY PAUSE TEARDOWN GET_PARAMETER SET_PARAMETER REDIRECT RECORD "
    b"FLUSH SOURCE".split()
)
# httptools' errors for a version that is not 1.0 or 1.1, and for `PRI * HTTP/2.0`.
_VERSION_ERRORS = ("Invalid HTTP version", "Expected HTTP/2 Connection Preface", "Pause on PRI")


class RequestHead:
    """Callbacks of httptools.HttpRequestParser for the head of one request after another.

    `_framing` holds the few fields that most requests do not have, so that a request without them
    costs nothing.
    """

    __slots__ = (
        "_field_count",
        "_framing",
        "_headers",
        "_host_count",
        "_is_first",
        "_is_head_complete",
        "_is_malformed",
        "_is_plain",
        "_known",
        "_piece",
        "_target",
        "_valid_host",
    )

    def __init__(self) -> None:
        # The bytes with the request line, and whether the request is the first in them.
        self._piece, self._is_first = b"", True
        self._valid_host = b""  # the last one accepted
        self._target = self._known = b""
        self._headers: Headers = []
        self._framing: Headers | None = None
        self._field_count = self._host_count = 0
        self._is_malformed = self._is_head_complete = False
        self._is_plain = True

    def on_url(self, part: bytes) -> None:
        """The target, or a part of it."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head, or of the trailers, which are ignored."""
        self._field_count += 1
        name = name.lower()
        if name in PLACING:
            if len(self._headers) < MAX_PLACING_FIELDS:
                self._headers.append((name, value.rstrip(_OPTIONAL_WHITE_SPACE)))
            else:
                self._is_malformed, self._is_plain = True, False
        elif name == b"host":
            self._host_count += 1
            if value != self._valid_host:
                self._check_host(value)
        elif name == b"if-none-match":
            value = value.rstrip(_OPTIONAL_WHITE_SPACE)
            self._known += b"," + value if self._known else value
        elif name in _FRAMING:
            self._framing, self._is_plain = [*(self._framing or ()), (name, value)], False

    def _check_host(self, value: bytes) -> None:
        if _HOST.fullmatch(value.rstrip(_OPTIONAL_WHITE_SPACE)):
            self._valid_host = value
        else:
            self._is_malformed, self._is_plain = True, False

    @property
    def _exceeds_bounds(self) -> bool:
        return self._is_malformed or self._field_count > MAX_FIELDS

    def _head_error(self, method: bytes, version: str) -> Answer | None:
        """Why a complete head must be rejected; None if it is valid."""
        if b"RTSP/" in self._piece and self._is_rtsp(method):
            return BAD_REQUEST
        if version == "1.1":
            is_valid = self._host_count == 1 and self._has_known_length()
        elif version == "1.0":
            is_valid = self._host_count <= 1 and self._framing_value(b"transfer-encoding") is None
        else:
            is_line_without_version = version == "0.9" and b" HTTP/0.9" not in self._piece
            return BAD_REQUEST if is_line_without_version else BAD_VERSION
        if not is_valid or self._exceeds_bounds or method in _FOREIGN_METHODS:
            return BAD_REQUEST
        return None

    def _framing_value(self, name: bytes) -> bytes | None:
        """The value of the last field of this name."""
        return dict(self._framing or ()).get(name)

    def _has_known_length(self) -> bool:
        """RFC 9112, 6.3: chunked must be the last transfer coding of a request. llhttp does not
        recognise `chunked` with a tab beside it, so neither may we.
        """
        codings = self._framing_value(b"transfer-encoding")
        return codings is None or codings.rpartition(b",")[2].strip(b" ").lower() == b"chunked"

    def _expects_continue(self) -> bool:
        return self._framing_value(b"expect") is not None

    def _has_large_body(self) -> bool:
        length = self._framing_value(b"content-length")  # llhttp has checked that it is a number
        return length is not None and int(length) > MAX_BODY_BYTES

    def _is_rtsp(self, method: bytes) -> bool:
        """Whether the request line names RTSP, which llhttp accepts without reporting it."""
        line = rb"%b +%b +RTSP/" % (re.escape(method), re.escape(self._target))
        return re.search(line, self._piece) is not None


def error_for(parser_error: Exception) -> Answer:
    """The answer to bytes that the parser rejected."""
    reason = str(parser_error)
    return BAD_VERSION if any(known in reason for known in _VERSION_ERRORS) else BAD_REQUEST
