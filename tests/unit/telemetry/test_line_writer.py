"""Writing lines never blocks the caller; lost lines are counted."""

import contextlib
import os
import re
import time
from collections.abc import Iterator

import pytest

from router.telemetry.line_writer import LineWriter
from tests.support.servers import wait_until

LINE = b"x" * 1_023 + b"\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe. Its write end stays open: a writer thread must not write to a reused descriptor."""
    reader, writer = os.pipe()
    yield reader, writer
    with contextlib.suppress(OSError):
        os.close(reader)


def read_all(fd: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += os.read(fd, count - len(data))
    return data


def test_lines_arrive_complete_and_in_order(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    lines = [b"line %d\n" % number for number in range(1_000)]
    for line in lines:
        writer.put(line)
    assert writer.drain(5)
    assert read_all(pipe[0], len(b"".join(lines))) == b"".join(lines)
    assert writer.dropped == 0


def test_unread_pipe_does_not_block_the_caller(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], max_lines=100)
    began = time.monotonic()
    for _ in range(10_000):
        writer.put(LINE)
    assert time.monotonic() - began < 2
    assert writer.dropped >= 10_000 - 100 - 64 - 1  # a pipe holds 64 lines
    assert not writer.drain(0.01)


def test_lost_lines_are_reported_when_the_pipe_is_read(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], max_lines=10, format_dropped=lambda count: b"lost %d\n" % count)
    for _ in range(500):
        writer.put(LINE)
    output = b""
    while reported(output) < writer.dropped:
        output += os.read(pipe[0], 65_536)
    assert reported(output) == writer.dropped > 400


def reported(output: bytes) -> int:
    return sum(map(int, re.findall(rb"lost (\d+)\n", output)))


def test_queue_is_bounded_by_bytes(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], max_bytes=1_000_000)
    for _ in range(100):
        writer.put(b"y" * 100_000)
    assert writer.dropped >= 88


def test_optional_lines_leave_room_for_others(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], max_lines=100)
    while writer.offer(LINE):
        pass
    assert writer.dropped == 0
    for _ in range(40):
        writer.put(LINE)
    assert writer.dropped == 0


def test_write_to_a_closed_pipe_loses_only_the_line(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    writer = LineWriter(pipe[1])
    writer.put(LINE)
    wait_until(lambda: writer.dropped == 1)


def test_non_blocking_descriptor_gets_every_line(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    writer = LineWriter(pipe[1])
    for _ in range(200):
        writer.put(LINE)
    assert read_all(pipe[0], 200 * len(LINE)) == 200 * LINE
