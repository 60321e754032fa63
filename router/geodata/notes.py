"""Notes beside a fetched database: its origin and its licence."""

from pathlib import Path

import msgspec

from router.geodata.files import replacing


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Where a database comes from. `version`: the version that its origin had. `stamp`: identifies
    the file, so that the note is not used for another one.
    """

    origin: str
    version: str
    fetched_at: float
    licence: str
    attribution: str
    stamp: tuple[int, int]


def stamp_of(path: Path) -> tuple[int, int]:
    """Size and modification time. Raises OSError."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def note_path(database: Path) -> Path:
    """The path of the note on a database."""
    return database.with_name(f"{database.name}.origin.json")


def licence_path(database: Path) -> Path:
    """The path of the licence of a database."""
    return database.with_name(f"{database.name}.LICENSE.txt")


def read_note(database: Path) -> Note | None:
    """The note on this file; None without one, or if the file has been replaced since."""
    try:
        note = msgspec.json.decode(note_path(database).read_bytes(), type=Note)
        return note if note.stamp == stamp_of(database) else None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def write_note(database: Path, note: Note, licence: str) -> None:
    """Write the note and the licence. Raises GeoDataError."""
    with replacing(note_path(database)) as (_, file):
        file.write(msgspec.json.format(msgspec.json.encode(note)) + b"\n")
    with replacing(licence_path(database)) as (_, file):
        file.write(licence.encode())
