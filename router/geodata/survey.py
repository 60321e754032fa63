"""Takes the census of a geo database from its file, and caches it in a folder."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from router.errors import GeoDataError
from router.geo.database import GeoDatabase
from router.geodata import Progress, no_progress
from router.geodata.census import Block, Census, count_places

CENSUS_FILE = "census.msgpack"

_PROGRESS_EVERY = 65_536


def read_census(geo: GeoDatabase, folder: Path | None, progress: Progress = no_progress) -> Census:
    """The census of this database without overrides: from the cache in `folder`, or else by
    reading the whole file, and then cached. Raises GeoDataError if the database is damaged, or
    locates no public IPv4 address. A folder that cannot be used is ignored.
    """
    kept = None if folder is None else _load_cached(folder / CENSUS_FILE)
    if kept is not None and (kept.database, kept.built_at) == (geo.type, geo.built_at):
        return kept
    places = count_places(located_blocks(geo, progress))
    if not places:
        raise GeoDataError(f"{geo.path}: places no public IPv4 addresses to weigh viewers by")
    census = Census(database=geo.type, built_at=geo.built_at, places=places)
    if folder is not None:
        _save_cached(folder, census)
    return census


def located_blocks(geo: GeoDatabase, progress: Progress = no_progress) -> Iterator[Block]:
    """All IPv4 addresses of a database without overrides, in order, as blocks with one location
    each.
    """
    for number, network in enumerate(geo.v4_networks()):
        if number % _PROGRESS_EVERY == 0:
            progress(f"reading {geo.path.name}", network[0], 1 << 32)
        yield Block(*network)


def _load_cached(file: Path) -> Census | None:
    try:
        return msgspec.msgpack.decode(file.read_bytes(), type=Census)
    except (OSError, msgspec.DecodeError, RecursionError):
        return None


def _save_cached(folder: Path, census: Census) -> None:
    fresh = folder / f".{CENSUS_FILE}.{os.getpid()}"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(msgspec.msgpack.encode(census))
        fresh.replace(folder / CENSUS_FILE)
