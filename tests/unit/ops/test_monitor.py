"""Findings over time: their start, their events and their metrics."""

import asyncio
from dataclasses import replace
from itertools import pairwise

from prometheus_client import CollectorRegistry

from router.api.live_fleet import FleetWatch
from router.model import EventKind, Level, Source
from router.ops.findings import FindingKind
from router.ops.monitor import FindingsCollector, Monitor, recent_input
from router.routing.location import PlacedBy
from router.routing.response import Counts, Labels, Placement
from router.store.memory import MemoryStore
from router.telemetry.metrics import Telemetry
from tests.support.builders import NOW, a_ranker, a_view
from tests.support.clock import Clock

FAULT = Labels(code="500", region="", reason="fault", status="", scope="")


async def a_monitor(clock: Clock, counts: Counts) -> Monitor:
    store, telemetry = MemoryStore(), Telemetry()
    await store.publish(a_view())
    watch = FleetWatch(a_ranker(), store, telemetry, clock=clock)
    await watch.refresh()
    return Monitor(
        watch=watch,
        store=store,
        troubles=telemetry.troubles,
        counts=lambda: counts,
        geo_age_days=lambda: 0.0,
        clock=clock,
    )


def kinds(monitor: Monitor) -> list[FindingKind]:
    return [one.kind for one in asyncio.run(monitor.diagnose())]


def test_finding_without_a_time_starts_when_first_seen() -> None:
    clock, counts = Clock(), Counts()
    monitor = asyncio.run(a_monitor(clock, counts))
    assert kinds(monitor) == [FindingKind.NOTHING]
    counts.answers[FAULT] += 1
    first = asyncio.run(monitor.diagnose())[0]
    clock.now += 5
    assert (first.kind, first.since) == (FindingKind.FAULTS, NOW)
    assert asyncio.run(monitor.diagnose())[0].since == NOW


def test_findings_are_cached_until_fleet_second_or_counts_change() -> None:
    async def looks() -> list[bool]:
        clock, counts = Clock(), Counts()
        monitor = await a_monitor(clock, counts)
        found = [await monitor.diagnose(), await monitor.diagnose()]
        counts.answers[FAULT] += 1
        found.append(await monitor.diagnose())
        await monitor.watch.refresh()
        found.append(await monitor.diagnose())
        clock.now += 1
        found.append(await monitor.diagnose())
        return [one is other for one, other in pairwise(found)]

    assert asyncio.run(looks()) == [True, False, False, False]


def test_start_and_end_of_a_finding_are_events() -> None:
    async def run() -> list[tuple[str | None, str | None]]:
        monitor = await a_monitor(Clock(), counts)
        finding = replace((await monitor.diagnose())[0], kind=FindingKind.FAULTS)
        await monitor._log({}, {(FindingKind.FAULTS, ""): finding})
        await monitor._log({(FindingKind.FAULTS, ""): finding}, {})
        logged = [one.event for one in await monitor.store.events()]
        assert {event.kind for event in logged} == {EventKind.FINDING}
        return [(event.before, event.after) for event in logged]

    counts = Counts()
    assert asyncio.run(run()) == [("faults", "began"), ("faults", "ended")]


def test_findings_have_metrics_by_kind() -> None:
    counts = Counts()
    monitor = asyncio.run(a_monitor(Clock(), counts))
    counts.answers[FAULT] += 1
    registry = CollectorRegistry()
    registry.register(FindingsCollector(asyncio.run(monitor.diagnose())))
    assert registry.get_sample_value("autorouter_findings", {"kind": "faults"}) == 1
    assert registry.get_sample_value("autorouter_findings", {"kind": "down"}) == 0
    since = registry.get_sample_value("autorouter_finding_since_seconds", {"kind": "faults"})
    assert since == NOW


def test_counts_are_classified_for_the_diagnosis() -> None:
    refused = Labels("404", "", "no_edge_in_country", "", "", residency="refused")
    abroad = Labels("200", "yto-01", "no_edge_in_country", "ok", "country")
    unplaced = Placement(Source.NONE, Level.UNKNOWN, PlacedBy.PEER)
    known = Placement(Source.DATABASE, Level.CITY, PlacedBy.PEER)
    counts = Counts({FAULT: 2, refused: 3, abroad: 5}, {unplaced: 7, known: 11})
    found = recent_input(counts)
    assert (found["faults"], found["residency_refused"]) == (2, 3)
    assert (found["placed"], found["unplaced"], found["model_unavailable"]) == (18, 7, 0)


def test_restarted_server_keeps_the_start_of_findings() -> None:
    async def since_after_a_restart(*logged: str) -> float | None:
        clock, counts = Clock(), Counts()
        before = await a_monitor(clock, counts)
        counts.answers[FAULT] += 1
        for after in logged:
            (finding, *_) = await before.diagnose()
            await before.store.log_events([before._event(finding, after)])
            clock.now += 10
        counts = Counts()
        monitor = replace(await a_monitor(clock, counts), store=before.store)
        await monitor.diagnose()
        clock.now += 2
        counts.answers[FAULT] += 1
        first = (await monitor.diagnose())[0]
        assert first.kind is FindingKind.FAULTS
        return first.since

    assert asyncio.run(since_after_a_restart("began")) == NOW
    assert asyncio.run(since_after_a_restart("began", "ended")) == NOW + 22
