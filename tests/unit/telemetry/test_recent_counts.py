"""What was counted lately; time is a number."""

from collections import Counter
from dataclasses import dataclass, field

import pytest

from router.telemetry.recent_counts import STEP_S, WINDOW_S, RecentCounts


@dataclass
class Till:
    """A counter, and a clock for it."""

    counts: Counter[str] = field(default_factory=Counter)
    now: float = 0.0

    def tally(self) -> RecentCounts[str]:
        return RecentCounts(lambda: self.counts, clock=lambda: self.now)


def pass_time(till: Till, tally: RecentCounts[str], seconds: float) -> None:
    """As `run` does it."""
    for _ in range(int(seconds // STEP_S)):
        till.now += STEP_S
        tally.note()


def test_nothing_is_counted_before_it_begins() -> None:
    till = Till(Counter(a=7))
    assert till.tally().recent() == {}


def test_what_came_since_is_counted_at_once() -> None:
    till = Till(Counter(a=7))
    tally = till.tally()
    till.counts += Counter(a=1, b=2)
    assert tally.recent() == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("age_s", "counted"), [(WINDOW_S - STEP_S, True), (WINDOW_S + STEP_S, False)]
)
def test_what_is_older_than_the_window_is_forgotten(age_s: float, counted: bool) -> None:
    till = Till()
    tally = till.tally()
    till.counts["a"] += 1
    pass_time(till, tally, age_s)
    till.counts["b"] += 1
    assert tally.recent() == ({"a": 1, "b": 1} if counted else {"b": 1})


def test_memory_is_bounded() -> None:
    till = Till()
    tally = till.tally()
    pass_time(till, tally, 10 * WINDOW_S)
    assert len(tally._kept) <= WINDOW_S / STEP_S + 2


def test_counter_that_began_anew_counts_nothing_below_zero() -> None:
    till = Till(Counter(a=7))
    tally = till.tally()
    till.counts = Counter(a=2, b=1)
    assert tally.recent() == {"b": 1}
