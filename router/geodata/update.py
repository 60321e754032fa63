"""`autorouter geodata update`: replaces a geo database by a newer one, after checks.

Servers have the old files open and follow their names, so new ones are renamed to them.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from router.errors import GeoDataError
from router.geo.database import GeoDatabase, open_database
from router.geo.folder import PAIR, SINGLE, newest_database
from router.geodata.choice import Member, choose, open_member
from router.geodata.describe import coverage
from router.geodata.fetch import Fetcher
from router.geodata.files import sync
from router.geodata.notes import Note, read_note, stamp_of, write_note
from router.geodata.origins import Ask, Offer, offer
from router.geodata.sample import v4_sample, v6_sample
from router.geodata.unpack import unpack
from router.geodata.verify import verify
from router.model import Level

SAMPLED = 10_000
VERIFIED = 1_000
# Minimum share of public IPv4 that must be known if there is no database to compare with.
LEAST_PLACED = 0.5
LEAST_SIZE = 0.5


class Least(NamedTuple):
    """Minimum shares for a newer database: of the addresses that the running one knows, how many
    it knows; of these, how many are in the same country; of those with a city, how many have a
    city.
    """

    known: float
    same_country: float
    cities: float


# Real databases of two makers reach 0.99, 0.94 and 0.47 (docs/geodata.md). For unused IPv6
# addresses, which are most, databases disagree.
_LEAST = {"IPv4": Least(0.9, 0.8, 0.1), "IPv6": Least(0.02, 0.0, 0.0)}
_DAY_S = 86_400
_PACKED = "packed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do. `outputs`: the file to replace, or one for IPv4 and one for IPv6; if empty, the
    files in `folder` are chosen by what is fetched. `running`: the database in use, empty without
    one. `member`: which database of an archive to use.
    """

    ask: Ask
    outputs: tuple[Path, ...] = ()
    folder: Path = Path()
    running: tuple[Path, ...] = ()
    member: str | None = None
    force: bool = False

    @property
    def output(self) -> Path:
        """The first output; notes are kept beside it."""
        return self.replaced[0]

    @property
    def replaced(self) -> tuple[Path, ...]:
        """The files to replace, as far as known before the new ones are fetched."""
        return self.outputs or newest_database(self.folder) or (self.folder / SINGLE,)

    def outputs_for(self, count: int) -> tuple[Path, ...]:
        """The files to write `count` databases to."""
        if self.outputs:
            return self.outputs
        return tuple(self.folder / name for name in ((SINGLE,) if count == 1 else PAIR))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The result of `check_for_update`. `is_newer`: the origin has another version than `output`;
    None if unknown.
    """

    origin: str
    version: str
    had: str | None
    is_newer: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """The result of `update`. `is_new`: whether `output` was replaced. `output`: the path, or both
    paths of two files.
    """

    origin: str
    version: str
    output: str
    is_new: bool
    type: str
    built_at: float
    bytes: int


def check_for_update(plan: Plan, fetcher: Fetcher, now: float) -> Found:
    """Whether there is a newer database. Raises GeoDataError."""
    return compare_versions(plan, offer(plan.ask, fetcher, now))


def update(plan: Plan, fetcher: Fetcher, now: float) -> Updated:
    """Replace the outputs by what the origin offers. Raises GeoDataError as `install` does."""
    return install(plan, offer(plan.ask, fetcher, now), fetcher, now)


def install(plan: Plan, current: Offer, fetcher: Fetcher, now: float) -> Updated:
    """Fetch, unpack and check the files, and replace the outputs. Raises GeoDataError; then the
    outputs are unchanged, and partial data is kept for the next run.
    """
    if compare_versions(plan, current).is_newer is False and not plan.force:
        return _make_result(plan, current, is_new=False)
    with _work_folder(plan.output) as folder:
        packed = current.file or _fetch(current, fetcher, folder)
        members, licence = unpack(packed, folder, name=plan.ask.origin)
        fresh = _open_fetched(plan, members)
        verify(fresh, [*v4_sample(VERIFIED), *v6_sample(VERIFIED)])
        if not plan.force:
            _check(fresh, _open_running(plan), now)
        outputs = plan.outputs_for(len(fresh.files))
        _install(outputs, current, fresh, licence, now)
    return _make_result(replace(plan, outputs=outputs), current, is_new=True)


def compare_versions(plan: Plan, current: Offer) -> Found:
    """Whether the origin has another version than the output."""
    note = read_note(plan.output)
    had = note.version if note is not None and note.origin == current.name else None
    is_newer = current.version != had if current.version else None
    return Found(origin=current.name, version=current.version, had=had, is_newer=is_newer)


def _make_result(plan: Plan, current: Offer, *, is_new: bool) -> Updated:
    database = open_database(*plan.replaced)
    return Updated(
        origin=current.name,
        version=current.version,
        output=",".join(map(str, plan.replaced)),
        is_new=is_new,
        type=database.type,
        built_at=database.built_at,
        bytes=database.bytes,
    )


@contextmanager
def _work_folder(output: Path) -> Iterator[Path]:
    """A temporary folder beside the output, locked for one update at a time. Partial downloads
    stay in it; other files are removed.
    """
    folder = output.with_name(f".{output.name}.update")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            try:
                yield folder
            finally:
                _clear(folder)
    except BlockingIOError as error:
        raise GeoDataError(f"{output}: another update is at work on it") from error
    except OSError as error:
        raise GeoDataError(f"{output}: cannot be written: {error}") from error


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if not path.name.startswith(f"{_PACKED}.part"):
            path.unlink()
    with suppress(OSError):
        folder.rmdir()


def _fetch(current: Offer, fetcher: Fetcher, folder: Path) -> Path:
    if current.remote is None:
        raise GeoDataError(f"{current.name}: there is nothing to fetch")
    fetcher.file(current.remote, folder / _PACKED)
    return folder / _PACKED


def _open_fetched(plan: Plan, members: Sequence[Member]) -> GeoDatabase:
    """Open what was fetched. There must be as many files as outputs."""
    origin, outputs = plan.ask.origin, plan.outputs
    chosen = choose(members, wanted=plan.member, origin=origin, outputs=len(outputs))
    if outputs and len(chosen) > len(outputs):
        stem = plan.output.stem
        names = [plan.output.with_stem(f"{stem}-{family}") for family in ("ipv4", "ipv6")]
        both = ",".join(map(str, names))
        raise GeoDataError(
            f"{origin}: holds two databases, of IPv4 and of IPv6; name two files, as "
            f"--output {both}, and set AUTOROUTER_GEO_DB to the same"
        )
    if len(chosen) < len(outputs):
        raise GeoDataError(
            f"{origin}: holds one database; name one file, as --output {plan.output}, "
            "and set AUTOROUTER_GEO_DB to the same"
        )
    return open_member(origin, *chosen)


def _open_running(plan: Plan) -> GeoDatabase | None:
    """The database to compare with: the file to be replaced, or else the one in use."""
    for paths in filter(None, (plan.outputs, plan.running)):
        with suppress(GeoDataError):
            return open_database(*paths)
    return None


def _check(fresh: GeoDatabase, running: GeoDatabase | None, now: float) -> None:
    """Raises GeoDataError unless the new database is good enough to replace the running one."""
    faults = [*_faults_alone(fresh, now), *_faults_beside(fresh, running)]
    if faults:
        raise GeoDataError(
            f"{fresh.type}: {'; '.join(faults)}. Nothing is changed; --force takes it all the same"
        )


def _faults_alone(fresh: GeoDatabase, now: float) -> Iterator[str]:
    if fresh.is_from_future(now):
        yield "it says that it was built in the future"
    placed = coverage(fresh, v4_sample(SAMPLED)).placed
    if placed < LEAST_PLACED:
        yield f"it knows {placed:.0%} of public IPv4; at least {LEAST_PLACED:.0%} is wanted"


def _faults_beside(fresh: GeoDatabase, running: GeoDatabase | None) -> Iterator[str]:
    if running is None:
        return
    if fresh.built_at < running.built_at:
        days = (running.built_at - fresh.built_at) / _DAY_S
        yield f"it is {days:.0f} days older than the running one"
    if fresh.bytes < LEAST_SIZE * running.bytes:
        yield f"it has {fresh.bytes:,} bytes and the running one {running.bytes:,}"
    for family, addresses in (("IPv4", v4_sample(SAMPLED)), ("IPv6", v6_sample(SAMPLED))):
        yield from _losses(fresh, running, family, addresses)


def _losses(
    fresh: GeoDatabase, running: GeoDatabase, family: str, addresses: Sequence[str]
) -> Iterator[str]:
    """Faults if the new database knows much less than the running one."""
    least = _LEAST[family]
    pairs = [(fresh.locate(address), running.locate(address)) for address in addresses]
    known = [(new, old) for new, old in pairs if old.country is not None]
    kept = [(new, old) for new, old in known if new.country is not None]
    same = [new for new, old in kept if new.country == old.country]
    in_cities = [new for new, old in known if old.level is Level.CITY]
    cities = [new for new in in_cities if new.level is Level.CITY]
    if len(kept) < least.known * len(known):
        share = _percent(kept, known)
        yield f"it knows {share} of the {family} addresses that the running one knows"
    elif len(same) < least.same_country * len(kept):
        yield f"it puts {_percent(same, kept)} of {family} addresses into the same country"
    elif len(cities) < least.cities * len(in_cities):
        share = _percent(cities, in_cities)
        yield f"it knows the city of {share} of {family} addresses that had one"


def _percent(some: Sequence[object], of: Sequence[object]) -> str:
    return f"{len(some) / len(of):.0%}"


def _install(
    outputs: Sequence[Path], current: Offer, fresh: GeoDatabase, licence: str, now: float
) -> None:
    """Rename the new files to the outputs, IPv4 first; old ones stay as `.previous`."""
    terms = current.terms if current.terms.licence else fresh.terms
    for path, replaced in zip(fresh.paths, outputs, strict=True):
        _replace(path, replaced)
    note = Note(
        origin=current.name,
        version=current.version,
        fetched_at=now,
        licence=terms.licence,
        attribution=terms.attribution,
        stamp=stamp_of(outputs[0]),
    )
    write_note(outputs[0], note, licence or f"{terms.licence}\n{terms.attribution}\n")


def _replace(fresh: Path, output: Path) -> None:
    if output.exists():
        previous = output.with_name(f"{output.name}.previous")
        previous.unlink(missing_ok=True)
        os.link(output, previous)
    sync(fresh)
    output.parent.mkdir(parents=True, exist_ok=True)
    fresh.replace(output)
    sync(output.parent)
