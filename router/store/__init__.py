"""Where vantages publish and servers read: in memory, or in Redis. Same promises."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from router.model import Intent, View


class Stored(NamedTuple):
    """One consistent-enough reading. `faults`: a line for each value that was unreadable."""

    views: tuple[View, ...]
    intents: tuple[Intent, ...]
    faults: tuple[str, ...] = ()


class Store(Protocol):
    """What `serve` and `poll` share. Every call ends within a second or so, or raises
    StoreError; nothing on the request path calls it."""

    async def publish(self, view: View) -> None:
        """Replace the vantage's view and hint at the change."""

    async def read(self, edges: Sequence[str]) -> Stored:
        """Every vantage's view, and the intents for these edges."""

    async def changed(self, timeout_s: float) -> None:
        """Return at the next hint that something changed, or after the timeout."""

    async def close(self) -> None:
        """Let go of connections and tasks."""
