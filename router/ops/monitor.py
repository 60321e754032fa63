"""Diagnoses this server every second. Stores when each finding began, logs an event when one begins
or ends, and exports all of them as metrics.
"""

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.api.live_fleet import FleetWatch
from router.errors import StoreError
from router.geo.feeds import FeedNote
from router.model import Catalog, Event, EventKind, Source, View
from router.ops.diagnosis import findings, headline
from router.ops.findings import LOGGED, Finding, FindingKind, Recent, Signs
from router.ops.public_probe import NAME as PUBLIC
from router.routing.fleet import Fleet
from router.routing.response import Counts, Shed
from router.store import Store
from router.telemetry.logs import lines
from router.telemetry.recent_counts import RecentCounts
from router.telemetry.troubles import Troubles

EVERY_S = 1.0
RECALL_S = 60.0  # how long after its start a server continues earlier findings

Key = tuple[FindingKind, str]

_LOGGED = frozenset(map(str, LOGGED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """`moved`: the share of viewers who would get another edge if all edges were up. `homes`: edge
    → the share of viewers that it would have then.
    """

    moved: float | None = None
    homes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisInput:
    """The input of a diagnosis. It is immutable, so any thread may read it."""

    fleet: Fleet
    views: Sequence[View]
    now: float
    signs: Signs
    catalog: Catalog

    def is_same(self, before: "DiagnosisInput") -> bool:
        """Whether both lead to the same findings."""
        return (
            self.fleet is before.fleet
            and self.views == before.views
            and self.catalog is before.catalog
            and int(self.now) == int(before.now)
            and self.signs == before.signs
        )


@dataclass(kw_only=True)
class Monitor:
    """One server's diagnosis. `workers` returns how many of `workers_wanted` answer; `on_event` is
    called with each event. `run` never returns; cancel it.
    """

    watch: FleetWatch
    store: Store
    troubles: Troubles
    counts: Callable[[], Counts]
    geo_age_days: Callable[[], float]
    feeds: Callable[[], Sequence[FeedNote]] = tuple
    workers: Callable[[], int] = lambda: 1
    workers_wanted: int = 1
    on_event: Callable[[Event], None] = lambda _: None
    clock: Callable[[], float] = time.time
    outlook: Outlook = Outlook()

    def __post_init__(self) -> None:
        self._started_at = self.clock()
        self._since: dict[Key, float] = {}
        self._is_loaded = False
        self._looking = asyncio.Lock()
        self._last: DiagnosisInput | None = None
        self._found: list[Finding] = []
        self.tally: RecentCounts[str] = RecentCounts(lambda: recent_input(self.counts()))

    async def run(self) -> None:
        """Diagnose every second, and log findings that begin or end."""
        known: dict[Key, Finding] = {}
        while True:
            await asyncio.sleep(EVERY_S)
            now = {_key(one): one for one in await self.diagnose() if one.kind in LOGGED}
            await self._log(known, now)
            known = now

    async def diagnose(self) -> list[Finding]:
        """All present findings, each with its start. A thread computes them if the input changed
        since the last call.
        """
        async with self._looking:
            await self._load_open_findings()
            seen = self._input()
            if self._last is None or not seen.is_same(self._last):
                self._found, self._since = await asyncio.to_thread(
                    _find_with_starts, seen, self._since
                )
                self._last = seen
        return self._found

    async def _load_open_findings(self) -> None:
        """After a restart, load the starts of findings that this host logged and that did not
        end.
        """
        if self._is_loaded or self.clock() - self._started_at > RECALL_S:
            return
        with contextlib.suppress(StoreError):
            logged = await self.store.events()
            self._since = _open_findings([one.event for one in logged], socket.gethostname())
            self._is_loaded = True

    def _input(self) -> "DiagnosisInput":
        return DiagnosisInput(
            fleet=self.watch.fleet,
            views=self.watch.published or self.watch.stored.views,
            now=self.clock(),
            signs=self.signs(),
            catalog=self.watch.ranker.catalog,
        )

    def headline(self, found: Sequence[Finding]) -> str:
        """The findings in one sentence."""
        signs = self.signs() if self._last is None else self._last.signs
        return headline(self.watch.fleet, found, signs)

    def signs(self) -> Signs:
        """The input of the diagnosis besides the fleet."""
        error = self.watch.store_error
        self.troubles.note("store", None if error is None else str(error))
        recent = self.tally.recent()
        return Signs(
            geo_age_days=self.geo_age_days(),
            feeds=self.feeds(),
            store=self.troubles.get("store"),
            store_values=self.troubles.get("store_values"),
            reload=self.troubles.get("reload"),
            purges=self.troubles.starting_with("purge "),
            loops=self.troubles.starting_with("loop "),
            state_dir=self.troubles.get("state_dir"),
            log_stalled=lines.is_stalled,
            public=self.troubles.get(PUBLIC),
            recent=Recent(**{name: recent.get(name, 0) for name in _COUNTED}),
            workers=self.workers(),
            workers_wanted=self.workers_wanted,
            moved=self.outlook.moved,
            homes=self.outlook.homes,
            age_s=float(int(self.clock() - self._started_at)),
        )

    async def _log(self, before: Mapping[Key, Finding], now: Mapping[Key, Finding]) -> None:
        events = [self._event(one, "began") for key, one in now.items() if key not in before]
        events += [self._event(one, "ended") for key, one in before.items() if key not in now]
        for event in events:
            self.on_event(event)
        if events:
            with contextlib.suppress(StoreError):
                await self.store.log_events(events)

    def _event(self, one: Finding, after: str) -> Event:
        return Event(
            at=self.clock(),
            kind=EventKind.FINDING,
            before=str(one.kind),
            after=after,
            reason=one.title,
            actor=socket.gethostname(),
        )


def _key(finding: Finding) -> Key:
    return finding.kind, finding.subject


def _open_findings(events: Sequence[Event], host: str) -> dict[Key, float]:
    """When the findings about the whole server that have not ended began. Findings about one edge
    or vantage are left out, because they have their own `since`.
    """
    began: dict[Key, float] = {}
    for event in events:
        if event.kind is EventKind.FINDING and event.actor == host and event.before in _LOGGED:
            key = FindingKind(event.before), ""
            if event.after == "began":
                began.setdefault(key, event.at)
            else:
                began.pop(key, None)
    return began


def _find_with_starts(
    seen: DiagnosisInput, since: Mapping[Key, float]
) -> tuple[list[Finding], dict[Key, float]]:
    """The findings, and when each was first seen. This time is the `since` of a finding that has
    none.
    """
    found = findings(
        seen.fleet,
        seen.views,
        now=seen.now,
        signs=seen.signs,
        names={code: one.name for code, one in seen.catalog.countries.items()},
        models=_missing_models(seen.fleet, seen.catalog),
    )
    first = {_key(one): since.get(_key(one), seen.now) for one in found}
    if seen.signs.age_s < RECALL_S:
        first = {**since, **first}  # a restarted server may find these again soon
    dated = [
        one
        if one.since is not None or one.kind is FindingKind.NOTHING
        else replace(one, since=first[_key(one)])
        for one in found
    ]
    return dated, first


def _missing_models(fleet: Fleet, catalog: Catalog) -> list[str]:
    """Models that regions.yaml names and no edge has; empty while an inventory is unknown."""
    loaded: set[str] = set()
    for edge in fleet.edges:
        if edge.models is None:
            return []
        loaded |= edge.models
    return sorted(set(catalog.aliases.values()) - loaded)


_COUNTED = tuple(Recent.__dataclass_fields__)


def recent_input(counts: Counts) -> Counter[str]:
    """The counts that a diagnosis needs. The keys are the fields of Recent."""
    found: Counter[str] = Counter()
    for labels, count in counts.answers.items():
        found["faults"] += count * (labels.reason == "fault")
        found["residency_refused"] += count * (labels.residency == "refused")
        found["model_unavailable"] += count * (labels.reason == "model_unavailable")
    for placement, count in counts.placements.items():
        found["placed"] += count
        found["unplaced"] += count * (placement.source is Source.NONE)
    found["routes"] = found["placed"]
    found["connections_refused"] = counts.shed.get(Shed.REFUSED, 0)
    return found


class FindingsCollector(Collector):
    """The findings as metrics: the number of each kind, and the start of the oldest."""

    def __init__(self, found: Sequence[Finding]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        listed = [one for one in self._found if one.kind is not FindingKind.NOTHING]
        count = Counter(one.kind for one in listed)
        number = GaugeMetricFamily(
            "autorouter_findings", "Findings of the diagnosis, by kind", labels=["kind"]
        )
        for kind in FindingKind:
            if kind is not FindingKind.NOTHING:
                number.add_metric([kind], count[kind])
        yield number
        since = GaugeMetricFamily(
            "autorouter_finding_since_seconds",
            "Unix time when the oldest finding of a kind began",
            labels=["kind"],
        )
        for kind in count:
            times = [one.since for one in listed if one.kind is kind and one.since is not None]
            if times:
                since.add_metric([kind], min(times))
        yield since
