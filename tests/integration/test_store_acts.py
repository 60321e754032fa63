"""Intents and their events change together or not at all, and intents that Redis loses are
reported."""

import asyncio
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from router.errors import StoreError
from router.model import Event, EventKind, Intended, Intent
from router.store import Change
from router.store.notices import Notice
from router.store.redis import EVENTS, RedisStore, intent_key
from tests.support.builders import an_intent
from tests.support.forwarder import forwarding
from tests.support.redis_kinds import Node, cluster, running
from tests.support.servers import HOST, RedisServer, eventually
from tests.support.stores import Reports, opened

pytestmark = pytest.mark.anyio

EDGES = ("yto-01", "yul-01", "nyc-01")


def drains(*edges: str) -> list[Change]:
    """Changes that drain each edge for an hour."""
    now = round(time.time())
    intents = [replace(an_intent(id, expires_at=now + 3_600.0), created_at=now) for id in edges]
    return [Change(one.edge, one, intent_event(one)) for one in intents]


def drains_later(edge: str) -> list[Change]:
    """The same change a minute later."""
    (change,) = drains(edge)
    assert change.intent is not None
    intent = replace(change.intent, created_at=change.intent.created_at + 60)
    return [Change(edge, intent, intent_event(intent))]


def intent_event(intent: Intent) -> Event:
    return Event(
        at=intent.created_at,
        kind=EventKind.INTENT,
        edge=intent.edge,
        before="enabled",
        after=intent.state,
        actor=intent.actor,
        until=intent.expires_at,
    )


def enables(*edges: str) -> list[Change]:
    """Changes that enable each edge again."""
    now = time.time()
    return [
        Change(
            id,
            None,
            Event(at=now, kind=EventKind.INTENT, edge=id, before="draining", after="enabled"),
        )
        for id in edges
    ]


async def intents_and_events(store: RedisStore) -> tuple[set[str], set[str]]:
    """The edges with an intent, and the edges whose last event is not "enabled"."""
    events = {one.event.edge or "": one.event.after for one in await store.events()}
    last_drained = {edge for edge, after in events.items() if after != Intended.ENABLED}
    return {one.edge for one in (await store.read(EDGES)).intents}, last_drained


async def test_change_is_stored_with_its_events(redis_url: str) -> None:
    async with opened(redis_url) as store:
        await store.change_intents(drains(*EDGES))
        assert await intents_and_events(store) == (set(EDGES), set(EDGES))
        await store.change_intents(enables("yul-01"))
        assert await intents_and_events(store) == ({"yto-01", "nyc-01"}, {"yto-01", "nyc-01"})


@pytest.mark.parametrize("missing", ["xadd", "set", "publish"])
async def test_missing_permission_changes_nothing(tmp_path: Path, missing: str) -> None:
    rights = f"~autorouter:* &autorouter:* +@all -{missing}"
    with running() as nodes:
        nodes.append(Node(tmp_path, 'save ""', f"user default on nopass {rights}"))
        async with opened(f"redis://{HOST}:{nodes[0].port}/0") as store:
            with pytest.raises(StoreError, match="Nothing was changed"):
                await store.change_intents(drains(*EDGES))
            assert await intents_and_events(store) == (set(), set())


async def test_change_works_without_transactions(tmp_path: Path) -> None:
    """MULTI is not permitted, so the commands run one by one."""
    with running() as nodes:
        nodes.append(Node(tmp_path, 'save ""', "user default on nopass ~* &* +@all -multi"))
        async with opened(f"redis://{HOST}:{nodes[0].port}/0") as store:
            await store.change_intents(drains(*EDGES))
            assert await intents_and_events(store) == (set(EDGES), set(EDGES))


async def test_full_redis_changes_nothing(redis_url: str, raw: Any) -> None:
    async with opened(redis_url) as store:
        await store.read(EDGES)
        raw.config_set("maxmemory", "1")
        with pytest.raises(StoreError, match="Nothing was changed"):
            await store.change_intents(drains(*EDGES))
        raw.config_set("maxmemory", "0")
        assert await intents_and_events(store) == (set(), set())


@pytest.mark.parametrize("pause_s", [0.8, 1.3, 1.8])
@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.003])
async def test_pause_of_redis_keeps_intents_and_events_equal(
    redis: RedisServer, pause_s: float, after_s: float
) -> None:
    """The result of the command, the intents and the events agree."""
    async with opened(redis.url) as store, opened(redis.url) as other:
        await intents_and_events(store)
        acting = asyncio.create_task(store.change_intents(drains(*EDGES)))
        await asyncio.sleep(after_s)
        redis.pause()
        resuming = asyncio.create_task(resume_after(redis, pause_s))
        last_drained = set(EDGES)
        (failure,) = await asyncio.gather(acting, return_exceptions=True)
        if failure is not None:
            assert "Nothing was changed" in str(failure)
            last_drained = set()
        await resuming
        assert await intents_and_events(other) == (last_drained, last_drained)


async def resume_after(redis: RedisServer, pause_s: float) -> None:
    await asyncio.sleep(pause_s)
    redis.resume()


async def test_lost_reply_is_resolved_by_reading(redis: RedisServer) -> None:
    """Redis runs the change, and its reply is lost."""
    with forwarding(redis.port) as address:
        url = f"redis://{HOST}:{address.port}/0"
        async with opened(url, timeout_s=0.5) as store, opened(redis.url) as other:
            await intents_and_events(store)
            address.lose_replies_to(b"XADD")
            await store.change_intents(drains(*EDGES))
            assert await intents_and_events(other) == (set(EDGES), set(EDGES))


async def test_unreachable_redis_leaves_the_outcome_unknown(redis: RedisServer) -> None:
    with forwarding(redis.port) as address:
        url = f"redis://{HOST}:{address.port}/0"
        async with opened(url, timeout_s=0.3) as store:
            await intents_and_events(store)
            address.lose_replies_to(b"XADD")
            acting = asyncio.create_task(store.change_intents(drains("yto-01")))
            await eventually(lambda: address.lost > 0)
            redis.pause()
            with pytest.raises(StoreError, match=r"is not known.*autorouter edges"):
                await acting
            redis.resume()


async def test_killed_redis_changes_nothing(redis: RedisServer) -> None:
    async with opened(redis.url) as store:
        await intents_and_events(store)
        redis.kill()
        with pytest.raises(StoreError, match="Nothing was changed"):
            await store.change_intents(drains(*EDGES))


async def test_change_in_a_cluster_is_stored_with_its_events(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes:
        async with opened(f"redis+cluster://{HOST}:{nodes[0].port}") as store:
            await store.change_intents(drains(*EDGES))
            assert await intents_and_events(store) == (set(EDGES), set(EDGES))
            await store.change_intents(enables(*EDGES))
            assert await intents_and_events(store) == (set(), set())


async def test_missing_permission_in_a_cluster_is_reported(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes:
        async with opened(f"redis+cluster://{HOST}:{nodes[0].port}") as store:
            await intents_and_events(store)
            for node in nodes:
                with redis.Redis(port=node.port) as client:
                    client.execute_command("ACL", "SETUSER", "default", "-set")
            with pytest.raises(StoreError, match="Changed: none; yto-01 is not changed"):
                await store.change_intents(drains(*EDGES))
            assert await intents_and_events(store) == (set(), set())


async def lost_events(
    url: str, lose: Callable[[RedisStore], Any], monkeypatch: pytest.MonkeyPatch
) -> list[Event]:
    """The events that three servers log after `lose` removes intents."""
    monkeypatch.setattr("router.store.watchdog.SETTLED_S", 0.3)
    reports: Reports = []
    stores = [
        RedisStore(url, report=lambda notice, about: reports.append((notice, about)))
        for _ in range(3)
    ]
    try:
        await stores[0].change_intents(drains(*EDGES))
        for store in stores:
            await store.read(EDGES)
        await lose(stores[1])
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            await asyncio.gather(*(store.read(EDGES) for store in stores))
            await asyncio.sleep(0.05)
        events = [logged.event for logged in await stores[0].events()]
        return [event for event in events if event.actor == "autorouter"]
    finally:
        for store in stores:
            await store.close()


async def test_evicted_intent_is_reported_once(
    redis_url: str, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def evict(store: RedisStore) -> None:
        raw.delete(intent_key("yul-01"))

    (event,) = await lost_events(redis_url, evict, monkeypatch)
    assert (event.edge, event.before, event.after) == ("yul-01", "draining", "enabled")
    assert event.reason is not None
    assert "before its end" in event.reason


async def test_emptied_redis_is_reported(
    redis_url: str, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def empty(store: RedisStore) -> None:
        raw.flushall()

    assert {event.edge for event in await lost_events(redis_url, empty, monkeypatch)} == set(EDGES)


async def test_intent_ended_by_an_operator_is_not_reported(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def enable(store: RedisStore) -> None:
        await store.change_intents(enables(*EDGES))

    assert await lost_events(redis_url, enable, monkeypatch) == []


async def test_intent_restored_from_an_old_file_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is restored from an append-only file that is older than the operator's changes: one
    intent was ended elsewhere, one replaced, one ended by the process that reports."""
    monkeypatch.setattr("router.store.watchdog.SETTLED_S", 0.0)
    node = RedisServer(tmp_path, appendonly="yes", appendfsync="always")
    reports: Reports = []
    try:
        async with opened(node.url, reports) as server:
            async with opened(node.url) as operator:
                await operator.change_intents(drains(*EDGES))
                await server.read(EDGES)
                shutil.copytree(tmp_path / "appendonlydir", tmp_path / "old")
                await operator.change_intents([*enables("yto-01"), *drains_later("yul-01")])
                await server.read(EDGES)
                await server.change_intents(enables("nyc-01"))
                await server.read(EDGES)
            node.kill()
            shutil.rmtree(tmp_path / "appendonlydir")
            (tmp_path / "old").rename(tmp_path / "appendonlydir")
            node.start(appendonly="yes")
            await eventually(lambda: has_intents(server), 10)
            await server.read(EDGES)
            events = [logged.event for logged in await server.events()]
    finally:
        node.kill()
    restored = [event for event in events if event.actor == "autorouter"]
    assert {(event.edge, event.before, event.after) for event in restored} == {
        (edge, "enabled", "draining") for edge in EDGES
    }
    assert len([notice for notice, _ in reports if notice is Notice.INTENT_BACK]) == len(EDGES)


async def has_intents(store: RedisStore) -> bool:
    with suppress(StoreError):
        return bool((await store.read(EDGES)).intents)
    return False


async def test_expired_intent_is_not_reported(
    redis_url: str, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.store.watchdog.NEAR_END_S", 3_700.0)

    async def expire(store: RedisStore) -> None:
        raw.delete(*(intent_key(edge) for edge in EDGES))

    assert await lost_events(redis_url, expire, monkeypatch) == []


async def test_change_of_a_whole_fleet_keeps_other_events(redis_url: str, raw: Any) -> None:
    reload = Event(at=1, kind=EventKind.RELOAD, after="ok")
    async with opened(redis_url) as store:
        await store.log_events([reload])
        await store.change_intents(drains(*(f"e-{number:04}" for number in range(1_500))))
        assert reload in [one.event for one in await store.events()]
    assert raw.xlen(EVENTS) <= 1_000
