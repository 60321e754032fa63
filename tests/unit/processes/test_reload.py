"""Changed files are taken whole, once they keep still, or not at all."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from router.errors import ConfigError, StoreError
from router.model import Event, EventKind
from router.processes.reload import MAX_REASON, Reload
from router.store.memory import MemoryStore
from tests.support.builders import NOW
from tests.support.servers import eventually

pytestmark = pytest.mark.anyio

LOOK_S = 0.02


@dataclass
class Heard:
    """An observer that keeps what it hears."""

    reloads: list[tuple[str, ...]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def files_reloaded(self, faults: Sequence[str]) -> None:
        self.reloads.append(tuple(faults))

    def event_happened(self, event: Event) -> None:
        self.events.append(event)


class Bench:
    """One followed file of numbers; `taken`: what was read of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard = Heard()
        self.store = MemoryStore()
        self.taken: list[int] = []
        self.reload = Reload(
            paths=lambda: [path],
            read=self._read,
            replace=self.taken.append,
            store=self.store,
            observer=self.heard,
            clock=lambda: NOW,
            look_s=LOOK_S,
        )

    def _read(self) -> int:
        try:
            return int(self.path.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError([f"numbers: {error}", "line 1: write a number"]) from error

    def write(self, text: str) -> None:
        """As an editor would: a new file in the old one's place."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.path)

    async def looks(self, count: int = 5) -> None:
        await asyncio.sleep(count * LOOK_S)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    path = tmp_path / "numbers"
    path.write_text("1")
    bench = Bench(path)
    async with running(bench):
        yield bench


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[None]:
    task = asyncio.create_task(bench.reload.run())
    await asyncio.sleep(0)
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_changed_file_is_taken(bench: Bench) -> None:
    bench.write("2")
    await eventually(lambda: bench.taken == [2])


async def test_file_that_stays_is_not_read_again(bench: Bench) -> None:
    bench.write("2")
    await eventually(lambda: bench.taken == [2])
    await bench.looks()
    assert (bench.taken, bench.heard.reloads) == ([2], [()])


async def test_file_in_the_making_is_waited_for(bench: Bench) -> None:
    for number in range(20):
        bench.write(str(number))
        await asyncio.sleep(LOOK_S / 4)
    bench.write("99")
    await eventually(lambda: bench.taken[-1:] == [99])
    assert len(bench.taken) < 5


async def test_faulty_file_keeps_the_old_and_says_why(bench: Bench) -> None:
    bench.write("two")
    await eventually(lambda: len(bench.heard.reloads) == 1)
    assert bench.taken == []
    assert bench.heard.reloads[0][1] == "line 1: write a number"
    (logged,) = await bench.store.events()
    assert (logged.event.kind, logged.event.after) == (EventKind.RELOAD, "refused")
    assert "line 1: write a number" in (logged.event.reason or "")


async def test_faulty_file_is_told_of_once(bench: Bench) -> None:
    bench.write("two")
    await eventually(lambda: len(bench.heard.reloads) == 1)
    await bench.looks()
    assert len(bench.heard.reloads) == 1


async def test_repaired_file_is_taken(bench: Bench) -> None:
    for text in ("two", "2"):
        bench.write(text)
        seen = len(bench.heard.reloads)
        await eventually(lambda seen=seen: len(bench.heard.reloads) > seen)  # type: ignore[misc]
    assert bench.taken == [2]


async def test_vanished_file_keeps_the_old(bench: Bench) -> None:
    bench.path.unlink()
    await eventually(lambda: len(bench.heard.reloads) == 1)
    assert (bench.taken, len(bench.heard.reloads[0])) == ([], 2)
    bench.write("3")
    await eventually(lambda: bench.taken == [3])


async def test_file_changed_in_place_with_its_size_and_name_kept_is_noticed(bench: Bench) -> None:
    bench.path.write_text("4")
    os.utime(bench.path, ns=(1, 1))
    await eventually(lambda: bench.taken[-1:] == [4])


async def test_asked_for_it_reads_even_what_has_not_changed(bench: Bench) -> None:
    bench.reload.asked.set()
    await eventually(lambda: bench.taken == [1])
    await bench.looks()
    assert bench.taken == [1]


async def test_link_to_another_file_is_followed(bench: Bench, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("5")
    link = tmp_path / "link"
    link.symlink_to(other)
    link.replace(bench.path)
    await eventually(lambda: bench.taken == [5])


async def test_told_faults_are_bounded(bench: Bench) -> None:
    bench.write("x" * 10_000)
    await eventually(lambda: len(bench.heard.events) == 1)
    assert len(bench.heard.events[0].reason or "") <= MAX_REASON


async def test_store_that_is_away_stops_nothing(tmp_path: Path) -> None:
    class Away(MemoryStore):
        async def log_events(self, events: Sequence[Event]) -> None:
            raise StoreError("Redis: refused")

    (tmp_path / "numbers").write_text("1")
    bench = Bench(tmp_path / "numbers")
    bench.reload.store = Away()
    async with running(bench):
        for number in (2, 3):
            bench.write(str(number))
            await eventually(lambda number=number: bench.taken[-1:] == [number])  # type: ignore[misc]
