"""What `autorouter geodata` does: fetches, checks, compacts and compares geo databases.

Nothing here is on the path of a request; that is router.geo.database.
"""

from collections.abc import Callable

# Hears of progress: what is being done, how much of it, of how much in all if that is known.
Tell = Callable[[str, int, int | None], None]


def in_silence(what: str, done: int, total: int | None) -> None:
    """For those who do not watch."""
