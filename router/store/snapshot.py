"""The last good health on disk, for a server that starts while the store is away.

One file, replaced atomically; a checksum tells a torn or edited one. Whatever is wrong
with it, a server starts without it.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import msgspec

from router.model import Intent, View
from router.store import Stored

FILE_NAME = "last-good.json"
MAX_BYTES = 64 * 1024 * 1024

_HEX = 32


class _Kept(msgspec.Struct):
    views: tuple[View, ...]
    intents: tuple[Intent, ...]


@dataclass(frozen=True, slots=True)
class LastGood:
    """The file in a state directory."""

    folder: Path

    def save(self, views: Iterable[View], intents: Iterable[Intent]) -> None:
        """Replace the file. Raises OSError."""
        body = msgspec.json.encode(_Kept(tuple(views), tuple(intents)))
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / f".{FILE_NAME}.{os.getpid()}"
        with fresh.open("wb") as file:
            file.write(_checksum(body) + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.folder / FILE_NAME)

    def load(self) -> Stored | None:
        """What was saved, or None when there is nothing whole."""
        try:
            with (self.folder / FILE_NAME).open("rb") as file:
                text = file.read(MAX_BYTES)
            checksum, body = text[:_HEX], text[_HEX + 1 :]
            if checksum != _checksum(body):
                return None
            kept = msgspec.json.decode(body, type=_Kept)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return Stored(kept.views, kept.intents)


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=_HEX // 2).hexdigest().encode()
