"""Counts within a time window."""

from collections import Counter
from dataclasses import dataclass, field

import pytest

from router.telemetry.recent_counts import STEP_S, WINDOW_S, RecentCounts


@dataclass
class Source:
    """A counter and its clock."""

    counts: Counter[str] = field(default_factory=Counter)
    now: float = 0.0

    def tally(self) -> RecentCounts[str]:
        return RecentCounts(lambda: self.counts, clock=lambda: self.now)


def pass_time(source: Source, tally: RecentCounts[str], seconds: float) -> None:
    """Advance the clock in steps, as `run` does."""
    for _ in range(int(seconds // STEP_S)):
        source.now += STEP_S
        tally.note()


def test_counts_before_the_start_are_ignored() -> None:
    source = Source(Counter(a=7))
    assert source.tally().recent() == {}


def test_new_counts_are_included_at_once() -> None:
    source = Source(Counter(a=7))
    tally = source.tally()
    source.counts += Counter(a=1, b=2)
    assert tally.recent() == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("age_s", "counted"), [(WINDOW_S - STEP_S, True), (WINDOW_S + STEP_S, False)]
)
def test_counts_older_than_the_window_are_dropped(age_s: float, counted: bool) -> None:
    source = Source()
    tally = source.tally()
    source.counts["a"] += 1
    pass_time(source, tally, age_s)
    source.counts["b"] += 1
    assert tally.recent() == ({"a": 1, "b": 1} if counted else {"b": 1})


def test_memory_is_bounded() -> None:
    source = Source()
    tally = source.tally()
    pass_time(source, tally, 10 * WINDOW_S)
    assert len(tally._kept) <= WINDOW_S / STEP_S + 2


def test_reset_counter_gives_no_negative_count() -> None:
    source = Source(Counter(a=7))
    tally = source.tally()
    source.counts = Counter(a=2, b=1)
    assert tally.recent() == {"b": 1}
