"""Which intents of operators are accepted and which are refused."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import MAX_INTENT_S, Catalog, Event, EventKind, Intended, Intent, Observed, Status
from router.ops.intents import (
    MAX_TEXT,
    RefusedError,
    UnforcedError,
    check_known,
    check_leaving,
    check_text,
    has_one_edge_per_country,
    intent_event,
    new_intent,
    parse_duration,
    set_intents,
)
from router.routing.fleet import is_offered
from router.store.memory import MemoryStore
from tests.support.builders import (
    CANADIAN,
    CITIES,
    NOW,
    a_fleet,
    a_fleet_but,
    an_edge,
    an_intent,
)
from tests.support.strategies import catalogs, fleets


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("90s", 90),
        ("30m", 1_800),
        ("2h", 7_200),
        (" 2h\n", 7_200),
        ("1d", 86_400),
        ("3d", MAX_INTENT_S),
        ("72h", MAX_INTENT_S),
        ("259200s", MAX_INTENT_S),
        ("007m", 420),
    ],
)
def test_duration_is_parsed(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "2", "h", "0h", "-1h", "+1h", "1.5h", "1h30m", "2 h", "2H", "2w", "1e3s", "²h"),
        *("73h", "4d", "259201s", "9999999s", "9" * 5_000 + "d", "2h; rm"),
    ],
)
def test_invalid_or_long_duration_is_rejected(text: str) -> None:
    assert parse_duration(text) is None


@given(st.text())
def test_any_text_is_a_valid_duration_or_rejected(text: str) -> None:
    seconds = parse_duration(text)
    assert seconds is None or 0 < seconds <= MAX_INTENT_S


def an_accepted_intent(life_s: int = 60, reason: str = "new disks", actor: str = "ann") -> Intent:
    return new_intent(
        "yto-01", Intended.DRAINING, life_s=life_s, reason=reason, actor=actor, now=NOW
    )


def test_intent_has_its_lifetime_from_now() -> None:
    assert an_accepted_intent(life_s=60, reason=" new disks ", actor="ann ") == Intent(
        edge="yto-01",
        state=Intended.DRAINING,
        actor="ann",
        reason="new disks",
        created_at=NOW,
        expires_at=NOW + 60,
    )


@pytest.mark.parametrize("life_s", [1, MAX_INTENT_S])
def test_lifetime_up_to_72_hours_is_accepted(life_s: int) -> None:
    assert an_accepted_intent(life_s=life_s).expires_at == NOW + life_s


@pytest.mark.parametrize("life_s", [0, -1, MAX_INTENT_S + 1])
def test_lifetime_out_of_range_is_refused(life_s: int) -> None:
    with pytest.raises(RefusedError, match="72 hours"):
        an_accepted_intent(life_s=life_s)


@pytest.mark.parametrize("text", ["x" * MAX_TEXT, "Straße 東京 🚧", "'; --"])
def test_printable_text_is_accepted(text: str) -> None:
    assert an_accepted_intent(reason=text, actor=text).reason == text


INVALID_TEXTS = [
    "",
    " ",
    "\t",
    "x" * (MAX_TEXT + 1),
    "a\nb",
    "a\x00b",
    "\x1b[31m",
    "\u202e",
    "\ud800",
]


@pytest.mark.parametrize("text", INVALID_TEXTS)
def test_unprintable_or_long_text_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="the reason must be"):
        an_accepted_intent(reason=text)
    with pytest.raises(RefusedError, match="the actor must be"):
        an_accepted_intent(actor=text)


@given(st.text())
def test_accepted_text_is_one_line(text: str) -> None:
    try:
        check_text("reason", text)
    except RefusedError:
        return
    assert len(text.strip().splitlines()) == 1


def test_known_edges_are_accepted() -> None:
    check_known(a_fleet(), CITIES)
    check_known(a_fleet(), [])


def test_error_lists_unknown_and_known_edges() -> None:
    with pytest.raises(RefusedError) as caught:
        check_known(a_fleet(an_edge("yto-01"), an_edge("yul-01")), ["yto-01", "zzz", "aaa", ""])
    assert str(caught.value) == 'no such edge: "", aaa, zzz; there are yto-01, yul-01'


@pytest.mark.parametrize(
    "edges", [["zzz"], [f"z{n}" for n in range(5_000)], ["z" * 50_000], ["\u202e" * 9_000, ""]]
)
def test_error_for_a_large_fleet_is_short(edges: list[str]) -> None:
    fleet = a_fleet(*(an_edge(f"edge-{n:04}") for n in range(2_000)))
    with pytest.raises(RefusedError) as caught:
        check_known(fleet, edges)
    assert len(str(caught.value)) < 1_000
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith(" and 1980 more")


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(RefusedError) as caught:
        asyncio.run(
            set_intents(
                MemoryStore(),
                a_fleet(),
                ["zzz", "yto-01", "aaa"],
                Intended.DRAINING,
                life_s=0,
                reason="",
                actor="ann\u202e",
                force=False,
                now=NOW,
            )
        )
    assert str(caught.value).startswith("no such edge: aaa, zzz; there are dal-01, ")
    for part in ("at most 72 hours", "the reason must be", "the actor must be"):
        assert part in str(caught.value)


def test_last_edge_of_a_country_may_leave_if_each_has_one() -> None:
    fleet = a_fleet(an_edge("yto-01"), an_edge("nyc-01"))
    check_leaving(fleet, ["yto-01"])
    with pytest.raises(UnforcedError, match="every viewer would get 503; use force"):
        check_leaving(fleet, ["yto-01", "nyc-01"])


def is_refused(fleet_edges: list[tuple[str, Observed]], leaving: list[str]) -> bool:
    fleet = a_fleet_but(*(an_edge(id, state) for id, state in fleet_edges))
    try:
        check_leaving(fleet, leaving)
    except RefusedError:
        return True
    return False


@pytest.mark.parametrize(
    ("changed", "leaving", "refused"),
    [
        ([], [], False),
        ([], ["yto-01"], False),
        ([], CANADIAN[:-1], False),
        ([], CANADIAN, True),
        ([], list(CITIES), True),
        ([(id, Observed.DOWN) for id in CANADIAN[1:]], CANADIAN[:1], True),
        ([(id, Observed.UNKNOWN) for id in CANADIAN[1:]], CANADIAN[:1], True),
        ([(id, Observed.DEGRADED) for id in CANADIAN[1:]], CANADIAN[:1], False),
        ([(id, Observed.DOWN) for id in CANADIAN[1:]], CANADIAN[1:], False),
        ([(id, Observed.DOWN) for id in CANADIAN], CANADIAN, False),
    ],
)
def test_last_working_edge_of_a_country_cannot_leave(
    changed: list[tuple[str, Observed]], leaving: list[str], refused: bool
) -> None:
    assert is_refused(changed, leaving) is refused


def test_error_lists_the_countries() -> None:
    with pytest.raises(RefusedError, match="leave CA, US without an edge; use force"):
        check_leaving(a_fleet_but(an_edge("sfo-01", Observed.DOWN)), set(CITIES) - {"sfo-01"})


def test_draining_edges_do_not_count_for_a_country() -> None:
    drained = [an_edge(id, intended=Intended.DRAINING) for id in CANADIAN[1:]]
    with pytest.raises(RefusedError):
        check_leaving(a_fleet_but(*drained), CANADIAN[:1])
    check_leaving(a_fleet_but(*drained), CANADIAN[1:])


@pytest.mark.parametrize("status", [Status.STATIC, Status.FAIL_OPEN])
def test_health_is_ignored_in_a_static_or_fail_open_fleet(status: Status) -> None:
    down = [an_edge(id, Observed.DOWN) for id in CANADIAN]
    check_leaving(a_fleet_but(*down, status=status), CANADIAN[:1])
    with pytest.raises(RefusedError):
        check_leaving(a_fleet_but(*down, status=status), CANADIAN)


@given(st.data(), catalogs())
def test_no_country_loses_its_last_edge_unless_forced(
    data: st.DataObject, catalog: Catalog
) -> None:
    fleet = data.draw(fleets(catalog))
    leaving = data.draw(st.sets(st.sampled_from([region.id for region in catalog.regions])))
    is_health_used = fleet.status in (Status.OK, Status.STALE)
    useful = [
        edge.region
        for edge in fleet.edges
        if (is_offered(edge) if is_health_used else edge.enabled)
    ]
    try:
        check_leaving(fleet, leaving)
    except RefusedError:
        return
    left = {region.country for region in useful if region.id not in leaving}
    assert has_one_edge_per_country(fleet) or left == {region.country for region in useful}


def test_event_of_an_intent_has_actor_reason_and_end() -> None:
    intent = an_intent(state=Intended.DISABLED, expires_at=NOW + 60)
    assert intent_event("yto-01", intent, Intended.ENABLED, "ann", NOW) == Event(
        at=NOW,
        kind=EventKind.INTENT,
        edge="yto-01",
        before="enabled",
        after="disabled",
        reason="maintenance",
        actor="ann",
        until=NOW + 60,
    )


def test_event_of_a_removed_intent_has_the_actor() -> None:
    event = intent_event("yto-01", None, Intended.DRAINING, "ann", NOW)
    assert (event.before, event.after, event.actor) == ("draining", "enabled", "ann")
    assert (event.reason, event.until) == (None, None)
