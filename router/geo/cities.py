"""cities.csv as a look-up: country, region and city name → position.

For feeds, which name a city without coordinates. A name that could mean two places gives no
position; the geo database decides instead.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from router.errors import ConfigError
from router.geo.sphere import distance_km, valid_position
from router.model import Position
from router.text_files import plain_number, read_text

COLUMNS = ("country", "region", "name", "alternates", "latitude", "longitude")
SEPARATOR = "|"  # between alternate names
SAME_PLACE_KM = 50.0

# Letters that Unicode does not decompose.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "\u0131": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)
_WORDS = re.compile(r"[^\W_]+")
_SHORT = {"st": "saint", "ste": "sainte", "ft": "fort", "mt": "mount"}


class City(NamedTuple):
    """One place with this name. `region`: the part of ISO 3166-2 after the country, or empty."""

    region: str
    position: Position


# (Country, folded name) → cities.
Named: TypeAlias = Mapping[tuple[str, str], list[City]]


class Cities:
    """Cities by name. Primary names are tried before alternate ones."""

    def __init__(self, primary: Named, alternate: Named) -> None:
        self._primary = primary
        self._alternate = alternate

    def find(self, country: str, region: str, name: str) -> Position | None:
        """Where the city is; None if it is not known or could be two places. `region`: an ISO
        3166-2 code such as `CA-ON`, or empty.
        """
        key = country, fold(name)
        code = region.upper().removeprefix(f"{country}-")
        return _one_place(self._primary.get(key, ()), code) or _one_place(
            self._alternate.get(key, ()), code
        )


def load_cities(path: Path) -> Cities:
    """Cities from CSV. Raises ConfigError if the file cannot be read, or with a line for every row
    that cannot be used: `cities.csv:12: …`.
    """
    rows = csv.DictReader(io.StringIO(read_text(path, "restore it"), newline=""))
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise ConfigError([f"{path}:1: the columns must be {','.join(COLUMNS)}"])
    primary: dict[tuple[str, str], list[City]] = {}
    alternate: dict[tuple[str, str], list[City]] = {}
    faults = []
    for row in rows:
        position = _position(row)
        if position is None:
            faults.append(f"{path}:{rows.line_num}: must have all columns and a position")
            continue
        city = City(row["region"], position)
        primary.setdefault((row["country"], fold(row["name"])), []).append(city)
        for name in filter(None, row["alternates"].split(SEPARATOR)):
            alternate.setdefault((row["country"], fold(name)), []).append(city)
    if faults:
        raise ConfigError(faults)
    return Cities(primary, alternate)


def _position(row: Mapping[str, str | None]) -> Position | None:
    latitude, longitude = row["latitude"], row["longitude"]
    if latitude is None or longitude is None:
        return None
    return valid_position(plain_number(latitude), plain_number(longitude))


def fold(name: str) -> str:
    """A name without accents, case and punctuation: `Saint-Étienne` → `saint etienne`."""
    plain = unicodedata.normalize("NFKD", name.casefold().translate(_LETTERS))
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return " ".join(_SHORT.get(word, word) for word in _WORDS.findall(letters.replace("'", "")))


def _one_place(cities: "list[City] | tuple[()]", region: str) -> Position | None:
    """The position of the cities if it is the same for all, else None. If a city's region is
    known, the feed must name that region too: otherwise it could mean a smaller town with the same
    name, which is not listed.
    """
    places = [city.position for city in cities if city.region in ("", region)]
    if not places or any(distance_km(places[0], one) > SAME_PLACE_KM for one in places[1:]):
        return None
    return places[0]
