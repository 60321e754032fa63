"""Geofeeds (RFC 8805) as text: each line as an Entry, and a fault for each unusable line.

A geofeed is CSV: prefix, country, region, city, postal code. Further columns are ignored
unless a header names them. The header is a row, or a comment, that begins with `prefix`:

    # prefix, country, region, city, postal code, latitude, longitude

Latitude and longitude are extensions of autorouter, and so are `feed` and `line`, which say where
a line comes from.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final, NamedTuple, TypeAlias

from router.geo.country_codes import code_advice
from router.geo.sphere import valid_position
from router.model import Country, Position
from router.text_files import plain_number, printable

MAX_LINES = 1_000_000
MAX_BYTES = 128 * 2**20

UNKNOWN_COUNTRY = "ZZ"  # ISO 3166-1 user-assigned; RFC 8805 section 2.1.2 says "unknown"

_PREFIX_NAMES = frozenset({"prefix", "ipprefix", "network", "cidr", "subnet", "iprange", "ip"})
_NOT_A_LETTER = re.compile("[^a-z]")
# Prefixes (address, length) that router.routing.client_address converts to IPv4 before any
# look-up.
_WRAPPING: Final = tuple(
    (int.from_bytes(inet_pton(AF_INET6, address)), length)
    for address, length in (
        *(("::ffff:0:0", 96), ("2002::", 16), ("2001::", 32)),
        *(("64:ff9b::", 96), ("64:ff9b:1::", 48)),
    )
)


class Network(NamedTuple):
    """A block of addresses. `start`: the first one as a number."""

    version: int
    start: int
    length: int

    @property
    def size(self) -> int:
        """How many addresses it has."""
        return 1 << (32 if self.version == 4 else 128) - self.length


class Entry(NamedTuple):
    """One line. `country` is None when unknown. `feed`, `number`: where the line is from."""

    network: Network
    country: str | None
    region: str = ""
    city: str = ""
    position: Position | None = None
    feed: str = ""
    number: int = 0


class Fault(NamedTuple):
    """A line that cannot be used: why, and what to write instead."""

    number: int
    text: str


class TooManyLinesError(ValueError):
    """The text has more than MAX_LINES lines."""


_Columns: TypeAlias = Mapping[str, int]


def read_geofeed(
    text: str, countries: Mapping[str, Country], *, feed: str = ""
) -> Iterator[Entry | Fault]:
    """Entries and faults of all lines that are neither empty nor comments. `feed` is the name for
    lines that name none. Raises TooManyLinesError.
    """
    columns: _Columns = {}
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if number > MAX_LINES:
            raise TooManyLinesError
        said, _, comment = line.partition("#")
        if not said.strip():
            columns = _header(_cells_or_none(comment)) or columns
            continue
        try:
            cells = _cells(said)
            header = _header(cells)
            if header is not None:
                columns = header
            elif any(cells):
                yield _entry(cells, columns, countries, feed, number)
        except (ValueError, csv.Error) as error:
            yield Fault(number, str(error))


def parse_network(prefix: str) -> Network:
    """A network from CIDR or a single address; bits after the prefix are dropped. Raises
    ValueError that says what to write.
    """
    address, slash, length = prefix.partition("/")
    version, bits = (6, 128) if ":" in address else (4, 32)
    try:
        packed = inet_pton(AF_INET6 if version == 6 else AF_INET, address)
        size = _length(length) if slash else bits
    except (OSError, ValueError):
        packed, size = b"", -1
    if not 0 <= size <= bits:
        shown = printable(prefix)
        raise ValueError(f"prefix: {shown!r} is not a network; use CIDR, like 192.0.2.0/24")
    start = int.from_bytes(packed) >> bits - size << bits - size
    if version == 6 and any(_is_inside(start, size, one, length) for one, length in _WRAPPING):
        shown = printable(prefix)
        raise ValueError(f"prefix: {shown} holds IPv4 inside IPv6; name the IPv4 network")
    return Network(version, start, size)


def parse_country(text: str, countries: Mapping[str, Country]) -> str | None:
    """A country's code, None for unknown. Raises ValueError that says what to write."""
    code = text.upper()
    if code in ("", UNKNOWN_COUNTRY):
        return None
    if code not in countries:
        raise ValueError(f"country: {printable(text)} is no country; {code_advice(code)}")
    return code


def unnamed_coordinates(text: str) -> int | None:
    """The first line that seems to have coordinates although no header names them; None if there
    is none.
    """
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        cells = line.split("#")[0].split(",")
        if _header([cell.strip() for cell in cells]) or _header(_cells_or_none(line[1:])):
            return None
        if len(cells) >= 7 and valid_position(plain_number(cells[5]), plain_number(cells[6])):
            return number
    return None


def _cells(line: str) -> list[str]:
    row: Sequence[str] = next(csv.reader([line.strip()])) if '"' in line else line.split(",")
    return [cell.strip() for cell in row]


def _cells_or_none(comment: str) -> list[str]:
    """The cells of a comment that may be a header, else None."""
    return comment.split(",") if comment[:80].lstrip(" #").lower().startswith("prefix") else []


def _header(cells: Sequence[str]) -> _Columns | None:
    """Column name → index, if the cells are a header."""
    if not cells or cells[0][:1].isdigit():
        return None
    first = _NOT_A_LETTER.sub("", cells[0].lower())
    if first not in _PREFIX_NAMES:
        return None
    names = (_NOT_A_LETTER.sub("", cell.lower()) for cell in cells)
    return {name: place for place, name in enumerate(names) if place >= 5}


def _entry(
    cells: Sequence[str],
    columns: _Columns,
    countries: Mapping[str, Country],
    feed: str,
    number: int,
) -> Entry:
    """One line. Raises ValueError that names the column and what to write."""

    def cell(place: int | None) -> str:
        return "" if place is None or place >= len(cells) else cells[place]

    network = parse_network(cells[0])
    country = parse_country(cell(1), countries)
    position = None
    if columns:
        position = _position(cell(columns.get("latitude")), cell(columns.get("longitude")))
        feed = cell(columns.get("feed")) or feed
        text = cell(columns.get("line"))
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else number
    return Entry(network, country, cell(2), cell(3), position, feed, number)


def _position(latitude: str, longitude: str) -> Position | None:
    if latitude == longitude == "":
        return None
    position = valid_position(plain_number(latitude), plain_number(longitude))
    if position is None:
        shown = printable(f"{latitude}, {longitude}")
        raise ValueError(f"latitude, longitude: {shown} is no place; give degrees, or neither")
    return position


def _length(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 3:
        raise ValueError
    return int(text)


def _is_inside(start: int, length: int, outer: int, outer_length: int) -> bool:
    return length >= outer_length and start >> 128 - outer_length == outer >> 128 - outer_length
