"""The findings for operators: the worst is first and none is missing."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.geo.feeds import FeedNote
from router.model import EdgeView, Intended, Observed, Outcome, Status, View
from router.ops.diagnosis import findings, group, headline
from router.ops.edge_conditions import condition, reason
from router.ops.findings import ALERTS, Finding, FindingKind, Grade, Recent, Signs
from router.routing.fleet import Edge, Fleet, combine
from router.telemetry.troubles import Trouble
from tests.support.builders import (
    CANADIAN,
    CITIES,
    NOW,
    a_catalog,
    a_fleet,
    a_fleet_but,
    a_held_edge,
    a_region,
    a_view,
    an_edge,
    an_edge_view,
)
from tests.support.strategies import catalogs, fleets


def found(fleet: Fleet | None = None, *views: View, **signs: Any) -> list[Finding]:
    return findings(fleet or a_fleet(), views or (a_view(),), now=NOW, signs=Signs(**signs))


def kinds(all_found: list[Finding]) -> list[FindingKind]:
    return [finding.kind for finding in all_found]


def test_healthy_fleet_is_reported() -> None:
    (only,) = found()
    assert (only.grade, only.title) == (
        Grade.OK,
        "All well: 10 of 10 edges are up and in answers",
    )


def test_edge_that_is_down_has_reason_and_time() -> None:
    edge = replace(an_edge("yto-01", Observed.DOWN), reason=Outcome.REFUSED)
    (only,) = found(a_fleet_but(edge))
    assert only.title == "yto-01 (Toronto) is down: connection refused, or name not resolved"
    assert (only.grade, only.since, only.edges) == (Grade.WARNING, NOW - 3600, ("yto-01",))


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.OK}))
def test_every_outcome_has_a_description(outcome: Outcome) -> None:
    edge = replace(an_edge("yto-01", Observed.DOWN), reason=outcome)
    assert found(a_fleet_but(edge))[0].title.startswith("yto-01 (Toronto) is down: ")


@pytest.mark.parametrize(
    ("observed", "kind"),
    [(Observed.DEGRADED, FindingKind.DEGRADED), (Observed.UNKNOWN, FindingKind.UNKNOWN)],
)
def test_edge_that_is_not_up_is_reported(observed: Observed, kind: FindingKind) -> None:
    assert kinds(found(a_fleet_but(an_edge("yto-01", observed)))) == [kind]


def test_country_without_an_edge_comes_before_its_edges() -> None:
    fleet = a_fleet_but(*(an_edge(id, Observed.DOWN) for id in CANADIAN))
    first, *rest = found(fleet)
    assert (first.kind, first.grade) == (FindingKind.COUNTRY_OUT, Grade.ALARM)
    assert first.title == "CA has no edge left"
    assert (kinds(rest), first.edges) == ([FindingKind.DOWN] * 5, tuple(CANADIAN))


def test_residency_errors_come_before_a_country_without_an_edge() -> None:
    fleet = a_fleet_but(*(an_edge(id, Observed.DOWN) for id in CANADIAN))
    first_kinds = kinds(found(fleet, recent=Recent(residency_refused=1)))[:2]
    assert first_kinds == [FindingKind.RESIDENCY, FindingKind.COUNTRY_OUT]


def test_country_drained_by_operators_is_reported() -> None:
    fleet = a_fleet_but(*(a_held_edge(id) for id in CANADIAN))
    first = found(fleet)[0]
    assert (first.kind, first.since) == (FindingKind.COUNTRY_OUT, NOW - 60)


@pytest.mark.parametrize(
    ("status", "kind", "grade"),
    [
        (Status.STALE, FindingKind.STALE, Grade.WARNING),
        (Status.STATIC, FindingKind.STATIC, Grade.ALARM),
        (Status.FAIL_OPEN, FindingKind.FAIL_OPEN, Grade.ALARM),
    ],
)
def test_every_status_except_ok_is_first(status: Status, kind: FindingKind, grade: Grade) -> None:
    observed = Observed.DOWN if status is Status.FAIL_OPEN else Observed.UP
    fleet = a_fleet(*(an_edge(id, observed) for id in CITIES), status=status)
    first = found(fleet)[0]
    assert (first.kind, first.grade) == (kind, grade)
    assert str(status).replace("_", "-") in first.title.lower()


def test_static_fleet_does_not_list_unknown_edges() -> None:
    fleet = a_fleet(*(an_edge(id, Observed.UNKNOWN) for id in CITIES), status=Status.STATIC)
    assert kinds(found(fleet)) == [FindingKind.STATIC]


def test_fleet_without_an_enabled_edge_is_first() -> None:
    fleet = a_fleet(*(a_held_edge(id) for id in CITIES), status=Status.FAIL_OPEN)
    first = found(fleet)[0]
    assert (first.kind, first.grade, first.since) == (FindingKind.NO_EDGE, Grade.ALARM, NOW - 60)


def test_disabled_edge_is_a_notice() -> None:
    well, held = found(a_fleet_but(a_held_edge("yto-01", Intended.DISABLED)))
    assert (well.kind, held.grade) == (FindingKind.NOTHING, Grade.NOTICE)
    assert well.title.startswith("All well: 9 of 10")
    assert held.title == "yto-01 (Toronto) is disabled by ops: maintenance"


def test_draining_edge_is_not_reported_as_down() -> None:
    held = a_held_edge("yto-01", observed=Observed.DOWN)
    assert FindingKind.DOWN not in kinds(found(a_fleet_but(held)))


def test_unroutable_edge_that_is_down_is_reported() -> None:
    edge = an_edge(a_region("yto-01", routable=False), Observed.DOWN)
    assert kinds(found(a_fleet_but(edge))) == [FindingKind.NOTHING, FindingKind.UNROUTABLE]


def test_brake_and_isolation_have_their_vantage() -> None:
    braking = replace(a_view("ams"), held=("yto-01", "yto-02", "yul-01"))
    first, second = found(None, braking, a_view("fra", isolated=True))
    assert (first.kind, first.grade, first.edges) == (FindingKind.BRAKE, Grade.ALARM, braking.held)
    assert first.title.startswith("Brake: ams saw 3 edges fail")
    assert (second.kind, "fra" in second.title) == (FindingKind.ISOLATION, True)


def test_silent_vantage_is_reported_if_another_is_fresh() -> None:
    quiet = a_view("fra", probed_at=NOW - 16)
    assert kinds(found(None, a_view("ams"), quiet)) == [FindingKind.VANTAGE_SILENT]
    assert kinds(found(None, quiet)) == [FindingKind.NOTHING]


def test_vantage_with_only_local_faults_is_not_silent() -> None:
    blind = {id: replace(an_edge_view(), reason=Outcome.LOCAL) for id in CITIES}
    views = a_view("fresh"), a_view("blind", blind, probed_at=NOW - 20)
    (one,) = found(None, *views)
    assert (one.kind, one.subject, one.since) == (FindingKind.LOCAL, "blind", NOW - 20)
    assert one.title == "blind cannot probe 10 edges because of errors on its own machine"


def test_store_that_cannot_be_read_is_reported() -> None:
    (only,) = found(store=Trouble(NOW - 5, "Redis: gone"))
    assert (only.kind, "Redis: gone" in only.meaning) == (FindingKind.STORE, True)


def test_unreadable_stored_values_are_reported() -> None:
    (only,) = found(store_values=Trouble(NOW - 5, "autorouter:{v1}:view:a: not JSON"))
    assert (only.kind, only.since) == (FindingKind.STORE_VALUES, NOW - 5)
    assert "view:a: not JSON" in only.meaning
    assert only.runbook == "autorouterstorevaluesunreadable"


@pytest.mark.parametrize(("days", "is_reported"), [(45, False), (46, True)])
def test_old_geo_data_is_a_notice(days: float, is_reported: bool) -> None:
    all_found = found(geo_age_days=days)
    assert (FindingKind.GEO_OLD in kinds(all_found)) is is_reported
    assert all_found[0].kind is FindingKind.NOTHING


def an_edge_that(observed: Observed, why: Outcome, **votes: Observed) -> Edge:
    return replace(an_edge("yto-01", observed), reason=why, votes=votes)


@pytest.mark.parametrize(
    ("edge", "word", "title"),
    [
        (
            an_edge_that(Observed.DOWN, Outcome.OK, ams=Observed.DOWN),
            "hold_down",
            "yto-01 (Toronto) is down: it passes its probes again, and is held down for a while",
        ),
        (
            an_edge_that(Observed.DEGRADED, Outcome.REFUSED, ams=Observed.UP, nyc=Observed.DOWN),
            "split",
            "yto-01 (Toronto) is degraded: only nyc sees it down",
        ),
        (
            an_edge_that(Observed.DEGRADED, Outcome.OK, ams=Observed.DEGRADED),
            "unsteady",
            "yto-01 (Toronto) is degraded: slow or flapping",
        ),
    ],
)
def test_edge_that_passes_but_is_not_up_has_a_reason(edge: Edge, word: str, title: str) -> None:
    assert reason(edge) == word
    assert found(a_fleet_but(edge))[0].title == title


def an_edge_seen(observed: Observed, why: Outcome, **seen: Any) -> Edge:
    """yto-01 as one vantage publishes it."""
    view = EdgeView(state=observed, since=NOW - 60, reason=why, **seen)
    return replace(an_edge_that(observed, why, local=observed), seen={"local": view})


@pytest.mark.parametrize(
    ("edge", "kind", "word", "title"),
    [
        (
            an_edge_seen(Observed.DOWN, Outcome.OK, back_at=NOW + 90, worked=True),
            FindingKind.HOLD_DOWN,
            "hold_down",
            "yto-01 (Toronto) is down: it passes its probes again, back at 22:14:50 UTC",
        ),
        (
            an_edge_seen(Observed.DEGRADED, Outcome.OK, changes=5, calm_at=NOW + 900, worked=True),
            FindingKind.FLAPPING,
            "flapping",
            "yto-01 (Toronto) is degraded: its state changed 5 times; up at 22:28:20 UTC if it "
            "does not change",
        ),
        (
            an_edge_seen(Observed.DEGRADED, Outcome.OK, rtt_ms=1_001.0, usual_ms=1.0, worked=True),
            FindingKind.SLOW,
            "slow",
            "yto-01 (Toronto) is degraded: 1,001 ms, usually 1 ms",
        ),
        (
            an_edge_seen(Observed.DEGRADED, Outcome.OK, worked=True),
            FindingKind.DEGRADED,
            "recovering",
            "yto-01 (Toronto) is degraded: it passes its probes again; up after one more",
        ),
        (
            an_edge_seen(Observed.DOWN, Outcome.REFUSED, worked=False),
            FindingKind.NEVER_WORKED,
            "refused",
            "yto-01 (Toronto) is down and has never worked: "
            "connection refused, or name not resolved",
        ),
        (
            an_edge_seen(Observed.UNKNOWN, Outcome.LOCAL, worked=True),
            FindingKind.LOCAL,
            "local",
            "local cannot probe 1 edge because of errors on its own machine",
        ),
    ],
)
def test_state_has_its_kind_reason_and_title(
    edge: Edge, kind: FindingKind, word: str, title: str
) -> None:
    (only,) = found(a_fleet_but(edge))
    assert (only.kind, reason(edge), only.title) == (kind, word, title)
    assert only.runbook == (ALERTS[kind].lower() if kind in ALERTS else None)


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        ({"models_fault": Outcome.TOO_LARGE}, FindingKind.INVENTORY),
        ({"models_fault": Outcome.BAD_BODY}, FindingKind.INVENTORY),
        ({"bad_addresses": ("192.0.2.1",)}, FindingKind.ADDRESS),
    ],
)
def test_fault_of_an_inventory_or_address_is_reported(
    seen: dict[str, Any], kind: FindingKind
) -> None:
    (only,) = found(a_fleet_but(an_edge_seen(Observed.UP, Outcome.OK, **seen)))
    assert (only.kind, only.edges) == (kind, ("yto-01",))


def test_ending_a_hold_down_is_advised_only_with_a_working_store() -> None:
    fleet = a_fleet_but(an_edge_seen(Observed.DOWN, Outcome.OK, back_at=NOW + 90))
    assert "autorouter enable yto-01 --now" in found(fleet)[0].action
    assert all("--now" not in one.action for one in found(fleet, store=FAILS))


def test_brake_has_start_end_and_advice() -> None:
    view = replace(a_view(), held=("nyc-01", "yto-01"), held_since=NOW - 30, held_until=NOW + 90)
    brake = found(None, view)[0]
    assert brake.since == NOW - 30
    assert "until 22:14:50 UTC at most" in brake.meaning
    assert "autorouter disable nyc-01 yto-01 --for 1h" in brake.action


@pytest.mark.parametrize(
    ("age_s", "kinds"), [(1, {FindingKind.BRAKE}), (16, {FindingKind.BRAKE, FindingKind.STALE})]
)
def test_stale_because_of_the_brake_is_reported_once(age_s: float, kinds: set[FindingKind]) -> None:
    view = replace(a_view(held=["nyc-01"], probed_at=NOW - age_s), held_since=NOW - 60)
    fleet = combine(a_catalog(), [view], [], NOW)
    assert {one.kind for one in found(fleet, view)} == kinds


def test_fail_open_lists_edges_never_seen_working() -> None:
    edge = an_edge_seen(Observed.DOWN, Outcome.REFUSED, worked=False)
    others = [an_edge(id, Observed.DOWN) for id in CITIES if id != "yto-01"]
    first = found(a_fleet(edge, *others, status=Status.FAIL_OPEN))[0]
    assert first.meaning.endswith("Never seen working: yto-01.")


def test_equal_findings_are_grouped_with_their_share() -> None:
    fleet = a_fleet_but(an_edge("yto-01", Observed.DOWN), an_edge("nyc-01", Observed.DOWN))
    (only,) = group(found(fleet, homes={"yto-01": 0.1, "nyc-01": 0.3}))
    assert (only.title, only.edges) == ("2 edges are down", ("nyc-01", "yto-01"))
    assert only.share == pytest.approx(0.4)


@given(data=st.data())
def test_no_edge_that_is_not_up_has_reason_ok(data: st.DataObject) -> None:
    for edge in data.draw(fleets(data.draw(catalogs()))).edges:
        if edge.observed in (Observed.DOWN, Observed.DEGRADED):
            assert reason(edge) != "ok"
        assert (condition(edge) is None) or edge.observed in (Observed.DOWN, Observed.DEGRADED)


FAILS = Trouble(NOW - 30, "connection refused")


@pytest.mark.parametrize(
    ("kind", "grade", "signs"),
    [
        (FindingKind.PUBLIC_SILENT, Grade.ALARM, {"public": FAILS}),
        (FindingKind.WORKERS, Grade.WARNING, {"workers": 1, "workers_wanted": 2}),
        (FindingKind.WORKERS, Grade.ALARM, {"workers": 0, "workers_wanted": 2}),
        (FindingKind.SHED, Grade.ALARM, {"recent": Recent(connections_refused=1)}),
        (FindingKind.FAULTS, Grade.ALARM, {"recent": Recent(faults=1)}),
        (FindingKind.RESIDENCY, Grade.ALARM, {"recent": Recent(residency_refused=1)}),
        (FindingKind.MODEL_NOWHERE, Grade.WARNING, {"recent": Recent(model_unavailable=1)}),
        (FindingKind.UNPLACED, Grade.WARNING, {"recent": Recent(placed=100, unplaced=31)}),
        (FindingKind.PURGE, Grade.WARNING, {"purges": {"varnish": FAILS}}),
        (FindingKind.RELOAD, Grade.WARNING, {"reload": FAILS}),
    ],
)
def test_every_sign_of_a_problem_is_one_finding(
    kind: FindingKind, grade: Grade, signs: dict[str, Any]
) -> None:
    (only,) = found(None, **signs)
    assert (only.kind, only.grade) == (kind, grade)
    assert only.meaning
    assert only.action
    assert only.runbook == ALERTS[kind].lower()


def test_few_viewers_of_unknown_place_are_not_reported() -> None:
    assert kinds(found(recent=Recent(placed=99, unplaced=99))) == [FindingKind.NOTHING]


def test_first_seconds_are_reported_as_starting() -> None:
    fleet = a_fleet(*(an_edge(id, Observed.UNKNOWN) for id in CITIES), status=Status.STATIC)
    unseen = replace(fleet, seen_at=None)
    assert kinds(found(unseen, age_s=3.0)) == [FindingKind.STARTING]
    assert kinds(found(unseen, age_s=11.0)) == [FindingKind.STATIC]


@pytest.mark.parametrize("status", [Status.STATIC, Status.OK])
def test_no_advice_needs_a_store_that_fails(status: Status) -> None:
    edges = [an_edge(id, Observed.DOWN) for id in CITIES]
    edges[0] = an_edge(edges[0].region.id, Observed.DEGRADED)
    for one in found(a_fleet(*edges, status=status), store=FAILS):
        assert "isable" not in one.action
        assert "rain it" not in one.action


# The headline


def headline_of(fleet: Fleet, **signs: Any) -> str:
    return headline(fleet, found(fleet, **signs), Signs(**signs))


def test_headline_has_the_share_of_viewers_moved() -> None:
    fleet = a_fleet_but(an_edge("yto-01", Observed.DOWN), an_edge("nyc-01", Observed.DOWN))
    assert headline_of(fleet, moved=0.53) == "2 of 10 edges are down: 53% of viewers moved"


def test_headline_separates_causes_from_moved_viewers() -> None:
    text = headline_of(a_fleet_but(), recent=Recent(faults=1), moved=0.18)
    assert text == "1 request failed with 500 in the last 5 minutes; 18% of viewers moved"


def test_headline_of_one_finding_is_its_title() -> None:
    fleet = a_fleet_but(an_edge("yto-01", Observed.DEGRADED))
    assert headline_of(fleet) == found(fleet)[0].title


def test_equal_findings_are_ordered_by_share() -> None:
    fleet = a_fleet_but(an_edge("yto-01", Observed.DOWN), an_edge("nyc-01", Observed.DOWN))
    homes = {"yto-01": 0.1, "nyc-01": 0.3}
    assert [one.edges for one in found(fleet, homes=homes)] == [("nyc-01",), ("yto-01",)]


@given(data=st.data(), geo_age_days=st.floats(0, 1000))
def test_worst_finding_is_first_and_one_is_always_present(
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
    (old,) = [one for one in found(feeds=feeds) if one.kind is FindingKind.FEEDS_OLD]
    assert old.title == "Feeds are up to 31 days old: aws"
    assert "autorouter geodata feeds" in old.action


def test_failed_loop_hung_folder_and_stalled_log_are_warnings() -> None:
    warnings = found(loops={"purge": FAILS}, state_dir=FAILS, log_stalled=True)
    assert kinds(warnings) == [FindingKind.LOOP, FindingKind.STATE_DIR, FindingKind.LOG]
    assert {finding.grade for finding in warnings} == {Grade.WARNING}
    assert (warnings[0].subject, warnings[0].since) == ("purge", FAILS.since)


def test_findings_have_the_times_of_the_fleet() -> None:
    isolated = replace(a_view("fra", isolated=True), isolated_since=NOW - 500)
    all_found = found(a_fleet(status=Status.STATIC), isolated)
    assert [(one.kind, one.since) for one in all_found] == [
        (FindingKind.STATIC, NOW - 380),
        (FindingKind.ISOLATION, NOW - 500),
    ]
    fallen = [an_edge(id, Observed.DOWN) for id in CITIES]
    fallen[0] = replace(fallen[0], since=NOW - 7)
    fallen[1] = replace(a_held_edge(fallen[1].region.id, observed=Observed.DOWN), since=NOW - 90)
    first = found(a_fleet(*fallen, status=Status.FAIL_OPEN))[0]
    assert (first.kind, first.since) == (FindingKind.FAIL_OPEN, NOW - 7)


def test_brake_of_an_expired_vantage_is_not_reported() -> None:
    expired = replace(a_view("ams", probed_at=NOW - 121), held=("yto-01", "yto-02", "yul-01"))
    assert FindingKind.BRAKE not in kinds(found(None, expired))
