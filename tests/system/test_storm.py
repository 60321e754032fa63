"""A short run of the storm test, and tests of its checks."""

from dataclasses import replace
from itertools import combinations
from random import Random

import pytest

from tests.support.site.fleet import Pace
from tests.support.site.storm import Round, breaches, counters, covering, is_wrong, run
from tests.support.site.viewers import an_answer

pytestmark = pytest.mark.anyio

ROUND = Round(
    faults=("redis hung",), edges=("nyc-01",), answers=500, late=50, wrong=0, unusable=0,
    statuses={"ok": 500}, healed_s=3.0, signals=("finding store",),
)  # fmt: skip


FAULTS = ("names fail", "redis demoted", "state folder hung", "worker hung")


async def test_short_storm_breaks_no_promise() -> None:
    """One round of half a minute. Its faults do not hide each other."""
    pace = Pace(interval_s=0.5, slack_s=2.0)
    rounds = [one async for one in run(37, [FAULTS], pace)]
    assert breaches(rounds) == []
    assert all(one.late > 20 for one in rounds)
    expected = {"finding down", "finding state_dir", "autorouter_child_ends_total worker"}
    assert expected <= set(rounds[0].signals)


def test_covering_sets_contain_every_pair() -> None:
    names = [f"fault {number}" for number in range(9)]
    sets = covering(names, 4, Random(1))
    met = {pair for one in sets for pair in combinations(one, 2)}
    assert met == set(combinations(names, 2))
    assert len(sets) < 12


def test_answer_is_wrong_if_it_names_a_broken_edge_as_ok() -> None:
    assert is_wrong(an_answer(), ["dal-01"])
    assert not is_wrong(an_answer(), ["yto-01"])
    assert not is_wrong(an_answer(status="stale"), ["dal-01"])


@pytest.mark.parametrize(
    "change", [{"wrong": 1}, {"unusable": 1}, {"healed_s": None}, {"signals": ()}], ids=str
)
def test_each_broken_promise_is_a_breach(change: dict[str, object]) -> None:
    assert breaches([ROUND]) == []
    (line,) = breaches([replace(ROUND, **change)])  # type: ignore[arg-type]
    assert line.startswith("redis hung: ")


def test_counters_of_faults_are_found_by_their_first_label() -> None:
    text = (
        "# TYPE autorouter_store_reads_total counter\n"
        'autorouter_store_reads_total{result="ok"} 9\n'
        'autorouter_store_reads_total{result="error"} 2\n'
    )
    assert list(counters(text)) == [("autorouter_store_reads_total error", 2.0)]
