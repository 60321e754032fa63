"""Writes lines to a file descriptor without ever blocking the caller.

A pipe without a reader fills up, and then a write blocks for ever. So a thread writes; lines wait
in a bounded queue, and lines that do not fit are dropped and counted.
"""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

MAX_LINES = 10_000
MAX_BYTES = 4 * 1024 * 1024
STALLED_S = 5.0

STDERR = 2


class LineWriter:
    """`put` never waits. `format_dropped` makes the line that reports lost lines."""

    def __init__(
        self,
        fd: int = STDERR,
        *,
        format_dropped: Callable[[int], bytes] | None = None,
        max_lines: int = MAX_LINES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.format_dropped = format_dropped
        self._fd = fd
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        self._unreported = 0
        self._writing_since: float | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """The number of lines that were dropped."""
        return self._dropped

    @property
    def is_stalled(self) -> bool:
        """Whether no line could be written for STALLED_S."""
        since = self._writing_since
        return since is not None and time.monotonic() - since > STALLED_S

    def put(self, line: bytes) -> None:
        """Write the line soon, in one piece. If the queue is full, the line is dropped."""
        with self._changed:
            if self._has_room(line, 1.0):
                self._append(line)
            else:
                self._drop()

    def offer(self, line: bytes) -> bool:
        """The same for less important lines: they may fill half of the queue. Returns False if the
        line was not accepted; it is not counted as dropped here.
        """
        with self._changed:
            if not self._has_room(line, 0.5):
                return False
            self._append(line)
        return True

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything is written, at most this long. Returns whether it is."""
        with self._changed:
            return self._changed.wait_for(self._is_idle, timeout_s)

    def _has_room(self, line: bytes, share: float) -> bool:
        fits = self._bytes + len(line) <= share * self._max_bytes
        return fits and len(self._lines) < share * self._max_lines

    def _append(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)
        self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log lines", daemon=True)
            self._thread.start()

    def _is_idle(self) -> bool:
        return not self._lines and self._writing_since is None

    def _drop(self) -> None:
        self._dropped += 1
        self._unreported += 1

    def _run(self) -> None:
        while True:
            self._write(self._next_line())
            with self._changed:
                self._writing_since = None
                self._changed.notify_all()

    def _next_line(self) -> bytes:
        """Wait for a line; a report of dropped lines goes first."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._lines))
            self._writing_since = time.monotonic()
            if self._unreported and self.format_dropped is not None:
                count, self._unreported = self._unreported, 0
                return self.format_dropped(count)
            line = self._lines.popleft()
            self._bytes -= len(line)
            return line

    def _write(self, line: bytes) -> None:
        """Write all of it. A line that a closed pipe refuses is dropped."""
        rest = memoryview(line)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                select.select([], [self._fd], [])
            except OSError:
                with self._changed:
                    self._drop()
                return
