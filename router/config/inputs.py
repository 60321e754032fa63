"""Finds and reads the files that a process starts from: the catalog and the geo data."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from platformdirs import user_data_path

from router.config.catalog import load_catalog
from router.config.cells import load_cells
from router.config.latency import homes_of, latency_facts, load_measured, load_table
from router.config.pinned_files import PinnedFile, read_pinned
from router.config.settings import Settings, secret_paths, with_secrets
from router.errors import ConfigError, GeoDataError
from router.geo.cities import Cities, load_cities
from router.geo.countries import load_countries
from router.geo.database import NO_DATABASE, GeoDatabase, find_database, open_database
from router.geo.feeds import feeds_path, load_feeds, read_notes
from router.geo.overrides import FindCity, Overrides, Rules, load_overrides
from router.model import Catalog, Nearness, Position, Region
from router.routing.cache_headers import CachePolicy
from router.routing.territory import Cell

T = TypeVar("T")

_PACKAGE = Path(__file__).parent.parent


def packaged_path(name: str) -> Path:
    """The path of a data file that ships with autorouter: in the installed package, or else beside
    it in a checkout.
    """
    inside = _PACKAGE / "shipped" / name
    return inside if inside.exists() else _PACKAGE.parent / name


def outlines() -> bytes:
    """The world map, as TopoJSON."""
    return packaged_path("geodata/outlines.json").read_bytes()


def read_cells() -> dict[Cell, int]:
    """How many people live in each cell of the map."""
    return load_cells(packaged_path("geodata/cells.csv"))


def regions_path(settings: Settings) -> Path:
    """The catalog's file: AUTOROUTER_REGIONS, or else that of the checkout. Raises ConfigError. An
    installed package has no default catalog, because it would send viewers to somebody else's
    edges.
    """
    checkout = _PACKAGE.parent
    if settings.regions is not None:
        return settings.regions
    if (checkout / "pyproject.toml").exists() and (checkout / "regions.yaml").exists():
        return checkout / "regions.yaml"
    raise ConfigError(
        [
            "AUTOROUTER_REGIONS: not set; set it to your regions.yaml, whose format is in "
            "docs/configuration.md. `autorouter dev` runs a simulated fleet without one"
        ]
    )


def read_catalog(settings: Settings) -> Catalog:
    """The catalog in use. Raises ConfigError."""
    countries = load_countries(packaged_path("geodata/countries.csv"))
    catalog = load_catalog(regions_path(settings), countries)
    return with_latency(settings, catalog) if catalog.nearness is Nearness.NETWORK else catalog


def cache_policy(settings: Settings) -> CachePolicy:
    """How long answers may be cached."""
    return CachePolicy(
        ttl_s=settings.ttl_s,
        degraded_ttl_s=settings.degraded_ttl_s,
        max_age_s=settings.cdn_max_age_s,
        key_headers=settings.cache_key_headers,
    )


def with_latency(settings: Settings, catalog: Catalog) -> Catalog:
    """The catalog with `nearness: network`, and the latency facts for that. Raises ConfigError."""
    own = settings.latency
    measured = {} if own is None else load_measured(own, catalog.countries, catalog.regions)
    facts = latency_facts(
        load_table(packaged_path("geodata/latency.csv")), homes_of(read_cells()), measured
    )
    return replace(catalog, nearness=Nearness.NETWORK, latency=facts)


def read_overrides(settings: Settings) -> Overrides | None:
    """The operator's overrides of network locations; None if there are none. Raises ConfigError."""
    if settings.geo_overrides is None:
        return None
    countries = load_countries(packaged_path("geodata/countries.csv"))
    rules = Rules(countries=countries, find_city=city_finder())
    return load_overrides(
        settings.geo_overrides, rules, "create it, or unset AUTOROUTER_GEO_OVERRIDES"
    )


def geo_folder(settings: Settings) -> Path:
    """The folder for geo data that is fetched: AUTOROUTER_GEO_DIR, or the user's data folder."""
    return settings.geo_dir or user_data_path("autorouter", appauthor=False)


def read_feeds(settings: Settings) -> Overrides | None:
    """The geofeeds that were fetched; None if there are none. Raises ConfigError."""
    return load_feeds(geo_folder(settings), load_countries(packaged_path("geodata/countries.csv")))


def city_finder() -> FindCity:
    """A look-up of cities for entries without coordinates. It reads its file at the first call,
    which may raise ConfigError.
    """

    @cache
    def cities() -> Cities:
        return load_cities(packaged_path("geodata/cities.csv"))

    def find(country: str, region: str, name: str) -> Position | None:
        return cities().find(country, region, name)

    return find


def read_regions(file: Path) -> tuple[Region, ...]:
    """The regions of another file like regions.yaml. Raises ConfigError."""
    return load_catalog(file, load_countries(packaged_path("geodata/countries.csv"))).regions


def read_geo(settings: Settings) -> GeoDatabase:
    """The geo database in use. It asks the operator's overrides first, then the feeds, then the
    database files. Raises ConfigError.
    """
    faults: list[str] = []
    overrides = _try_read(read_overrides, settings, faults)
    feeds = _try_read(read_feeds, settings, faults)
    database = _try_read(_read_database, settings, faults)
    if database is None or faults:
        raise ConfigError(faults)
    for layer in (feeds, overrides):
        database = database if layer is None else database.after(layer)
    return replace(database, feeds=() if feeds is None else read_notes(geo_folder(settings)))


def read_all(settings: Settings) -> tuple[Catalog, GeoDatabase]:
    """The catalog and the geo database. Raises ConfigError with the faults of both."""
    faults: list[str] = []
    catalog = _try_read(read_catalog, settings, faults)
    geo = _try_read(read_geo, settings, faults)
    if catalog is None or geo is None:
        raise ConfigError(faults)
    return catalog, geo


def _try_read(read: Callable[[Settings], T], settings: Settings, faults: list[str]) -> T | None:
    try:
        return read(settings)
    except ConfigError as error:
        faults += error.faults
    except GeoDataError as error:
        faults.append(str(error))
    return None


def _read_database(settings: Settings) -> GeoDatabase:
    try:
        paths = database_paths(settings)
    except GeoDataError:
        # The CDN locates viewers; the location of those without a key is unknown.
        if settings.cdn_secret:
            return NO_DATABASE
        raise
    return open_database(*paths)


def database_paths(settings: Settings) -> tuple[Path, ...]:
    """The files of the geo database in use: AUTOROUTER_GEO_DB, else the newest in the folder,
    else those of its package. Raises GeoDataError if there is none.
    """
    return find_database(settings.geo_db, geo_folder(settings))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Inputs in a form for another process on this machine. They are parsed once, here. The other
    process maps the same geo database files.
    """

    settings: Settings
    catalog: Catalog
    overrides: tuple[Overrides, ...]
    geo_paths: tuple[Path, ...]

    def inputs(self) -> "Inputs":
        """The inputs as the process that made this object read them. Raises GeoDataError."""
        geo = open_database(*self.geo_paths) if self.geo_paths else NO_DATABASE
        for overrides in reversed(self.overrides):
            geo = geo.after(overrides)
        return Inputs(self.settings, self.catalog, geo)


class Inputs(NamedTuple):
    """Everything that a server is made from. Only what comes from files can change."""

    settings: Settings
    catalog: Catalog
    geo: GeoDatabase
    geo_files: tuple[PinnedFile, ...] = ()

    def shared(self) -> Shared:
        """These inputs for another process. Valid while this process keeps them."""
        return Shared(
            settings=self.settings,
            catalog=self.catalog,
            overrides=self.geo.overrides,
            geo_paths=tuple(file.path_for_others() for file in self.geo_files) or self.geo.paths,
        )


def open_inputs(settings: Settings) -> Inputs:
    """Reads all files as they are now. Raises ConfigError with the faults of all."""
    try:
        (catalog, geo), files = read_pinned(_geo_paths(settings), lambda: read_all(settings))
    except GeoDataError as error:
        raise ConfigError([str(error)]) from error
    return Inputs(settings, catalog, geo, files)


def read_inputs(settings: Settings, environ: Mapping[str, str]) -> Inputs:
    """The same with the files of secrets read anew. Raises ConfigError."""
    return open_inputs(with_secrets(settings, environ))


def input_paths(settings: Settings, environ: Mapping[str, str]) -> list[Path]:
    """The files that `read_inputs` would read now."""
    overrides = [] if settings.geo_overrides is None else [settings.geo_overrides]
    feeds = feeds_path(geo_folder(settings))
    latency = [] if settings.latency is None else [settings.latency]
    files = [regions_path(settings), *latency, *_geo_paths(settings), *overrides, feeds]
    return [*files, *secret_paths(environ)]


def _geo_paths(settings: Settings) -> list[Path]:
    with suppress(GeoDataError):
        return [*database_paths(settings)]
    return []
