"""Which connections are closed or rejected above the limits of count and memory."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from router.api.connection_limit import (
    MIN_WAIT_S,
    RETRY_SCAN_S,
    ConnectionLimit,
    MemoryBudget,
    limit_for,
    sockets_for,
)
from router.routing.response import Shed

NOW = 1_000.0


@dataclass(eq=False)
class FakeConnection:
    """A connection; `progress_at` is None while the server works on its answer."""

    progress_at: float | None = NOW
    is_aborted: bool = False

    def abort(self) -> None:
        self.is_aborted = True


def a_limit(*members: FakeConnection) -> ConnectionLimit:
    """A limit that is reached."""
    limit = ConnectionLimit(len(members))
    for one in members:
        assert limit.admit(one, NOW)
    return limit


def aborted(connections: Sequence[FakeConnection]) -> list[int]:
    return [number for number, one in enumerate(connections) if one.is_aborted]


def test_longest_waiting_connection_is_closed_for_a_new_one() -> None:
    connections = [FakeConnection(NOW - ago_s) for ago_s in (1.0, 0.1, 9.0, 3.0)]
    limit = a_limit(*connections)
    assert limit.admit(FakeConnection(), NOW)
    assert (aborted(connections), len(limit), limit.shed) == ([2], 4, {Shed.HUNG_UP: 1})


def test_many_connections_are_closed_at_once_at_a_large_limit() -> None:
    connections = [FakeConnection(NOW - 1_000 + number) for number in range(800)]
    limit = a_limit(*connections)
    limit.admit(FakeConnection(), NOW)
    assert aborted(connections) == list(range(51))


def test_connection_that_awaits_our_answer_is_kept() -> None:
    connections = [FakeConnection(None), FakeConnection(None)]
    assert not a_limit(*connections).admit(FakeConnection(), NOW)
    assert aborted(connections) == []


def test_connection_with_recent_progress_is_kept() -> None:
    connections = [FakeConnection(NOW - 0.9 * MIN_WAIT_S)]
    limit = a_limit(*connections)
    assert not limit.admit(FakeConnection(), NOW)
    assert limit.admit(FakeConnection(), NOW + RETRY_SCAN_S)
    assert aborted(connections) == [0]


def test_scan_without_result_is_not_repeated_at_once() -> None:
    reads = []

    class Counting(FakeConnection):
        def __getattribute__(self, name: str) -> object:
            if name == "progress_at":
                reads.append(self)
            return super().__getattribute__(name)

    limit = a_limit(Counting(None))
    for number in range(50):
        limit.admit(FakeConnection(), NOW + number * RETRY_SCAN_S / 50)
    assert len(reads) == 1


def test_number_of_sockets_is_bounded() -> None:
    limit = a_limit(*(FakeConnection() for _ in range(80)))
    rejected = [FakeConnection() for _ in range(50)]
    assert not any(limit.admit(one, NOW) for one in rejected)
    left = sockets_for(80) - 80
    assert aborted(rejected) == list(range(50 - left))
    assert limit.shed == {Shed.REFUSED: 50}


def test_closed_connection_frees_its_place() -> None:
    first, rejected = FakeConnection(), FakeConnection()
    limit = a_limit(first)
    assert not limit.admit(rejected, NOW)
    limit.leave(rejected)
    limit.leave(first)
    assert len(limit) == 0
    assert limit.admit(FakeConnection(), NOW)


@given(st.integers(17, 2_000_000))
def test_limit_fits_into_its_sockets(sockets: int) -> None:
    limit = limit_for(sockets)
    assert sockets_for(limit) <= sockets < sockets_for(limit + 2)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=200))
def test_limit_is_never_exceeded(steps: list[tuple[bool, float]]) -> None:
    limit, admitted, now = ConnectionLimit(5), [], NOW
    for comes, passes_s in steps:
        now += passes_s
        new = FakeConnection(now)
        if comes and limit.admit(new, now):
            admitted.append(new)
        elif admitted and not comes:
            limit.leave(admitted.pop())
        admitted = [one for one in admitted if not one.is_aborted]
        assert len(admitted) == len(limit) <= limit.limit


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=200))
def test_largest_holders_are_closed_to_keep_the_budget(steps: list[tuple[int, int]]) -> None:
    budget, shed = MemoryBudget(limit_bytes=100), Counter[str]()
    connections = [FakeConnection() for _ in range(10)]
    held = dict.fromkeys(range(10), 0)
    for number, size in steps:
        if number not in held:
            continue
        held[number] = size
        budget.hold(connections[number], size, shed)
        closed = [held.pop(one) for one in aborted(connections) if one in held]
        assert min(closed, default=100) >= max(held.values(), default=0)
        assert budget.held_bytes == sum(held.values()) <= 100
    assert shed[Shed.MEMORY] == len(aborted(connections))


def test_no_connection_is_closed_within_the_budget() -> None:
    limit = ConnectionLimit(3, MemoryBudget(limit_bytes=100))
    connections = [FakeConnection() for _ in range(3)]
    for one in connections:
        limit.hold(one, 33)
    limit.hold(connections[0], 34)
    assert aborted(connections) == []
    limit.leave(connections[1])
    limit.hold(connections[2], 66)
    assert aborted(connections) == []
    limit.hold(connections[0], 35)
    assert aborted(connections) == [2]
