"""What fails at present, since when, and its error text. In the memory of one process."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Trouble(NamedTuple):
    """Something that fails: since when (Unix seconds), and its error text. `ends_at`: when it is
    removed if no success is reported before.
    """

    since: float
    text: str
    ends_at: float | None = None


class Troubles:
    """Name → what failed at its last try."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._known: dict[str, Trouble] = {}

    def note(self, name: str, text: str | None, life_s: float | None = None) -> bool:
        """Record the error of `name`, or that it works (None). `life_s`: forget the error after
        this time. Returns whether a trouble began or ended.
        """
        known = self.get(name)
        if text is None:
            self._known.pop(name, None)
            return known is not None
        now = self._clock()
        ends_at = None if life_s is None else now + life_s
        self._known[name] = Trouble(now if known is None else known.since, text, ends_at)
        return known is None

    def get(self, name: str) -> Trouble | None:
        """The trouble of this name, if there is one."""
        self._forget()
        return self._known.get(name)

    def starting_with(self, prefix: str) -> dict[str, Trouble]:
        """The troubles whose name has this prefix, under the rest of the name."""
        self._forget()
        return {
            name.removeprefix(prefix): trouble
            for name, trouble in self._known.items()
            if name.startswith(prefix)
        }

    def _forget(self) -> None:
        now = self._clock()
        for name, trouble in list(self._known.items()):
            if trouble.ends_at is not None and trouble.ends_at <= now:
                del self._known[name]
