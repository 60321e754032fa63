"""The files a process starts from: the catalog and the geo database, wherever they are."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from router.config.catalog import load_catalog
from router.config.cells import load_cells
from router.config.settings import Settings, secret_paths, with_secrets
from router.errors import ConfigError, GeoDataError
from router.geo.cities import Cities, load_cities
from router.geo.countries import load_countries
from router.geo.database import GeoDatabase, find_database, open_database
from router.geo.overrides import FindCity, Overrides, Rules, load_overrides
from router.model import Catalog, Position, Region
from router.routing.territory import Cell

T = TypeVar("T")

_PACKAGE = Path(__file__).parent.parent


def shipped(name: str) -> Path:
    """A data file of ours: inside the installed package, else beside it in a checkout."""
    inside = _PACKAGE / "shipped" / name
    return inside if inside.exists() else _PACKAGE.parent / name


def cdn_program() -> str:
    """The CDN function without its table; see router.cdn.edge_function."""
    return (_PACKAGE / "cdn" / "edge_function.js").read_text(encoding="utf-8")


def outlines() -> bytes:
    """The world map, as TopoJSON."""
    return shipped("geodata/outlines.json").read_bytes()


def read_cells() -> dict[Cell, int]:
    """Where people live on it."""
    return load_cells(shipped("geodata/cells.csv"))


def regions_path(settings: Settings) -> Path:
    """The catalog's file."""
    return settings.regions or shipped("regions.yaml")


def read_catalog(settings: Settings) -> Catalog:
    """The catalog in use. Raises ConfigError."""
    countries = load_countries(shipped("geodata/countries.csv"))
    return load_catalog(regions_path(settings), countries)


def read_overrides(settings: Settings) -> Overrides | None:
    """Where the operator says that networks are, if anywhere. Raises ConfigError."""
    if settings.geo_overrides is None:
        return None
    countries = load_countries(shipped("geodata/countries.csv"))
    rules = Rules(countries=countries, find_city=city_finder())
    return load_overrides(
        settings.geo_overrides, rules, "create it, or unset AUTOROUTER_GEO_OVERRIDES"
    )


def city_finder() -> FindCity:
    """Where cities are that have no coordinates. Their file is read when the first is asked
    for. Raises ConfigError then."""

    @cache
    def cities() -> Cities:
        return load_cities(shipped("geodata/cities.csv"))

    def find(country: str, region: str, name: str) -> Position | None:
        return cities().find(country, region, name)

    return find


def read_regions(file: Path) -> tuple[Region, ...]:
    """The regions of another file like regions.yaml. Raises ConfigError."""
    return load_catalog(file, load_countries(shipped("geodata/countries.csv"))).regions


def read_geo(settings: Settings) -> GeoDatabase:
    """The geo database in use, with the overrides before it. Raises ConfigError."""
    faults: list[str] = []
    overrides = _tried(read_overrides, settings, faults)
    database = _tried(_read_database, settings, faults)
    if database is None or faults:
        raise ConfigError(faults)
    return database if overrides is None else database.after(overrides)


def read_all(settings: Settings) -> tuple[Catalog, GeoDatabase]:
    """Both, or a ConfigError with the faults of both."""
    faults: list[str] = []
    catalog = _tried(read_catalog, settings, faults)
    geo = _tried(read_geo, settings, faults)
    if catalog is None or geo is None:
        raise ConfigError(faults)
    return catalog, geo


def _tried(read: Callable[[Settings], T], settings: Settings, faults: list[str]) -> T | None:
    try:
        return read(settings)
    except ConfigError as error:
        faults += error.faults
    except GeoDataError as error:
        faults.append(str(error))
    return None


def _read_database(settings: Settings) -> GeoDatabase:
    return open_database(*find_database(settings.geo_db))


class Inputs(NamedTuple):
    """All that a server is made from. What does not come from files never changes."""

    settings: Settings
    catalog: Catalog
    geo: GeoDatabase


def read_inputs(settings: Settings, environ: Mapping[str, str]) -> Inputs:
    """The files as they are now, those of secrets too. Raises ConfigError."""
    return Inputs(with_secrets(settings, environ), *read_all(settings))


def input_paths(settings: Settings, environ: Mapping[str, str]) -> list[Path]:
    """The files that `read_inputs` reads."""
    overrides = [] if settings.geo_overrides is None else [settings.geo_overrides]
    geo = [*find_database(settings.geo_db), *overrides]
    return [regions_path(settings), *geo, *secret_paths(environ)]
