"""Changed files are read once they stop changing, completely or not at all."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from router.errors import ConfigError
from router.model import Event, EventKind
from router.processes.reload import MAX_REASON, Reload
from router.store.memory import MemoryStore
from tests.support.builders import NOW
from tests.support.failing_store import FailingStore
from tests.support.servers import eventually

pytestmark = pytest.mark.anyio

CHECK_S = 0.02


@dataclass
class Recorder:
    """An observer that records its calls."""

    reloads: list[tuple[str, ...]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def files_reloaded(self, faults: Sequence[str]) -> None:
        self.reloads.append(tuple(faults))

    def event_happened(self, event: Event) -> None:
        self.events.append(event)


class FollowedFile:
    """A followed file with a number; `values` has each value that was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recorder = Recorder()
        self.store = MemoryStore()
        self.values: list[int] = []
        self.reload = Reload(
            paths=lambda: [path],
            read=self._read,
            replace=self.values.append,
            store=self.store,
            observer=self.recorder,
            clock=lambda: NOW,
            check_s=CHECK_S,
        )

    def _read(self) -> int:
        try:
            return int(self.path.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError([f"numbers: {error}", "line 1: write a number"]) from error

    def write(self, text: str) -> None:
        """Replace the file, as editors do."""
        new_file = self.path.with_suffix(".new")
        new_file.write_text(text)
        new_file.replace(self.path)

    async def wait(self, count: int = 5) -> None:
        await asyncio.sleep(count * CHECK_S)


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[FollowedFile]:
    path = tmp_path / "numbers"
    path.write_text("1")
    file = FollowedFile(path)
    async with running(file):
        yield file


@asynccontextmanager
async def running(file: FollowedFile) -> AsyncIterator[None]:
    task = asyncio.create_task(file.reload.run())
    await asyncio.sleep(0)
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_changed_file_is_read(file: FollowedFile) -> None:
    file.write("2")
    await eventually(lambda: file.values == [2])


async def test_unchanged_file_is_not_read_again(file: FollowedFile) -> None:
    file.write("2")
    await eventually(lambda: file.values == [2])
    await file.wait()
    assert (file.values, file.recorder.reloads) == ([2], [()])


async def test_file_that_still_changes_is_not_read_yet(file: FollowedFile) -> None:
    for number in range(20):
        file.write(str(number))
        await asyncio.sleep(CHECK_S / 4)
    file.write("99")
    await eventually(lambda: file.values[-1:] == [99])
    assert len(file.values) < 5


async def test_invalid_file_keeps_the_old_value_and_is_reported(file: FollowedFile) -> None:
    file.write("two")
    await eventually(lambda: len(file.recorder.reloads) == 1)
    assert file.values == []
    assert file.recorder.reloads[0][1] == "line 1: write a number"
    (logged,) = await file.store.events()
    assert (logged.event.kind, logged.event.after) == (EventKind.RELOAD, "refused")
    assert "line 1: write a number" in (logged.event.reason or "")


async def test_invalid_file_is_reported_once(file: FollowedFile) -> None:
    file.write("two")
    await eventually(lambda: len(file.recorder.reloads) == 1)
    await file.wait()
    assert len(file.recorder.reloads) == 1


async def test_corrected_file_is_read(file: FollowedFile) -> None:
    for text in ("two", "2"):
        file.write(text)
        seen = len(file.recorder.reloads)
        await eventually(lambda seen=seen: len(file.recorder.reloads) > seen)  # type: ignore[misc]
    assert file.values == [2]


async def test_removed_file_keeps_the_old_value(file: FollowedFile) -> None:
    file.path.unlink()
    await eventually(lambda: len(file.recorder.reloads) == 1)
    assert (file.values, len(file.recorder.reloads[0])) == ([], 2)
    file.write("3")
    await eventually(lambda: file.values == [3])


async def test_file_changed_in_place_with_the_same_size_is_read(file: FollowedFile) -> None:
    file.path.write_text("4")
    os.utime(file.path, ns=(1, 1))
    await eventually(lambda: file.values[-1:] == [4])


async def test_requested_reload_reads_an_unchanged_file(file: FollowedFile) -> None:
    file.reload.asked.set()
    await eventually(lambda: file.values == [1])
    await file.wait()
    assert file.values == [1]


async def test_symlink_to_another_file_is_followed(file: FollowedFile, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("5")
    link = tmp_path / "link"
    link.symlink_to(other)
    link.replace(file.path)
    await eventually(lambda: file.values == [5])


async def test_reported_errors_are_bounded(file: FollowedFile) -> None:
    file.write("x" * 10_000)
    await eventually(lambda: len(file.recorder.events) == 1)
    assert len(file.recorder.events[0].reason or "") <= MAX_REASON


async def test_store_error_does_not_stop_reloads(tmp_path: Path) -> None:
    (tmp_path / "numbers").write_text("1")
    file = FollowedFile(tmp_path / "numbers")
    file.reload.store = FailingStore(failing={"log_events"})
    async with running(file):
        for number in (2, 3):
            file.write(str(number))
            await eventually(lambda number=number: file.values[-1:] == [number])  # type: ignore[misc]
