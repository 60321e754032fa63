"""Different releases on one Redis: each reads what it can of the others' values."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.api.live_fleet import FleetWatch
from router.model import Event, EventKind, Intended, Intent, Observed, Outcome, View
from router.routing.cache_headers import CachePolicy
from router.routing.fleet import combine
from router.store.codec import FORMAT, UNREADABLE, decode, encode
from router.store.redis import EVENTS, VANTAGES, intent_key, view_key
from router.store.snapshot import LastGood
from router.telemetry.metrics import Telemetry
from tests.support import release_85b0a81 as older
from tests.support.builders import (
    NOW,
    a_catalog,
    a_ranker,
    a_region,
    a_view,
    an_edge_view,
    an_intent,
)
from tests.support.servers import RedisServer
from tests.support.stores import opened

pytestmark = pytest.mark.anyio

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "support" / "data" / "release-85b0a81.json").read_text()
)
RECORDED_AT = 4_000_000_060.0
VIEW = a_view(
    "fra",
    {
        "yto-01": replace(an_edge_view(Observed.DOWN), reason=Outcome.TIMEOUT, streak=-3),
        "yul-01": replace(an_edge_view(models=["whisper"]), rtt_ms=12.5),
    },
    seq=7,
)
VIEW = replace(VIEW, held=("yto-01",), held_since=NOW - 9, held_until=NOW + 111)
VIEW = replace(VIEW, isolated_since=NOW - 30)
VIEW.edges["yto-01"] = replace(
    VIEW.edges["yto-01"],
    back_at=NOW + 60,
    changes=5,
    calm_at=NOW + 900,
    usual_ms=1.5,
    worked=True,
)
INTENT = an_intent("yto-01", Intended.DISABLED)
EVENT = Event(at=NOW, kind=EventKind.TRANSITION, edge="yto-01", before="up", after="down")


def as_newer_release(value: View | Intent | Event, **changes: Any) -> bytes:
    """The value as a later release may write it: with more fields, in another order."""
    fields = json.loads(encode(value))
    for edge in fields.get("edges", {}).values():
        edge |= {"loss": 0.5, "zones": {"a": [1]}}
    return json.dumps({"later": {"x": [None]}, **fields, **changes}).encode()


NEWER_FIELDS = {
    *("isolated_since", "held_since", "held_until"),
    *("share", "from_share", "over_s", "at_once"),
}
NEWER_FIELDS_OF_EDGES = {
    *("probed_at", "models_fault", "bad_addresses"),
    *("back_at", "changes", "calm_at", "usual_ms", "worked"),
}


def as_older_release(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields without those that older releases do not have."""
    fields = {name: value for name, value in fields.items() if name not in NEWER_FIELDS}
    if "edges" not in fields:
        return fields
    edges = {
        id: {name: value for name, value in edge.items() if name not in NEWER_FIELDS_OF_EDGES}
        for id, edge in fields["edges"].items()
    }
    return {**fields, "edges": edges}


# Values of an older release


@pytest.mark.parametrize("key", RECORDED["values"])
def test_values_of_an_older_release_are_read(key: str) -> None:
    text = RECORDED["values"][key].encode()
    kind: Any = View if ":view:" in key else Intent
    decoded = decode(text, kind, RECORDED_AT)
    assert as_older_release(json.loads(msgspec.json.encode(decoded))) == json.loads(text)


@pytest.mark.parametrize("text", RECORDED["events"])
def test_events_of_an_older_release_are_read(text: str) -> None:
    assert msgspec.to_builtins(decode(text.encode(), Event, NOW)) == json.loads(text)


async def test_redis_of_an_older_release_is_used(redis_url: str, raw: Any) -> None:
    for key, text in RECORDED["values"].items():
        raw.set(key, text)
    for text in RECORDED["events"]:
        raw.xadd(EVENTS, {"event": text})
    raw.sadd(VANTAGES, "fra", "nyc", "yyz")
    async with opened(redis_url, clock=lambda: RECORDED_AT) as store:
        stored = await store.read(["yul-01", "nyc-01"])
        events = await store.events()
        seq = await store.publish(a_view("yyz", seq=1))
    assert [view.vantage for view in stored.views] == ["fra", "nyc", "yyz"]
    assert [intent.state for intent in stored.intents] == [Intended.DRAINING, Intended.DISABLED]
    assert (len(events), stored.faults) == (len(RECORDED["events"]), ())
    assert seq == stored.views[2].seq  # the older release's view has a higher seq, so it is kept


# Values that an older release reads


def test_older_release_reads_current_values() -> None:
    view = msgspec.json.decode(encode(VIEW), type=older.View)
    intent = msgspec.json.decode(encode(INTENT), type=older.Intent)
    event = msgspec.json.decode(encode(EVENT), type=older.Event)
    assert msgspec.to_builtins(view) == as_older_release(msgspec.to_builtins(VIEW))
    assert msgspec.to_builtins(intent) == as_older_release(msgspec.to_builtins(INTENT))
    assert msgspec.to_builtins(event) == msgspec.to_builtins(EVENT)


def test_older_release_reads_a_dial_as_enabled() -> None:
    dial = replace(INTENT, state=Intended.ENABLED, share=0.3, from_share=0.9, over_s=900.0)
    fields = msgspec.json.decode(encode(dial), type=older.Intent)
    assert fields.state is older.Intended.ENABLED
    assert msgspec.to_builtins(fields) == as_older_release(msgspec.to_builtins(dial))
    assert decode(encode(dial), Intent, NOW) == dial


def test_older_release_finds_the_current_seq() -> None:
    """It looks for `seq` in the first 256 bytes, and replaces the value if it finds none."""
    vantage = "v" * 63
    found = re.search(rb'"seq":(\d+)', encode(replace(VIEW, vantage=vantage))[:256])
    assert found is not None
    assert int(found[1]) == VIEW.seq


def test_older_release_reads_enable_now_as_enabled() -> None:
    intent = replace(an_intent("yto-01", Intended.ENABLED), at_once=True)
    assert msgspec.json.decode(encode(intent), type=older.Intent).state == "enabled"


# Values of a newer release


def test_every_value_has_a_format_number() -> None:
    assert [json.loads(encode(value))["v"] for value in (VIEW, INTENT, EVENT)] == [FORMAT] * 3


@pytest.mark.parametrize("value", [VIEW, INTENT, EVENT], ids=["view", "intent", "event"])
def test_unknown_fields_are_ignored(value: View | Intent | Event) -> None:
    kind: Any = type(value)
    assert decode(as_newer_release(value), kind, NOW) == value


def test_unknown_state_and_reason_are_ignored() -> None:
    fields = json.loads(as_newer_release(VIEW))
    fields["edges"]["yto-01"] |= {"state": "overheated", "reason": "thermal"}
    view = decode(json.dumps(fields).encode(), View, NOW)
    assert (view.edges["yto-01"].state, view.edges["yto-01"].reason) == (Observed.UNKNOWN, None)
    assert view.edges["yul-01"] == VIEW.edges["yul-01"]


def test_unknown_intent_drains_its_edge() -> None:
    decoded = decode(as_newer_release(INTENT, state="quarantined"), Intent, NOW)
    assert decoded == replace(INTENT, state=Intended.DRAINING)


@pytest.mark.parametrize("value", [VIEW, INTENT, EVENT], ids=["view", "intent", "event"])
def test_newer_format_is_rejected(value: View | Intent | Event) -> None:
    kind: Any = type(value)
    with pytest.raises(msgspec.DecodeError, match="format 2 is newer than this release"):
        decode(as_newer_release(value, v=FORMAT + 1), kind, NOW)


async def test_events_of_a_newer_release_are_skipped(redis_url: str, raw: Any) -> None:
    async with opened(redis_url) as store:
        raw.xadd(EVENTS, {"event": as_newer_release(EVENT, kind="eclipse")})
        raw.xadd(EVENTS, {"event": as_newer_release(EVENT, v=FORMAT + 1)})
        raw.xadd(EVENTS, {"other": b"field"})
        await store.log_events([EVENT])
        assert [logged.event for logged in await store.events()] == [EVENT]


async def test_last_readable_values_are_kept(redis: RedisServer, raw: Any) -> None:
    """Pollers and operators are updated before servers, which keep the last readable values."""
    intent = an_intent("yul-01", Intended.DISABLED)
    now = [NOW]
    async with opened(redis.url) as store:
        watch = FleetWatch(
            a_ranker(),
            store,
            Telemetry(),
            cache_policy=CachePolicy(),
            clock=lambda: now[0],
        )
        await store.publish(replace(VIEW, seq=1))
        raw.set(intent_key("yul-01"), encode(intent))
        await watch.refresh()
        before = watch.fleet.routing
        raw.set(view_key("fra"), as_newer_release(VIEW, v=FORMAT + 1))
        raw.set(intent_key("yul-01"), as_newer_release(intent, v=FORMAT + 1))
        now[0] += 10
        await watch.refresh()
        assert watch.fleet.routing == before
        now[0] = intent.ends_at + 1
        await watch.refresh()
    assert all(edge.intended is Intended.ENABLED for edge in watch.fleet.edges)


async def test_ended_intent_is_not_kept(redis: RedisServer, raw: Any) -> None:
    async with opened(redis.url) as store:
        watch = FleetWatch(a_ranker(), store, Telemetry(), clock=lambda: NOW)
        raw.set(intent_key("yul-01"), encode(an_intent("yul-01", Intended.DISABLED)))
        await watch.refresh()
        assert not _edge(watch, "yul-01").enabled
        raw.delete(intent_key("yul-01"))
        await watch.refresh()
    assert _edge(watch, "yul-01").enabled


def _edge(watch: FleetWatch, id: str) -> Any:
    return next(edge for edge in watch.fleet.edges if edge.region.id == id)


# Different catalogs


def test_unknown_edge_does_not_affect_other_edges() -> None:
    catalog = a_catalog(a_region("yto-01"), a_region("new-01"))
    view = a_view("local", {"yto-01": Observed.UP, "old-01": Observed.DOWN})
    intents = [an_intent("old-01", Intended.DISABLED)]
    fleet = combine(catalog, [view], intents, NOW)
    states = {edge.region.id: (edge.observed, edge.intended) for edge in fleet.edges}
    assert states == {
        "yto-01": (Observed.UP, Intended.ENABLED),
        "new-01": (Observed.UNKNOWN, Intended.ENABLED),
    }


# Hostile values


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=12,
)
CASES = st.sampled_from([(VIEW, View), (INTENT, Intent), (EVENT, Event)])


@given(CASES, st.data())
def test_hostile_fields_are_rejected_or_read(case: tuple[Any, Any], data: st.DataObject) -> None:
    value, kind = case
    fields = json.loads(encode(value))
    name = data.draw(st.sampled_from([*fields, "v", "edges", "state"]))
    fields[name] = data.draw(values)
    assert_rejected_or_read(json.dumps(fields).encode(), kind)


@given(CASES, st.binary(max_size=40), st.integers(0, 200), st.integers(0, 200))
def test_hostile_bytes_are_rejected_or_read(
    case: tuple[Any, Any], random_bytes: bytes, start: int, length: int
) -> None:
    text = encode(case[0])
    assert_rejected_or_read(text[:start] + random_bytes + text[start + length :], case[1])


@given(st.recursive(st.just({}), lambda inner: st.builds(dict, edges=inner), max_leaves=3), CASES)
def test_nested_values_are_rejected_or_read(fields: Any, case: tuple[Any, Any]) -> None:
    assert_rejected_or_read(json.dumps(fields).encode(), case[1])
    assert_rejected_or_read(b'{"edges":' * 100_000, case[1])


def assert_rejected_or_read(text: bytes, kind: Any) -> None:
    try:
        decoded = decode(text, kind, NOW)
    except UNREADABLE:
        return
    assert isinstance(decoded, kind)
    assert decode(encode(decoded), kind, NOW) == decoded


def test_saved_health_of_a_newer_release_is_ignored(tmp_path: Path) -> None:
    LastGood(tmp_path).save([VIEW], [INTENT])
    (decoded,) = tmp_path.iterdir()
    _, _, body = decoded.read_bytes().partition(b"\n")
    decoded.write_bytes(body)
    assert LastGood(tmp_path).load() is None
