"""Two minutes of the soak test, and tests of its checks."""

from collections import Counter

import pytest

from tests.support.site.fleet import Pace
from tests.support.site.soak import (
    FaultLog,
    Usage,
    is_sent_abroad,
    known_broken,
    leaks,
    noticed_from,
    run,
)
from tests.support.site.viewers import an_answer

pytestmark = pytest.mark.anyio


def usages(*memory_mb: float, files: int = 20) -> list[Usage]:
    return [Usage(at=at * 5.0, memory_mb=mb, files=files) for at, mb in enumerate(memory_mb)]


async def test_two_minutes_of_faults_break_no_promise() -> None:
    result = await run(2, seed=37, pace=Pace(interval_s=0.5, slack_s=3.0))
    assert result.breaches == []
    assert set(result.codes) == {200}
    assert min(result.answers, result.telling, result.strangers) > 100
    assert min(result.answers_by_cdn, result.telling_by_cdn) > 100
    kinds = Counter(name.split()[0] for name in result.faults)
    assert set(kinds) == {"edges", "geo", "poller", "redis", "regions"}


def test_edge_must_be_known_broken_after_the_detection_time() -> None:
    faults = FaultLog(seed=1, broken=[("nyc-01", 80.0, 120.0), ("dal-01", 95.0, 120.0)])
    assert known_broken(100.0, faults, caught_s=10.0) == {"nyc-01"}
    assert known_broken(119.0, faults, caught_s=10.0) == {"nyc-01", "dal-01"}
    assert known_broken(121.0, faults, caught_s=10.0) == set()


def test_disturbed_time_does_not_count() -> None:
    assert noticed_from(80.0, 100.0, [(70.0, 79.0), (101.0, 110.0)]) == 80.0
    assert noticed_from(80.0, 100.0, [(70.0, 85.0), (82.0, 84.0)]) == 85.0
    assert noticed_from(80.0, 100.0, [(99.0, 130.0)]) == 130.0


def test_answer_with_an_edge_abroad_is_detected() -> None:
    abroad = ("nyc-01", "yto-01")
    assert not is_sent_abroad(an_answer())
    assert is_sent_abroad(an_answer(named=abroad))
    assert not is_sent_abroad(an_answer(named=abroad, address="128.100.1.1"))


def test_growth_is_detected_and_a_spike_is_not() -> None:
    steady = [100.0] * 30
    grown = [100.0 + 3 * number for number in range(30)]
    spiky = [*steady[:28], 900.0, *steady[28:]]
    assert leaks({"main": usages(*steady), "worker": usages(*spiky)}) == []
    (line,) = leaks({"main": usages(*steady), "worker": usages(*grown)})
    assert line.startswith("worker grew by ")


def test_more_open_files_are_detected() -> None:
    before, after = usages(*[100.0] * 20), usages(*[100.0] * 10, files=90)
    assert leaks({"main": before + after}) == ["main opened 70 files more"]
