"""Metrics that are computed when they are scraped, from the state of the server."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.errors import StoreError
from router.model import Intended, Observed, Status, View
from router.routing.fleet import Fleet, is_offered
from router.routing.response import Counts, Labels, Placement, Shed


class Watch(Protocol):
    """The state of the fleet; see router.api.live_fleet."""

    fleet: Fleet
    published: tuple[View, ...]
    store_error: StoreError | None


@dataclass(kw_only=True, eq=False)
class ServerCollector(Collector):
    """Metrics of a server with all its workers. `workers`: how many of `workers_wanted` answer now;
    `geo_built_at`: Unix seconds.
    """

    counts: Callable[[], Counts]
    watch: Watch
    geo_built_at: Callable[[], float]
    workers: Callable[[], int]
    workers_wanted: int
    clock: Callable[[], float]
    lines_dropped: Callable[[], int] = int

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        return self.moment().collect()

    def moment(self) -> "ServerMoment":
        """A copy of the current state, which a thread may collect."""
        return ServerMoment(
            counts=_copy(self.counts()),
            fleet=self.watch.fleet,
            views=self.watch.published,
            is_store_read=self.watch.store_error is None,
            geo_built_at=self.geo_built_at(),
            workers=self.workers(),
            workers_wanted=self.workers_wanted,
            lines_dropped=self.lines_dropped(),
            now=self.clock(),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServerMoment(Collector):
    """The state of a server at one moment. It is immutable, so a thread can collect it: with 500
    edges that takes too long for the event loop.
    """

    counts: Counts
    fleet: Fleet
    views: tuple[View, ...]
    is_store_read: bool
    geo_built_at: float
    workers: int
    workers_wanted: int
    lines_dropped: int
    now: float

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        seen_at = self.fleet.seen_at
        yield from _traffic(self.counts)
        yield _status(self.fleet.status)
        if seen_at is not None:
            yield _gauge("fleet_age_seconds", "Age of the newest view in use", self.now - seen_at)
        yield _gauge(
            "geo_age_seconds", "Time since the geo database was built", self.now - self.geo_built_at
        )
        yield _gauge("last_store_read_ok", "0 while the store cannot be read", self.is_store_read)
        yield _gauge("workers", "Worker processes that answer", self.workers)
        yield _gauge("workers_wanted", "Worker processes that should answer", self.workers_wanted)
        yield CounterMetricFamily(
            "autorouter_log_lines_dropped",
            "Log lines lost because standard error was not read",
            value=self.lines_dropped,
        )
        yield from _edges(self.fleet)
        yield _countries(self.fleet)
        yield from _views(self.views, self.now)


def _copy(counts: Counts) -> Counts:
    return Counts(
        answers=counts.answers.copy(),
        placements=counts.placements.copy(),
        shed=counts.shed.copy(),
        connections=counts.connections,
    )


def _traffic(counts: Counts) -> Iterator[Metric]:
    answers = CounterMetricFamily(
        "autorouter_answers", "Public answers", labels=list(Labels._fields)
    )
    for labels, count in counts.answers.items():
        answers.add_metric(list(labels), count)
    yield answers
    placements = CounterMetricFamily(
        "autorouter_placements",
        "Routes by the source of the viewer's location",
        labels=list(Placement._fields),
    )
    for placement, count in counts.placements.items():
        placements.add_metric(list(placement), count)
    yield placements
    yield _gauge("connections", "Open connections to the public port", counts.connections)
    shed = CounterMetricFamily(
        "autorouter_connections_shed", "Connections closed or rejected at a limit", labels=["how"]
    )
    for how in Shed:
        shed.add_metric([how], counts.shed.get(how, 0))
    yield shed


def _status(now: Status) -> Metric:
    family = _gauges("fleet_status", "1 for the current status", "status")
    for status in Status:
        family.add_metric([status], float(status is now))
    return family


def _edges(fleet: Fleet) -> Iterator[Metric]:
    state = _gauges("edge_state", "1 for the current state", "region", "state")
    intent = _gauges("edge_intent", "1 for the current intent", "region", "intent")
    dial = _gauges("edge_dial_ratio", "Share of its viewers that the edge keeps", "region")
    for edge in fleet.edges:
        dial.add_metric([edge.region.id], edge.share)
        for one in Observed:
            state.add_metric([edge.region.id, one], float(edge.observed is one))
        for wish in Intended:
            intent.add_metric([edge.region.id, wish], float(edge.intended is wish))
    yield state
    yield intent
    yield dial


def _countries(fleet: Fleet) -> Metric:
    """For each country with a routable edge, the number of its edges that can be offered."""
    offered = {edge.region.country: 0 for edge in fleet.edges if edge.region.routable}
    for edge in fleet.edges:
        if is_offered(edge):
            offered[edge.region.country] += 1
    family = _gauges(
        "country_offered_edges", "Edges that are routable, enabled, and up or degraded", "country"
    )
    for country, count in offered.items():
        family.add_metric([country], count)
    return family


def _views(views: Iterable[View], now: float) -> Iterator[Metric]:
    age = _gauges("view_age_seconds", "Age of a vantage's view", "vantage")
    isolated = _gauges(
        "view_isolated", "1 while most witnesses of the vantage do not answer", "vantage"
    )
    held = _gauges(
        "view_held_edges", "Failed edges whose removal the vantage's brake delays", "vantage"
    )
    for view in views:
        age.add_metric([view.vantage], now - view.probed_at)
        isolated.add_metric([view.vantage], float(view.isolated))
        held.add_metric([view.vantage], len(view.held))
    yield age
    yield isolated
    yield held


def _gauges(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"autorouter_{name}", about, labels=labels)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"autorouter_{name}", about, value=value)
