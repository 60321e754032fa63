"""A loop that raises or returns is reported and restarted after a growing delay."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from router.supervised import FIRST_WAIT_S, LAST_WAIT_S, LoopEndedError, keep_running
from tests.support.virtual_loop import run

STABLE_S = 30.0


@dataclass
class Observer:
    """Records its calls and their times."""

    failures: list[tuple[str, Exception, float]] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)

    def loop_failed(self, loop: str, error: Exception, wait_s: float) -> None:
        self.failures.append((loop, error, wait_s))

    def loop_recovered(self, loop: str) -> None:
        self.recoveries.append(asyncio.get_running_loop().time())

    @property
    def waits(self) -> list[float]:
        return [wait_s for _, _, wait_s in self.failures]


@dataclass
class Loop:
    """Runs for the next of `lives_s` at each start and calls `end`; the last run never ends."""

    lives_s: list[float]
    end: Callable[[], None] = lambda: None
    starts: list[float] = field(default_factory=list)

    async def run(self) -> None:
        self.starts.append(asyncio.get_running_loop().time())
        life_s = self.lives_s[len(self.starts) - 1 : len(self.starts)]
        await asyncio.sleep(life_s[0] if life_s else 1e6)
        self.end()


def observe(seconds: float, loop: Loop) -> Observer:
    """Returns the observer of a loop that was supervised for `seconds`."""
    observer = Observer()

    async def live() -> None:
        now = asyncio.get_running_loop().time
        running = asyncio.create_task(keep_running("a", loop.run, observer, monotonic=now))
        await asyncio.sleep(seconds)
        assert not running.done()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    run(live())
    return observer


def fail() -> None:
    raise ValueError("odd")


def test_loop_that_raises_is_reported_and_restarted() -> None:
    loop = Loop([1.0], fail)
    observer = observe(10, loop)
    ((name, error, wait_s),) = observer.failures
    assert (name, str(error), wait_s) == ("a", "odd", FIRST_WAIT_S)
    assert loop.starts == pytest.approx([0, 1 + FIRST_WAIT_S])


def test_loop_that_returns_is_a_failure() -> None:
    observer = observe(10, Loop([1.0]))
    assert [type(error) for _, error, _ in observer.failures] == [LoopEndedError]


def test_wait_doubles_up_to_its_limit() -> None:
    observer = observe(60, Loop([0.0] * 8, fail))
    assert observer.waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, LAST_WAIT_S, 5.0, 5.0])


def test_stable_run_resets_the_wait() -> None:
    observer = observe(200, Loop([0.0, 0.0, STABLE_S, 0.0], fail))
    assert observer.waits == pytest.approx([0.2, 0.4, 0.2, 0.4])


def test_short_run_does_not_reset_the_wait() -> None:
    observer = observe(200, Loop([0.0, STABLE_S - 1, 0.0], fail))
    assert observer.waits == pytest.approx([0.2, 0.4, 0.8])


def test_recovery_is_reported_once_the_loop_is_stable() -> None:
    loop = Loop([1.0], fail)
    observer = observe(200, loop)
    assert observer.recoveries == pytest.approx([loop.starts[1] + STABLE_S])


def test_recovery_of_a_loop_that_fails_again_is_not_reported() -> None:
    observer = observe(60, Loop([0.0] * 3 + [STABLE_S - 1] * 2, fail))
    assert observer.recoveries == []


def test_loop_that_never_fails_is_not_reported() -> None:
    observer = observe(200, Loop([]))
    assert (observer.failures, observer.recoveries) == ([], [])


def test_system_exit_is_not_caught() -> None:
    def leave() -> None:
        raise SystemExit(3)

    async def live() -> None:
        await keep_running("a", Loop([0.0], leave).run, Observer())

    with pytest.raises(SystemExit):
        run(live())
