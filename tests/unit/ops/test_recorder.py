"""What the recorder counts, when it adds a sample and where samples are kept."""

from pathlib import Path

import pytest

from router.api.live_fleet import FleetWatch
from router.errors import StoreError
from router.model import Observed
from router.ops.recorder import FileKeeper, Keeper, Recorder, StoreKeeper, choose_keeper
from router.routing.response import Counts, Labels
from router.store.memory import MemoryStore
from router.telemetry.metrics import Telemetry
from tests.support.builders import CITIES, NOW, a_ranker, a_view

pytestmark = pytest.mark.anyio

MINUTE = NOW // 60 * 60


class RecorderRun:
    """A recorder with its own clock and a fleet."""

    def __init__(self, keeper: Keeper | None = None) -> None:
        self.now = MINUTE
        self.store = MemoryStore(lambda: self.now)
        self.watch = FleetWatch(a_ranker(), self.store, Telemetry(), clock=lambda: self.now)
        self.counts = Counts()
        self.recorder = Recorder(
            watch=self.watch,
            counts=lambda: self.counts,
            keeper=keeper or StoreKeeper(self.store, holder="here"),
            clock=lambda: self.now,
        )

    def answer(self, region: str, code: str, count: int) -> None:
        self.counts.answers[Labels(code, region, "", "", "")] += count

    async def pass_seconds(self, seconds: int, *down: str) -> None:
        edges = dict.fromkeys(CITIES, Observed.UP) | dict.fromkeys(down, Observed.DOWN)
        for _ in range(seconds):
            self.now += 1.0
            await self.store.publish(a_view(edges=edges, seq=int(self.now), probed_at=self.now))
            await self.watch.refresh()
            self.recorder.observe()


async def test_sample_is_added_at_each_full_minute() -> None:
    run = RecorderRun()
    await run.pass_seconds(125)
    assert [one.at - MINUTE for one in run.recorder.history.samples] == [60, 120]


async def test_falls_and_downtime_are_counted() -> None:
    run = RecorderRun()
    await run.pass_seconds(10)
    await run.pass_seconds(20, "yto-01")
    await run.pass_seconds(10)
    await run.pass_seconds(5, "yto-01")
    await run.pass_seconds(15)
    (one,) = run.recorder.history.samples
    assert (one.falls[0], one.down_s[0]) == (2, 25)
    assert (sum(one.falls), sum(one.down_s)) == (2, 25)


async def test_answers_are_counted_per_minute() -> None:
    run = RecorderRun()
    run.answer("yto-01", "200", 5)
    await run.pass_seconds(60)
    run.answer("yto-01", "200", 3)
    run.answer("", "503", 2)
    run.answer("", "404", 1)
    await run.pass_seconds(60)
    first, second = run.recorder.history.samples
    assert (first.answers, first.errors, first.given[0]) == (5, 0, 5)
    assert (second.answers, second.errors, second.given[0]) == (6, 2, 3)


async def test_suspended_machine_is_not_downtime() -> None:
    run = RecorderRun()
    await run.pass_seconds(10, "yto-01")
    run.now += 3_600
    await run.pass_seconds(60)
    assert max(one.down_s[0] for one in run.recorder.history.samples) <= 15


async def test_saved_samples_are_loaded_after_a_restart(tmp_path: Path) -> None:
    for keeper in (FileKeeper(tmp_path / "state"), StoreKeeper(MemoryStore(), holder="here")):
        before = RecorderRun(keeper)
        await before.pass_seconds(180)
        await before.recorder.save()
        after = RecorderRun(keeper)
        after.now = before.now
        await after.pass_seconds(60)
        await after.recorder.load()
        assert [one.at - MINUTE for one in after.recorder.history.samples] == [60, 120, 180, 240]


async def test_only_one_of_two_servers_saves() -> None:
    store = MemoryStore()
    one, other = (RecorderRun(StoreKeeper(store, holder=name)) for name in ("one", "other"))
    await one.pass_seconds(60)
    await one.recorder.save()
    saved = await store.history()
    await other.pass_seconds(120)
    await other.recorder.save()
    assert saved is not None
    assert await store.history() == saved


class BrokenKeeper:
    """A keeper that works again once `error` is None."""

    def __init__(self) -> None:
        self.error: Exception | None = StoreError("Redis: gone")
        self.body: bytes | None = b"not read yet"

    async def load(self) -> bytes | None:
        if self.error is not None:
            raise self.error
        return self.body

    async def save(self, body: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.body = body


@pytest.mark.parametrize("error", [StoreError("Redis: gone"), TimeoutError(), OSError("full")])
async def test_history_that_was_not_read_is_not_replaced(error: Exception) -> None:
    keeper = BrokenKeeper()
    keeper.error = error
    run = RecorderRun(keeper)
    await run.pass_seconds(60)
    await run.recorder.save()
    assert keeper.body == b"not read yet"
    keeper.error = None
    await run.recorder.save()
    assert keeper.body != b"not read yet"


async def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    keeper = FileKeeper(tmp_path / "state")
    assert await keeper.load() is None
    await keeper.save(b"history")
    assert await keeper.load() == b"history"
    (file,) = (tmp_path / "state").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_shared_store_is_preferred_to_the_folder(tmp_path: Path) -> None:
    store = MemoryStore()
    assert isinstance(choose_keeper(tmp_path, store, is_shared=True), StoreKeeper)
    assert isinstance(choose_keeper(tmp_path, store, is_shared=False), FileKeeper)
    assert isinstance(choose_keeper(None, store, is_shared=False), StoreKeeper)
