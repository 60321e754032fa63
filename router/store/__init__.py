"""The data that processes share: views, intents, leases, events and history, in memory or in
Redis.

Must not know what an edge's health means for answers, nor which process reads it.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from router.model import Event, EventKind, Intent, View

# Events are kept by kind: once there are more than EVENTS_KEPT, the newest of each kind.
EVENTS_KEPT = 1_000
KIND_KEPT = {
    EventKind.TRANSITION: 350,
    EventKind.INTENT: 300,
    EventKind.RELOAD: 75,
    EventKind.PURGE: 75,
}
OTHER_KINDS_KEPT = 50

MAX_HISTORY_BYTES = 1024 * 1024  # see router.ops.history


class Stored(NamedTuple):
    """The result of one reading, which is not one atomic snapshot. `faults`: a line for each value
    that was left out; `unread`: edges whose intent exists but could not be read.
    """

    views: tuple[View, ...]
    intents: tuple[Intent, ...]
    faults: tuple[str, ...] = ()
    unread: frozenset[str] = frozenset()


class Logged(NamedTuple):
    """An event and its id; later events have greater ids, as Redis streams order them."""

    id: str
    event: Event


class Change(NamedTuple):
    """A new intent for an edge, or None to remove it, and the event about it."""

    edge: str
    intent: Intent | None
    event: Event | None = None


class Store(Protocol):
    """The store that `serve`, `poll` and operators share. Every call ends in bounded time, or
    raises StoreError; nothing on the request path calls it.
    """

    async def publish(self, view: View) -> int:
        """Replace the vantage's view and hint at the change, unless a newer one is there.

        Returns the `seq` now stored: the view's own, or the newer one's.
        """

    async def read(self, edges: Sequence[str]) -> Stored:
        """Every vantage's view, and the intents for these edges."""

    async def changed(self, seen: int, timeout_s: float) -> int:
        """Wait until the number of hints of changes differs from `seen`, or until the timeout.
        Returns the number. Begin with 0.
        """

    async def hold_lease(self, vantage: str, holder: str, life_s: float) -> bool:
        """Take or renew the right to publish for a vantage; False while another has it."""

    async def drop_lease(self, vantage: str, holder: str) -> None:
        """Release the lease, if it is ours."""

    async def change_intents(self, changes: Sequence[Change]) -> None:
        """Change intents, append their events and hint. Otherwise raises StoreError, whose text
        says what is in force now. An intent ends by itself when it expires.
        """

    async def log_events(self, events: Sequence[Event]) -> None:
        """Append events, and hint. Old events are removed by kind; see KIND_KEPT."""

    async def events(self, after: str = "", limit: int = EVENTS_KEPT) -> tuple[Logged, ...]:
        """Events later than the id `after`, oldest first; the newest `limit` of them."""

    async def history(self) -> bytes | None:
        """The history that was saved last; None if there is none, or if it is too large."""

    async def save_history(self, body: bytes) -> None:
        """Replace the history, at most MAX_HISTORY_BYTES."""

    async def close(self) -> None:
        """Close connections and end tasks."""
