"""A change gives the catalog and fleet as they would be, or every fault in it."""

from dataclasses import replace

import pytest

from router.errors import ConfigError
from router.model import Intended, Observed, Status
from router.routing.fleet import Edge, Fleet
from router.whatif.scenario import NO_CHANGE, Change, changed_catalog, changed_fleet
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
        changed_catalog(a_catalog(), change)
    return caught.value.faults


def supposed(change: Change, present: Fleet | None = None) -> dict[str, Edge]:
    catalog = changed_catalog(a_catalog(), change)
    fleet = changed_fleet(catalog, present or a_fleet(), change, NOW)
    return {edge.region.id: edge for edge in fleet.edges}


def test_no_change_leaves_all_as_it_is() -> None:
    fleet = a_fleet_but(
        an_edge("yto-01", Observed.DOWN),
        an_edge("yul-01", Observed.DEGRADED, models=["kokoro-82m"]),
        an_edge("nyc-01", intended=Intended.DISABLED),
        an_edge("sfo-01", Observed.UNKNOWN),
    )

    assert changed_catalog(a_catalog(), NO_CHANGE) == a_catalog()
    assert changed_fleet(a_catalog(), fleet, NO_CHANGE, NOW).routing == fleet.routing


def test_drained_edge_is_draining_and_up() -> None:
    edges = supposed(Change(drained=["yto-01"]))

    assert (edges["yto-01"].intended, edges["yto-01"].observed) == (Intended.DRAINING, Observed.UP)
    assert all(edge.enabled for id, edge in edges.items() if id != "yto-01")


def test_edge_that_fails_is_down() -> None:
    edges = supposed(Change(down=["yto-01", "yto-02"]))

    assert {id for id, edge in edges.items() if edge.observed is Observed.DOWN} == {
        "yto-01",
        "yto-02",
    }


def test_added_region_is_up_and_last() -> None:
    edges = supposed(Change(added=(a_region("fra-01", country="DE"),)))

    assert list(edges) == [*CITIES, "fra-01"]
    assert edges["fra-01"].observed is Observed.UP


def test_region_that_is_gone_is_in_no_fleet() -> None:
    assert "yto-01" not in supposed(Change(without=["yto-01"]))


def test_ignored_health_counts_as_up() -> None:
    unseen = a_fleet(*(an_edge(id, Observed.UNKNOWN) for id in CITIES), status=Status.STATIC)

    assert {edge.observed for edge in supposed(NO_CHANGE, unseen).values()} == {Observed.UP}


def test_whole_fleet_down_fails_open() -> None:
    everything = Change(down=list(CITIES))

    assert changed_fleet(a_catalog(), a_fleet(), everything, NOW).status is Status.FAIL_OPEN


def test_faults_are_told_all_at_once() -> None:
    told = faults_of(
        Change(drained=["x", "yto-01"], down=["x", "y"], without=["z"], added=(a_region("yul-01"),))
    )

    assert [fault.split(";")[0] for fault in told] == [
        "yul-01 is in the catalog already",
        "no such edge: x",
        "no such edge: y",
        "no such edge: z",
    ]
    assert all("there are dal-01, dal-02" in fault for fault in told[1:])


def test_last_region_cannot_go() -> None:
    assert "no region would be left" in faults_of(Change(without=list(CITIES)))[0]


def test_added_edge_can_be_drained_too() -> None:
    edges = supposed(Change(added=(a_region("fra-01"),), drained=["fra-01"]))

    assert edges["fra-01"].intended is Intended.DRAINING


def test_change_says_itself_in_words() -> None:
    change = Change(drained=("a", "b"), down=("c",), added=(a_region("d"),), without=("e",))

    assert change.text == "drained a, b; down c; added d; gone e"
    assert NO_CHANGE.text == ""


def test_edge_never_seen_working_stays_so_when_the_others_fail() -> None:
    seen = {"local": replace(an_edge_view(Observed.DOWN), worked=False)}
    present = a_fleet_but(replace(an_edge("yto-01", Observed.DOWN), seen=seen))
    everything = Change(down=[edge.region.id for edge in present.edges])
    fleet = changed_fleet(a_catalog(), present, everything, NOW)
    assert fleet.unproven == {"yto-01"}
