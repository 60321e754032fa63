"""What fails at the moment, since when, and what it said. In memory of one process."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Trouble(NamedTuple):
    """Something that fails: since when (Unix seconds), and what it said."""

    since: float
    text: str


class Troubles:
    """By name, what failed when it was last tried."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._known: dict[str, Trouble] = {}

    def note(self, name: str, text: str | None) -> None:
        """It failed with this text, or works (None)."""
        if text is None:
            self._known.pop(name, None)
        else:
            known = self._known.get(name)
            self._known[name] = Trouble(self._clock() if known is None else known.since, text)

    def get(self, name: str) -> Trouble | None:
        """The trouble of this name, if there is one."""
        return self._known.get(name)

    def starting_with(self, prefix: str) -> dict[str, Trouble]:
        """All whose name has this prefix, under the rest of their names."""
        return {
            name.removeprefix(prefix): trouble
            for name, trouble in self._known.items()
            if name.startswith(prefix)
        }
