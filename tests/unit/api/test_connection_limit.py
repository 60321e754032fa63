"""Which connections are closed or rejected when there are too many, or they hold too much."""

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
class Someone:
    """A connection that made progress then; None: we work on its answer."""

    progress_at: float | None = NOW
    is_gone: bool = False

    def abort(self) -> None:
        self.is_gone = True


def a_limit(*members: Someone) -> ConnectionLimit:
    """A limit that is reached."""
    limit = ConnectionLimit(len(members))
    for one in members:
        assert limit.admit(one, NOW)
    return limit


def gone(people: Sequence[Someone]) -> list[int]:
    return [number for number, one in enumerate(people) if one.is_gone]


def test_longest_wait_makes_room_for_a_newcomer() -> None:
    people = [Someone(NOW - ago_s) for ago_s in (1.0, 0.1, 9.0, 3.0)]
    limit = a_limit(*people)
    assert limit.admit(Someone(), NOW)
    assert (gone(people), len(limit), limit.shed) == ([2], 4, {Shed.HUNG_UP: 1})


def test_many_make_room_at_once_where_there_are_many() -> None:
    people = [Someone(NOW - 1_000 + number) for number in range(800)]
    limit = a_limit(*people)
    limit.admit(Someone(), NOW)
    assert gone(people) == list(range(51))


def test_who_we_let_wait_stays() -> None:
    people = [Someone(None), Someone(None)]
    assert not a_limit(*people).admit(Someone(), NOW)
    assert gone(people) == []


def test_who_came_just_now_stays() -> None:
    people = [Someone(NOW - 0.9 * MIN_WAIT_S)]
    limit = a_limit(*people)
    assert not limit.admit(Someone(), NOW)
    assert limit.admit(Someone(), NOW + RETRY_SCAN_S)
    assert gone(people) == [0]


def test_look_that_helped_nobody_is_not_repeated_for_each_newcomer() -> None:
    looks = []

    class Counting(Someone):
        def __getattribute__(self, name: str) -> object:
            if name == "progress_at":
                looks.append(self)
            return super().__getattribute__(name)

    limit = a_limit(Counting(None))
    for number in range(50):
        limit.admit(Someone(), NOW + number * RETRY_SCAN_S / 50)
    assert len(looks) == 1


def test_there_are_never_more_sockets_than_planned() -> None:
    limit = a_limit(*(Someone() for _ in range(80)))
    refused = [Someone() for _ in range(50)]
    assert not any(limit.admit(one, NOW) for one in refused)
    left = sockets_for(80) - 80
    assert gone(refused) == list(range(50 - left))
    assert limit.shed == {Shed.REFUSED: 50}


def test_place_of_who_left_is_free() -> None:
    first, refused = Someone(), Someone()
    limit = a_limit(first)
    assert not limit.admit(refused, NOW)
    limit.leave(refused)
    limit.leave(first)
    assert len(limit) == 0
    assert limit.admit(Someone(), NOW)


@given(st.integers(17, 2_000_000))
def test_limit_fits_into_its_sockets(sockets: int) -> None:
    limit = limit_for(sockets)
    assert sockets_for(limit) <= sockets < sockets_for(limit + 2)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=200))
def test_limit_is_never_larger_than_its_limit(steps: list[tuple[bool, float]]) -> None:
    limit, here, now = ConnectionLimit(5), [], NOW
    for comes, passes_s in steps:
        now += passes_s
        newcomer = Someone(now)
        if comes and limit.admit(newcomer, now):
            here.append(newcomer)
        elif here and not comes:
            limit.leave(here.pop())
        here = [one for one in here if not one.is_gone]
        assert len(here) == len(limit) <= limit.limit


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=200))
def test_budget_is_kept_and_the_largest_go(steps: list[tuple[int, int]]) -> None:
    budget, shed = MemoryBudget(limit_bytes=100), Counter[str]()
    people = [Someone() for _ in range(10)]
    held = dict.fromkeys(range(10), 0)
    for number, size in steps:
        if number not in held:
            continue
        held[number] = size
        budget.hold(people[number], size, shed)
        closed = [held.pop(one) for one in gone(people) if one in held]
        assert min(closed, default=100) >= max(held.values(), default=0)
        assert budget.held_bytes == sum(held.values()) <= 100
    assert shed[Shed.MEMORY] == len(gone(people))


def test_nobody_is_closed_within_the_budget() -> None:
    limit = ConnectionLimit(3, MemoryBudget(limit_bytes=100))
    people = [Someone() for _ in range(3)]
    for one in people:
        limit.hold(one, 33)
    limit.hold(people[0], 34)
    assert gone(people) == []
    limit.leave(people[1])
    limit.hold(people[2], 66)
    assert gone(people) == []
    limit.hold(people[0], 35)
    assert gone(people) == [2]
