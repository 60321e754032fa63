"""The operator's word on where networks are: a geofeed as look-ups, or every faulty line.

A geofeed (RFC 8805) is CSV: prefix, country, region, city, postal code. It has no
coordinates, so two further columns may follow: latitude and longitude. Region, city and
postal code are for people; without coordinates a line tells the country only.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from router.errors import ConfigError
from router.geo.ranges import Ranges, merged, v4_ranges, v6_ranges
from router.geo.sphere import valid_position
from router.model import Country, Level, Location, Position, Source
from router.text_files import plain_number, printable, read_text

MAX_LINES = 1_000_000
MAX_BYTES = 128 * 2**20
MAX_FAULTS = 100

_COLUMNS = ("prefix", "country", "region", "city", "postal", "latitude", "longitude")
_UNSAID = 0
_NO_END = 1 << 129
# router.routing.client_address unwraps these to IPv4 before any look-up.
_WRAPPING = tuple(map(IPv6Network, ("::ffff:0:0/96", "2002::/16", "2001::/32")))

Network = IPv4Network | IPv6Network


class _Span(NamedTuple):
    """A network: sorted, those around others come before them. `meaning`: of what is there."""

    start: int
    negative_size: int
    line: int
    meaning: int


class Overrides:
    """What the file says of every address. `count`: the networks in it."""

    def __init__(
        self, v4: Sequence[_Span], v6: Sequence[_Span], locations: Sequence[Location | None]
    ) -> None:
        self.count = len(v4) + len(v6)
        self._locations = locations
        self._ranges = Ranges(v4_ranges(_starts(v4, 32)), v6_ranges(_starts(v6, 128)))

    def find(self, address: str) -> Location | None:
        """Where an address is by the smallest network that holds it; None when none does.
        Raises OSError or ValueError for text that is no address."""
        return self._locations[self._ranges.find(address)]


def load_overrides(path: Path, countries: Mapping[str, Country]) -> Overrides:
    """The overrides in a file. ConfigError: the file cannot be read, or every line that
    cannot be used, the first MAX_FAULTS of them: `geofeed.csv:12: prefix: …; fix`."""
    text = read_text(path, "create it, or unset AUTOROUTER_GEO_OVERRIDES", MAX_BYTES)
    return parse_overrides(text, countries, source=str(path))


def parse_overrides(
    text: str, countries: Mapping[str, Country], *, source: str = "geofeed.csv"
) -> Overrides:
    """The overrides in a geofeed's text. Raises ConfigError as `load_overrides` does."""
    spans: dict[int, list[_Span]] = {4: [], 6: []}
    meanings: dict[Location | None, int] = {None: _UNSAID}
    faults: list[tuple[int, str]] = []
    for line, written in _lines(text, source):
        try:
            network, location = _read(written, countries)
        except (ValueError, csv.Error) as error:
            faults.append((line, str(error)))
            continue
        meaning = meanings.setdefault(location, len(meanings))
        start, size = int(network.network_address), 1 << network.max_prefixlen - network.prefixlen
        spans[network.version].append(_Span(start, -size, line, meaning))
    for some in spans.values():
        some.sort()
        faults += _repeated(some)
    if faults:
        raise ConfigError(_told(sorted(faults), source))
    return Overrides(spans[4], spans[6], tuple(meanings))


def _lines(text: str, source: str) -> Iterator[tuple[int, str]]:
    """Lines with something on them, by number. A comment begins with `#`."""
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if number > MAX_LINES:
            raise ConfigError([f"{source}: has more than {MAX_LINES:,} lines; split the networks"])
        if not line.isspace() and not line.startswith("#"):
            yield number, line


def _read(line: str, countries: Mapping[str, Country]) -> tuple[Network, Location]:
    """ValueError names the column and what to write."""
    row = next(csv.reader([line])) if '"' in line else line.split(",")
    if len(row) > len(_COLUMNS):
        raise ValueError(f"has {len(row)} columns; there are at most {', '.join(_COLUMNS)}")
    cells = [cell.strip() for cell in row] + [""] * (len(_COLUMNS) - len(row))
    prefix, country, _, _, _, latitude, longitude = cells
    location = _location(_code(country, countries), _position(latitude, longitude))
    return _network(prefix), location


def _network(prefix: str) -> Network:
    try:
        network = ip_network(prefix)
    except ValueError as error:
        raise ValueError(f"prefix: {printable(str(error))}; use CIDR, like 192.0.2.0/24") from None
    if isinstance(network, IPv6Network) and any(_is_in(network, one) for one in _WRAPPING):
        raise ValueError(f"prefix: {network} holds IPv4 inside IPv6; name the IPv4 network")
    return network


def _is_in(network: IPv6Network, other: IPv6Network) -> bool:
    return network.prefixlen >= other.prefixlen and network.network_address in other


def _code(country: str, countries: Mapping[str, Country]) -> str | None:
    code = country.upper()
    if code and code not in countries:
        raise ValueError(
            f"country: {printable(country)} is no country; "
            "use its ISO 3166-1 code, such as GB for Britain"
        )
    return code or None


def _position(latitude: str, longitude: str) -> Position | None:
    if latitude == longitude == "":
        return None
    position = valid_position(plain_number(latitude), plain_number(longitude))
    if position is None:
        shown = printable(f"{latitude}, {longitude}")
        raise ValueError(f"latitude, longitude: {shown} is no place; give degrees, or neither")
    return position


def _location(country: str | None, position: Position | None) -> Location:
    """A line with nothing but a prefix says that nothing is known (RFC 8805 section 2.1.2)."""
    level = Level.CITY if position is not None else Level.COUNTRY if country else Level.UNKNOWN
    return Location(country, position, level, Source.OVERRIDE)


def _repeated(spans: Iterable[_Span]) -> Iterator[tuple[int, str]]:
    """Networks given again, by line. Of sorted spans, equal ones are neighbours."""
    for one, other in pairwise(spans):
        if one[:2] == other[:2]:
            yield other.line, f"prefix: is on line {one.line} too; keep one"


def _told(faults: Sequence[tuple[int, str]], source: str) -> list[str]:
    told = [f"{source}:{line}: {fault}" for line, fault in faults[:MAX_FAULTS]]
    more = len(faults) - MAX_FAULTS
    return told if more <= 0 else [*told, f"{source}: and {more:,} more faults"]


def _starts(spans: Iterable[_Span], bits: int) -> Iterator[tuple[int, int]]:
    """What holds from each address on, with the smallest network deciding."""
    edges = _last_of_each(_edges(spans))
    return merged((start, meaning) for start, meaning in edges if start >> bits == 0)


def _edges(spans: Iterable[_Span]) -> Iterator[tuple[int, int]]:
    """Where something begins to hold: a network at its start, what is around it at its end."""
    around = [(_NO_END, _UNSAID)]
    yield 0, _UNSAID
    for span in spans:
        while around[-1][0] <= span.start:
            end, _ = around.pop()
            yield end, around[-1][1]
        yield span.start, span.meaning
        around.append((span.start - span.negative_size, span.meaning))
    while len(around) > 1:
        end, _ = around.pop()
        yield end, around[-1][1]


def _last_of_each(edges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Of several things that begin at one address, the last, which is the smallest."""
    held: tuple[int, int] | None = None
    for edge in edges:
        if held is not None and held[0] != edge[0]:
            yield held
        held = edge
    if held is not None:
        yield held
