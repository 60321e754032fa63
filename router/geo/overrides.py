"""Locations of networks as their owners or the operator state them, as a look-up by address.

The smallest network that holds an address decides. An entry without coordinates gets the position
of its city; if the city is not known, only the country is used.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton
from typing import NamedTuple, TypeAlias

from router.errors import ConfigError
from router.geo.geofeed import (
    MAX_BYTES,
    MAX_LINES,
    Entry,
    Fault,
    TooManyLinesError,
    read_geofeed,
)
from router.geo.ranges import Ranges, build_v4_ranges, build_v6_ranges
from router.model import Country, Level, Location, Position, Source
from router.text_files import read_text

MAX_FAULTS = 100

_NOTHING = 0
_NO_END = 1 << 129

# Country, region and city → position; see router.geo.cities.
FindCity: TypeAlias = Callable[[str, str, str], Position | None]


Locate: TypeAlias = Callable[[str], Location]


class FeedLine(NamedTuple):
    """The line that decides for an address. `feed`: the name of the file or feed."""

    feed: str
    number: int


class _Span(NamedTuple):
    """A network with its sort order: a network comes before those inside it. `place` is its index,
    from 1.
    """

    start: int
    negative_size: int
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How entries are read. `source` is the source that locations get. With `is_strict`, one fault
    rejects the whole file, and a line without a location overrides the database with "unknown".
    Otherwise such lines are left to the database.
    """

    countries: Mapping[str, Country]
    find_city: FindCity
    source: Source = Source.OVERRIDE
    is_strict: bool = True


class Overrides:
    """The look-up made from entries. `count`: the number of networks; `faults`: the lines that
    were left out.
    """

    def __init__(self, entries: Sequence[Entry], faults: Sequence[Fault], rules: Rules) -> None:
        located = _Locations(rules)
        self._locations: list[Location | None] = [None, *map(located.of, entries)]
        self._lines = array("I", [0, *(entry.number for entry in entries)])
        feeds = list(dict.fromkeys(entry.feed for entry in entries))
        numbers = {feed: number for number, feed in enumerate(feeds)}
        self._feeds = feeds
        self._feed_of = array("I", [0, *(numbers[entry.feed] for entry in entries)])
        spans = {version: _spans(entries, version) for version in (4, 6)}
        repeats = [*self._repeats(spans[4], entries), *self._repeats(spans[6], entries)]
        self.faults = tuple(sorted([*faults, *(fault for _, fault in repeats)]))
        out = {place for place, _ in repeats}
        v4, v6 = (_distinct(spans[version], out) for version in (4, 6))
        self.count = len(v4) + len(v6)
        self._ranges = Ranges(build_v4_ranges(_starts(v4, 32)), build_v6_ranges(_starts(v6, 128)))

    def find(self, address: str) -> Location | None:
        """Where an address is, by the smallest network that contains it; None if no network does.
        Raises OSError or ValueError for text that is no address.
        """
        if ":" in address:
            return self._locations[self._ranges.v6.find(inet_pton(AF_INET6, address))]
        # V4Ranges.find inlined, because this runs for every viewer located by address.
        value = int.from_bytes(inet_pton(AF_INET, address))
        firsts, rests, meanings = self._ranges.v4
        block = value >> 16
        place = bisect_right(rests, value & 0xFFFF, firsts[block], firsts[block + 1])
        return self._locations[meanings[place - 1]]

    def line_of(self, address: str) -> FeedLine | None:
        """The line that decides for an address. Raises as `find` does."""
        place = self._ranges.find(address)
        if place == _NOTHING:
            return None
        return FeedLine(self._feeds[self._feed_of[place]], self._lines[place])

    def _repeats(
        self, spans: Sequence[_Span], entries: Sequence[Entry]
    ) -> Iterator[tuple[int, Fault]]:
        """Faults for networks that are repeated with another location. In sorted spans, equal ones
        are neighbours.
        """
        first = None
        for span in spans:
            if first is None or span[:2] != first[:2]:
                first = span
            elif self._locations[span.place] != self._locations[first.place]:
                line = self._lines[first.place]
                text = f"prefix: line {line} says another place of it; keep one"
                yield span.place, Fault(entries[span.place - 1].number, text)


def look_up_overrides(overrides: Overrides, beneath: Locate) -> Locate:
    """A look-up that asks the overrides first. If they name only a country, and the other look-up
    agrees on it, its position is used, so that overrides never make an answer worse.
    """
    find = overrides.find

    def locate(address: str) -> Location:
        location = find(address)
        if location is None:
            return beneath(address)
        if location.level is Level.COUNTRY:
            known = beneath(address)
            if known.position is not None and known.country == location.country:
                return known
        return location

    return locate


class _Locations:
    """Makes Locations from entries; equal ones share one object."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._known: dict[Location, Location] = {}
        self._cities: dict[tuple[str, str, str], Position | None] = {}

    def of(self, entry: Entry) -> Location | None:
        """The Location of an entry. A line with only a prefix means that its location is unknown
        (RFC 8805 section 2.1.2).
        """
        country, position = entry.country, entry.position
        if position is None and country is not None and entry.city:
            position = self._city(country, entry.region, entry.city)
        if position is None and country is None and not self._rules.is_strict:
            return None
        level = Level.CITY if position is not None else Level.COUNTRY if country else Level.UNKNOWN
        location = Location(country, position, level, self._rules.source)
        return self._known.setdefault(location, location)

    def _city(self, *named: *tuple[str, str, str]) -> Position | None:
        if named not in self._cities:
            self._cities[named] = self._rules.find_city(*named)
        return self._cities[named]


def load_overrides(path: Path, rules: Rules, fix: str) -> Overrides:
    """The overrides in a file. Raises ConfigError if the file cannot be read (`fix` says what to
    do), or, with strict rules, with every unusable line: `geofeed.csv:12: prefix: …; fix`.
    """
    return parse_overrides(read_text(path, fix, MAX_BYTES), rules, source=str(path))


def parse_overrides(text: str, rules: Rules, *, source: str = "geofeed.csv") -> Overrides:
    """The overrides in a geofeed's text. Raises ConfigError as `load_overrides` does."""
    entries: list[Entry] = []
    faults: list[Fault] = []
    try:
        for each in read_geofeed(text, rules.countries, feed=source):
            if isinstance(each, Fault):
                faults.append(each)
            else:
                entries.append(each)
    except TooManyLinesError:
        fault = f"{source}: has more than {MAX_LINES:,} lines; split the networks"
        raise ConfigError([fault]) from None
    overrides = Overrides(entries, faults, rules)
    if overrides.faults and rules.is_strict:
        raise ConfigError(_shown(overrides.faults, source))
    return overrides


def _shown(faults: Sequence[Fault], source: str) -> list[str]:
    lines = [f"{source}:{number}: {text}" for number, text in faults[:MAX_FAULTS]]
    more = len(faults) - MAX_FAULTS
    return lines if more <= 0 else [*lines, f"{source}: and {more:,} more faults"]


def _spans(entries: Iterable[Entry], version: int) -> list[_Span]:
    return sorted(
        _Span(entry.network.start, -entry.network.size, place)
        for place, entry in enumerate(entries, 1)
        if entry.network.version == version
    )


def _distinct(spans: Sequence[_Span], out: set[int]) -> list[_Span]:
    """The spans without repeated ones."""
    kept = [*spans[:1], *(b for a, b in pairwise(spans) if a[:2] != b[:2])]
    return [span for span in kept if span.place not in out]


def _starts(spans: Iterable[_Span], bits: int) -> Iterator[tuple[int, int]]:
    """From which address on which entry decides; the smallest network wins."""
    edges = _last_of_each(_edges(spans))
    return ((start, place) for start, place in edges if start >> bits == 0)


def _edges(spans: Iterable[_Span]) -> Iterator[tuple[int, int]]:
    """The points where the deciding entry changes: a network begins at its start, and the network
    around it resumes at its end.
    """
    around = [(_NO_END, _NOTHING)]
    yield 0, _NOTHING
    for span in spans:
        while around[-1][0] <= span.start:
            end, _ = around.pop()
            yield end, around[-1][1]
        yield span.start, span.place
        around.append((span.start - span.negative_size, span.place))
    while len(around) > 1:
        end, _ = around.pop()
        yield end, around[-1][1]


def _last_of_each(edges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Of several networks that begin at one address, the last, which is the smallest."""
    held: tuple[int, int] | None = None
    for edge in edges:
        if held is not None and held[0] != edge[0]:
            yield held
        held = edge
    if held is not None:
        yield held
