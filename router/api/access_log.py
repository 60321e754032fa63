"""Writes one log line per request, for all requests or a share: the response and its duration.

Logs nothing about the client: no address, no query, no header. A request only appends a record; a
thread writes the lines. If the thread cannot keep up, records are dropped and a line reports how
many.
"""

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from router.api.http_protocol import Request
from router.routing.response import Answer, Response
from router.telemetry.logs import lines

WRITE_S = 0.25
MAX_WAITING = 8_192

_CODE = slice(9, 12)  # of `HTTP/1.1 200 OK`


class Record(NamedTuple):
    """What is kept of a request until its line is written. `at`: Unix seconds."""

    at: float
    answer: Answer
    response: Response
    duration_us: int
    fleet: str


def write_line(line: bytes) -> None:
    """Queue a line for standard error. Raises BlockingIOError when the queue is full."""
    if not lines.offer(line):
        raise BlockingIOError


class RequestLog:
    """Answers requests through `exchange` and logs a share of them. `fleet`: the version of the
    Fleet that answers now. `run` never returns; when cancelled, it writes the records that are
    left.
    """

    def __init__(
        self,
        exchange: Callable[[Request], tuple[Answer, Response]],
        share: float,
        *,
        fleet: Callable[[], str],
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
        write: Callable[[bytes], None] = write_line,
    ) -> None:
        self._exchange = exchange
        self._share = float(share)
        self._fleet = fleet
        self._draw = draw
        self._clock = clock
        self._write = write
        self._waiting: deque[Record] = deque()
        self._kept_out = 0  # counted by the event loop
        self._lost = 0  # counted by the thread, minus those already reported
        self._writing = threading.Lock()

    def respond(self, request: Request) -> Response:
        """The answer as HTTP."""
        if self._draw() >= self._share:
            return self._exchange(request)[1]
        began_ns = time.perf_counter_ns()
        answer, response = self._exchange(request)
        duration_us = (time.perf_counter_ns() - began_ns) // 1_000
        self._add(Record(self._clock(), answer, response, duration_us, self._fleet()))
        return response

    async def run(self) -> None:
        """Write the collected records several times a second."""
        try:
            while True:
                await asyncio.sleep(WRITE_S)
                await asyncio.to_thread(self.flush)
        finally:
            self.flush()

    def flush(self) -> None:
        """Write every line that waits."""
        with self._writing:
            while self._waiting:
                if not self._try_write(_format_line(self._waiting.popleft(), self._share)):
                    self._lost += 1
            dropped = self._kept_out + self._lost
            if dropped and self._try_write(_format_dropped(self._clock(), dropped)):
                self._lost -= dropped

    def _add(self, record: Record) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(record)
        else:
            self._kept_out += 1

    def _try_write(self, line: bytes) -> bool:
        try:
            self._write(line)
        except OSError:
            return False
        return True


def _format_line(record: Record, share: float) -> bytes:
    fields = {
        "event": "request",
        "level": "info",
        "timestamp": _format_time(record.at),
        **record.answer.labels._asdict(),
        "code": int(record.response.opening[_CODE]),  # the status sent: a 304 is logged as 304
        "country": record.answer.country,
        "key": record.answer.key,
        "fleet": record.fleet,
        "duration_us": record.duration_us,
        "share": share,
    }
    return msgspec.json.encode(fields) + b"\n"


def _format_dropped(now: float, count: int) -> bytes:
    fields = {"event": "request lines dropped", "level": "warning", "timestamp": _format_time(now)}
    return msgspec.json.encode({**fields, "count": count}) + b"\n"


def _format_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
