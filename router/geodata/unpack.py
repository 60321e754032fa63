"""Unpacks databases and licence texts from gzip, tar, or a plain file. The archive decides neither
where files are written nor how large they get.
"""

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from router.errors import GeoDataError
from router.geodata.choice import Member

MAX_BYTES = 4 * 2**30
MAX_MEMBERS = 1_000
MAX_LICENCE_BYTES = 2**20

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257
_LICENCE = re.compile(r"(?i)(^|[^a-z])(licen[cs]e|eula|copyright)")


def unpack(
    packed: Path, folder: Path, max_bytes: int = MAX_BYTES, *, name: str = ""
) -> tuple[list[Member], str]:
    """The databases in a file, written to `folder`, and its licence texts joined. `name`: what
    people call the file. Raises GeoDataError if the file is damaged, too large, or holds no
    database.
    """
    try:
        with _plain(packed) as file:
            head = file.read(512)
        with _plain(packed) as file:
            bounded = _Bounded(file, packed, max_bytes)
            if head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + len(_TAR_MAGIC)] == _TAR_MAGIC:
                return _from_tar(bounded, packed, folder)
            database = folder / "fetched.mmdb"
            _copy(bounded, database)
            return [Member(name or packed.name, database)], ""
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise GeoDataError(f"{packed}: cannot be unpacked: {error}") from error


class _Source(Protocol):
    """An object with a `read` method."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, none at the end."""


class _Bounded:
    """A file that raises after a number of bytes, however it was compressed."""

    def __init__(self, file: _Source, packed: Path, max_bytes: int) -> None:
        self._file = file
        self._packed = packed
        self._max_bytes = max_bytes
        self._left = max_bytes

    def read(self, size: int = -1, /) -> bytes:
        """As of any file."""
        found = self._file.read(size)
        self._left -= len(found)
        if self._left < 0:
            raise GeoDataError(f"{self._packed}: grows beyond {self._max_bytes:,} bytes unpacked")
        return found


@contextmanager
def _plain(packed: Path) -> Iterator[_Source]:
    """The file, decompressed if it is gzip."""
    with packed.open("rb") as file:
        is_gzip = file.read(len(_GZIP)) == _GZIP
    with gzip.open(packed) if is_gzip else packed.open("rb") as inner:
        yield inner


def _from_tar(file: _Bounded, packed: Path, folder: Path) -> tuple[list[Member], str]:
    """Regular files, by the last part of their name. Links and other types are skipped, and sparse
    files too, because their holes are small in the archive but large on disk.
    """
    databases: list[Member] = []
    licences: list[str] = []
    stream: Any = file  # tarfile only calls read
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for number, member in enumerate(archive):
            if number >= MAX_MEMBERS:
                raise GeoDataError(f"{packed}: has more than {MAX_MEMBERS:,} files in it")
            name = Path(member.name).name
            is_plain = member.isreg() and not member.issparse()
            inside = archive.extractfile(member) if is_plain else None
            if inside is None:
                continue
            if name.endswith(".mmdb"):
                databases.append(Member(name, folder / f"fetched-{len(databases)}.mmdb"))
                _copy(inside, databases[-1].path)
            elif _LICENCE.search(name):
                text = inside.read(MAX_LICENCE_BYTES).decode("utf-8", "replace")
                licences.append(f"{name}\n\n{text.strip()}\n")
    if not databases:
        raise GeoDataError(f"{packed}: holds no .mmdb file; is it the right one?")
    return databases, "\n\n".join(licences)


def _copy(source: _Source, target: Path) -> None:
    with target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            file.write(chunk)
