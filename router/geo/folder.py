"""Finds the newest geo database in the folder to which `autorouter geodata update` writes."""

import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import maxminddb

# What the update writes: a database in one file, or one of IPv4 and one of IPv6.
SINGLE = "geo.mmdb"
PAIR = ("geo-ipv4.mmdb", "geo-ipv6.mmdb")

_DAY_S = 86_400


def newest_database(folder: Path) -> tuple[Path, ...]:
    """The files of the database in the folder that was built last; empty without a usable one. Two
    files are one database if their names differ only in `-ipv4.mmdb` and `-ipv6.mmdb`.
    """
    newest: tuple[float, tuple[Path, ...]] = (0.0, ())
    for paths in _databases(folder):
        built_at = _built_at(paths)
        if built_at is not None:
            newest = max(newest, (built_at, paths))
    return newest[1]


def _databases(folder: Path) -> Iterator[tuple[Path, ...]]:
    try:
        files = {path.name: path for path in folder.iterdir() if path.suffix == ".mmdb"}
    except OSError:
        return
    for name, path in files.items():
        other = files.get(name.replace("-ipv4.mmdb", "-ipv6.mmdb"), path)
        if name.startswith(".") or (_is_v6_of_pair(name) and _v4_name(name) in files):
            continue
        yield (path,) if other is path else (path, other)


def _is_v6_of_pair(name: str) -> bool:
    return name.endswith("-ipv6.mmdb")


def _v4_name(name: str) -> str:
    return name.replace("-ipv6.mmdb", "-ipv4.mmdb")


def _built_at(paths: tuple[Path, ...]) -> float | None:
    """When the older of the files was built; None for a damaged file, or a time in the future."""
    times = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            return None
        built = _build_time(path, (status.st_mtime_ns, status.st_size, status.st_ino))
        if built is None or built > time.time() + _DAY_S:
            return None
        times.append(built)
    return min(times)


@lru_cache(maxsize=64)
def _build_time(path: Path, _stamp: tuple[int, int, int]) -> float | None:
    """The time in the metadata, which are read without mapping the file, and only if the file has
    changed.
    """
    try:
        with maxminddb.open_database(str(path), maxminddb.MODE_FILE) as reader:
            return float(reader.metadata().build_epoch)
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError):
        return None
