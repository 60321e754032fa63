"""The compact geo database: country, position and level of every address, in one file of
ours that is read into memory whole. Why and how fast: docs/adr/0020-compact-database.md.

    magic, byte order and version, length of the head
    the head as JSON (`Head`): where it comes from, the country codes, the tables' lengths
    the tables, as arrays of the machine that wrote it
    SHA-256 of all that is before it

Whatever the tables hold, a look-up gives a Location or raises LookupError or ValueError.
"""

import hashlib
import re
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO

import msgspec

from router.errors import GeoDataError
from router.geo.ranges import Numbers, Ranges, V4Ranges, V6Ranges
from router.model import Level, Location, Position, Source

MAGIC = b"autogeo\n"
VERSION = 1
# Positions are kept to 0.01 degrees: at most 0.79 km away from where they were.
STEPS_PER_DEGREE = 100

_FIX = "write it again with `autorouter geodata build`"
_START = struct.Struct("=HHI")
_BYTE_ORDER = 0xFEFF
_CHECKSUM_BYTES = 32
_MAX_HEAD_BYTES = 65_536
# Of V4Ranges, of V6Ranges, and of the places: country, latitude, longitude.
_TABLES = "IHI" + "IIIIQQI" + "Hhh"
_NO_POSITION = -(1 << 15)
# Looked up once: an enum's members are slow to reach.
_CITY_LEVEL, _DATABASE = Level.CITY, Source.DATABASE
_CODE = re.compile("([A-Z]{2})?", re.ASCII)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where the data comes from and what it may be used for. `built_at`: Unix seconds."""

    type: str
    built_at: float
    licence: str = ""
    attribution: str = ""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself. `codes`: of countries, the first of them empty."""

    built_at: float
    origin: Origin
    codes: tuple[str, ...]
    lengths: tuple[int, ...]


class Places:
    """Locations by number, from 0 on; each is kept once, rounded."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str | None, int, int], int] = {}
        self._codes: dict[str, int] = {"": 0}
        self.tables: tuple[Numbers, Numbers, Numbers] = (array("H"), array("h"), array("h"))

    @property
    def codes(self) -> tuple[str, ...]:
        """The countries, in the order of their numbers."""
        return tuple(self._codes)

    def number(self, location: Location) -> int:
        """The number of this place, new or known."""
        position = location.position
        place = (
            location.country,
            _NO_POSITION if position is None else round(position.latitude * STEPS_PER_DEGREE),
            0 if position is None else round(position.longitude * STEPS_PER_DEGREE),
        )
        number = self._numbers.setdefault(place, len(self._numbers))
        if number == len(self.tables[0]):
            code = self._codes.setdefault(location.country or "", len(self._codes))
            for table, value in zip(self.tables, (code, *place[1:]), strict=True):
                table.append(value)
        return number


class CompactDatabase:
    """An open file. Nothing of it is read from disk any more."""

    def __init__(self, head: Head, tables: list[Numbers]) -> None:
        self.head = head
        self._ranges = Ranges(V4Ranges(*tables[:3]), V6Ranges(*tables[3:10]))
        self._countries, self._latitudes, self._longitudes = tables[10:]
        self._codes = [code or None for code in head.codes]
        self._vague = [_country_level(code) for code in self._codes]

    @property
    def ranges(self) -> int:
        """How many ranges of addresses it tells apart."""
        v4, v6 = self._ranges
        return len(v4.rests) + len(v6.rests) + len(v6.highs)

    def locate(self, address: str) -> Location:
        """Where an address is. Raises OSError or ValueError for text that is none."""
        return self._at(self._ranges.find(address))

    def located(self) -> Iterator[tuple[int, Location]]:
        """Where each range of IPv4 begins, as a number, and where its addresses are."""
        firsts, rests, meanings = self._ranges[0]
        for block, (first, end) in enumerate(pairwise(firsts)):
            for place in range(first, end):
                yield block << 16 | rests[place], self._at(meanings[place])

    def _at(self, place: int) -> Location:
        latitude, country = self._latitudes[place], self._countries[place]
        if latitude == _NO_POSITION:
            return self._vague[country]
        position = Position(latitude / STEPS_PER_DEGREE, self._longitudes[place] / STEPS_PER_DEGREE)
        return Location(self._codes[country], position, _CITY_LEVEL, _DATABASE)


def is_compact(path: Path) -> bool:
    """Whether the file begins as ours do. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def write_compact(
    file: IO[bytes], origin: Origin, now: float, ranges: Iterable[Numbers], places: Places
) -> None:
    """Write a whole file. `ranges`: the tables of V4Ranges, then of V6Ranges; they mean
    numbers of `places`. Raises OSError."""
    tables: tuple[Numbers, ...] = (*ranges, *places.tables)
    head = msgspec.json.encode(
        Head(
            built_at=now,
            origin=origin,
            codes=places.codes,
            lengths=tuple(len(table) for table in tables),
        )
    )
    checksum = hashlib.sha256()
    start = MAGIC + _START.pack(_BYTE_ORDER, VERSION, len(head))
    parts: tuple[bytes | Numbers, ...] = (start, head, *tables)
    for part in parts:
        file.write(part)
        checksum.update(part)
    file.write(checksum.digest())


def read_compact(path: Path) -> CompactDatabase:
    """The database in a file. Raises OSError, or GeoDataError that names file and fix."""
    with path.open("rb") as file:
        try:
            return _read(file, path.stat().st_size)
        except (ValueError, EOFError, msgspec.DecodeError) as error:
            raise GeoDataError(f"{path}: not a whole compact database ({error}); {_FIX}") from error


def _read(file: IO[bytes], size: int) -> CompactDatabase:
    checksum = hashlib.sha256()

    def read(length: int) -> bytes:
        part = file.read(length)
        checksum.update(part)
        return part

    head = msgspec.json.decode(read(_head_length(read)), type=Head)
    tables: list[Numbers] = [array(code) for code in _TABLES]
    lengths = list(zip(tables, head.lengths, strict=True))
    told = sum(table.itemsize * length for table, length in lengths)
    if file.tell() + told + _CHECKSUM_BYTES != size:
        raise ValueError(f"{size:,} bytes long, which is not what its head tells")
    for table, length in lengths:
        table.fromfile(file, length)
        checksum.update(table)
    if file.read() != checksum.digest():
        raise ValueError("its checksum is wrong")
    _check_places(head, *tables[-2:])
    return CompactDatabase(head, tables)


def _head_length(read: Callable[[int], bytes]) -> int:
    if read(len(MAGIC)) != MAGIC:
        raise ValueError("it begins otherwise")
    order, version, length = _START.unpack(read(_START.size).ljust(_START.size))
    if (order, version) != (_BYTE_ORDER, VERSION):
        raise ValueError("of another release, or of a machine with another byte order")
    if length > _MAX_HEAD_BYTES:
        raise ValueError("its head is too long")
    return int(length)


def _check_places(head: Head, latitudes: Numbers, longitudes: Numbers) -> None:
    if not all(_CODE.fullmatch(code) for code in head.codes):
        raise ValueError("its country codes are none")
    for table, limit in ((latitudes, 90), (longitudes, 180)):
        degrees = {abs(value) for value in set(table) - {_NO_POSITION}}
        if max(degrees, default=0) > limit * STEPS_PER_DEGREE:
            raise ValueError("a position is not on Earth")


def _country_level(code: str | None) -> Location:
    return Location() if code is None else Location(code, None, Level.COUNTRY, Source.DATABASE)
