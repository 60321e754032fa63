"""The head of one HTTP/1.1 request, collected from httptools' callbacks within bounds.

Keeps the fields that answers depend on, and finds what llhttp accepts but RFC 9112 does not.
"""

import re
from functools import lru_cache

from router.routing.cache_headers import Headers
from router.routing.location import PLACING
from router.routing.response import NO_STORE, Answer, error_answer

MAX_HEAD_BYTES = 32 * 1024
MAX_FIELDS = 100
MAX_PLACING_FIELDS = 32
MAX_BODY_BYTES = 1024 * 1024  # read to keep the connection, and discarded

BAD_REQUEST = error_answer(
    400,
    "bad_request",
    "Malformed HTTP/1.1 request, not exactly one Host, or a head over 32 KiB or 100 fields.",
    NO_STORE,
)
BAD_VERSION = error_answer(505, "bad_version", "Send the request as HTTP/1.1.", NO_STORE)

_OPTIONAL_WHITE_SPACE = b" \t"  # RFC 9110, 5.6.3
_HEEDED = PLACING | {
    b"host", b"if-none-match", b"expect", b"transfer-encoding", b"content-length",
}  # fmt: skip
# RFC 3986, 3.2.2 and 3.2.3. Empty is valid (RFC 9110, 7.2).
_HOST = re.compile(rb"([\w.~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:\d*)?", re.ASCII)
# RTSP methods and those of Icecast, which llhttp parses too.
_FOREIGN_METHODS = frozenset(
    b"DESCRIBE ANNOUNCE SETUP PLAY PAUSE TEARDOWN GET_PARAMETER SET_PARAMETER REDIRECT RECORD "
    b"FLUSH SOURCE".split()
)
# What httptools says of a version that is not 1.0 or 1.1; the second for `PRI * HTTP/2.0`.
_VERSION_ERRORS = ("Invalid HTTP version", "Expected HTTP/2 Connection Preface", "PRI")


class RequestHead:
    """Callbacks of httptools.HttpRequestParser for the head of one request after another."""

    def __init__(self) -> None:
        self._piece = b""  # the bytes being parsed
        self._begin_head()

    def _begin_head(self) -> None:
        self._target = self._known = self._transfer_coding = b""
        self._headers: Headers = []
        self._field_count = self._host_count = 0
        self._is_malformed = self._expects_continue = self._has_large_body = False
        self._is_complete = False

    def on_url(self, part: bytes) -> None:
        """The target, or a part of it."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head, or of the trailers: those are ignored."""
        self._field_count += 1
        name = name.lower()
        if name in _HEEDED and not self._is_complete:
            self._heed(name, value)

    def _heed(self, name: bytes, untrimmed: bytes) -> None:
        value = untrimmed.rstrip(_OPTIONAL_WHITE_SPACE)
        if name == b"host":
            self._host_count += 1
            self._is_malformed |= not _is_host(value)
        elif name in PLACING:
            if len(self._headers) < MAX_PLACING_FIELDS:
                self._headers.append((name, value))
            else:
                self._is_malformed = True
        elif name == b"if-none-match":
            self._known += b"," + value if self._known else value
        elif name == b"expect":
            self._expects_continue = True
        elif name == b"transfer-encoding":
            self._transfer_coding = untrimmed
        else:
            self._has_large_body = int(value) > MAX_BODY_BYTES  # llhttp took it for a number

    @property
    def _exceeds_bounds(self) -> bool:
        return self._is_malformed or self._field_count > MAX_FIELDS

    def _head_error(self, method: bytes, version: str) -> Answer | None:
        """Why a complete head must be rejected, if it must."""
        if b"RTSP/" in self._piece and self._is_rtsp(method):
            return BAD_REQUEST
        if version == "1.1":
            is_valid = self._host_count == 1 and self._has_known_length()
        elif version == "1.0":
            is_valid = self._host_count <= 1 and not self._transfer_coding
        else:
            is_line_without_version = version == "0.9" and b" HTTP/0.9" not in self._piece
            return BAD_REQUEST if is_line_without_version else BAD_VERSION
        if not is_valid or self._exceeds_bounds or method in _FOREIGN_METHODS:
            return BAD_REQUEST
        return None

    def _has_known_length(self) -> bool:
        """RFC 9112, 6.3: chunked must be the last transfer coding of a request. llhttp does not
        take it for chunked with a tab beside it, so neither may we."""
        last = self._transfer_coding.rpartition(b",")[2]
        return not self._transfer_coding or last.strip(b" ").lower() == b"chunked"

    def _is_rtsp(self, method: bytes) -> bool:
        """Whether the request line names RTSP. llhttp accepts it and does not tell."""
        line = rb"%b +%b +RTSP/" % (re.escape(method), re.escape(self._target))
        return re.search(line, self._piece) is not None


@lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def error_for(parser_error: Exception) -> Answer:
    """The answer to bytes that the parser rejected."""
    reason = str(parser_error)
    return BAD_VERSION if any(known in reason for known in _VERSION_ERRORS) else BAD_REQUEST
