"""The history of one day is bounded and merged as it ages; invalid stored data is rejected."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from router.model import Observed, Status
from router.ops.history import (
    COARSE_S,
    DAY_S,
    HOUR_S,
    KEPT_S,
    MAX_SAMPLES,
    MINUTE_S,
    History,
    Sample,
    decode,
    document,
    encode,
    past_fleet,
    sample,
)
from router.routing.decision import decide
from router.routing.fleet import Fleet, version
from router.routing.query import Query
from router.routing.ranking import RouteKey
from router.store import MAX_HISTORY_BYTES
from tests.support.builders import (
    a_catalog,
    a_fleet,
    a_fleet_but,
    a_held_edge,
    a_key,
    a_ranker_for,
    a_region,
    an_edge,
)

MIDNIGHT = 1_700_006_400.0  # a multiple of DAY_S
NOON = MIDNIGHT + DAY_S / 2


def a_sample(at: float = NOON, fleet: Fleet | None = None, **given: Any) -> Sample:
    defaults: dict[str, Any] = {"given": {}, "answers": 0, "errors": 0, "falls": {}, "down_s": {}}
    return sample(fleet or a_fleet(), at=at, **defaults | given)


def a_history(minutes: int, until: float = NOON, **given: Any) -> History:
    history = History()
    for ago in reversed(range(minutes)):
        history.add(a_sample(until - ago * MINUTE_S, **given))
    return history


def edge_of(body: dict[str, Any], id: str) -> dict[str, Any]:
    (found,) = [edge for edge in body["edges"] if edge["id"] == id]
    return dict(found)


def test_last_hour_has_a_sample_a_minute() -> None:
    samples = a_history(3 * 60).samples
    recent = [one for one in samples if one.at > NOON - HOUR_S]
    assert [one.span_s for one in recent] == [MINUTE_S] * 60
    older = [one.at for one in samples if one.at <= NOON - HOUR_S]
    assert all(after - before == COARSE_S for before, after in pairwise(older))


def test_samples_are_bounded_and_dropped_after_24_hours() -> None:
    history = a_history(30 * 60)
    assert len(history.samples) <= MAX_SAMPLES
    assert history.samples[0].at > NOON - KEPT_S
    assert history.samples[0].at < NOON - KEPT_S + 2 * COARSE_S


def test_merging_keeps_all_answers_and_falls() -> None:
    each: dict[str, Any] = {
        "answers": 7,
        "errors": 2,
        "given": {"yto-01": 5},
        "falls": {"yto-01": 1},
    }
    samples = a_history(5 * 60, **each).samples
    assert sum(one.answers for one in samples) == 7 * 5 * 60
    assert sum(one.errors for one in samples) == 2 * 5 * 60
    assert sum(one.given[0] for one in samples) == 5 * 5 * 60
    assert sum(one.falls[0] for one in samples) == 5 * 60


def test_merging_keeps_the_worst_state() -> None:
    history = History()
    broken = a_fleet_but(an_edge("yto-02", Observed.DOWN))
    history.add(a_sample(NOON - 2 * HOUR_S + MINUTE_S, broken))
    for ago in reversed(range(2 * 60 - 1)):
        history.add(a_sample(NOON - ago * MINUTE_S))
    assert history.samples[0].span_s == COARSE_S
    assert history.samples[0].states[1] is Observed.DOWN


def test_edge_added_later_has_no_earlier_values() -> None:
    history = History()
    history.add(a_sample(NOON - MINUTE_S, a_fleet(an_edge("yto-01"))))
    history.add(a_sample(NOON, a_fleet(an_edge("yto-01"), an_edge("yul-01"))))
    body = document(history.samples, now=NOON, since=0.0)
    assert edge_of(body, "yul-01")["state"] == [None, "up"]
    assert edge_of(body, "yul-01")["share"] == [None, None]


def test_document_has_a_value_for_each_sample() -> None:
    history = a_history(5, given={"yto-01": 3, "yul-01": 1}, answers=5, errors=1)
    body = document(history.samples, now=NOON, since=NOON - 3 * MINUTE_S)
    assert body["at"] == [NOON - 2 * MINUTE_S, NOON - MINUTE_S, NOON]
    assert (body["answers"], body["errors"]) == ([5] * 3, [1] * 3)
    assert edge_of(body, "yto-01")["share"] == [0.75] * 3
    assert body["fleet"] == [version(a_fleet())] * 3


def test_document_of_one_edge_has_no_other() -> None:
    body = document(a_history(2).samples, now=NOON, since=0.0, edge="sfo-01")
    assert [edge["id"] for edge in body["edges"]] == ["sfo-01"]


def test_today_starts_at_midnight() -> None:
    history = History()
    for hour in range(-3, 3):
        at = MIDNIGHT + hour * HOUR_S
        history.add(a_sample(at, falls={"yto-01": 1}, down_s={"yto-01": 20.4}))
    body = document(history.samples, now=MIDNIGHT + 2 * HOUR_S, since=MIDNIGHT)
    assert edge_of(body, "yto-01")["today"] == {"falls": 2, "down_s": 40}


def test_samples_are_read_back() -> None:
    samples = a_history(2 * 60, given={"yto-01": 3}).samples
    assert decode(encode(samples), NOON) == list(samples)


def test_500_edges_for_a_day_fit_the_size_limit() -> None:
    edges = [replace(an_edge(a_region(f"edge-{n:03}")), rtt_ms=n / 7) for n in range(500)]
    fleet = a_fleet(*edges)
    given = {edge.region.id: n * 37 % 1_000 for n, edge in enumerate(edges)}
    one = a_sample(fleet=fleet, given=given)
    samples = [msgspec.structs.replace(one, at=NOON - n) for n in range(MAX_SAMPLES)]
    assert len(decode(encode(samples), NOON)) == MAX_SAMPLES


def test_history_over_the_size_limit_loses_its_oldest_samples() -> None:
    numbers = iter(range(1, 2**31, 7_919))
    rows = 3_000
    wide = msgspec.structs.replace(
        a_sample(),
        ids=tuple(f"edge-{n}" for n in range(rows)),
        **{name: (value,) * rows for name, value in _FIRST.items()},
    )
    samples = [
        msgspec.structs.replace(
            wide, at=NOON - 100 + n, given=tuple(next(numbers) % 2**31 for _ in range(rows))
        )
        for n in range(60)
    ]
    body = encode(samples)
    kept = decode(body, NOON)
    assert len(body) <= MAX_HISTORY_BYTES
    assert 0 < len(kept) < 60
    assert kept[-1] == samples[-1]


_FIRST: dict[str, Any] = {
    "states": "up",
    "intents": "enabled",
    "rtt_ms": None,
    "falls": 0,
    "down_s": 0,
}


def plain(samples: Sequence[Sample], **changed: Any) -> bytes:
    rows = msgspec.to_builtins(samples)
    rows[0] |= changed
    return zlib.compress(msgspec.json.encode(rows))


@pytest.mark.parametrize(
    "changed",
    [
        {"span_s": 7},
        {"states": ["up"]},
        {"given": [-1] * 10},
        {"given": [2**60] * 10},
        {"answers": -1},
        {"at": "now"},
        {"status": "fine"},
        {"dials": {"yto-01": 7.0}},
    ],
    ids=str,
)
def test_invalid_history_is_rejected(changed: dict[str, Any]) -> None:
    assert decode(plain([a_sample()], **changed), NOON) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"x", zlib.compress(b"[" * 100_000), zlib.compress(b" " * 2**25), zlib.compress(b"{}")],
    ids=["empty", "text", "deep", "bomb", "object"],
)
def test_hostile_history_is_rejected(body: bytes) -> None:
    assert decode(body, NOON) == []


def test_future_and_old_samples_are_dropped() -> None:
    ages = (-60.0, 0.0, KEPT_S - 1.0, KEPT_S + 1.0)
    body = encode([a_sample(NOON - age) for age in ages])
    assert [NOON - one.at for one in decode(body, NOON)] == [KEPT_S - 1.0, 0.0]


def test_samples_of_an_earlier_process_come_first() -> None:
    history = a_history(2)
    history.prepend(a_history(5, NOON - MINUTE_S).samples, NOON)
    assert [NOON - one.at for one in history.samples] == [
        ago * MINUTE_S for ago in reversed(range(6))
    ]


def test_version_depends_on_routing_only() -> None:
    fleet = a_fleet()
    assert version(fleet) == version(replace(fleet, seen_at=1.0, slot=7))
    different = [
        a_fleet_but(an_edge("yto-01", Observed.DOWN)),
        a_fleet_but(an_edge("yto-01", models=["kokoro-82m"])),
        a_fleet_but(replace(an_edge("yto-01"), share=0.5)),
        a_fleet(status=Status.STALE),
    ]
    assert len({version(one) for one in [fleet, *different]}) == 5


def test_nearest_sample_is_the_next_one() -> None:
    history = a_history(3 * 60)
    found = history.nearest(NOON - 90)
    assert found is not None
    assert found.at == NOON - MINUTE_S
    assert history.nearest(NOON + 1) is None
    assert history.nearest(NOON - 2 * HOUR_S) is None


def test_past_fleet_gives_the_same_decisions() -> None:
    then = a_fleet_but(an_edge("yto-01", Observed.DOWN), a_held_edge("yto-02"))
    one = a_sample(fleet=then)
    restored = past_fleet(a_catalog(), one, NOON, 10)
    for key in (a_key("yto-01", "yto-02"), a_key("yul-01"), a_key(country="DE")):
        actual, expected = (a_decision(fleet, key) for fleet in (restored, then))
        assert actual == expected


def test_past_fleet_has_the_edges_of_the_current_catalog() -> None:
    one = a_sample(fleet=a_fleet(an_edge("yto-01"), an_edge("gone-01")))
    restored = past_fleet(a_catalog(a_region("yto-01"), a_region("new-01")), one, NOON, 10)
    assert [(edge.region.id, edge.observed.value) for edge in restored.edges] == [
        ("yto-01", "up"),
        ("new-01", "unknown"),
    ]


def test_past_dial_has_its_slot() -> None:
    dialled = a_fleet_but(replace(an_edge("yto-01"), share=0.25))
    restored = past_fleet(a_catalog(), a_sample(fleet=dialled), 1_234.5, 10)
    assert (restored.slot, restored.edges[0].share) == (123, 0.25)


def test_missing_sample_error_has_the_kept_times() -> None:
    assert a_history(3).explain_gap(0.0) == (
        "no sample for 1970-01-01T00:00:00Z; there is one for each minute from "
        "2023-11-15T11:58:00Z to 2023-11-15T12:00:00Z"
    )


def a_decision(fleet: Fleet, key: RouteKey) -> tuple[list[str], object, object]:
    decision = decide(a_ranker_for(a_fleet()), fleet, key, Query())
    return [edge.region.id for edge in decision.candidates], decision.reason, decision.problem
