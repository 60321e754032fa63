"""Who stays and who goes when there are too many."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from router.api.connection_limit import LOOK_AGAIN_S, PATIENCE_S, Crowd, limit_for, sockets_for
from router.routing.response import Shed

NOW = 1_000.0


@dataclass(eq=False)
class Someone:
    """A connection that has let us wait since then, or not at all."""

    waiting_since: float | None = NOW
    is_gone: bool = False

    def hang_up(self) -> None:
        self.is_gone = True


def a_crowd(*members: Someone) -> Crowd:
    """A full one."""
    crowd = Crowd(len(members))
    for one in members:
        assert crowd.admit(one, NOW)
    return crowd


def gone(people: Sequence[Someone]) -> list[int]:
    return [number for number, one in enumerate(people) if one.is_gone]


def test_longest_wait_makes_room_for_a_newcomer() -> None:
    people = [Someone(NOW - ago_s) for ago_s in (1.0, 0.1, 9.0, 3.0)]
    crowd = a_crowd(*people)
    assert crowd.admit(Someone(), NOW)
    assert (gone(people), len(crowd), crowd.shed) == ([2], 4, {Shed.HUNG_UP: 1})


def test_many_make_room_at_once_where_there_are_many() -> None:
    people = [Someone(NOW - 1_000 + number) for number in range(800)]
    crowd = a_crowd(*people)
    crowd.admit(Someone(), NOW)
    assert gone(people) == list(range(51))


def test_who_we_let_wait_stays() -> None:
    people = [Someone(None), Someone(None)]
    assert not a_crowd(*people).admit(Someone(), NOW)
    assert gone(people) == []


def test_who_came_just_now_stays() -> None:
    people = [Someone(NOW - 0.9 * PATIENCE_S)]
    crowd = a_crowd(*people)
    assert not crowd.admit(Someone(), NOW)
    assert crowd.admit(Someone(), NOW + LOOK_AGAIN_S)
    assert gone(people) == [0]


def test_look_that_helped_nobody_is_not_repeated_for_each_newcomer() -> None:
    looks = []

    class Counting(Someone):
        def __getattribute__(self, name: str) -> object:
            if name == "waiting_since":
                looks.append(self)
            return super().__getattribute__(name)

    crowd = a_crowd(Counting(None))
    for number in range(50):
        crowd.admit(Someone(), NOW + number * LOOK_AGAIN_S / 50)
    assert len(looks) == 1


def test_there_are_never_more_sockets_than_planned() -> None:
    crowd = a_crowd(*(Someone() for _ in range(80)))
    refused = [Someone() for _ in range(50)]
    assert not any(crowd.admit(one, NOW) for one in refused)
    left = sockets_for(80) - 80
    assert gone(refused) == list(range(50 - left))
    assert crowd.shed == {Shed.REFUSED: 50}


def test_place_of_who_left_is_free() -> None:
    first, refused = Someone(), Someone()
    crowd = a_crowd(first)
    assert not crowd.admit(refused, NOW)
    crowd.leave(refused)
    crowd.leave(first)
    assert len(crowd) == 0
    assert crowd.admit(Someone(), NOW)


@given(st.integers(17, 2_000_000))
def test_crowd_fits_into_its_sockets(sockets: int) -> None:
    limit = limit_for(sockets)
    assert sockets_for(limit) <= sockets < sockets_for(limit + 2)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=200))
def test_crowd_is_never_larger_than_its_limit(steps: list[tuple[bool, float]]) -> None:
    crowd, here, now = Crowd(5), [], NOW
    for comes, passes_s in steps:
        now += passes_s
        newcomer = Someone(now)
        if comes and crowd.admit(newcomer, now):
            here.append(newcomer)
        elif here and not comes:
            crowd.leave(here.pop())
        here = [one for one in here if not one.is_gone]
        assert len(here) == len(crowd) <= crowd.limit
