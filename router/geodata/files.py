"""Replaces files as a whole, or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from router.errors import GeoDataError


@contextmanager
def replacing(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """Yields a new file beside `path`. It is renamed to `path` when the block ends, or removed if
    the block raises. The old file is not modified, because servers may have it mapped. Raises
    GeoDataError if it cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            yield fresh, file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync(path.parent)
    except OSError as error:
        raise GeoDataError(f"{path}: cannot be written: {error}") from error
    finally:
        with suppress(OSError):
            fresh.unlink()


def sync(path: Path) -> None:
    """Flush a file's content, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
