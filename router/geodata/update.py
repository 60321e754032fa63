"""`autorouter geodata update`: a newer database, checked, in place of the old one.

Servers have the old file open or follow its name, so the new one takes it by a rename.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from router.errors import GeoDataError
from router.geo.compact import Origin, is_compact
from router.geo.database import GeoDatabase, find_database, open_database
from router.geodata import Tell
from router.geodata.build import build
from router.geodata.describe import coverage
from router.geodata.fetch import Fetcher
from router.geodata.files import sync
from router.geodata.notes import Note, read_note, stamp_of, write_note
from router.geodata.origins import Ask, Offer, offer
from router.geodata.sample import v4_sample, v6_sample
from router.geodata.unpack import unpack
from router.model import Level

SAMPLED = 10_000
# Of public IPv4, where there is nothing to compare with.
LEAST_PLACED = 0.5
LEAST_SIZE = 0.5


class Least(NamedTuple):
    """Shares that a newer database must reach: of the addresses that the running one knows,
    known; of these, in the same country; of those with a city, with a city."""

    known: float
    same_country: float
    cities: float


# Real databases of two makers reach 0.99, 0.94 and 0.47 (docs/geodata.md). Of IPv6 that
# nobody uses, and most is that, they say what they like.
_LEAST = {"IPv4": Least(0.9, 0.8, 0.1), "IPv6": Least(0.02, 0.0, 0.0)}
_DAY_S = 86_400
_PACKED = "packed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do. `running`: the database in use, if any. `compact`: make it so."""

    ask: Ask
    output: Path
    running: Path | None = None
    compact: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`is_newer`: the origin has another one than `output`; None when it does not tell."""

    origin: str
    version: str
    had: str | None
    is_newer: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """`is_new`: whether `output` is another file now."""

    origin: str
    version: str
    output: str
    is_new: bool
    type: str
    built_at: float
    bytes: int


def in_use(configured: Path | None) -> Path | None:
    """The database that servers have open, if there is one."""
    with suppress(GeoDataError):
        return find_database(configured)
    return None


def look(plan: Plan, fetcher: Fetcher, now: float) -> Found:
    """Whether there is a newer one. Raises GeoDataError."""
    return _found(plan, offer(plan.ask, fetcher, now))


def update(plan: Plan, fetcher: Fetcher, now: float) -> Updated:
    """Fetch, unpack, compact if wanted or needed, check, and swap. Raises GeoDataError:
    then `output` is as it was, and what was fetched of it is kept for the next time."""
    current = offer(plan.ask, fetcher, now)
    if _found(plan, current).is_newer is False and not plan.force:
        return _updated(plan, current, is_new=False)
    with _workshop(plan.output) as folder:
        packed = current.file or _fetched(current, fetcher, folder)
        databases, licence = unpack(packed, folder)
        fresh = open_database(_whole(plan, current, databases, folder, now, fetcher.tell))
        if not plan.force:
            _check(fresh, _running(plan), now)
        _swap(plan, current, fresh, licence, now)
    return _updated(plan, current, is_new=True)


def _found(plan: Plan, current: Offer) -> Found:
    note = read_note(plan.output)
    had = note.version if note is not None and note.origin == current.name else None
    is_newer = current.version != had if current.version else None
    return Found(origin=current.name, version=current.version, had=had, is_newer=is_newer)


def _updated(plan: Plan, current: Offer, *, is_new: bool) -> Updated:
    database = open_database(plan.output)
    return Updated(
        origin=current.name,
        version=current.version,
        output=str(plan.output),
        is_new=is_new,
        type=database.type,
        built_at=database.built_at,
        bytes=plan.output.stat().st_size,
    )


@contextmanager
def _workshop(output: Path) -> Iterator[Path]:
    """A folder beside the output, for one update at a time. What was fetched in part stays
    there; the rest goes."""
    folder = output.with_name(f".{output.name}.update")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            try:
                yield folder
            finally:
                _clear(folder)
    except BlockingIOError as error:
        raise GeoDataError(f"{output}: another update is at work on it") from error
    except OSError as error:
        raise GeoDataError(f"{output}: cannot be written: {error}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
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


def _fetched(current: Offer, fetcher: Fetcher, folder: Path) -> Path:
    if current.remote is None:
        raise GeoDataError(f"{current.name}: there is nothing to fetch")
    fetcher.file(current.remote, folder / _PACKED)
    return folder / _PACKED


def _whole(
    plan: Plan, current: Offer, databases: Sequence[Path], folder: Path, now: float, tell: Tell
) -> Path:
    """One file out of those that were fetched."""
    if len(databases) == 1 and (not plan.compact or is_compact(databases[0])):
        return databases[0]
    if len(databases) > 2:
        raise GeoDataError(f"{current.name}: holds {len(databases)} databases; fetch one of them")
    opened = [open_database(path) for path in databases]
    terms = current.terms if current.terms.licence else opened[0].terms
    origin = Origin(
        type=opened[0].type if len(opened) == 1 else f"{current.name} {current.version}",
        built_at=min(database.built_at for database in opened),
        licence=terms.licence,
        attribution=terms.attribution,
    )
    build(databases, folder / "fresh.geo", now, origin=origin, tell=tell)
    return folder / "fresh.geo"


def _running(plan: Plan) -> GeoDatabase | None:
    """What to compare with: the file to be replaced, else what is in use."""
    for path in (plan.output, plan.running):
        with suppress(GeoDataError):
            return None if path is None else open_database(path)
    return None


def _check(fresh: GeoDatabase, running: GeoDatabase | None, now: float) -> None:
    """Raises GeoDataError unless it is fit to take over."""
    faults = [*_faults_alone(fresh, now), *_faults_beside(fresh, running)]
    if faults:
        raise GeoDataError(
            f"{fresh.type}: {'; '.join(faults)}. Nothing is changed; --force takes it all the same"
        )


def _faults_alone(fresh: GeoDatabase, now: float) -> Iterator[str]:
    if fresh.built_at > now + _DAY_S:
        yield "it was built in the future"
    placed = coverage(fresh, v4_sample(SAMPLED)).placed
    if placed < LEAST_PLACED:
        yield f"it knows {placed:.0%} of public IPv4; at least {LEAST_PLACED:.0%} is wanted"


def _faults_beside(fresh: GeoDatabase, running: GeoDatabase | None) -> Iterator[str]:
    if running is None:
        return
    if fresh.built_at < running.built_at:
        days = (running.built_at - fresh.built_at) / _DAY_S
        yield f"it is {days:.0f} days older than the running one"
    sizes = [database.path.stat().st_size for database in (fresh, running)]
    if fresh.is_compact is running.is_compact and sizes[0] < LEAST_SIZE * sizes[1]:
        yield f"it has {sizes[0]:,} bytes and the running one {sizes[1]:,}"
    for family, addresses in (("IPv4", v4_sample(SAMPLED)), ("IPv6", v6_sample(SAMPLED))):
        yield from _losses(fresh, running, family, addresses)


def _losses(
    fresh: GeoDatabase, running: GeoDatabase, family: str, addresses: Sequence[str]
) -> Iterator[str]:
    """What the running one knows and the new one does not."""
    least = _LEAST[family]
    pairs = [(fresh.locate(address), running.locate(address)) for address in addresses]
    known = [(new, old) for new, old in pairs if old.country is not None]
    kept = [(new, old) for new, old in known if new.country is not None]
    same = [new for new, old in kept if new.country == old.country]
    in_cities = [new for new, old in known if old.level is Level.CITY]
    cities = [new for new in in_cities if new.level is Level.CITY]
    if len(kept) < least.known * len(known):
        yield f"it knows {_part(kept, known)} of the {family} addresses that the running one knows"
    elif len(same) < least.same_country * len(kept):
        yield f"it puts {_part(same, kept)} of {family} addresses into the same country"
    elif len(cities) < least.cities * len(in_cities):
        yield f"it knows the city of {_part(cities, in_cities)} of {family} addresses that had one"


def _part(some: Sequence[object], of: Sequence[object]) -> str:
    return f"{len(some) / len(of):.0%}"


def _swap(plan: Plan, current: Offer, fresh: GeoDatabase, licence: str, now: float) -> None:
    """The old file stays as `.previous`."""
    output = plan.output
    terms = current.terms if current.terms.licence else fresh.terms
    if output.exists():
        previous = output.with_name(f"{output.name}.previous")
        previous.unlink(missing_ok=True)
        os.link(output, previous)
    sync(fresh.path)
    fresh.path.replace(output)
    sync(output.parent)
    note = Note(
        origin=current.name,
        version=current.version,
        fetched_at=now,
        licence=terms.licence,
        attribution=terms.attribution,
        stamp=stamp_of(output),
    )
    write_note(output, note, licence or f"{terms.licence}\n{terms.attribution}\n")
