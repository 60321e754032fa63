"""A change gives the resulting catalog and fleet, or all of its errors."""

from dataclasses import replace

import pytest

from router.errors import ConfigError
from router.model import Intended, Observed, Status
from router.routing.fleet import Edge, Fleet
from router.whatif.scenario import NO_CHANGE, Change, change_catalog, change_fleet
from tests.support.builders import (
    CITIES,
    NOW,
    a_catalog,
    a_fleet,
    a_fleet_but,
    a_region,
    an_edge,
    an_edge_view,
)


def faults_of(change: Change) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        change_catalog(a_catalog(), change)
    return caught.value.faults


def edges_after(change: Change, present: Fleet | None = None) -> dict[str, Edge]:
    catalog = change_catalog(a_catalog(), change)
    fleet = change_fleet(catalog, present or a_fleet(), change, NOW)
    return {edge.region.id: edge for edge in fleet.edges}


def test_no_change_changes_nothing() -> None:
    fleet = a_fleet_but(
        an_edge("yto-01", Observed.DOWN),
        an_edge("yul-01", Observed.DEGRADED, models=["kokoro-82m"]),
        an_edge("nyc-01", intended=Intended.DISABLED),
        an_edge("sfo-01", Observed.UNKNOWN),
    )

    assert change_catalog(a_catalog(), NO_CHANGE) == a_catalog()
    assert change_fleet(a_catalog(), fleet, NO_CHANGE, NOW).routing == fleet.routing


def test_drained_edge_is_draining_and_up() -> None:
    edges = edges_after(Change(drained=["yto-01"]))

    assert (edges["yto-01"].intended, edges["yto-01"].observed) == (Intended.DRAINING, Observed.UP)
    assert all(edge.enabled for id, edge in edges.items() if id != "yto-01")


def test_edge_that_fails_is_down() -> None:
    edges = edges_after(Change(down=["yto-01", "yto-02"]))

    assert {id for id, edge in edges.items() if edge.observed is Observed.DOWN} == {
        "yto-01",
        "yto-02",
    }


def test_added_region_is_up_and_last() -> None:
    edges = edges_after(Change(added=(a_region("fra-01", country="DE"),)))

    assert list(edges) == [*CITIES, "fra-01"]
    assert edges["fra-01"].observed is Observed.UP


def test_removed_region_is_not_in_the_fleet() -> None:
    assert "yto-01" not in edges_after(Change(without=["yto-01"]))


def test_ignored_health_counts_as_up() -> None:
    unseen = a_fleet(*(an_edge(id, Observed.UNKNOWN) for id in CITIES), status=Status.STATIC)

    assert {edge.observed for edge in edges_after(NO_CHANGE, unseen).values()} == {Observed.UP}


def test_whole_fleet_down_fails_open() -> None:
    everything = Change(down=list(CITIES))

    assert change_fleet(a_catalog(), a_fleet(), everything, NOW).status is Status.FAIL_OPEN


def test_all_errors_are_reported_at_once() -> None:
    faults = faults_of(
        Change(drained=["x", "yto-01"], down=["x", "y"], without=["z"], added=(a_region("yul-01"),))
    )

    assert [fault.split(";")[0] for fault in faults] == [
        "yul-01 is in the catalog already",
        "no such edge: x",
        "no such edge: y",
        "no such edge: z",
    ]
    assert all("there are dal-01, dal-02" in fault for fault in faults[1:])


def test_last_region_cannot_be_removed() -> None:
    assert "no region would be left" in faults_of(Change(without=list(CITIES)))[0]


def test_added_edge_can_be_drained() -> None:
    edges = edges_after(Change(added=(a_region("fra-01"),), drained=["fra-01"]))

    assert edges["fra-01"].intended is Intended.DRAINING


def test_change_of_edges_has_a_text() -> None:
    change = Change(drained=("a", "b"), down=("c",), added=(a_region("d"),), without=("e",))

    assert change.text == "drained a, b; down c; added d; gone e"
    assert NO_CHANGE.text == ""


def test_edge_never_seen_working_stays_unproven() -> None:
    seen = {"local": replace(an_edge_view(Observed.DOWN), worked=False)}
    present = a_fleet_but(replace(an_edge("yto-01", Observed.DOWN), seen=seen))
    everything = Change(down=[edge.region.id for edge in present.edges])
    fleet = change_fleet(a_catalog(), present, everything, NOW)
    assert fleet.unproven == {"yto-01"}
