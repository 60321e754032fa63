"""The last good health on disk: it is read completely or not at all."""

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from router.api.live_fleet import FleetWatch
from router.model import Intended, Intent, Observed, Status, View
from router.routing.fleet import combine
from router.store import Stored
from router.store.snapshot import FILE_NAME, MAX_BYTES, LastGood, SnapshotWriter, load_in_time
from router.telemetry.metrics import Telemetry
from tests.support.builders import CITIES, NOW, a_ranker, a_view, an_edge_view, an_intent
from tests.support.clock import Clock
from tests.support.failing_store import FailingStore
from tests.support.hostile import mangled, many
from tests.support.servers import PATIENCE_S, eventually

VIEWS = (
    a_view("east", seq=2**53),
    a_view("west", {"yto-01": an_edge_view(Observed.DOWN, models=("kokoro-82m",))}),
)
INTENTS = (an_intent(), an_intent("yul-01", Intended.DISABLED))


@pytest.fixture
def last_good(tmp_path: Path) -> LastGood:
    return LastGood(tmp_path)


def file_of(last_good: LastGood) -> Path:
    return last_good.folder / FILE_NAME


def signed(body: bytes) -> bytes:
    """The body after its checksum, as `LastGood.save` writes it."""
    return blake2b(body, digest_size=16).hexdigest().encode() + b"\n" + body


def test_missing_file_loads_nothing(last_good: LastGood) -> None:
    assert last_good.load() is None


def test_saved_health_is_loaded(last_good: LastGood) -> None:
    last_good.save(VIEWS, INTENTS)
    assert last_good.load() == Stored(VIEWS, INTENTS)


def test_dial_survives_a_restart(last_good: LastGood) -> None:
    plain = an_intent("yul-01", Intended.ENABLED)
    dial = replace(plain, share=0.3, from_share=0.9, over_s=900.0)
    last_good.save(VIEWS, [dial])
    loaded = last_good.load()
    assert loaded is not None
    assert loaded.intents == (dial,)
    halfway = dial.created_at + 450
    fleet = combine(a_ranker().catalog, loaded.views, loaded.intents, halfway)
    assert fleet.by_id["yul-01"].share == 0.6


def test_empty_health_is_saved_and_loaded(last_good: LastGood) -> None:
    last_good.save([], [])
    assert last_good.load() == Stored((), ())


def test_later_save_replaces_the_first(last_good: LastGood) -> None:
    last_good.save(VIEWS, INTENTS)
    last_good.save(VIEWS[:1], [])
    assert last_good.load() == Stored(VIEWS[:1], ())


def test_missing_folder_is_created(tmp_path: Path) -> None:
    last_good = LastGood(tmp_path / "a" / "b")
    last_good.save(VIEWS, [])
    assert last_good.load() == Stored(VIEWS, ())


def test_save_leaves_no_other_file(last_good: LastGood) -> None:
    for _ in range(2):
        last_good.save(VIEWS, INTENTS)
    assert [path.name for path in last_good.folder.iterdir()] == [FILE_NAME]


def test_open_reader_keeps_the_file_it_opened(last_good: LastGood) -> None:
    last_good.save(VIEWS, INTENTS)
    before = file_of(last_good).read_bytes()
    with file_of(last_good).open("rb") as reader:
        last_good.save([], [])
        assert reader.read() == before


def test_interrupted_save_loses_nothing(last_good: LastGood) -> None:
    last_good.save(VIEWS, INTENTS)
    (last_good.folder / f".{FILE_NAME}.{os.getpid()}").write_bytes(b"half")
    assert last_good.load() == Stored(VIEWS, INTENTS)
    last_good.save(VIEWS[:1], INTENTS)
    assert last_good.load() == Stored(VIEWS[:1], INTENTS)


def test_folder_that_is_a_file_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    last_good = LastGood(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        last_good.save(VIEWS, [])
    assert last_good.load() is None


def test_folder_in_place_of_the_file_is_ignored(last_good: LastGood) -> None:
    file_of(last_good).mkdir()
    assert last_good.load() is None
    with pytest.raises(OSError, match=FILE_NAME):
        last_good.save(VIEWS, [])


def test_truncated_file_is_ignored(last_good: LastGood) -> None:
    last_good.save(VIEWS[1:], INTENTS)
    whole = file_of(last_good).read_bytes()
    for length in range(0, len(whole), 7):
        file_of(last_good).write_bytes(whole[:length])
        assert last_good.load() is None


def test_file_with_a_changed_byte_is_ignored(last_good: LastGood) -> None:
    last_good.save(VIEWS[1:], INTENTS)
    whole = file_of(last_good).read_bytes()
    for at in {*range(32), *range(33, len(whole), 7)}:
        file_of(last_good).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert last_good.load() is None


def test_file_with_appended_bytes_is_ignored(last_good: LastGood) -> None:
    last_good.save(VIEWS, INTENTS)
    with file_of(last_good).open("ab") as file:
        file.write(b"\n")
    assert last_good.load() is None


A_VIEW: dict[str, Any] = msgspec.to_builtins(a_view(edges={}))
AN_INTENT: dict[str, Any] = msgspec.to_builtins(an_intent())


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b"{}",
        b'{"views":[]}',
        b'{"views":[],"intents":null}',
        b'{"views":{},"intents":[]}',
        b"",
        b"\xff",
        b'{"views":[',
        b"[" * 100_000,
        b'{"x":' * 100_000,
        b'"\\ud800"',
    ],
)
def test_valid_checksum_with_an_invalid_body_is_ignored(last_good: LastGood, body: bytes) -> None:
    file_of(last_good).write_bytes(signed(body))
    assert last_good.load() is None


@pytest.mark.parametrize(
    ("list_name", "wrong"),
    [
        ("views", 1),
        ("views", A_VIEW | {"seq": "1"}),
        ("views", A_VIEW | {"seq": -1}),
        ("views", A_VIEW | {"vantage": None}),
        ("views", A_VIEW | {"vantage": "\x1b[2J"}),
        ("views", A_VIEW | {"probed_at": NOW * 1_000}),
        ("views", A_VIEW | {"probed_at": 1e300}),
        ("views", A_VIEW | {"edges": {"yto-01": {"state": "up", "since": NOW * 1_000}}}),
        ("views", A_VIEW | {"held": ["yto-01"] * 5_001}),
        ("intents", AN_INTENT | {"expires_at": "tomorrow"}),
        ("intents", AN_INTENT | {"expires_at": 1e300}),
        ("intents", AN_INTENT | {"created_at": NOW * 1_000}),
        ("intents", AN_INTENT | {"share": 7}),
        ("intents", AN_INTENT | {"reason": "x" * 20_000}),
    ],
)
def test_only_the_invalid_value_is_dropped(last_good: LastGood, list_name: str, wrong: Any) -> None:
    content: dict[str, list[Any]] = {"views": [A_VIEW], "intents": [AN_INTENT]}
    content[list_name] = [wrong, *content[list_name]]
    file_of(last_good).write_bytes(signed(msgspec.json.encode(content)))
    stored = last_good.load()
    assert stored is not None
    assert (stored.views, stored.intents) == ((a_view(edges={}),), (an_intent(),))
    assert len(stored.faults) == 1


def test_unknown_states_are_read_as_from_redis(last_good: LastGood) -> None:
    edges = {"yto-01": {"state": "fine", "since": 1}}
    content = {"views": [A_VIEW | {"edges": edges}], "intents": [AN_INTENT | {"state": "gone"}]}
    file_of(last_good).write_bytes(signed(msgspec.json.encode(content)))
    stored = last_good.load()
    assert stored is not None
    assert stored.views[0].edges["yto-01"].state is Observed.UNKNOWN
    assert stored.intents[0].state is Intended.DRAINING


def test_excess_vantages_and_intents_are_dropped(last_good: LastGood) -> None:
    views = [A_VIEW | {"vantage": f"v-{number}"} for number in range(70)]
    content = {"views": views, "intents": [AN_INTENT] * 5_100}
    file_of(last_good).write_bytes(signed(msgspec.json.encode(content)))
    stored = last_good.load()
    assert stored is not None
    assert (len(stored.views), len(stored.intents)) == (64, 5_000)


def test_unknown_fields_are_ignored(last_good: LastGood) -> None:
    content = {"views": [A_VIEW | {"added": 1}], "intents": [], "added": [2]}
    file_of(last_good).write_bytes(signed(msgspec.json.encode(content)))
    assert last_good.load() == Stored((a_view(edges={}),), ())


def test_huge_file_is_ignored_without_reading_it(last_good: LastGood) -> None:
    with file_of(last_good).open("wb") as file:
        file.write(signed(b"{}"))
        file.truncate(1_000 * MAX_BYTES)  # a sparse file uses no disk space
    assert last_good.load() is None


@given(st.binary(max_size=200))
def test_bytes_without_a_checksum_are_ignored(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    last_good = LastGood(tmp_path_factory.getbasetemp())
    file_of(last_good).write_bytes(content)
    assert last_good.load() is None


@many
@given(mangled(VIEWS[1]), mangled(INTENTS[0]))
def test_server_starts_with_any_values_in_a_valid_file(
    tmp_path_factory: pytest.TempPathFactory, view: bytes, intent: bytes
) -> None:
    """One missing or invalid field raises no error outside the reader."""
    telemetry = Telemetry()
    last_good = LastGood(tmp_path_factory.getbasetemp(), clock=lambda: NOW)
    file_of(last_good).write_bytes(signed(b'{"views":[%s],"intents":[%s]}' % (view, intent)))
    saved = asyncio.run(load_in_time(last_good, telemetry, timeout_s=PATIENCE_S))
    watch = FleetWatch(a_ranker(), FailingStore(failing={"read"}), telemetry, clock=lambda: NOW)
    if saved is not None:
        watch.restore(saved)
    asyncio.run(watch.refresh())
    generate_latest(telemetry.registry)
    assert watch.fleet.status in tuple(Status)


Restart = Callable[[], FleetWatch]


@pytest.fixture
def restart(last_good: LastGood, clock: Clock) -> Restart:
    """Starts a server from disk while the store is unavailable."""

    def start() -> FleetWatch:
        watch = FleetWatch(a_ranker(), FailingStore(failing={"read"}), Telemetry(), clock=clock)
        saved = last_good.load()
        if saved is not None:
            watch.restore(saved)
        return watch

    return start


def view_with_down(*down: str, probed_at: float = NOW) -> View:
    edges = dict.fromkeys(CITIES, Observed.UP) | dict.fromkeys(down, Observed.DOWN)
    return a_view(edges=edges, probed_at=probed_at)


def states(watch: FleetWatch) -> tuple[Status, Observed]:
    """Returns the status of the fleet and the state of its first edge."""
    return watch.fleet.status, watch.fleet.edges[0].observed


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        (0, (Status.OK, Observed.DOWN)),
        (15, (Status.OK, Observed.DOWN)),
        (16, (Status.STALE, Observed.DOWN)),
        (120, (Status.STALE, Observed.DOWN)),
        (121, (Status.STATIC, Observed.UNKNOWN)),
        (-3_600, (Status.OK, Observed.DOWN)),
    ],
)
def test_recalled_health_keeps_its_age(
    last_good: LastGood,
    restart: Restart,
    clock: Clock,
    age_s: float,
    expected: tuple[Status, Observed],
) -> None:
    last_good.save([view_with_down("yto-01")], [])
    clock.now += age_s
    assert states(restart()) == expected


@pytest.mark.anyio
async def test_recalled_health_continues_to_age(
    last_good: LastGood, restart: Restart, clock: Clock
) -> None:
    last_good.save([view_with_down("yto-01")], [])
    clock.now += 60
    watch = restart()
    await watch.refresh()
    assert states(watch) == (Status.STALE, Observed.DOWN)
    clock.now += 61
    await watch.refresh()
    assert states(watch) == (Status.STATIC, Observed.UNKNOWN)


def test_recalled_intents_apply_until_they_expire(
    last_good: LastGood, restart: Restart, clock: Clock
) -> None:
    last_good.save(
        [view_with_down()],
        [an_intent(expires_at=NOW + 100), an_intent("yto-02", expires_at=NOW + 50)],
    )
    clock.now += 60
    intended = [edge.intended for edge in restart().fleet.edges[:2]]
    assert intended == [Intended.DRAINING, Intended.ENABLED]


def test_recalled_edges_outside_the_catalog_are_dropped(
    last_good: LastGood, restart: Restart
) -> None:
    last_good.save([a_view(edges={"gone-01": Observed.UP, "yto-01": Observed.DOWN})], [])
    watch = restart()
    assert [edge.region.id for edge in watch.fleet.edges] == list(CITIES)
    assert watch.fleet.edges[1].observed is Observed.UNKNOWN


def test_server_starts_without_a_file(restart: Restart) -> None:
    watch = restart()
    assert states(watch) == (Status.STATIC, Observed.UNKNOWN)
    assert all(edge.enabled for edge in watch.fleet.edges)


@dataclass(frozen=True)
class Slow(LastGood):
    """A folder that hangs until `free` is set; it records saves."""

    free: threading.Event = field(default_factory=threading.Event)
    saves: list[Stored] = field(default_factory=list)
    started: list[int] = field(default_factory=list)

    def save(self, views: Iterable[View], intents: Iterable[Intent]) -> None:
        self.started.append(1)
        self.free.wait(PATIENCE_S)
        self.saves.append(Stored(tuple(views), tuple(intents)))

    def load(self) -> Stored | None:
        self.free.wait(PATIENCE_S)
        return None


@dataclass
class Recorder:
    errors: list[OSError | None] = field(default_factory=list)
    faults: tuple[str, ...] = ()

    def snapshot_saved(self, error: OSError | None) -> None:
        self.errors.append(error)

    def snapshot_loaded(self, faults: tuple[str, ...]) -> None:
        self.faults = faults


@asynccontextmanager
async def saving(last_good: LastGood, recorder: Recorder) -> AsyncIterator[SnapshotWriter]:
    writer = SnapshotWriter(last_good, recorder, interval_s=0.01, timeout_s=0.05)
    running = asyncio.create_task(writer.run())
    yield writer
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def stored_at(at: float) -> Stored:
    return Stored((view_with_down(probed_at=at),), ())


@pytest.mark.anyio
async def test_newest_health_is_saved(last_good: LastGood) -> None:
    recorder = Recorder()
    async with saving(last_good, recorder) as writer:
        for at in range(5):
            writer.offer(stored_at(at))
        await eventually(lambda: last_good.load() == stored_at(4))
        await eventually(lambda: recorder.errors == [None])
        writer.offer(stored_at(5))
        await eventually(lambda: last_good.load() == stored_at(5))


@pytest.mark.anyio
async def test_hung_folder_is_reported_and_uses_one_thread(tmp_path: Path) -> None:
    slow, recorder = Slow(tmp_path), Recorder()
    async with saving(slow, recorder) as writer:
        for at in range(5):
            writer.offer(stored_at(at))
            await asyncio.sleep(0.03)
        assert [type(error) for error in recorder.errors] == [TimeoutError]
        assert len(slow.started) == 1
        slow.free.set()
        await eventually(lambda: len(recorder.errors) == 3)
    assert (len(slow.saves), slow.saves[-1], recorder.errors[1:]) == (2, stored_at(4), [None, None])


@pytest.mark.anyio
async def test_hung_folder_does_not_delay_the_stop(tmp_path: Path) -> None:
    slow = Slow(tmp_path)
    async with asyncio.timeout(1):
        async with saving(slow, Recorder()) as writer:
            writer.offer(stored_at(1))
            await eventually(lambda: len(slow.started) == 1)
    slow.free.set()


@pytest.mark.anyio
async def test_hung_folder_does_not_delay_the_start(tmp_path: Path) -> None:
    slow, recorder = Slow(tmp_path), Recorder()
    assert await load_in_time(slow, recorder, timeout_s=0.05) is None
    assert [type(error) for error in recorder.errors] == [TimeoutError]
    slow.free.set()


@pytest.mark.anyio
async def test_empty_health_does_not_replace_the_saved_one(last_good: LastGood) -> None:
    last_good.save([view_with_down("yto-01")], [])
    async with saving(last_good, Recorder()) as writer:
        writer.offer(Stored((), ()))
        await asyncio.sleep(0.05)
    assert last_good.load() == Stored((view_with_down("yto-01"),), ())


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    last_good = LastGood(tmp_path / "state")
    umask = os.umask(0)
    try:
        last_good.save(VIEWS, INTENTS)
        file_of(last_good).chmod(0o644)
        last_good.save(VIEWS, INTENTS)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(last_good.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file_of(last_good).stat().st_mode) == 0o600


def test_symlink_at_the_temporary_path_is_not_followed(last_good: LastGood, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (last_good.folder / f".{FILE_NAME}.{os.getpid()}").symlink_to(victim)
    with pytest.raises(OSError, match=FILE_NAME):
        last_good.save(VIEWS, [])
    assert victim.read_text() == "precious"
