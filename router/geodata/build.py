"""`autorouter geodata build`: any geo database as one compact file, checked against it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO

from router.errors import GeoDataError
from router.geo.compact import STEPS_PER_DEGREE, Origin, Places, write_compact
from router.geo.database import GeoDatabase, open_database
from router.geo.ranges import Starts, V4Ranges, V6Ranges, merged, v4_ranges, v6_ranges
from router.geodata import Tell, in_silence
from router.geodata.files import replacing
from router.geodata.tree import networks
from router.model import Location

# One network in so many is looked up in both files afterwards, at its first address and
# at the one before.
SAMPLE_EVERY = 499

_ROUNDING_DEG = 0.5 / STEPS_PER_DEGREE + 1e-9
_ADDRESS = {4: IPv4Address, 6: IPv6Address}

Ranges = V4Ranges | V6Ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What came of it. `compared`: addresses looked up in both files afterwards."""

    ranges: int
    places: int
    compared: int
    bytes: int


def build(
    sources: Sequence[Path],
    output: Path,
    now: float,
    *,
    origin: Origin | None = None,
    tell: Tell = in_silence,
) -> Built:
    """Write `output` from a database, or from one of IPv4 and one of IPv6. Raises
    GeoDataError: then `output` is as it was."""
    readings = [_Reading(_openable(path), tell) for path in sources]
    places = Places()
    found: dict[int, Ranges] = {}
    for reading in readings:
        for version, ranges in reading.families(places):
            if version in found:
                raise GeoDataError(
                    f"{reading.database.path}: holds IPv{version}, as the file before does; "
                    "give one file, or one of IPv4 and one of IPv6"
                )
            found[version] = ranges
    about = origin or _origin([reading.database for reading in readings])
    with replacing(output) as (fresh, file):
        _write(file, about, now, found, places)
        compact = open_database(fresh)
        for reading in readings:
            reading.compare(compact)
        return Built(
            ranges=compact.networks,
            places=len(places.tables[0]),
            compared=sum(len(reading.samples) for reading in readings),
            bytes=fresh.stat().st_size,
        )


@dataclass
class _Reading:
    """One source, read from end to end, and the addresses to look up again."""

    database: GeoDatabase
    tell: Tell
    samples: list[str] = field(default_factory=list)
    read: int = 0

    def families(self, places: Places) -> Iterator[tuple[int, Ranges]]:
        """Its ranges of IPv4 and of IPv6, unless it says nothing of them."""
        nowhere = places.number(Location())
        for version, group in groupby(networks(self.database.path), itemgetter(0)):
            starts = merged(_from_zero(self._placed(group, places), nowhere))
            ranges = v4_ranges(starts) if version == 4 else v6_ranges(starts)
            if set(ranges.meanings) != {nowhere}:
                yield version, ranges

    def _placed(
        self, group: Iterable[tuple[int, int, int | None]], places: Places
    ) -> Iterator[tuple[int, int]]:
        known: dict[int | None, int] = {None: places.number(Location())}
        before, what = None, f"reading {self.database.path.name}"
        for count, (version, start, record) in enumerate(group, 1):
            if record not in known:
                location = self.database.locate(str(_ADDRESS[version](start)))
                known[record] = places.number(location)
            if count % SAMPLE_EVERY == 0:
                self.read += SAMPLE_EVERY
                ends = [start] if record is not None else []
                ends += [start - 1] if before is not None else []
                self.samples += [str(_ADDRESS[version](end)) for end in ends]
                self.tell(what, self.read, self.database.networks)
            before = record
            yield start, known[record]

    def compare(self, compact: GeoDatabase) -> None:
        """Raises GeoDataError unless both agree on every sample."""
        for address in self.samples:
            told, kept = self.database.locate(address), compact.locate(address)
            if not agrees(told, kept):
                raise GeoDataError(
                    f"{self.database.path}: {address} is at {told} there and at {kept} in the "
                    "compact file; please report this, and use the database as it is"
                )


def agrees(told: Location, kept: Location) -> bool:
    """Whether a compact database keeps a location as it may: rounded, and no more."""
    if (told.country, told.level) != (kept.country, kept.level):
        return False
    if told.position is None or kept.position is None:
        return told.position is kept.position
    pairs = zip(told.position, kept.position, strict=True)
    return all(abs(one - other) <= _ROUNDING_DEG for one, other in pairs)


def _openable(path: Path) -> GeoDatabase:
    database = open_database(path)
    if database.is_compact:
        raise GeoDataError(f"{path}: is compact already; give the .mmdb file it was made from")
    return database


def _from_zero(starts: Starts, nowhere: int) -> Iterator[tuple[int, int]]:
    """What is before the first network is nowhere."""
    for place, (start, meaning) in enumerate(starts):
        if place == 0 and start != 0:
            yield 0, nowhere
        yield start, meaning


def _origin(databases: Sequence[GeoDatabase]) -> Origin:
    """As the files say; of two, the older one's age."""
    terms = databases[0].terms
    return Origin(
        type=" + ".join(database.type for database in databases),
        built_at=min(database.built_at for database in databases),
        licence=terms.licence,
        attribution=terms.attribution,
    )


def _write(
    file: IO[bytes], origin: Origin, now: float, found: dict[int, Ranges], places: Places
) -> None:
    nowhere = [(0, places.number(Location()))]
    v4, v6 = found.get(4, v4_ranges(nowhere)), found.get(6, v6_ranges(nowhere))
    write_compact(file, origin, now, (*v4, *v6), places)
    file.flush()
