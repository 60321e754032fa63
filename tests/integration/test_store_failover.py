"""A store whose server was replaced, does not answer, or is far away."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from router.errors import StoreError
from router.store.codec import encode
from router.store.notices import Notice
from router.store.redis import VANTAGES, view_key
from tests.support.builders import CITIES, a_view, an_intent, wishes
from tests.support.forwarder import Forwarder, forwarding
from tests.support.redis_kinds import Node, cluster, running
from tests.support.servers import HOST, RedisServer, eventually
from tests.support.stores import Reports, is_hinted, is_written, opened

pytestmark = pytest.mark.anyio

RECOVERED_WITHIN_S = 10.0


def notices(reports: Reports) -> set[Notice]:
    return {notice for notice, _ in reports}


@pytest.fixture
def primary_and_replica(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """A primary and its replica."""
    with running() as nodes:
        primary = Node(tmp_path, 'save ""', "repl-diskless-sync-delay 0")
        nodes.append(primary)
        replica = Node(tmp_path, 'save ""', f"replicaof {HOST} {primary.port}")
        nodes.append(replica)
        primary.until(lambda client: client.info("replication")["connected_slaves"] == 1)
        yield primary, replica


def switch_over(primary_and_replica: tuple[Node, Node], address: Forwarder) -> None:
    """A planned failover: promote the replica and point the address to it."""
    primary, replica = primary_and_replica
    with redis.Redis(port=replica.port) as client:
        client.replicaof("NO", "ONE")
    with redis.Redis(port=primary.port) as client:
        client.replicaof(HOST, replica.port)
    address.target = replica.port


async def test_store_leaves_a_demoted_primary(primary_and_replica: tuple[Node, Node]) -> None:
    reports: Reports = []
    with forwarding(primary_and_replica[0].port) as address:
        url = f"redis://{HOST}:{address.port}/0"
        async with opened(url, reports) as writer, opened(url) as reader:
            await eventually(lambda: is_hinted(reader, writer))
            switch_over(primary_and_replica, address)
            await eventually(lambda: is_written(writer), RECOVERED_WITHIN_S)
            primary_and_replica[1].until(lambda client: client.exists(view_key("local")))
            assert "read only" in dict(reports)[Notice.RECONNECTED]
            assert (await reader.read([])).views


async def test_reader_leaves_an_isolated_primary(
    primary_and_replica: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call fails on the isolated primary, but its views no longer change."""
    monkeypatch.setattr("router.store.watchdog.STILL_S", 1.0)
    with forwarding(primary_and_replica[0].port) as address:
        url = f"redis://{HOST}:{address.port}/0"
        async with opened(url) as reader:
            async with opened(url) as writer:
                await is_written(writer)
                await reader.read([])
            switch_over(primary_and_replica, address)
            with redis.Redis(port=primary_and_replica[0].port) as client:
                client.replicaof("NO", "ONE")
            async with opened(url) as writer:
                await is_written(writer, "newer")

            async def sees_newer() -> bool:
                return "newer" in {view.vantage for view in (await reader.read([])).views}

            await eventually(sees_newer, RECOVERED_WITHIN_S)


async def test_silent_connection_is_replaced(redis: RedisServer) -> None:
    with forwarding(redis.port) as address:
        async with opened(f"redis://{HOST}:{address.port}/0", timeout_s=0.5) as store:
            await is_written(store)
            address.freeze()
            await eventually(lambda: is_written(store), RECOVERED_WITHIN_S)


async def test_replaced_cluster_is_found(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with cluster(tmp_path) as old, forwarding(old[0].port) as address:
        url = f"redis+cluster://{HOST}:{address.port}"
        async with opened(url) as writer, opened(url) as reader:
            await eventually(lambda: is_hinted(reader, writer))
            for node in old:
                node.kill()
            with cluster(tmp_path / "new") as new:
                address.target = new[0].port
                await eventually(lambda: is_written(writer), 2 * RECOVERED_WITHIN_S)

                async def has_views() -> bool:
                    try:
                        return bool((await reader.read(list(CITIES))).views)
                    except StoreError:
                        return False

                await eventually(has_views, 2 * RECOVERED_WITHIN_S)
                await eventually(lambda: is_hinted(reader, writer), 2 * RECOVERED_WITHIN_S)


async def test_wrong_password_reconnects_once(redis_url: str, raw: Any) -> None:
    reports: Reports = []
    raw.config_set("requirepass", "another")
    async with opened(redis_url.replace("//", "//:wrong@"), reports) as store:
        for _ in range(50):
            with pytest.raises(StoreError):
                await store.read([])
    assert len([notice for notice, _ in reports if notice is Notice.RECONNECTED]) == 1


async def test_half_open_subscription_is_replaced(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.store.listener.QUIET_S", 0.5)
    reports: Reports = []
    with forwarding(redis.port) as address:
        url = f"redis://{HOST}:{address.port}/0"
        async with opened(redis.url) as writer, opened(url, reports, timeout_s=0.5) as reader:
            await eventually(lambda: is_hinted(reader, writer))
            address.freeze()
            assert not await is_hinted(reader, writer)
            await eventually(lambda: is_hinted(reader, writer), RECOVERED_WITHIN_S)
    assert Notice.HINTS_LOST in notices(reports)


async def test_quiet_subscription_is_kept(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.store.listener.QUIET_S", 0.05)
    reports: Reports = []
    with forwarding(redis.port) as address:
        async with opened(f"redis://{HOST}:{address.port}/0", reports) as reader:
            async with opened(redis.url) as writer:
                await eventually(lambda: is_hinted(reader, writer))
                await asyncio.sleep(0.5)  # the time of ten pings
                assert await is_hinted(reader, writer)
            assert (address.opened, reports) == ([redis.port], [])


@pytest.mark.parametrize("round_trip_s", [0.05, 0.1, 0.3])
async def test_distant_redis_is_written_and_read(redis: RedisServer, round_trip_s: float) -> None:
    with forwarding(redis.port, delay_s=round_trip_s / 2) as address:
        async with opened(f"redis://{HOST}:{address.port}/0") as store:
            assert await store.hold_lease("local", "a", 5)
            await store.publish(a_view())
            await store.change_intents(wishes(an_intent(expires_at=round(time.time()) + 60)))
            stored = await store.read(list(CITIES))
            assert (len(stored.views), len(stored.intents)) == (1, 1)
            started = time.monotonic()
            await store.publish(a_view(seq=2))
            assert time.monotonic() - started < round_trip_s + 0.25
            started = time.monotonic()
            assert (await store.read(list(CITIES))).views == (a_view(seq=2),)
            assert time.monotonic() - started < 2 * round_trip_s + 0.25


async def test_large_view_on_a_slow_connection_is_skipped(redis_url: str, raw: Any) -> None:
    """The large view does not use up the time of the others."""
    padded = encode(a_view("a0", {}))[:-1] + b',"x":"' + b"x" * 3_900_000 + b'"}'
    raw.sadd(VANTAGES, "a0")
    raw.set(view_key("a0"), padded)
    port = raw.connection_pool.connection_kwargs["port"]
    with forwarding(port, bytes_per_s=1_000_000) as address:
        async with opened(f"redis://{HOST}:{address.port}/0") as store, opened(redis_url) as near:
            await near.publish(a_view())
            for seq in range(2, 5):
                stored = await store.read(list(CITIES))
                assert [view.vantage for view in stored.views] == ["local"]
                assert "too large to be read in time" in stored.faults[0]
                await near.publish(a_view(seq=seq))
