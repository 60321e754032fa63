"""The metrics that a server exports."""

from typing import Any

from prometheus_client import CollectorRegistry

from router.errors import StoreError
from router.model import Intended, Level, Observed, Source, Status
from router.routing.location import PlacedBy
from router.routing.response import Counts, Labels, Placement
from tests.support.builders import CITIES, NOW, a_fleet, a_region, a_view, an_edge
from tests.support.metrics import Watched, a_collector

CANADIAN, AMERICAN = a_region("yto-01"), a_region("nyc-01")


def registry_of(watch: Watched, counts: Counts | None = None) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(a_collector(watch, counts))
    return registry


def value(watch: Watched, name: str, **labels: str) -> Any:
    return registry_of(watch).get_sample_value(f"autorouter_{name}", labels)


def test_counts_have_labels() -> None:
    labels = Labels("200", "yto-01", "nearest_in_country", "ok", "country", "keyed", "false")
    counts = Counts({labels: 3}, {Placement(Source.DATABASE, Level.COUNTRY, PlacedBy.PEER): 2})
    registry = registry_of(Watched(a_fleet()), counts)

    expected = labels._asdict()
    assert registry.get_sample_value("autorouter_answers_total", expected) == 3
    expected = {"source": "database", "level": "country", "placed_by": "peer"}
    assert registry.get_sample_value("autorouter_placements_total", expected) == 2


def test_fleet_status_metric_is_one_for_the_current_state() -> None:
    watch = Watched(a_fleet(status=Status.STALE))
    expected = {status: value(watch, "fleet_status", status=status) for status in Status}

    assert expected == {Status.OK: 0, Status.STALE: 1, Status.STATIC: 0, Status.FAIL_OPEN: 0}


def test_country_metric_counts_the_offered_edges() -> None:
    fleet = a_fleet(
        an_edge("yto-01"),
        an_edge("yul-01", Observed.DEGRADED),
        an_edge("yvr-02", Observed.DOWN),
        an_edge("nyc-01", intended=Intended.DRAINING),
        an_edge("dal-01", Observed.UNKNOWN),
    )

    assert value(Watched(fleet), "country_offered_edges", country="CA") == 2
    assert value(Watched(fleet), "country_offered_edges", country="US") == 0


def test_country_without_routable_edges_is_not_exported() -> None:
    fleet = a_fleet(an_edge("yto-01"), an_edge(region=a_region("nyc-01", routable=False)))

    assert value(Watched(fleet), "country_offered_edges", country="US") is None


def test_views_are_exported_by_vantage() -> None:
    edges = dict.fromkeys(CITIES, Observed.UP)
    views = (
        a_view("east", edges=edges, probed_at=NOW - 3, held=("yto-01", "yul-01")),
        a_view("west", edges=edges, probed_at=NOW - 40, isolated=True),
    )
    watch = Watched(a_fleet(), views)

    assert value(watch, "view_age_seconds", vantage="east") == 3
    assert value(watch, "view_age_seconds", vantage="west") == 40
    assert value(watch, "view_held_edges", vantage="east") == 2
    assert value(watch, "view_isolated", vantage="east") == 0
    assert value(watch, "view_isolated", vantage="west") == 1


def test_failed_store_read_is_exported() -> None:
    assert value(Watched(a_fleet()), "last_store_read_ok") == 1
    failed = Watched(a_fleet(), store_error=StoreError("failed"))
    assert value(failed, "last_store_read_ok") == 0


def test_missing_worker_is_exported() -> None:
    watch = Watched(a_fleet())
    assert (value(watch, "workers"), value(watch, "workers_wanted")) == (1, 2)
