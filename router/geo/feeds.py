"""The files that `autorouter geodata feeds` writes to the data folder and servers read.

`feeds.csv` is one overrides file made of all feeds, and `feeds.json` the note on its sources.
"""

from pathlib import Path

import msgspec

from router.geo.overrides import Overrides, Rules, load_overrides
from router.model import Country, Source

OLD_DAYS = 30
MAX_NOTE_BYTES = 2**20

_FIX = "run `autorouter geodata feeds` again, or remove the file"


class FeedNote(msgspec.Struct, frozen=True, kw_only=True):
    """One source. `fetched_at`: Unix seconds. `dated`: its publisher's own date or version.
    `skipped`: the number of lines left out; `examples` quotes some of them. `unknown_regions`:
    cloud regions of unknown location → their number of networks. `error`: why the last fetch
    failed; the networks are then those of the previous fetch.
    """

    name: str
    source: str
    fetched_at: float
    dated: str = ""
    networks: int = 0
    skipped: int = 0
    examples: tuple[str, ...] = ()
    unknown_regions: dict[str, int] = {}
    error: str | None = None

    def age_days(self, now: float) -> float:
        """How long ago it was fetched."""
        return (now - self.fetched_at) / 86_400


def feeds_path(folder: Path) -> Path:
    """The path of the overrides file made from feeds."""
    return folder / "feeds.csv"


def note_path(folder: Path) -> Path:
    """The path of the note on the sources."""
    return folder / "feeds.json"


def read_notes(folder: Path) -> tuple[FeedNote, ...]:
    """The sources; empty if the note is missing or cannot be read."""
    try:
        with note_path(folder).open("rb") as file:
            text = file.read(MAX_NOTE_BYTES)
        return msgspec.json.decode(text, type=tuple[FeedNote, ...])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()


def load_feeds(folder: Path, countries: dict[str, Country]) -> Overrides | None:
    """The overrides from the feeds; None without a file. Raises ConfigError."""
    path = feeds_path(folder)
    if not path.exists():
        return None
    rules = Rules(
        countries=countries,
        find_city=lambda *_: None,  # cities were looked up when the file was made
        source=Source.FEED,
        is_strict=False,
    )
    return load_overrides(path, rules, _FIX)
