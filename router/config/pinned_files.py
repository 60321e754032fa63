"""Files that stay open after they were read, so that another process on this machine can open the
same bytes even if a new file has replaced the name: through /proc if available, otherwise by name.
"""

import os
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from router.errors import GeoDataError

TRIES = 3

T = TypeVar("T")


class PinnedFile:
    """An open file. It is closed when nothing refers to this object any more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._fd)

    def is_at_its_path(self) -> bool:
        """Whether the path still names this file."""
        try:
            return os.path.samestat(os.fstat(self._fd), self._path.stat())
        except OSError:
            return False

    def path_for_others(self) -> Path:
        """The path under which another process can open it."""
        through_proc = Path(f"/proc/{os.getpid()}/fd/{self._fd}")
        return through_proc if through_proc.exists() else self._path


def read_pinned(paths: Sequence[Path], read: Callable[[], T]) -> tuple[T, tuple[PinnedFile, ...]]:
    """The result of `read`, and the files that it read. Raises GeoDataError if the files are
    replaced repeatedly meanwhile, and anything that `read` raises.
    """
    for _ in range(TRIES):
        pins = [_pin(path) for path in paths]
        result = read()
        files = tuple(pin for pin in pins if pin is not None)
        if len(files) == len(paths) and all(file.is_at_its_path() for file in files):
            return result, files
    names = ", ".join(map(str, paths))
    raise GeoDataError(f"{names}: replaced while being read; try again when nothing writes there")


def _pin(path: Path) -> PinnedFile | None:
    try:
        return PinnedFile(path)
    except OSError:
        return None  # `read` reports what is wrong
