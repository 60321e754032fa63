"""Who is connected to a listener, and who goes when there are too many.

A refusal costs as much as an answer, and sends an SDK to its one hard-coded edge; so
room is made first by those who only wait (docs/adr/0023-who-goes-when-there-are-too-many.md).
"""

import heapq
from collections import Counter, OrderedDict
from typing import Protocol

from router.routing.response import Shed

PATIENCE_S = 0.05
LOOK_AGAIN_S = 0.02
REFUSED_S = 2.0  # for the request of who is refused


class Member(Protocol):
    """A connection, as a Crowd sees it."""

    @property
    def waiting_since(self) -> float | None:
        """Since when its client has let us wait, monotonic; None: we let it wait."""

    def hang_up(self) -> None:
        """Close it, whatever is still to be sent."""


class Crowd:
    """Who is connected to one listener. Past `limit`, those leave that have let us wait
    longest; only where nobody has for a while, newcomers are refused."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.shed: Counter[str] = Counter()
        self._members: set[Member] = set()
        self._refused: OrderedDict[Member, None] = OrderedDict()
        self._look_at = 0.0

    def __len__(self) -> int:
        return len(self._members)

    def admit(self, newcomer: Member, now: float) -> bool:
        """Whether there is a place. Who is refused is a guest for a moment, to be told; the
        longest of them leaves for the next."""
        if len(self._members) < self.limit or self._make_room(now):
            self._members.add(newcomer)
            return True
        self.shed[Shed.REFUSED] += 1
        if len(self._members) + len(self._refused) >= sockets_for(self.limit):
            self._refused.popitem(last=False)[0].hang_up()
        self._refused[newcomer] = None
        return False

    def leave(self, one: Member) -> None:
        """It is gone."""
        self._members.discard(one)
        self._refused.pop(one, None)

    def _make_room(self, now: float) -> bool:
        """Many at a time, because it takes a look at all; soon again only if it helped."""
        if now < self._look_at:
            return False
        waiting = [
            (since, id(one), one)
            for one in self._members
            if (since := one.waiting_since) is not None and now - since >= PATIENCE_S
        ]
        for _, _, one in heapq.nsmallest(1 + self.limit // 16, waiting):
            self.leave(one)
            self.shed[Shed.HUNG_UP] += 1
            one.hang_up()
        if not waiting:
            self._look_at = now + LOOK_AGAIN_S
        return bool(waiting)


def sockets_for(limit: int) -> int:
    """How many a crowd of so many may need: to say no takes some more."""
    return limit + limit // 8 + 8


def limit_for(sockets: int) -> int:
    """The largest crowd that so many suffice for."""
    return max(1, (sockets - 8) * 8 // 9)
