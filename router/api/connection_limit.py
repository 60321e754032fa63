"""Limits the connections of a listener and the memory that all of them hold.

Rejecting a client costs as much as answering it, and makes an SDK use its one hard-coded edge. So
idle connections are closed first (docs/adr/0023-who-goes-when-there-are-too-many.md).
"""

import heapq
from collections import Counter, OrderedDict
from typing import Protocol

from router.routing.response import Shed

MIN_WAIT_S = 0.05
RETRY_SCAN_S = 0.02
REJECTED_S = 2.0  # how long a rejected connection may take for its request and our answer
HELD_BYTES = 32 * 1024 * 1024


class Connection(Protocol):
    """A connection, as a ConnectionLimit sees it."""

    @property
    def progress_at(self) -> float | None:
        """When a message last made progress, in monotonic seconds; None while an answer is being
        made.
        """

    def abort(self) -> None:
        """Close at once, without sending what is left."""


class MemoryBudget:
    """Counts the bytes that connections hold: unfinished requests and unread responses. Above
    `limit_bytes`, the connections that hold the most are closed.
    """

    def __init__(self, limit_bytes: int = HELD_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._held: dict[Connection, tuple[int, Counter[str]]] = {}

    def hold(self, connection: Connection, size: int, shed: Counter[str]) -> None:
        """Note that `connection` holds `size` bytes. If it is closed for that, `shed` counts it."""
        before = self._held.pop(connection, None)
        self.held_bytes += size - (before[0] if before else 0)
        if size:
            self._held[connection] = size, shed
        if size and self.held_bytes > self.limit_bytes:
            self._close_largest()

    def _close_largest(self) -> None:
        """Close connections down to 7/8 of the limit, so that this sort is rare."""
        enough = self.limit_bytes - self.limit_bytes // 8
        largest_first = sorted(self._held.items(), key=lambda item: item[1][0], reverse=True)
        for connection, (_, shed) in largest_first:
            if self.held_bytes <= enough:
                break
            self.hold(connection, 0, shed)
            shed[Shed.MEMORY] += 1
            connection.abort()


PROCESS_BUDGET = MemoryBudget()  # for all listeners of a process


class ConnectionLimit:
    """The connections of one listener. Above `limit`, connections without progress for the longest
    time are closed; new connections are rejected only if all others made progress just now.
    """

    def __init__(self, limit: int, budget: MemoryBudget = PROCESS_BUDGET) -> None:
        self.limit = limit
        self.shed: Counter[str] = Counter()
        self._budget = budget
        self._admitted: set[Connection] = set()
        self._rejected: OrderedDict[Connection, None] = OrderedDict()
        self._scan_at = 0.0

    def __len__(self) -> int:
        return len(self._admitted)

    def admit(self, newcomer: Connection, now: float) -> bool:
        """Whether the connection is accepted. A rejected connection stays open for a moment to get
        its response; the oldest rejected one is closed to make room for the next.
        """
        if len(self._admitted) < self.limit or self._make_room(now):
            self._admitted.add(newcomer)
            return True
        self.shed[Shed.REFUSED] += 1
        if len(self._admitted) + len(self._rejected) >= sockets_for(self.limit):
            self._rejected.popitem(last=False)[0].abort()
        self._rejected[newcomer] = None
        return False

    def leave(self, connection: Connection) -> None:
        """The connection is closed."""
        self._admitted.discard(connection)
        self._rejected.pop(connection, None)
        self._budget.hold(connection, 0, self.shed)

    def hold(self, connection: Connection, size: int) -> None:
        """See MemoryBudget."""
        self._budget.hold(connection, size, self.shed)

    def _make_room(self, now: float) -> bool:
        """Close many at a time, because this scans all connections. Scan again soon only if it
        helped.
        """
        if now < self._scan_at:
            return False
        waiting = [
            (since, id(connection), connection)
            for connection in self._admitted
            if (since := connection.progress_at) is not None and now - since >= MIN_WAIT_S
        ]
        for _, _, connection in heapq.nsmallest(1 + self.limit // 16, waiting):
            self.leave(connection)
            self.shed[Shed.HUNG_UP] += 1
            connection.abort()
        if not waiting:
            self._scan_at = now + RETRY_SCAN_S
        return bool(waiting)


def sockets_for(limit: int) -> int:
    """How many sockets a listener needs for this limit and for rejecting others."""
    return limit + limit // 8 + 8


def limit_for(sockets: int) -> int:
    """The largest connection limit for which this many sockets are enough; zero or less if there
    is none.
    """
    return (sockets - 8) * 8 // 9
