"""Reads records of geo databases, with one look-up for each layout.

Three layouts are understood: nested (GeoIP2, GeoLite2, DB-IP), flat with `country_code`
(ip-location-db) and flat with `country` (IPinfo). Values of any type give a Location.
router.geo.database handles the exceptions of a reader for a damaged file.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import maxminddb_rust

from router.errors import GeoDataError
from router.geo.country_codes import country_code
from router.geo.sphere import valid_position
from router.model import Level, Location, Position, Source
from router.text_files import printable

# A position less exact than this is not used, only the country.
COUNTRY_LEVEL_RADIUS_KM = 500

# The number of record keys that an error lists.
_SHOWN_KEYS = 12

# Fields of flat records with a city or a region.
_FLAT_PLACES = ("city", "state1", "region")

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

# Exceptions of a reader if a path leads through a value of the wrong type.
_MISFITS = (RuntimeError, ValueError, TypeError, LookupError)

# Looked up once, because access to members of an enum is slow.
_CITY_LEVEL, _DATABASE = Level.CITY, Source.DATABASE


def layout_of(records: Iterable[Any]) -> Layout:
    """The layout of records like these, by the first one that names a country.

    Raises GeoDataError, which lists the keys of the records, if none of them does.
    """
    keys: set[str] = set()
    for record in records:
        if not isinstance(record, dict):
            continue
        country = record.get("country")
        if isinstance(country, dict) and isinstance(country.get("iso_code"), str):
            return _nested
        if isinstance(record.get("country_code"), str):
            return _flat("country_code")
        if isinstance(country, str):
            return _flat("country")
        keys.update(map(str, islice(record, _SHOWN_KEYS)))
    shown = ", ".join(printable(key) for key in sorted(keys)[:_SHOWN_KEYS])
    raise GeoDataError(
        f"its records have the keys {shown}" if keys else "it has no records with fields"
    )


def _nested(reader: maxminddb_rust.Reader) -> Locate:
    """GeoIP2, GeoLite2, DB-IP: `country.iso_code`, `location`, `city`, `subdivisions`.

    Reads single paths: a record has names in ten languages, and decoding all of it takes
    twice as long (docs/adr/0002-geo-reader.md).
    """
    # DB-IP has no accuracy radius, so skip that look-up.
    has_radius = not reader.metadata().database_type.startswith("DBIP")
    get_path = reader.get_path

    def get(address: str, path: tuple[str | int, ...]) -> Any:
        try:
            return get_path(address, path)
        except _MISFITS:  # one field of a wrong type must not hide the others
            return None

    def is_local(address: str) -> bool:
        return (
            _is_named(get(address, _CITY_NAME))
            or _is_named(get(address, _CITY))
            or _is_named(get(address, _SUBDIVISION))
        )

    def locate(address: str) -> Location:
        country = get(address, _COUNTRY)
        latitude = get(address, _LATITUDE)
        if latitude is None:
            return _location(country)
        radius = get(address, _RADIUS) if has_radius else None
        position = valid_position(latitude, get(address, _LONGITUDE))
        return _location(country, position, is_local=is_local(address), radius=radius)

    return locate


def _is_named(place: Any) -> bool:
    """Whether a city or a subdivision has a name or a number; databases write "" and "-" too."""
    if isinstance(place, str):
        return place.strip(" -") != ""
    if isinstance(place, dict):
        return any(map(_is_named, place.values()))
    return isinstance(place, int)


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
            return _location(
                record.get(country_field),
                position,
                is_local=any(_is_named(record.get(name)) for name in _FLAT_PLACES),
                radius=_number(record.get("radius")),
            )

        return locate

    return layout


def _number(value: object) -> object:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return None


def _location(
    country: object,
    position: Position | None = None,
    *,
    is_local: bool = False,
    radius: object = None,
) -> Location:
    """The Location of a record. Its position is used only if it is not merely the middle of a
    country: if the record names a city or a subdivision or, without a country, if it is exact
    enough.
    """
    code = country_code(country) if isinstance(country, str) else None
    radius_km = radius if isinstance(radius, int | float) else None
    is_vague = radius_km is not None and radius_km >= COUNTRY_LEVEL_RADIUS_KM
    is_exact = radius_km is not None and radius_km < COUNTRY_LEVEL_RADIUS_KM
    if position is not None and not is_vague and (is_local or (code is None and is_exact)):
        return Location(code, position, _CITY_LEVEL, _DATABASE)
    return Location() if code is None else Location(code, None, Level.COUNTRY, _DATABASE)
