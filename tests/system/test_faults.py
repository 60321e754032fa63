"""What viewers get while edges, pollers and Redis fail: the quick scenarios, with real processes
and a short poll interval. Some scenarios run at the same time."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from router.model import Check
from router.processes.simulated_edges import Mode
from tests.support.site.fault_run import Result, run
from tests.support.site.fleet import Pace
from tests.support.site.scenarios import (
    SCENARIOS,
    Scenario,
    broken,
    hang_redis,
    load_redis,
    pause_leader,
)

pytestmark = pytest.mark.anyio

PACE = Pace(interval_s=0.5, slack_s=3.0)
USUAL = {scenario.name: scenario for scenario in SCENARIOS}

SOME_KINDS = broken(
    "some-kinds",
    {
        "yto-01": Mode.DOWN,
        "yul-01": Mode.HTML,
        "nyc-01": Mode.RESET,
        "dal-01": Mode.HANG,
        "sfo-01": Mode.REDIRECT,
    },
    Check().timeout_s,
)
OTHER_KINDS = broken(
    "other-kinds",
    {
        "yto-02": Mode.ERROR,
        "yul-02": Mode.GARBAGE,
        "nyc-02": Mode.HUGE,
        "dal-02": Mode.TRICKLE,
        "yvr-02": Mode.UNHEALTHY,
    },
    Check().timeout_s,
)


async def broken_promises(*wanted: tuple[Scenario, int]) -> dict[str, list[str]]:
    """Run scenarios at the same time, each with this number of vantages. Returns scenario →
    broken promises."""
    results: list[Result] = await asyncio.gather(
        *(run(scenario, vantages, PACE, servers=1) for scenario, vantages in wanted)
    )
    return {one.scenario: one.breaches for one in results if one.breaches or not one.answers}


async def test_detected_broken_edges_are_in_no_answer() -> None:
    assert (
        await broken_promises(
            (SOME_KINDS, 1), (OTHER_KINDS, 2), (USUAL["slow"], 1), (USUAL["expired-certificate"], 1)
        )
        == {}
    )


async def test_mass_failure_and_broken_vantage_are_distinguished() -> None:
    assert (
        await broken_promises(
            (USUAL["mass-100-doubted"], 1),
            (USUAL["mass-100"], 2),
            (USUAL["monitor-broken"], 3),
            (USUAL["split-vote"], 3),
        )
        == {}
    )


async def test_dead_or_hung_pollers_are_replaced_or_outvoted() -> None:
    paused = replace(
        USUAL["poller-paused-another-takes-over"], act=partial(pause_leader, pause_s=6)
    )
    assert (
        await broken_promises(
            (USUAL["poller-killed"], 2),
            (USUAL["poller-killed"], 3),
            (USUAL["poller-killed-another-stands-by"], 1),
            (paused, 1),
        )
        == {}
    )


async def test_unavailable_redis_does_not_affect_answers() -> None:
    hung = replace(USUAL["redis-hung"], act=partial(hang_redis, hang_s=6))
    loading = replace(USUAL["redis-loading"], act=partial(load_redis, keys=1_500))
    assert (
        await broken_promises(
            (hung, 1),
            (loading, 1),
            (USUAL["redis-emptied"], 1),
            (USUAL["restart-without-redis"], 1),
        )
        == {}
    )
