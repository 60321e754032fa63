"""What the records of a geo database look like: the look-up for each layout.

Three layouts are understood: nested (GeoIP2, GeoLite2, DB-IP), flat with `country_code`
(ip-location-db) and flat with `country` (IPinfo). Values of any type give a Location; what
a reader raises for a damaged file is for router.geo.database to handle.
"""

from collections.abc import Callable, Iterable
from typing import Any

import maxminddb_rust

from router.geo.country_codes import country_code
from router.geo.sphere import valid_position
from router.model import Level, Location, Position, Source

# A position no better than this is its country's, whatever else the record says.
COUNTRY_LEVEL_RADIUS_KM = 500

Locate = Callable[[str], Location]
Layout = Callable[[maxminddb_rust.Reader], Locate]

# Paths into a nested record.
_COUNTRY = ("country", "iso_code")
_LATITUDE = ("location", "latitude")
_LONGITUDE = ("location", "longitude")
_RADIUS = ("location", "accuracy_radius")
_CITY = ("city",)
_CITY_NAME = ("city", "names", "en")
_SUBDIVISION = ("subdivisions", 0)

# Looked up once: an enum's members are slow to reach.
_CITY_LEVEL, _DATABASE = Level.CITY, Source.DATABASE


def layout_of(records: Iterable[Any]) -> Layout | None:
    """The layout of records like these, by the first one that names a country."""
    for record in records:
        if not isinstance(record, dict):
            continue
        if isinstance(record.get("country"), dict):
            return _nested
        if isinstance(record.get("country_code"), str):
            return _flat("country_code")
        if isinstance(record.get("country"), str):
            return _flat("country")
    return None


def _nested(reader: maxminddb_rust.Reader) -> Locate:
    """GeoIP2, GeoLite2, DB-IP: `country.iso_code`, `location`, `city`, `subdivisions`.

    Reads single paths: a record has names in ten languages, and decoding all of it takes
    twice as long (docs/adr/0002-geo-reader.md).
    """
    # DB-IP has no accuracy radius, so that look-up can be spared.
    has_radius = not reader.metadata().database_type.startswith("DBIP")
    get = reader.get_path

    def is_local(address: str) -> bool:
        return any(_is_told(get, address, path) for path in (_CITY_NAME, _CITY, _SUBDIVISION))

    def is_vague(address: str) -> bool:
        radius = get(address, _RADIUS)
        return isinstance(radius, int | float) and radius >= COUNTRY_LEVEL_RADIUS_KM

    def locate(address: str) -> Location:
        country = get(address, _COUNTRY)
        latitude = get(address, _LATITUDE)
        if latitude is None:
            return _location(country, None)
        if not is_local(address) or (has_radius and is_vague(address)):
            return _location(country, None)
        return _location(country, valid_position(latitude, get(address, _LONGITUDE)))

    return locate


def _is_told(get: Callable[[str, tuple[str | int, ...]], Any], address: str, path: Any) -> bool:
    """Whether the record has something there; a city that is text, say, has no names in it."""
    try:
        return get(address, path) is not None
    except (ValueError, TypeError, LookupError):
        return False


def _flat(country_field: str) -> Layout:
    """ip-location-db and IPinfo: every field at the top, numbers sometimes as text."""

    def layout(reader: maxminddb_rust.Reader) -> Locate:
        def locate(address: str) -> Location:
            record = reader.get(address)
            if not isinstance(record, dict):
                return Location()
            position = valid_position(
                _number(record.get("latitude", record.get("lat"))),
                _number(record.get("longitude", record.get("lng"))),
            )
            is_local = any(record.get(name) for name in ("city", "state1", "region"))
            radius = _number(record.get("radius"))
            is_vague = isinstance(radius, int | float) and radius >= COUNTRY_LEVEL_RADIUS_KM
            is_placed = is_local and not is_vague
            return _location(record.get(country_field), position if is_placed else None)

        return locate

    return layout


def _number(value: object) -> object:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return None


def _location(country: object, position: Position | None) -> Location:
    code = country_code(country) if isinstance(country, str) else None
    if position is not None:
        return Location(code, position, _CITY_LEVEL, _DATABASE)
    return Location() if code is None else Location(code, None, Level.COUNTRY, _DATABASE)
