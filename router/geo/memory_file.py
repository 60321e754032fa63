"""Copies a file into sealed memory, which is mapped instead of the file. A process that maps a
file is killed (SIGBUS) if the file is truncated, and reads garbage if it is overwritten. So
readers map a sealed copy (memfd_create(2)) instead. All servers of one user on a machine, and
their workers, map one copy. Cost: docs/adr/0031-geo-files-in-sealed-memory.md.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_NAME = "autorouter-geo"
# Values of linux/fcntl.h; Python 3.11 has them in fcntl on Linux alone.
_SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008  # SEAL, SHRINK, GROW, WRITE
_ADD_SEALS, _GET_SEALS = 1033, 1034
_CHUNK = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class MemoryFile:
    """A sealed copy, open until this object is deleted."""

    descriptor: int = field(repr=False)

    @property
    def path(self) -> str:
        """A name for the copy that is valid in this process."""
        return f"/dev/fd/{self.descriptor}"

    def __del__(self) -> None:
        """Close the file. Existing maps of it stay valid."""
        with suppress(OSError):
            os.close(self.descriptor)


def copy_to_memory(path: Path) -> MemoryFile:
    """A copy of the file's present content. Raises OSError, also if the file changes while it is
    read.
    """
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        name = f"{_NAME}-{before.st_dev}-{before.st_ino}-{before.st_size}-{before.st_mtime_ns}"
        shared = _find_shared_copy(name)
        if shared is not None:
            return MemoryFile(descriptor=shared)
        copy = MemoryFile(descriptor=_new_file(name))
        _copy(file.fileno(), copy.descriptor)
        after = path.stat()
    if _identity(before) != _identity(after) or _identity(before)[0] != _size(copy):
        raise OSError("it changed while it was read; try again")
    with suppress(OSError):  # a temporary file has no seals, and no name either
        fcntl.fcntl(copy.descriptor, _ADD_SEALS, _SEALS)
    return copy


def _copy(source: int, target: int) -> None:
    """Copy inside the kernel if possible."""
    with suppress(OSError):
        while os.sendfile(target, source, None, _CHUNK):
            pass
        return
    os.lseek(source, 0, os.SEEK_SET)
    while chunk := os.read(source, _CHUNK):
        os.write(target, chunk)


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


def _size(copy: MemoryFile) -> int:
    return os.fstat(copy.descriptor).st_size


def _new_file(name: str) -> int:
    """An empty file without a name in any folder, in memory if the system supports that."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _find_shared_copy(name: str) -> int | None:
    """A sealed copy of the same file that another process of the same user and Python holds, such
    as a worker's parent or another server.
    """
    target = f"/memfd:{name} (deleted)"
    for files in _open_file_folders():
        with suppress(OSError):
            for number in os.listdir(files):  # noqa: PTH208
                link = f"{files}/{number}"
                if _is_link_to(link, target):
                    return _open_if_sealed(link, target)
    return None


def _open_file_folders() -> Iterator[str]:
    """The /proc folders with the open files of processes that run the same program as this one."""
    with suppress(OSError):
        program = os.readlink("/proc/self/exe")  # noqa: PTH115
        for process in os.listdir("/proc"):  # noqa: PTH208
            if process.isdigit() and _is_link_to(f"/proc/{process}/exe", program):
                yield f"/proc/{process}/fd"


def _is_link_to(link: str, target: str) -> bool:
    """Avoids pathlib, which is slow: this reads thousands of links during the start."""
    with suppress(OSError):
        return os.readlink(link) == target  # noqa: PTH115
    return False


def _open_if_sealed(path: str, target: str) -> int | None:
    """The descriptor may refer to another file by now, so check what was opened. A file of another
    user is not used.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    is_right = _is_link_to(f"/proc/self/fd/{descriptor}", target)
    is_ours = os.fstat(descriptor).st_uid == os.geteuid()
    if is_right and is_ours and fcntl.fcntl(descriptor, _GET_SEALS) & _SEALS == _SEALS:
        return descriptor
    os.close(descriptor)
    return None
