"""The contract of every store, and Redis with hostile values, killed or hung."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from router.errors import StoreError
from router.model import Event, EventKind, Intended, Intent, Observed, Outcome
from router.store import EVENTS_KEPT, MAX_HISTORY_BYTES, Change, Store, Stored
from router.store.codec import encode
from router.store.memory import MemoryStore
from router.store.notices import Notice
from router.store.reading import LISTED_READS
from router.store.redis import (
    CHANGED,
    EVENTS,
    HISTORY,
    MAX_VALUE_BYTES,
    MAX_VANTAGES,
    VANTAGES,
    VIEW_LIFE_S,
    intent_key,
    lease_key,
    view_key,
)
from tests.support.builders import CITIES, NOW, a_view, an_edge_view, an_intent, wishes
from tests.support.servers import HOST, RedisServer, eventually, free_port, served
from tests.support.stores import Reports, opened, refused_s

pytestmark = pytest.mark.anyio

WAIT_S = 30.0
HINTED_WITHIN_S = 1.0
IN_AN_HOUR = round(time.time()) + 3_600


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    server: RedisServer = request.getfixturevalue("redis")
    async with opened(server.url) as one:
        yield one


async def settled_hints(store: Store) -> int:
    """The number of hints, once no more arrive."""
    seen, count = -1, 0
    while count != seen:
        seen, count = count, await store.changed(count, 0.05)
    return seen


async def hint_s(store: Store, cause: Callable[[], Any]) -> float:
    """Seconds until `changed` returns, if `cause` runs while it waits."""
    seen = await settled_hints(store)
    started = time.monotonic()
    waiting = asyncio.create_task(store.changed(seen, WAIT_S))
    await asyncio.sleep(0)
    await cause()
    await waiting
    return time.monotonic() - started


async def test_store_starts_empty(store: Store) -> None:
    assert await store.read(list(CITIES)) == Stored((), ())


async def test_saved_history_is_read_back(store: Store) -> None:
    assert await store.history() is None
    await store.save_history(b"one")
    await store.save_history(bytes(MAX_HISTORY_BYTES))
    assert await store.history() == bytes(MAX_HISTORY_BYTES)


async def test_hostile_history_is_ignored(redis: RedisServer, raw: Any) -> None:
    async with opened(redis.url) as store:
        raw.set(HISTORY, bytes(MAX_HISTORY_BYTES + 1))
        assert await store.history() is None
        raw.delete(HISTORY)
        raw.lpush(HISTORY, "x")
        assert await store.history() is None
        await store.save_history(b"one")
        assert 0 < raw.ttl(HISTORY) <= 86_400


async def test_published_view_is_read_back(store: Store) -> None:
    seen = replace(
        an_edge_view(Observed.DEGRADED, models=("kokoro-82m", "llama-3"), models_at=NOW),
        reason=Outcome.TIMEOUT,
        rtt_ms=12.5,
        streak=-2,
    )
    view = a_view(edges={"yto-01": seen, "yul-01": Observed.DOWN}, seq=2**53, isolated=True)
    await store.publish(view)
    assert (await store.read([])).views == (view,)


async def test_newer_view_replaces_the_last(store: Store) -> None:
    await store.publish(a_view(seq=1))
    await store.publish(a_view(edges={}, seq=2))
    assert (await store.read([])).views == (a_view(edges={}, seq=2),)


async def test_views_of_many_vantages_are_read_together(store: Store) -> None:
    names = {f"vantage-{n}" for n in range(20)}
    for name in names:
        await store.publish(a_view(name))
    assert {view.vantage for view in (await store.read([])).views} == names


async def test_hint_wakes_a_waiter(store: Store) -> None:
    assert await hint_s(store, lambda: store.publish(a_view())) < HINTED_WITHIN_S


async def test_hint_without_a_waiter_is_kept(store: Store) -> None:
    seen = await settled_hints(store)
    await store.publish(a_view())
    async with asyncio.timeout(HINTED_WITHIN_S):
        await store.changed(seen, WAIT_S)


async def test_waiting_ends_at_its_timeout(store: Store) -> None:
    seen = await settled_hints(store)
    started = time.monotonic()
    assert await store.changed(seen, 0.2) == seen
    assert 0.15 < time.monotonic() - started < HINTED_WITHIN_S


async def test_one_hint_wakes_once(store: Store) -> None:
    await hint_s(store, lambda: store.publish(a_view()))
    started = time.monotonic()
    await store.changed(await settled_hints(store), 0.2)
    assert time.monotonic() - started > 0.15


async def test_hint_wakes_every_waiter(store: Store) -> None:
    seen = await settled_hints(store)
    waiting = [asyncio.create_task(store.changed(seen, WAIT_S)) for _ in range(3)]
    await asyncio.sleep(0)
    await store.publish(a_view())
    async with asyncio.timeout(HINTED_WITHIN_S):
        assert all(count > seen for count in await asyncio.gather(*waiting))


async def test_hint_reaches_another_client(redis_url: str) -> None:
    async with opened(redis_url) as writer, opened(redis_url) as reader:
        assert await hint_s(reader, lambda: writer.publish(a_view())) < HINTED_WITHIN_S
        assert (await reader.read([])).views == (a_view(),)


async def test_older_view_does_not_replace_a_newer_one(store: Store) -> None:
    await store.publish(a_view(seq=7))
    assert await store.publish(a_view(edges={}, seq=6)) == 7
    assert (await store.read([])).views == (a_view(seq=7),)


async def test_publish_returns_the_stored_seq(store: Store) -> None:
    assert await store.publish(a_view(seq=2**53 - 1)) == 2**53 - 1


async def test_intents_are_read_for_the_given_edges(store: Store) -> None:
    drained, other = an_hour_long("yto-01"), an_hour_long("yul-01", Intended.DISABLED)
    for intent in (drained, other):
        await store.change_intents(wishes(intent))
    assert (await store.read(["yto-01", "nyc-01"])).intents == (drained,)
    assert set((await store.read(list(CITIES))).intents) == {drained, other}


async def test_later_intent_replaces_the_first(store: Store) -> None:
    for state in (Intended.DRAINING, Intended.DISABLED):
        await store.change_intents(wishes(an_hour_long("yto-01", state)))
    assert [one.state for one in (await store.read(["yto-01"])).intents] == [Intended.DISABLED]


async def test_ended_intent_is_removed(store: Store) -> None:
    await store.change_intents(wishes(an_hour_long("yto-01")))
    await store.change_intents([Change("yto-01", None)])
    await store.change_intents([Change("yul-01", None)])
    assert (await store.read(list(CITIES))).intents == ()


async def test_intent_expires_by_itself(store: Store) -> None:
    await store.change_intents(wishes(an_intent(expires_at=time.time() + 0.2)))
    assert len((await store.read(["yto-01"])).intents) == 1

    async def is_gone() -> bool:
        return not (await store.read(["yto-01"])).intents

    await eventually(is_gone, 2)


async def test_change_of_an_intent_is_hinted(store: Store) -> None:
    assert (
        await hint_s(store, lambda: store.change_intents(wishes(an_hour_long("yto-01"))))
        < HINTED_WITHIN_S
    )
    assert (
        await hint_s(store, lambda: store.change_intents([Change("yto-01", None)]))
        < HINTED_WITHIN_S
    )


async def test_lease_has_one_holder(store: Store) -> None:
    held = [await store.hold_lease("local", holder, 5) for holder in ("a", "b", "a")]
    assert held == [True, False, True]
    assert await store.hold_lease("other", "b", 5)


async def test_dropped_lease_is_free(store: Store) -> None:
    await store.hold_lease("local", "a", 5)
    await store.drop_lease("local", "b")
    assert not await store.hold_lease("local", "b", 5)
    await store.drop_lease("local", "a")
    assert await store.hold_lease("local", "b", 5)


async def test_lease_expires(store: Store) -> None:
    await store.hold_lease("local", "a", 0.1)
    await eventually(lambda: store.hold_lease("local", "b", 5), 2)
    assert not await store.hold_lease("local", "a", 5)


async def test_renewed_lease_is_kept(store: Store) -> None:
    started, renewed = time.monotonic(), []

    async def renew() -> bool:
        renewed.append(await store.hold_lease("local", "a", 0.2))
        renewed.append(not await store.hold_lease("local", "b", 5))
        return time.monotonic() - started > 0.5

    await eventually(renew)
    assert all(renewed)


async def test_events_are_read_in_order_after_an_id(store: Store) -> None:
    await store.log_events([an_event(n) for n in range(3)])
    await store.log_events([an_event(3)])
    logged = await store.events()
    assert [one.event for one in logged] == [an_event(n) for n in range(4)]
    assert [one.event.at for one in await store.events(logged[1].id)] == [2, 3]
    assert await store.events(logged[-1].id) == ()


async def test_limit_keeps_the_newest_events(store: Store) -> None:
    await store.log_events([an_event(n) for n in range(10)])
    assert [one.event.at for one in await store.events(limit=2)] == [8, 9]


async def test_number_of_events_is_limited(store: Store) -> None:
    for _ in range(30):
        await store.log_events([an_event(n) for n in range(EVENTS_KEPT // 10)])
    assert len(await store.events(limit=10 * EVENTS_KEPT)) <= EVENTS_KEPT * 1.2


async def test_events_are_hinted(store: Store) -> None:
    assert await hint_s(store, lambda: store.log_events([an_event(1)])) < HINTED_WITHIN_S
    seen = await settled_hints(store)
    started = time.monotonic()
    await store.log_events([])
    await store.changed(seen, 0.2)
    assert time.monotonic() - started > 0.15


def an_hour_long(edge: str, state: Intended = Intended.DRAINING) -> Intent:
    """An intent that expires an hour after this module was imported."""
    return an_intent(edge, state, expires_at=IN_AN_HOUR)


def an_event(at: float) -> Event:
    return Event(at=at, kind=EventKind.TRANSITION, edge="yto-01", before="up", after="down")


async def test_every_key_expires_or_has_a_size_limit(redis_url: str, raw: Any) -> None:
    async with opened(redis_url) as store:
        await store.publish(a_view())
        await store.hold_lease("local", "a", 10)
        await store.change_intents(wishes(an_hour_long("yto-01")))
        await store.log_events([an_event(1)])
    lives = {key.decode(): raw.ttl(key) for key in raw.keys("*")}
    assert lives.pop(EVENTS) == -1  # has a size limit instead
    assert set(lives) == {VANTAGES, view_key("local"), lease_key("local"), intent_key("yto-01")}
    assert all(0 < life <= VIEW_LIFE_S for life in lives.values())


HOSTILE_EVENTS: list[dict[str, bytes]] = [
    {"event": b"\xff"},
    {"other": b"x"},
    {"event": b'{"at":' + b"[" * 50_000},
    {"event": b'{"at":1,"kind":"reload","reason":"' + b"x" * 10**7 + b'"}'},
]


async def test_hostile_events_are_skipped(redis_url: str, raw: Any) -> None:
    for fields in HOSTILE_EVENTS:
        raw.xadd(EVENTS, fields)
    async with opened(redis_url) as store:
        await store.log_events([an_event(1)])
        assert [one.event for one in await store.events()] == [an_event(1)]


@pytest.mark.parametrize("at", ["99999999999999999999-0", "nonsense", "1-2-3"])
async def test_invalid_event_id_is_a_store_error(redis_url: str, at: str) -> None:
    async with opened(redis_url) as store:
        await refused_s(store.events(at))


@pytest.mark.parametrize("value", [b"", b"hello", b'{"seq":1}', b"\xff" * 1_000])
async def test_invalid_view_is_replaced(redis_url: str, raw: Any, value: bytes) -> None:
    raw.set(view_key("local"), value)
    async with opened(redis_url) as store:
        await store.publish(a_view(seq=5))
        assert (await store.read([])).views == (a_view(seq=5),)


async def test_vantage_with_an_expired_view_is_ignored(redis_url: str, raw: Any) -> None:
    async with opened(redis_url) as store:
        await store.publish(a_view("gone"))
        await store.publish(a_view("here"))
        raw.delete(view_key("gone"))
        assert await store.read([]) == Stored((a_view("here"),), ())


async def test_unchanged_values_are_read_without_a_script(redis_url: str, raw: Any) -> None:
    """A script costs Redis more than its commands. An unchanged intent needs no script."""
    edges = [f"edge-{number:03}" for number in range(250)]
    async with opened(redis_url) as store:
        await store.publish(a_view())
        await store.change_intents(wishes(an_hour_long("edge-120")))
        assert (await store.read(edges)).intents == (an_hour_long("edge-120"),)
        raw.config_resetstat()
        for _ in range(5):
            assert (await store.read(edges)).intents == (an_hour_long("edge-120"),)
        calls = {name: one["calls"] for name, one in raw.info("commandstats").items()}
    calls.pop("cmdstat_config|resetstat", None)
    assert calls.pop("cmdstat_exists") <= 5 * 5
    assert calls == dict.fromkeys(("cmdstat_scard", "cmdstat_strlen"), 5) | {"cmdstat_getrange": 10}


async def test_vantage_that_replaces_another_is_read(redis_url: str, raw: Any) -> None:
    async with opened(redis_url) as store, opened(redis_url) as other:
        await store.publish(a_view("gone"))
        await other.read([])
        raw.srem(VANTAGES, "gone")
        raw.delete(view_key("gone"))
        await store.publish(a_view("here"))
        for _ in range(LISTED_READS):
            stored = await other.read([])
    assert stored == Stored((a_view("here"),), ())


HOSTILE = {
    "empty": b"",
    "not json": b"hello",
    "not text": b"\xff\xfe\x00",
    "null": b"null",
    "list": b"[]",
    "empty object": b"{}",
    "lone surrogate": b'{"vantage":"\\ud800","seq":1,"probed_at":1}',
    "vantage a number": b'{"vantage":1,"seq":1,"probed_at":1}',
    "seq a text": b'{"vantage":"evil","seq":"1","probed_at":1}',
    "seq a fraction": b'{"vantage":"evil","seq":1.5,"probed_at":1}',
    "no time": b'{"vantage":"evil","seq":1}',
    "endless time": b'{"vantage":"evil","seq":1,"probed_at":1e999}',
    "time not a number": b'{"vantage":"evil","seq":1,"probed_at":NaN}',
    "state a number": b'{"vantage":"evil","seq":1,"probed_at":1,'
    b'"edges":{"yto-01":{"state":7,"since":1}}}',
    "edges a list": b'{"vantage":"evil","seq":1,"probed_at":1,"edges":[]}',
    "cut off": msgspec.json.encode(a_view("evil"))[:-20],
    "deep": b'{"x":' + b"[" * 200_000,
    "deep and closed": b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "huge": b'"' + b"x" * MAX_VALUE_BYTES + b'"',
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_view_does_not_affect_other_views(
    redis_url: str, raw: Any, value: bytes
) -> None:
    async with opened(redis_url) as store:
        await store.publish(a_view())
        raw.sadd(VANTAGES, "evil")
        raw.set(view_key("evil"), value)
        stored = await store.read([])
    assert stored.views == (a_view(),)
    assert [fault.partition(": ")[0] for fault in stored.faults] == [view_key("evil")]
    assert len(stored.faults[0]) < 500


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_intent_does_not_affect_other_intents(
    redis_url: str, raw: Any, value: bytes
) -> None:
    async with opened(redis_url) as store:
        raw.set(intent_key("yto-01"), msgspec.json.encode(an_intent()))
        raw.set(intent_key("yul-01"), value)
        stored = await store.read(["yto-01", "yul-01"])
    assert stored.intents == (an_intent(),)
    assert [fault.partition(": ")[0] for fault in stored.faults] == [intent_key("yul-01")]


async def test_view_of_a_wrong_type_is_skipped_and_replaced(redis_url: str, raw: Any) -> None:
    raw.sadd(VANTAGES, "evil")
    raw.lpush(view_key("evil"), "x")
    async with opened(redis_url) as store:
        await store.publish(a_view())
        stored = await store.read([])
        assert stored.views == (a_view(),)
        assert [fault.partition(": ")[0] for fault in stored.faults] == [view_key("evil")]
        await store.publish(a_view("evil"))
        assert await store.read([]) == Stored((a_view("evil"), a_view()), ())


async def test_intent_of_a_wrong_type_is_skipped_and_replaced(redis_url: str, raw: Any) -> None:
    raw.lpush(intent_key("yto-01"), "x")
    async with opened(redis_url) as store:
        await store.change_intents(wishes(an_hour_long("yul-01")))
        stored = await store.read(list(CITIES))
        assert (stored.intents, stored.unread) == ((an_hour_long("yul-01"),), frozenset({"yto-01"}))
        await store.change_intents(wishes(an_hour_long("yto-01")))
        assert len((await store.read(list(CITIES))).intents) == 2


async def test_vantages_of_a_wrong_type_are_replaced(redis_url: str, raw: Any) -> None:
    async with opened(redis_url) as store, opened(redis_url) as newcomer:
        await store.publish(a_view())
        await store.read([])
        raw.set(VANTAGES, "x")
        stored = await store.read([])
        assert stored.views == (a_view(),)
        assert [fault.partition(": ")[0] for fault in stored.faults] == [VANTAGES]
        assert (await newcomer.read([])).views == ()
        await store.publish(a_view(seq=2))
        assert await newcomer.read([]) == Stored((a_view(seq=2),), ())


async def test_lease_of_a_wrong_type_is_free(redis_url: str, raw: Any) -> None:
    raw.lpush(lease_key("local"), "x")
    async with opened(redis_url) as store:
        assert await store.hold_lease("local", "a", 5)
        assert not await store.hold_lease("local", "b", 5)
        raw.delete(lease_key("local"))
        raw.lpush(lease_key("local"), "x")
        await store.drop_lease("local", "a")


async def test_events_of_a_wrong_type_are_replaced(redis_url: str, raw: Any) -> None:
    raw.set(EVENTS, "x")
    async with opened(redis_url) as store:
        assert await store.events() == ()
        await store.log_events([an_event(1)])
        assert [logged.event for logged in await store.events()] == [an_event(1)]
        raw.delete(EVENTS)
        raw.set(EVENTS, "x")
        intent = an_hour_long("yto-01")
        await store.change_intents([Change("yto-01", intent, an_event(2))])
        assert [logged.event for logged in await store.events()] == [an_event(2)]
        assert (await store.read(["yto-01"])).intents == (intent,)


async def test_replaced_wrong_types_are_reported(redis_url: str, raw: Any) -> None:
    reports: Reports = []
    async with opened(redis_url, reports) as store:
        raw.set(VANTAGES, "x")
        raw.set(EVENTS, "x")
        await store.publish(a_view())
        await store.log_events([an_event(1)])
    assert reports == [(Notice.WRONG_TYPE, VANTAGES), (Notice.WRONG_TYPE, EVENTS)]


async def test_value_under_the_wrong_key_is_rejected(redis_url: str, raw: Any) -> None:
    async with opened(redis_url) as store:
        await store.publish(a_view())
        raw.sadd(VANTAGES, "evil")
        raw.set(view_key("evil"), encode(a_view("local", {}, seq=9)))
        raw.set(intent_key("yul-01"), encode(an_intent("yto-01")))
        stored = await store.read(["yul-01"])
    assert (stored.views, stored.intents) == ((a_view(),), ())
    assert len(stored.faults) == 2


async def test_thousands_of_vantages_do_not_hide_the_newest(redis_url: str, raw: Any) -> None:
    """The other vantages sort before the real ones, and some of them have views."""
    now_ms = round(time.time() * 1_000)
    names = [f"a{n:04}" for n in range(4_900)]
    raw.sadd(VANTAGES, *names)
    raw.mset({view_key(name): encode(a_view(name, {})) for name in names[:500]})
    async with opened(redis_url) as store, opened(redis_url) as newcomer:
        for number in range(10):
            await store.publish(a_view(f"real-{number}", seq=now_ms + number))
        for reader in (store, newcomer):
            real = {one.vantage for one in (await reader.read([])).views}
            assert {f"real-{number}" for number in range(10)} <= real


async def test_view_from_the_future_does_not_hide_others(redis_url: str, raw: Any) -> None:
    names = [f"a{n:03}" for n in range(100)]
    raw.sadd(VANTAGES, *names)
    raw.mset({view_key(name): encode(a_view(name, {}, seq=2**53)) for name in names})
    async with opened(redis_url) as store:
        await store.publish(a_view("real", seq=round(time.time() * 1_000)))
        assert "real" in {one.vantage for one in (await store.read([])).views}


async def test_vantages_without_a_view_are_removed(
    redis_url: str, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.sadd(VANTAGES, *(f"gone-{number}" for number in range(100)))
    monkeypatch.setattr("router.store.redis.PRUNE_S", 0.0)
    async with opened(redis_url) as store:
        await store.publish(a_view())
    assert raw.smembers(VANTAGES) == {b"local"}


async def test_huge_view_is_skipped(redis_url: str, raw: Any) -> None:
    raw.sadd(VANTAGES, "evil")
    raw.config_set("proto-max-bulk-len", 1024 * 1024 * 1024)
    raw.setrange(view_key("evil"), 300 * 1024 * 1024, b"x")
    async with opened(redis_url) as store:
        await store.publish(a_view())
        started = time.monotonic()
        stored = await store.read([])
    assert stored.views == (a_view(),)
    assert "too large" in stored.faults[0]
    assert time.monotonic() - started < HINTED_WITHIN_S


async def test_total_size_of_views_is_limited(redis_url: str, raw: Any) -> None:
    """The small view is read, and as many large ones as fit; the others are reported."""
    padded = {
        name: encode(a_view(name, {}))[:-1] + b',"x":"' + b"x" * 3_900_000 + b'"}'
        for name in (f"a{n}" for n in range(8))
    }
    raw.sadd(VANTAGES, *padded)
    for name, value in padded.items():
        raw.set(view_key(name), value)
    async with opened(redis_url) as store:
        await store.publish(a_view())
        for _ in range(3):
            stored = await store.read([])
            assert a_view() in stored.views
            assert len(stored.views) == 3
            assert len(stored.faults) == 6


async def test_view_with_a_future_seq_is_replaced(redis_url: str, raw: Any) -> None:
    raw.set(view_key("local"), encode(a_view(seq=2**53)))
    async with opened(redis_url) as store:
        assert await store.publish(a_view(seq=7)) == 7
        assert (await store.read([])).views == (a_view(seq=7),)


async def test_unchanged_view_is_not_decoded_again(redis_url: str) -> None:
    async with opened(redis_url) as store:
        await store.publish(a_view())
        first, second = (await store.read([])).views, (await store.read([])).views
    assert first[0] is second[0]


async def test_too_long_view_drops_its_largest_inventory(
    redis_url: str,
) -> None:
    models = [f"model-{number}-{'x' * 200}" for number in range(9_000)]
    edges = {
        "yto-01": an_edge_view(models=models),
        "yul-01": an_edge_view(models=[*models, "more"]),
        "yvr-02": an_edge_view(models=models),
        "nyc-01": an_edge_view(models=["few"]),
    }
    async with opened(redis_url) as store:
        await store.publish(a_view(edges=edges))
        (view,) = (await store.read([])).views
    has_models = {id: edge.models is not None for id, edge in view.edges.items()}
    assert has_models == {"yto-01": True, "yul-01": False, "yvr-02": True, "nyc-01": True}


async def test_events_of_one_kind_do_not_remove_another(store: Store) -> None:
    drained = Event(at=1, kind=EventKind.INTENT, edge="yto-01", after="draining", actor="ann")
    await store.log_events([drained])
    for number in range(400):
        await store.log_events([Event(at=number, kind=EventKind.RELOAD, after="ok")])
    for _ in range(3):
        await store.log_events([an_event(n) for n in range(EVENTS_KEPT)])
    logged = [one.event for one in await store.events()]
    assert drained in logged
    assert sum(one.kind is EventKind.RELOAD for one in logged) >= 50
    assert len(logged) <= EVENTS_KEPT


async def test_number_of_vantages_is_limited(redis_url: str, raw: Any) -> None:
    names = [f"v{n:05}" for n in range(5_000)]
    raw.sadd(VANTAGES, *names, b"\xff\xfe")
    raw.mset({view_key(name): msgspec.json.encode(a_view(name, {})) for name in names})
    async with opened(redis_url) as store:
        assert len((await store.read([])).views) == MAX_VANTAGES


async def test_invalid_message_on_the_channel_is_only_a_hint(redis_url: str, raw: Any) -> None:
    async def publish() -> None:
        raw.publish(CHANGED, b"\xff" * 100_000)

    async with opened(redis_url) as store:
        assert await hint_s(store, publish) < HINTED_WITHIN_S
        assert await store.read([]) == Stored((), ())


async def test_refused_connection_is_a_store_error() -> None:
    async with opened(f"redis://{HOST}:{free_port()}/0") as store:
        assert await refused_s(store.read(["yto-01"])) < 1
        assert await refused_s(store.publish(a_view())) < 1


async def test_killed_redis_is_a_store_error(redis: RedisServer) -> None:
    async with opened(redis.url) as store:
        await store.publish(a_view())
        redis.kill()
        assert await refused_s(store.read(["yto-01"])) < 1
        assert await refused_s(store.publish(a_view())) < 1


@pytest.mark.parametrize("connected", [True, False])
async def test_hung_redis_is_a_store_error(redis: RedisServer, connected: bool) -> None:
    async with opened(redis.url) as store:
        if connected:
            await store.publish(a_view())
        redis.pause()
        assert await refused_s(store.read(["yto-01"])) < 1.2
        assert await refused_s(store.publish(a_view())) < 1.2


async def test_redis_is_read_again_after_a_pause(redis: RedisServer) -> None:
    async with opened(redis.url) as store:
        await store.publish(a_view())
        redis.pause()
        await refused_s(store.read([]))
        redis.resume()
        assert (await store.read([])).views == (a_view(),)


async def test_store_of_a_hung_redis_closes_quickly(redis: RedisServer) -> None:
    async with opened(redis.url) as store:
        await settled_hints(store)
        redis.pause()
        await refused_s(store.read([]))
        started = time.monotonic()
    assert time.monotonic() - started < 1


async def test_restarted_redis_is_reconnected_and_hinted(redis: RedisServer) -> None:
    async with opened(redis.url) as store:
        await store.publish(a_view())
        seen = await settled_hints(store)
        redis.kill()
        await refused_s(store.read([]))
        redis.start()
        async with asyncio.timeout(5):
            await store.changed(seen, WAIT_S)
        await store.publish(a_view(seq=2))
        assert (await store.read([])).views == (a_view(seq=2),)
        assert await hint_s(store, lambda: store.publish(a_view(seq=3))) < HINTED_WITHIN_S


async def test_read_only_replica_is_a_store_error(redis_url: str, raw: Any) -> None:
    raw.replicaof(HOST, free_port())
    async with opened(redis_url) as store:
        await refused_s(store.publish(a_view()))


async def test_http_server_is_a_store_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("no HTTP was spoken")

    async with served(app) as port, opened(f"redis://{HOST}:{port}/0") as store:
        await refused_s(store.read([]))


async def test_concurrent_reads_of_a_hung_redis_all_fail(redis: RedisServer) -> None:
    async with opened(redis.url) as store:
        redis.pause()
        reads = [asyncio.create_task(store.read([])) for _ in range(50)]
        await eventually(lambda: all(read.done() for read in reads), 3)
        assert all(isinstance(read.exception(), StoreError) for read in reads)


async def test_cancelled_call_ends(redis_url: str) -> None:
    async with opened(redis_url) as store:
        outcomes = set()
        for steps in range(1, 120):
            call = asyncio.create_task(publish_forever(store))
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            done, _ = await asyncio.wait({call}, timeout=2)
            outcomes.add(call.cancelled() if done else "goes on")
        assert outcomes == {True}


async def publish_forever(store: Store) -> None:
    while True:
        await store.publish(a_view())
