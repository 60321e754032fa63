"""Fetches a file over HTTP with resumption, and limits on size, time and retries. Partial data
stays beside the target as `.part`, with a note of the validator that shows whether the server
still has the same file (RFC 9110 section 13.1.5, If-Range).
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

import httpx
import msgspec

from router import __version__
from router.errors import GeoDataError
from router.geodata import Progress, no_progress

TRIES = 5
TIMEOUT_S = 30.0
LONGEST_S = 3_600.0
MAX_BYTES = 2 * 2**30
MAX_TEXT_BYTES = 65_536
MAX_WAIT_S = 60.0

T = TypeVar("T")

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15}|\*)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A file to fetch. `digest`: an algorithm and the expected digest in hexadecimal; a file with
    a digest never changes.
    """

    url: str
    auth: tuple[str, str] | None = field(default=None, repr=False)
    digest: tuple[str, str] | None = None


class _Note(msgspec.Struct, frozen=True):
    """Which file the partial data belongs to."""

    url: str
    validator: str


class _TryAgainError(Exception):
    """The request can be retried, after `wait_s` at the earliest."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class _WrongContentError(Exception):
    """The server sent something else than it announced; the partial data is discarded."""


def open_client(timeout_s: float = TIMEOUT_S) -> httpx.Client:
    """A client that uses https only, and proxies from the environment."""
    return httpx.Client(
        follow_redirects=True,
        max_redirects=5,
        timeout=timeout_s,
        headers={"Accept-Encoding": "identity", "User-Agent": f"autorouter/{__version__}"},
        event_hooks={"request": [_refuse_plain_http]},
    )


@dataclass(kw_only=True)
class Fetcher:
    """Fetches with one client. Raises GeoDataError that says what to do."""

    client: httpx.Client
    progress: Progress = no_progress
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    max_bytes: int = MAX_BYTES
    tries: int = TRIES

    def version(self, remote: Remote) -> str | None:
        """A version that changes with the file, empty if the server gives none; None if the server
        has no such file.
        """
        return self._retry(remote, lambda: self._version(remote))

    def text(self, remote: Remote) -> str:
        """A short text, such as a checksum."""
        return self._retry(remote, lambda: self._text(remote))

    def file(self, remote: Remote, target: Path) -> None:
        """Fetch the whole file to `target` and compare its digest."""
        part = target.with_name(f"{target.name}.part")
        ends: set[int] = set()
        try:
            self._retry(remote, lambda: self._fetch_rest(remote, part, ends))
        except _WrongContentError as error:
            _delete_part(part)
            raise GeoDataError(f"{remote.url}: {error}; use another source") from None
        if remote.digest is not None and _digest_of(part, remote.digest[0]) != remote.digest[1]:
            _delete_part(part)
            raise GeoDataError(f"{remote.url}: what arrived has another checksum; try again")
        part.replace(target)
        _note_of(part).unlink(missing_ok=True)

    def _retry(self, remote: Remote, act: Callable[[], T]) -> T:
        started = self.clock()
        for tried in range(1, self.tries + 1):
            try:
                return act()
            except (_TryAgainError, httpx.TransportError) as error:
                why = str(error) or type(error).__name__
                wait_s = max(2.0 ** (tried - 1), getattr(error, "wait_s", 0.0))
            except httpx.HTTPError as error:
                raise GeoDataError(f"{remote.url}: {error}") from error
            if tried == self.tries or self.clock() - started + wait_s > LONGEST_S:
                break
            self.sleep(wait_s)
        if tried == 1:
            raise GeoDataError(f"{remote.url}: {why}")
        raise GeoDataError(f"{remote.url}: {why}; tried {tried} times. Run it again: it goes on")

    def _version(self, remote: Remote) -> str | None:
        with self._request("HEAD", remote, {}) as response:
            if response.status_code in (404, 410):
                return None
            if response.status_code in (405, 501):
                return ""
            _check_status(remote, response)
            headers = response.headers
            return _validator(response) or headers.get(
                "last-modified", headers.get("content-length", "")
            )

    def _text(self, remote: Remote) -> str:
        with self._request("GET", remote, {}) as response:
            _check_status(remote, response)
            found = b""
            for chunk in response.iter_bytes():
                found += chunk
                if len(found) > MAX_TEXT_BYTES:
                    raise GeoDataError(f"{remote.url}: is no short text")
            return found.decode("utf-8", "replace")

    def _fetch_rest(self, remote: Remote, part: Path, ends: set[int]) -> None:
        """Fetch the rest of `part`. `ends`: the sizes at which earlier transfers broke off."""
        headers = _range_headers(remote, part)
        with self._request("GET", remote, headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                _delete_part(part)
                raise _TryAgainError("the server has another file than before")
            _check_status(remote, response)
            first, total = _span(response)
            if first and first != (part.stat().st_size if headers else 0):
                raise _WrongContentError("it sends another part of the file than was requested")
            if (total or 0) > self.max_bytes:
                raise _WrongContentError(f"is larger than {self.max_bytes:,} bytes")
            if not first:
                _delete_part(part)  # never keep old bytes beside a new note
            note = _Note(remote.url, _validator(response))
            _note_of(part).write_bytes(msgspec.json.encode(note))
            with part.open("r+b" if first else "wb") as file:
                file.seek(first)
                file.truncate()
                try:
                    self._receive(remote, response, file, total)
                finally:
                    had = file.tell()
                    # Ordinary interruptions happen at a different size each time.
                    is_stuck = had > first and had in ends
                    ends.add(had)
                    if is_stuck:
                        raise _WrongContentError(
                            f"it ends after {had:,} bytes each time, before its end"
                        )

    def _receive(
        self, remote: Remote, response: httpx.Response, file: IO[bytes], total: int | None
    ) -> None:
        """Write the rest of the file. `total`: the size of the whole file, if it is known."""
        started = self.clock()
        for chunk in response.iter_raw():
            had = file.tell() + len(chunk)
            if had > self.max_bytes:
                raise _WrongContentError(f"is larger than {self.max_bytes:,} bytes")
            if total is not None and had > total:
                raise _WrongContentError(
                    f"it sends more than the {total:,} bytes that it announced"
                )
            if self.clock() - started > LONGEST_S:
                raise GeoDataError(f"{remote.url}: is too slow. Run it again: it goes on")
            file.write(chunk)
            self.progress("downloading", had, total)
        if total is not None and file.tell() < total:
            raise _TryAgainError(f"broke off after {file.tell():,} of {total:,} bytes")

    @contextmanager
    def _request(
        self, method: str, remote: Remote, headers: dict[str, str]
    ) -> Iterator[httpx.Response]:
        auth = None if remote.auth is None else httpx.BasicAuth(*remote.auth)
        try:
            with self.client.stream(method, remote.url, headers=headers, auth=auth) as response:
                yield response
        except httpx.InvalidURL as error:
            raise GeoDataError(f"{remote.url}: is no URL: {error}") from error


def _refuse_plain_http(request: httpx.Request) -> None:
    """Raise for plain http; called for redirects too."""
    if request.url.scheme != "https" and request.url.host not in _LOOPBACK:
        raise GeoDataError(f"{request.url}: use https; http only on this machine")


def _check_status(remote: Remote, response: httpx.Response) -> None:
    code = response.status_code
    if response.is_success:
        return
    fault = f"{code} {response.reason_phrase}"
    if code in _AGAIN:
        asked = response.headers.get("retry-after", "")
        raise _TryAgainError(fault, min(float(asked), MAX_WAIT_S) if asked.isdecimal() else 0.0)
    advice = "the account or its key is not accepted" if code in (401, 403) else "check the source"
    raise GeoDataError(f"{remote.url}: {fault}; {advice}")


def _range_headers(remote: Remote, part: Path) -> dict[str, str]:
    """Headers that request the rest only if the file is certainly the same: by its validator, or
    by a digest, which is compared at the end.
    """
    try:
        note = msgspec.json.decode(_note_of(part).read_bytes(), type=_Note)
        had = part.stat().st_size
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    if note.url != remote.url or had == 0 or not (note.validator or remote.digest):
        return {}
    condition = {"If-Range": note.validator} if note.validator else {}
    return {"Range": f"bytes={had}-", **condition}


def _span(response: httpx.Response) -> tuple[int, int | None]:
    """The offset at which the sent data begins, and the size of the file if known."""
    length = response.headers.get("content-length", "")
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return 0, int(length) if length.isdecimal() else None
    match = _RANGE.fullmatch(response.headers.get("content-range", ""))
    if match is None:
        raise _WrongContentError("it sends a part of the file without a valid Content-Range")
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _validator(response: httpx.Response) -> str:
    """The strong ETag; parts may not be joined by a weaker validator."""
    tag: str = response.headers.get("etag", "")
    return "" if tag.startswith("W/") else tag


def _note_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _delete_part(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def _digest_of(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
