"""Detects what Redis does not report: lost intents, intents that are back after their end, and
data that no longer change. No I/O.
"""

import time
from collections.abc import Callable, Iterable, Sequence

from router.model import Event, EventKind, Intended, Intent, View
from router.store import Stored

SETTLED_S = 3.0  # how long after an intent is gone its event must exist
NEAR_END_S = 5.0
MAX_AT_ONCE = 50
STILL_S = 15.0
STILL_AGAIN_S = 60.0

LOST = "missing before its end and nobody enabled it: Redis evicted it, or came back with old data"
BACK = "it had ended, and is in force again: Redis came back with old data"


class LostIntents:
    """Compares each reading with the previous ones. `_ended`: edge → the intent that ended last. A
    new intent never equals it, because its creation time differs.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._held: dict[str, Intent] = {}
        self._ended: dict[str, Intent] = {}
        self._missing_since: dict[str, float] = {}

    def forget(self, edges: Iterable[str]) -> None:
        """Ignore these intents: this process changed them."""
        for edge in edges:
            self._missing_since.pop(edge, None)
            if edge in self._held:
                self._ended[edge] = self._held.pop(edge)

    def find_returned(self, stored: Stored) -> list[Event]:
        """An event for each intent that ended and is back. Call it before `find_lost`."""
        back = [intent for intent in stored.intents if self._ended.get(intent.edge) == intent]
        for intent in back:
            del self._ended[intent.edge]
        now = self._clock()
        return [
            _event(intent, now, Intended.ENABLED, intent.state, BACK)
            for intent in back[:MAX_AT_ONCE]
        ]

    def find_lost(self, stored: Stored, edges: Sequence[str]) -> list[Event]:
        """An event for each intent that has been missing for a while before its end."""
        now = self._clock()
        here = {intent.edge: intent for intent in stored.intents}
        for edge in edges:
            if edge in here or edge in stored.unread:
                self._missing_since.pop(edge, None)
            elif edge in self._held:
                self._missing_since.setdefault(edge, now)
        for edge, intent in here.items():
            if self._held.get(edge, intent) != intent:
                self._ended[edge] = self._held[edge]
        self._held |= here
        due = [edge for edge, since in self._missing_since.items() if now - since >= SETTLED_S]
        lost = [self._held[edge] for edge in due[:MAX_AT_ONCE]]
        self.forget(due[:MAX_AT_ONCE])
        return [
            _event(intent, now, intent.state, Intended.ENABLED, LOST)
            for intent in lost
            if intent.ends_at > now + NEAR_END_S
        ]

    @staticmethod
    def find_unexplained(lost: Sequence[Event], recent: Sequence[Event]) -> list[Event]:
        """The losses for which no event enabled the edge."""
        enabled = {
            event.edge
            for event in recent
            if event.kind is EventKind.INTENT
            and event.after == Intended.ENABLED
            and event.reason != LOST
        }
        return [event for event in lost if event.edge not in enabled]


def _event(intent: Intent, now: float, before: str, after: str, reason: str) -> Event:
    """The event; equal on every server, except for `at`."""
    return Event(
        at=now,
        kind=EventKind.INTENT,
        edge=intent.edge,
        before=before,
        after=after,
        reason=reason,
        actor="autorouter",
        until=intent.ends_at,
    )


class Standstill:
    """Detects that no view changes any more, although vantages write every few seconds. A Redis
    server that was demoted or cut off answers like that.
    """

    def __init__(self) -> None:
        self._seen: tuple[tuple[str, int], ...] = ()
        self._moved_at = time.monotonic()
        self._wait_s = STILL_S

    def is_due(self, views: Sequence[View]) -> bool:
        """Whether to reconnect: after a while without changes, and then at intervals."""
        now = time.monotonic()
        seen = tuple((view.vantage, view.seq) for view in views)
        if seen != self._seen:
            self._seen, self._moved_at, self._wait_s = seen, now, STILL_S
        if not views or now - self._moved_at < self._wait_s:
            return False
        self._moved_at, self._wait_s = now, STILL_AGAIN_S
        return True
