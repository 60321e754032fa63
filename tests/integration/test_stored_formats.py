"""Releases side by side on one Redis: each reads what the others write, as far as it can."""

import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from router.api.live_fleet import FleetWatch
from router.model import Event, EventKind, Intended, Intent, Observed, Outcome, View
from router.routing.cache_headers import CachePolicy
from router.routing.fleet import combine
from router.store.codec import FORMAT, UNREADABLE, decode, encode
from router.store.redis import EVENTS, VANTAGES, RedisStore, intent_key, view_key
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


Clock = Callable[[], float]


def newer(value: View | Intent | Event, **changes: Any) -> bytes:
    """As a release to come may write it: with more fields, at any depth, in any order."""
    told = json.loads(encode(value))
    for edge in told.get("edges", {}).values():
        edge |= {"loss": 0.5, "zones": {"a": [1]}}
    return json.dumps({"later": {"x": [None]}, **told, **changes}).encode()


@pytest.fixture
def raw(redis_url: str) -> Any:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@asynccontextmanager
async def opened(url: str, clock: Clock = time.time) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, clock=clock)
    try:
        yield store
    finally:
        await store.close()


NEW_FIELDS = {
    *("isolated_since", "held_since", "held_until"),
    *("share", "from_share", "over_s", "at_once"),
}
NEW_FIELDS_OF_EDGES = {
    *("probed_at", "models_fault", "bad_addresses"),
    *("back_at", "changes", "calm_at", "usual_ms", "worked"),
}


def _as_older(told: dict[str, Any]) -> dict[str, Any]:
    """The same without what older releases do not say."""
    told = {name: value for name, value in told.items() if name not in NEW_FIELDS}
    if "edges" not in told:
        return told
    edges = {
        id: {name: value for name, value in edge.items() if name not in NEW_FIELDS_OF_EDGES}
        for id, edge in told["edges"].items()
    }
    return {**told, "edges": edges}


# What an older release wrote


@pytest.mark.parametrize("key", RECORDED["values"])
def test_values_of_an_older_release_are_read_whole(key: str) -> None:
    text = RECORDED["values"][key].encode()
    kind: Any = View if ":view:" in key else Intent
    kept = decode(text, kind, RECORDED_AT)
    assert _as_older(json.loads(msgspec.json.encode(kept))) == json.loads(text)


@pytest.mark.parametrize("text", RECORDED["events"])
def test_events_of_an_older_release_are_read_whole(text: str) -> None:
    assert msgspec.to_builtins(decode(text.encode(), Event, NOW)) == json.loads(text)


async def test_redis_of_an_older_release_is_taken_over(redis_url: str, raw: Any) -> None:
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
    assert [wish.state for wish in stored.intents] == [Intended.DRAINING, Intended.DISABLED]
    assert (len(events), stored.faults) == (len(RECORDED["events"]), ())
    assert seq == stored.views[2].seq  # theirs is newer, so ours did not replace it


# What an older release reads


def test_older_release_reads_what_is_written_now() -> None:
    view = msgspec.json.decode(encode(VIEW), type=older.View)
    intent = msgspec.json.decode(encode(INTENT), type=older.Intent)
    event = msgspec.json.decode(encode(EVENT), type=older.Event)
    assert msgspec.to_builtins(view) == _as_older(msgspec.to_builtins(VIEW))
    assert msgspec.to_builtins(intent) == _as_older(msgspec.to_builtins(INTENT))
    assert msgspec.to_builtins(event) == msgspec.to_builtins(EVENT)


def test_older_release_reads_a_dial_as_enabled() -> None:
    dial = replace(INTENT, state=Intended.ENABLED, share=0.3, from_share=0.9, over_s=900.0)
    told = msgspec.json.decode(encode(dial), type=older.Intent)
    assert told.state is older.Intended.ENABLED
    assert msgspec.to_builtins(told) == _as_older(msgspec.to_builtins(dial))
    assert decode(encode(dial), Intent, NOW) == dial


def test_older_release_finds_the_seq_of_what_is_written_now() -> None:
    """It looks at the first 256 bytes, and replaces what it finds none in."""
    vantage = "v" * 63
    found = re.search(rb'"seq":(\d+)', encode(replace(VIEW, vantage=vantage))[:256])
    assert found is not None
    assert int(found[1]) == VIEW.seq


def test_wish_for_an_edge_at_once_is_enabled_to_an_older_release() -> None:
    wish = replace(an_intent("yto-01", Intended.ENABLED), at_once=True)
    assert msgspec.json.decode(encode(wish), type=older.Intent).state == "enabled"


# What a newer release wrote


def test_every_value_has_its_format() -> None:
    assert [json.loads(encode(value))["v"] for value in (VIEW, INTENT, EVENT)] == [FORMAT] * 3


@pytest.mark.parametrize("value", [VIEW, INTENT, EVENT], ids=["view", "intent", "event"])
def test_fields_to_come_are_ignored(value: View | Intent | Event) -> None:
    kind: Any = type(value)
    assert decode(newer(value), kind, NOW) == value


def test_state_to_come_abstains_and_reason_to_come_is_untold() -> None:
    told = json.loads(newer(VIEW))
    told["edges"]["yto-01"] |= {"state": "overheated", "reason": "thermal"}
    view = decode(json.dumps(told).encode(), View, NOW)
    assert (view.edges["yto-01"].state, view.edges["yto-01"].reason) == (Observed.UNKNOWN, None)
    assert view.edges["yul-01"] == VIEW.edges["yul-01"]


def test_intent_to_come_keeps_its_edge_out() -> None:
    kept = decode(newer(INTENT, state="quarantined"), Intent, NOW)
    assert kept == replace(INTENT, state=Intended.DRAINING)


@pytest.mark.parametrize("value", [VIEW, INTENT, EVENT], ids=["view", "intent", "event"])
def test_other_format_is_not_guessed_at(value: View | Intent | Event) -> None:
    kind: Any = type(value)
    with pytest.raises(msgspec.DecodeError, match="format 2 is newer than this release"):
        decode(newer(value, v=FORMAT + 1), kind, NOW)


async def test_events_to_come_are_skipped(redis_url: str, raw: Any) -> None:
    async with opened(redis_url) as store:
        raw.xadd(EVENTS, {"event": newer(EVENT, kind="eclipse")})
        raw.xadd(EVENTS, {"event": newer(EVENT, v=FORMAT + 1)})
        raw.xadd(EVENTS, {"other": b"field"})
        await store.log_events([EVENT])
        assert [logged.event for logged in await store.events()] == [EVENT]


async def test_what_cannot_be_read_any_more_is_held(redis: RedisServer, raw: Any) -> None:
    """Pollers and operators go ahead of a server: it goes on with what it knows."""
    wish = an_intent("yul-01", Intended.DISABLED)
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
        raw.set(intent_key("yul-01"), encode(wish))
        await watch.refresh()
        before = watch.fleet.routing
        raw.set(view_key("fra"), newer(VIEW, v=FORMAT + 1))
        raw.set(intent_key("yul-01"), newer(wish, v=FORMAT + 1))
        now[0] += 10
        await watch.refresh()
        assert watch.fleet.routing == before
        now[0] = wish.ends_at + 1
        await watch.refresh()
    assert all(edge.intended is Intended.ENABLED for edge in watch.fleet.edges)


async def test_intent_that_is_dropped_is_not_held(redis: RedisServer, raw: Any) -> None:
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


# Catalogs that differ


def test_edge_that_only_one_side_knows_changes_nothing_for_the_others() -> None:
    ours = a_catalog(a_region("yto-01"), a_region("new-01"))
    view = a_view("local", {"yto-01": Observed.UP, "old-01": Observed.DOWN})
    wishes = [an_intent("old-01", Intended.DISABLED)]
    fleet = combine(ours, [view], wishes, NOW)
    states = {edge.region.id: (edge.observed, edge.intended) for edge in fleet.edges}
    assert states == {
        "yto-01": (Observed.UP, Intended.ENABLED),
        "new-01": (Observed.UNKNOWN, Intended.ENABLED),
    }


# Hostile contents


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=12,
)
KINDS = st.sampled_from([(VIEW, View), (INTENT, Intent), (EVENT, Event)])


@given(KINDS, st.data())
def test_hostile_fields_are_refused_or_read(case: tuple[Any, Any], data: st.DataObject) -> None:
    value, kind = case
    told = json.loads(encode(value))
    name = data.draw(st.sampled_from([*told, "v", "edges", "state"]))
    told[name] = data.draw(values)
    _is_refused_or_read(json.dumps(told).encode(), kind)


@given(KINDS, st.binary(max_size=40), st.integers(0, 200), st.integers(0, 200))
def test_hostile_bytes_are_refused_or_read(
    case: tuple[Any, Any], junk: bytes, start: int, length: int
) -> None:
    text = encode(case[0])
    _is_refused_or_read(text[:start] + junk + text[start + length :], case[1])


@given(st.recursive(st.just({}), lambda inner: st.builds(dict, edges=inner), max_leaves=3), KINDS)
def test_nested_contents_are_refused_or_read(told: Any, case: tuple[Any, Any]) -> None:
    _is_refused_or_read(json.dumps(told).encode(), case[1])
    _is_refused_or_read(b'{"edges":' * 100_000, case[1])


def _is_refused_or_read(text: bytes, kind: Any) -> None:
    try:
        kept = decode(text, kind, NOW)
    except UNREADABLE:
        return
    assert isinstance(kept, kind)
    assert decode(encode(kept), kind, NOW) == kept


def test_last_good_health_of_a_newer_release_is_no_trouble(tmp_path: Path) -> None:
    LastGood(tmp_path).save([VIEW], [INTENT])
    (kept,) = tmp_path.iterdir()
    _, _, body = kept.read_bytes().partition(b"\n")
    kept.write_bytes(body)
    assert LastGood(tmp_path).load() is None
