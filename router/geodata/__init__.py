"""Tools for geo files: what `autorouter geodata` fetches, checks, compares and surveys.

Must not be used while a request is answered; that is router.geo.
"""

from collections.abc import Callable

# Hears of progress: what is being done, how much of it, of how much in all if that is known.
Tell = Callable[[str, int, int | None], None]


def in_silence(what: str, done: int, total: int | None) -> None:
    """For those who do not watch."""
