"""The files a process starts from: the catalog and the geo database, wherever they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from router.catalog import load_catalog
from router.countries import load_countries
from router.errors import ConfigError, GeoDataError
from router.geoip import GeoDatabase, find_database, open_database
from router.model import Catalog
from router.settings import Settings, secret_paths, with_secrets

_PACKAGE = Path(__file__).parent


def shipped(name: str) -> Path:
    """A data file of ours: inside the installed package, else beside it in a checkout."""
    inside = _PACKAGE / "shipped" / name
    return inside if inside.exists() else _PACKAGE.parent / name


def cdn_program() -> str:
    """The CDN function without its table; see router.cdn."""
    return (_PACKAGE / "cdn_function.js").read_text(encoding="utf-8")


def regions_path(settings: Settings) -> Path:
    """The catalog's file."""
    return settings.regions or shipped("regions.yaml")


def read_catalog(settings: Settings) -> Catalog:
    """The catalog in use. Raises ConfigError."""
    countries = load_countries(shipped("geodata/countries.csv"))
    return load_catalog(regions_path(settings), countries)


def read_geo(settings: Settings) -> GeoDatabase:
    """The geo database in use. Raises GeoDataError."""
    return open_database(find_database(settings.geo_db))


def read_all(settings: Settings) -> tuple[Catalog, GeoDatabase]:
    """Both, or a ConfigError with the faults of both."""
    faults: list[str] = []
    catalog = geo = None
    try:
        catalog = read_catalog(settings)
    except ConfigError as error:
        faults += error.faults
    try:
        geo = read_geo(settings)
    except GeoDataError as error:
        faults.append(str(error))
    if catalog is None or geo is None:
        raise ConfigError(faults)
    return catalog, geo


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
    return [regions_path(settings), find_database(settings.geo_db), *secret_paths(environ)]
