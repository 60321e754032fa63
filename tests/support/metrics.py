"""The names, types and labels of the metrics, read from the code."""

from dataclasses import dataclass

from prometheus_client.metrics import MetricWrapperBase

from router.errors import StoreError
from router.model import Level, Source, View
from router.ops.findings import Finding, FindingKind, Grade
from router.ops.monitor import FindingsCollector
from router.routing.fleet import Fleet
from router.routing.location import PlacedBy
from router.routing.response import Counts, Labels, Placement
from router.telemetry.collector import ServerCollector
from router.telemetry.metrics import Telemetry
from tests.support.builders import NOW, a_fleet, a_view


@dataclass
class Watched:
    """The fleet that a collector reads, as `FleetWatch` provides it."""

    fleet: Fleet
    published: tuple[View, ...] = ()
    store_error: StoreError | None = None


def a_collector(watch: Watched, counts: Counts | None = None) -> ServerCollector:
    return ServerCollector(
        counts=lambda: Counts() if counts is None else counts,
        watch=watch,
        geo_built_at=lambda: NOW - 86_400,
        workers=lambda: 1,
        workers_wanted=2,
        clock=lambda: NOW,
    )


def metrics_in_code() -> dict[str, tuple[str, set[str]]]:
    """Name → (type, labels) of each metric in a server's registry."""
    telemetry = Telemetry()
    found = {
        collector._name + ("_total" if collector._type == "counter" else ""): (
            str(collector._type),
            set(collector._labelnames),
        )
        for collector in telemetry.registry._collector_to_names
        if isinstance(collector, MetricWrapperBase)
    }
    counts = Counts(
        {Labels(code="200", region="a", reason="b", status="c", scope="d"): 1},
        {Placement(Source.DATABASE, Level.CITY, PlacedBy.PEER): 1},
    )
    trouble = Finding(
        grade=Grade.ALARM, kind=FindingKind.DOWN, title="", meaning="", action="", since=NOW
    )
    families = [
        *a_collector(Watched(a_fleet(), (a_view(),)), counts).collect(),
        *FindingsCollector([trouble]).collect(),
    ]
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = (family.type, {label for one in family.samples for label in one.labels})
    return found
