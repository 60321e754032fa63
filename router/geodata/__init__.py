"""Tools for geo files: what `autorouter geodata` fetches, checks, compares and surveys.

Must not be used while a request is answered; that is router.geo.
"""

from collections.abc import Callable

# Called with progress: the name of the step, the amount done, and the total if known.
Progress = Callable[[str, int, int | None], None]


def no_progress(what: str, done: int, total: int | None) -> None:
    """Ignores progress."""
