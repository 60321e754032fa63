"""What operators are told: the worst first, and nothing left out."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.geo.feeds import FeedNote
from router.model import Intended, Observed, Outcome, Status, View
from router.ops.diagnosis import Amiss, Finding, Grade, findings
from router.routing.fleet import Fleet
from tests.support.builders import (
    CITIES,
    NOW,
    a_fleet,
    a_fleet_but,
    a_held_edge,
    a_region,
    a_view,
    an_edge,
)
from tests.support.strategies import catalogs, fleets

CANADIAN = [id for id, (_, country, _) in CITIES.items() if country == "CA"]


def found(fleet: Fleet | None = None, *views: View, **told: float | str) -> list[Finding]:
    return findings(fleet or a_fleet(), views or (a_view(),), now=NOW, **told)  # type: ignore[arg-type]


def kinds(all_found: list[Finding]) -> list[Amiss]:
    return [finding.kind for finding in all_found]


def test_all_well_is_said() -> None:
    (only,) = found()
    assert (only.grade, only.title) == (
        Grade.OK,
        "All well: 10 of 10 edges are up and in answers",
    )


def test_edge_that_is_down_is_told_with_reason_and_since() -> None:
    edge = replace(an_edge("yto-01", Observed.DOWN), reason=Outcome.REFUSED)
    (only,) = found(a_fleet_but(edge))
    assert only.title == "yto-01 (Toronto) is down: connection refused"
    assert (only.grade, only.since, only.edges) == (Grade.WARNING, NOW - 3600, ("yto-01",))


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_words(outcome: Outcome) -> None:
    edge = replace(an_edge("yto-01", Observed.DOWN), reason=outcome)
    assert found(a_fleet_but(edge))[0].title.startswith("yto-01 (Toronto) is down: ")


@pytest.mark.parametrize(
    ("observed", "kind"),
    [(Observed.DEGRADED, Amiss.DEGRADED), (Observed.UNKNOWN, Amiss.UNKNOWN)],
)
def test_edge_that_is_not_up_is_told(observed: Observed, kind: Amiss) -> None:
    assert kinds(found(a_fleet_but(an_edge("yto-01", observed)))) == [kind]


def test_country_without_an_edge_is_worse_than_the_edges_that_left_it() -> None:
    fleet = a_fleet_but(*(an_edge(id, Observed.DOWN) for id in CANADIAN))
    first, *rest = found(fleet)
    assert (first.kind, first.grade) == (Amiss.COUNTRY_OUT, Grade.ALARM)
    assert first.title == "CA has no edge left"
    assert (kinds(rest), first.edges) == ([Amiss.DOWN] * 5, tuple(CANADIAN))


def test_country_emptied_by_operators_is_told_too() -> None:
    fleet = a_fleet_but(*(a_held_edge(id) for id in CANADIAN))
    first = found(fleet)[0]
    assert (first.kind, first.since) == (Amiss.COUNTRY_OUT, NOW - 60)


@pytest.mark.parametrize(
    ("status", "kind", "grade"),
    [
        (Status.STALE, Amiss.STALE, Grade.WARNING),
        (Status.STATIC, Amiss.STATIC, Grade.ALARM),
        (Status.FAIL_OPEN, Amiss.FAIL_OPEN, Grade.ALARM),
    ],
)
def test_every_status_but_ok_is_told_first(status: Status, kind: Amiss, grade: Grade) -> None:
    observed = Observed.DOWN if status is Status.FAIL_OPEN else Observed.UP
    fleet = a_fleet(*(an_edge(id, observed) for id in CITIES), status=status)
    first = found(fleet)[0]
    assert (first.kind, first.grade) == (kind, grade)
    assert str(status).replace("_", "-") in first.title.lower()


def test_unknown_edges_are_no_news_while_all_is_unknown() -> None:
    fleet = a_fleet(*(an_edge(id, Observed.UNKNOWN) for id in CITIES), status=Status.STATIC)
    assert kinds(found(fleet)) == [Amiss.STATIC]


def test_fleet_without_an_enabled_edge_is_the_worst() -> None:
    fleet = a_fleet(*(a_held_edge(id) for id in CITIES), status=Status.FAIL_OPEN)
    first = found(fleet)[0]
    assert (first.kind, first.grade, first.since) == (Amiss.NO_EDGE, Grade.ALARM, NOW - 60)


def test_held_edge_is_a_notice_beside_all_well() -> None:
    well, held = found(a_fleet_but(a_held_edge("yto-01", Intended.DISABLED)))
    assert (well.kind, held.grade) == (Amiss.NOTHING, Grade.NOTICE)
    assert well.title.startswith("All well: 9 of 10")
    assert held.title == "yto-01 (Toronto) is disabled by ops: maintenance"


def test_held_edge_is_not_also_down() -> None:
    held = a_held_edge("yto-01", observed=Observed.DOWN)
    assert Amiss.DOWN not in kinds(found(a_fleet_but(held)))


def test_edge_never_chosen_is_told_when_it_is_down() -> None:
    edge = an_edge(a_region("yto-01", routable=False), Observed.DOWN)
    assert kinds(found(a_fleet_but(edge))) == [Amiss.DOWN]


def test_brake_and_isolation_are_told_by_vantage() -> None:
    braking = replace(a_view("ams"), held=("yto-01", "yto-02", "yul-01"))
    first, second = found(None, braking, a_view("fra", isolated=True))
    assert (first.kind, first.grade, first.edges) == (Amiss.BRAKE, Grade.ALARM, braking.held)
    assert first.title.startswith("Brake: ams saw 3 edges fall")
    assert (second.kind, "fra" in second.title) == (Amiss.ISOLATION, True)


def test_silent_vantage_is_told_while_another_speaks() -> None:
    quiet = a_view("fra", probed_at=NOW - 16)
    assert kinds(found(None, a_view("ams"), quiet)) == [Amiss.VANTAGE_SILENT]
    assert kinds(found(None, quiet)) == [Amiss.NOTHING]


def test_store_that_cannot_be_read_is_told() -> None:
    (only,) = found(store_error="Redis: gone")
    assert (only.kind, "Redis: gone" in only.meaning) == (Amiss.STORE, True)


@pytest.mark.parametrize(("days", "is_told"), [(90, False), (91, True)])
def test_old_geo_data_is_a_notice(days: float, is_told: bool) -> None:
    all_found = found(geo_age_days=days)
    assert (Amiss.GEO_OLD in kinds(all_found)) is is_told
    assert all_found[0].kind is Amiss.NOTHING


@given(data=st.data(), geo_age_days=st.floats(0, 1000))
def test_worst_is_first_and_something_is_always_said(
    data: st.DataObject, geo_age_days: float
) -> None:
    fleet = data.draw(fleets(data.draw(catalogs())))
    grades = [list(Grade).index(one.grade) for one in found(fleet, geo_age_days=geo_age_days)]
    assert grades == sorted(grades)
    assert grades[0] < list(Grade).index(Grade.NOTICE)


def test_feeds_older_than_thirty_days_are_a_finding() -> None:
    feeds = [
        FeedNote(name=name, source="", fetched_at=NOW - days * 86_400)
        for name, days in (("aws", 31), ("isp", 29))
    ]
    (found,) = [
        one for one in findings(a_fleet(), [], now=NOW, feeds=feeds) if one.kind is Amiss.FEEDS_OLD
    ]
    assert found.title == "Feeds are up to 31 days old: aws"
    assert "autorouter geodata feeds" in found.action
