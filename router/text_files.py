"""Reading text files that people write: bounded, UTF-8, and quoted safely in messages."""

import math
from pathlib import Path

from router.errors import ConfigError
from router.safe_text import escaped

MAX_BYTES = 4 * 2**20  # 2,000 regions with every key written out are 0.5 MiB
MAX_SHOWN = 60  # characters of a value or key quoted in a fault


def read_text(path: Path, fix: str, max_bytes: int = MAX_BYTES) -> str:
    """A UTF-8 file of at most so many bytes, without its byte order mark.

    Raises ConfigError if it cannot be opened (`fix` says what to do), is larger, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}; {fix}"]) from error
    if len(data) > max_bytes:
        raise ConfigError([f"{path}: is larger than {max_bytes >> 20} MiB; is it the right file?"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: is not UTF-8; save the file as UTF-8"]) from error


def plain_number(text: str) -> float | str:
    """A finite decimal number. Other numbers of YAML (.nan, 0x1F, 1:30) stay text, which is
    rejected later.
    """
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def printable(text: str) -> str:
    """One line without control characters, cut where it gets long."""
    cut = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    return escaped(cut)
