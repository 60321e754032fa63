"""The last good health on disk: read back whole or not at all."""

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
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
from router.errors import StoreError
from router.model import Intended, Intent, Observed, Status, View
from router.routing.fleet import combine
from router.store import Stored
from router.store.memory import MemoryStore
from router.store.snapshot import FILE_NAME, MAX_BYTES, LastGood, SnapshotWriter, load_in_time
from router.telemetry.metrics import Telemetry
from tests.support.builders import CITIES, NOW, a_ranker, a_view, an_edge_view, an_intent
from tests.support.hostile import mangled, many
from tests.support.servers import PATIENCE_S, eventually

VIEWS = (
    a_view("east", seq=2**53),
    a_view("west", {"yto-01": an_edge_view(Observed.DOWN, models=("kokoro-82m",))}),
)
INTENTS = (an_intent(), an_intent("yul-01", Intended.DISABLED))


@pytest.fixture
def kept(tmp_path: Path) -> LastGood:
    return LastGood(tmp_path)


def file_of(kept: LastGood) -> Path:
    return kept.folder / FILE_NAME


def signed(body: bytes) -> bytes:
    """A body with the checksum that makes it ours."""
    return blake2b(body, digest_size=16).hexdigest().encode() + b"\n" + body


def test_nothing_is_there_at_first(kept: LastGood) -> None:
    assert kept.load() is None


def test_what_was_saved_is_loaded_whole(kept: LastGood) -> None:
    kept.save(VIEWS, INTENTS)
    assert kept.load() == Stored(VIEWS, INTENTS)


def test_dial_outlives_a_restart(kept: LastGood) -> None:
    plain = an_intent("yul-01", Intended.ENABLED)
    dial = replace(plain, share=0.3, from_share=0.9, over_s=900.0)
    kept.save(VIEWS, [dial])
    loaded = kept.load()
    assert loaded is not None
    assert loaded.intents == (dial,)
    halfway = dial.created_at + 450
    fleet = combine(a_ranker().catalog, loaded.views, loaded.intents, halfway)
    assert fleet.by_id["yul-01"].share == 0.6


def test_nothing_saved_is_something(kept: LastGood) -> None:
    kept.save([], [])
    assert kept.load() == Stored((), ())


def test_later_save_replaces_the_first(kept: LastGood) -> None:
    kept.save(VIEWS, INTENTS)
    kept.save(VIEWS[:1], [])
    assert kept.load() == Stored(VIEWS[:1], ())


def test_folder_is_made_when_it_is_missing(tmp_path: Path) -> None:
    kept = LastGood(tmp_path / "a" / "b")
    kept.save(VIEWS, [])
    assert kept.load() == Stored(VIEWS, ())


def test_save_leaves_nothing_else_behind(kept: LastGood) -> None:
    for _ in range(2):
        kept.save(VIEWS, INTENTS)
    assert [path.name for path in kept.folder.iterdir()] == [FILE_NAME]


def test_open_reader_keeps_the_file_it_opened(kept: LastGood) -> None:
    kept.save(VIEWS, INTENTS)
    before = file_of(kept).read_bytes()
    with file_of(kept).open("rb") as reader:
        kept.save([], [])
        assert reader.read() == before


def test_save_that_ended_halfway_loses_nothing(kept: LastGood) -> None:
    kept.save(VIEWS, INTENTS)
    (kept.folder / f".{FILE_NAME}.{os.getpid()}").write_bytes(b"half")
    assert kept.load() == Stored(VIEWS, INTENTS)
    kept.save(VIEWS[:1], INTENTS)
    assert kept.load() == Stored(VIEWS[:1], INTENTS)


def test_folder_that_is_a_file_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    kept = LastGood(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        kept.save(VIEWS, [])
    assert kept.load() is None


def test_file_that_is_a_folder_is_nothing(kept: LastGood) -> None:
    file_of(kept).mkdir()
    assert kept.load() is None
    with pytest.raises(OSError, match=FILE_NAME):
        kept.save(VIEWS, [])


def test_file_can_be_read_by_its_owner(kept: LastGood) -> None:
    kept.save(VIEWS, [])
    assert file_of(kept).stat().st_mode & stat.S_IRUSR


def test_file_torn_anywhere_is_nothing(kept: LastGood) -> None:
    kept.save(VIEWS[1:], INTENTS)
    whole = file_of(kept).read_bytes()
    for length in range(0, len(whole), 7):
        file_of(kept).write_bytes(whole[:length])
        assert kept.load() is None


def test_file_edited_anywhere_is_nothing(kept: LastGood) -> None:
    kept.save(VIEWS[1:], INTENTS)
    whole = file_of(kept).read_bytes()
    for at in {*range(32), *range(33, len(whole), 7)}:
        file_of(kept).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert kept.load() is None


def test_file_with_something_added_is_nothing(kept: LastGood) -> None:
    kept.save(VIEWS, INTENTS)
    with file_of(kept).open("ab") as file:
        file.write(b"\n")
    assert kept.load() is None


A_VIEW: dict[str, Any] = msgspec.to_builtins(a_view(edges={}))
AN_INTENT: dict[str, Any] = msgspec.to_builtins(an_intent())


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"views": []},
        {"views": [], "intents": None},
        {"views": {}, "intents": []},
    ],
)
def test_whole_file_of_wrong_types_is_nothing(kept: LastGood, told: Any) -> None:
    file_of(kept).write_bytes(signed(msgspec.json.encode(told)))
    assert kept.load() is None


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
def test_value_out_of_bounds_costs_itself_only(kept: LastGood, list_name: str, wrong: Any) -> None:
    content: dict[str, list[Any]] = {"views": [A_VIEW], "intents": [AN_INTENT]}
    content[list_name] = [wrong, *content[list_name]]
    file_of(kept).write_bytes(signed(msgspec.json.encode(content)))
    stored = kept.load()
    assert stored is not None
    assert (stored.views, stored.intents) == ((a_view(edges={}),), (an_intent(),))
    assert len(stored.faults) == 1


def test_names_of_a_newer_release_are_read_as_from_redis(kept: LastGood) -> None:
    edges = {"yto-01": {"state": "fine", "since": 1}}
    content = {"views": [A_VIEW | {"edges": edges}], "intents": [AN_INTENT | {"state": "gone"}]}
    file_of(kept).write_bytes(signed(msgspec.json.encode(content)))
    stored = kept.load()
    assert stored is not None
    assert stored.views[0].edges["yto-01"].state is Observed.UNKNOWN
    assert stored.intents[0].state is Intended.DRAINING


def test_more_vantages_and_intents_than_there_can_be_are_cut(kept: LastGood) -> None:
    views = [A_VIEW | {"vantage": f"v-{number}"} for number in range(70)]
    content = {"views": views, "intents": [AN_INTENT] * 5_100}
    file_of(kept).write_bytes(signed(msgspec.json.encode(content)))
    stored = kept.load()
    assert stored is not None
    assert (len(stored.views), len(stored.intents)) == (64, 5_000)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b'{"views":[', b"[" * 100_000, b'{"x":' * 100_000, b'"\\ud800"']
)
def test_whole_file_that_is_no_json_is_nothing(kept: LastGood, body: bytes) -> None:
    file_of(kept).write_bytes(signed(body))
    assert kept.load() is None


def test_fields_of_a_newer_release_are_ignored(kept: LastGood) -> None:
    told = {"views": [A_VIEW | {"added": 1}], "intents": [], "added": [2]}
    file_of(kept).write_bytes(signed(msgspec.json.encode(told)))
    assert kept.load() == Stored((a_view(edges={}),), ())


def test_huge_file_is_nothing_and_not_read_to_its_end(kept: LastGood) -> None:
    with file_of(kept).open("wb") as file:
        file.write(signed(b"{}"))
        file.truncate(1_000 * MAX_BYTES)  # sparse: it takes no room
    assert kept.load() is None


@given(st.binary(max_size=200))
def test_any_bytes_are_nothing(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    kept = LastGood(tmp_path_factory.getbasetemp())
    file_of(kept).write_bytes(content)
    assert kept.load() is None


class Away(MemoryStore):
    """A store that cannot be read."""

    async def read(self, edges: Sequence[str]) -> Stored:
        raise StoreError("Redis: gone")


@many
@given(mangled(VIEWS[1]), mangled(INTENTS[0]))
def test_server_starts_with_any_values_in_a_whole_file(
    tmp_path_factory: pytest.TempPathFactory, view: bytes, intent: bytes
) -> None:
    """A saved value with one field missing or odd never raises past the reader."""
    telemetry = Telemetry()
    kept = LastGood(tmp_path_factory.getbasetemp(), clock=lambda: NOW)
    file_of(kept).write_bytes(signed(b'{"views":[%s],"intents":[%s]}' % (view, intent)))
    saved = asyncio.run(load_in_time(kept, telemetry, timeout_s=PATIENCE_S))
    watch = FleetWatch(a_ranker(), Away(), telemetry, clock=lambda: NOW)
    if saved is not None:
        watch.restore(saved)
    asyncio.run(watch.refresh())
    generate_latest(telemetry.registry)
    assert watch.fleet.status in tuple(Status)


Restart = Callable[[], FleetWatch]


class Time:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def restart(kept: LastGood, time: Time) -> Restart:
    """A server that begins with what is on disk while the store is away."""

    def begin() -> FleetWatch:
        watch = FleetWatch(a_ranker(), Away(), Telemetry(), clock=time)
        saved = kept.load()
        if saved is not None:
            watch.restore(saved)
        return watch

    return begin


def seen(*down: str, probed_at: float = NOW) -> View:
    edges = dict.fromkeys(CITIES, Observed.UP) | dict.fromkeys(down, Observed.DOWN)
    return a_view(edges=edges, probed_at=probed_at)


def states(watch: FleetWatch) -> tuple[Status, Observed]:
    """Of the fleet, and of the edge that was down."""
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
def test_server_begins_with_health_as_old_as_it_is(
    kept: LastGood, restart: Restart, time: Time, age_s: float, expected: tuple[Status, Observed]
) -> None:
    kept.save([seen("yto-01")], [])
    time.now += age_s
    assert states(restart()) == expected


@pytest.mark.anyio
async def test_recalled_health_goes_on_ageing(kept: LastGood, restart: Restart, time: Time) -> None:
    kept.save([seen("yto-01")], [])
    time.now += 60
    watch = restart()
    await watch.refresh()
    assert states(watch) == (Status.STALE, Observed.DOWN)
    time.now += 61
    await watch.refresh()
    assert states(watch) == (Status.STATIC, Observed.UNKNOWN)


def test_recalled_intents_hold_until_they_expire(
    kept: LastGood, restart: Restart, time: Time
) -> None:
    kept.save([seen()], [an_intent(expires_at=NOW + 100), an_intent("yto-02", expires_at=NOW + 50)])
    time.now += 60
    intended = [edge.intended for edge in restart().fleet.edges[:2]]
    assert intended == [Intended.DRAINING, Intended.ENABLED]


def test_recalled_edges_that_left_the_catalog_are_gone(kept: LastGood, restart: Restart) -> None:
    kept.save([a_view(edges={"gone-01": Observed.UP, "yto-01": Observed.DOWN})], [])
    watch = restart()
    assert [edge.region.id for edge in watch.fleet.edges] == list(CITIES)
    assert watch.fleet.edges[1].observed is Observed.UNKNOWN


def test_server_begins_without_a_file(restart: Restart) -> None:
    watch = restart()
    assert states(watch) == (Status.STATIC, Observed.UNKNOWN)
    assert all(edge.enabled for edge in watch.fleet.edges)


@dataclass(frozen=True)
class Slow(LastGood):
    """A folder that hangs until it is `free`; keeps what it was told to save."""

    free: threading.Event = field(default_factory=threading.Event)
    saves: list[Stored] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)

    def save(self, views: Iterable[View], intents: Iterable[Intent]) -> None:
        self.begun.append(1)
        self.free.wait(PATIENCE_S)
        self.saves.append(Stored(tuple(views), tuple(intents)))

    def load(self) -> Stored | None:
        self.free.wait(PATIENCE_S)
        return None


@dataclass
class Heard:
    errors: list[OSError | None] = field(default_factory=list)
    faults: tuple[str, ...] = ()

    def snapshot_saved(self, error: OSError | None) -> None:
        self.errors.append(error)

    def snapshot_loaded(self, faults: tuple[str, ...]) -> None:
        self.faults = faults


@asynccontextmanager
async def saving(last_good: LastGood, heard: Heard) -> AsyncIterator[SnapshotWriter]:
    writer = SnapshotWriter(last_good, heard, interval_s=0.01, timeout_s=0.05)
    running = asyncio.create_task(writer.run())
    yield writer
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def offered(at: float) -> Stored:
    return Stored((seen(probed_at=at),), ())


@pytest.mark.anyio
async def test_newest_health_is_saved(kept: LastGood) -> None:
    heard = Heard()
    async with saving(kept, heard) as writer:
        for at in range(5):
            writer.offer(offered(at))
        await eventually(lambda: kept.load() == offered(4))
        await eventually(lambda: heard.errors == [None])
        writer.offer(offered(5))
        await eventually(lambda: kept.load() == offered(5))


@pytest.mark.anyio
async def test_folder_that_hangs_is_reported_and_gets_one_thread_only(tmp_path: Path) -> None:
    slow, heard = Slow(tmp_path), Heard()
    async with saving(slow, heard) as writer:
        for at in range(5):
            writer.offer(offered(at))
            await asyncio.sleep(0.03)
        assert [type(error) for error in heard.errors] == [TimeoutError]
        assert len(slow.begun) == 1
        slow.free.set()
        await eventually(lambda: slow.saves[-1:] == [offered(4)])
    assert (len(slow.saves), heard.errors[1:]) == (2, [None, None])


@pytest.mark.anyio
async def test_folder_that_hangs_delays_no_stop(tmp_path: Path) -> None:
    slow = Slow(tmp_path)
    async with asyncio.timeout(1):
        async with saving(slow, Heard()) as writer:
            writer.offer(offered(1))
            await eventually(lambda: len(slow.begun) == 1)
    slow.free.set()


@pytest.mark.anyio
async def test_folder_that_hangs_delays_no_start(tmp_path: Path) -> None:
    slow, heard = Slow(tmp_path), Heard()
    assert await load_in_time(slow, heard, timeout_s=0.05) is None
    assert [type(error) for error in heard.errors] == [TimeoutError]
    slow.free.set()


@pytest.mark.anyio
async def test_nothing_known_does_not_replace_what_was(kept: LastGood) -> None:
    kept.save([seen("yto-01")], [])
    async with saving(kept, Heard()) as writer:
        writer.offer(Stored((), ()))
        await asyncio.sleep(0.05)
    assert kept.load() == Stored((seen("yto-01"),), ())


def test_only_the_owner_can_read_what_was_saved(tmp_path: Path) -> None:
    kept = LastGood(tmp_path / "state")
    umask = os.umask(0)
    try:
        kept.save(VIEWS, INTENTS)
        file_of(kept).chmod(0o644)
        kept.save(VIEWS, INTENTS)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(kept.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file_of(kept).stat().st_mode) == 0o600


def test_link_in_the_place_of_the_new_file_is_not_followed(kept: LastGood, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (kept.folder / f".{FILE_NAME}.{os.getpid()}").symlink_to(victim)
    with pytest.raises(OSError, match=FILE_NAME):
        kept.save(VIEWS, [])
    assert victim.read_text() == "precious"
