"""A store whose server is not the right one any more, does not hear, or is far away."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from router.errors import StoreError
from router.store.codec import encode
from router.store.notices import Notice
from router.store.redis import VANTAGES, RedisStore, view_key
from tests.support.builders import CITIES, a_view, an_intent, wishes
from tests.support.forwarder import Forwarder, forwarding
from tests.support.redis_kinds import Node, cluster, running
from tests.support.servers import HOST, RedisServer, eventually

pytestmark = pytest.mark.anyio

HEALED_S = 10.0
Reports = list[tuple[Notice, str]]


@asynccontextmanager
async def opened(
    url: str, reports: Reports | None = None, timeout_s: float = 1.0
) -> AsyncIterator[RedisStore]:
    kept: Reports = [] if reports is None else reports
    store = RedisStore(url, timeout_s, lambda notice, about: kept.append((notice, about)))
    try:
        yield store
    finally:
        await store.close()


def kinds(reports: Reports) -> set[Notice]:
    return {notice for notice, _ in reports}


async def is_written(store: RedisStore, vantage: str = "local") -> bool:
    try:
        await store.publish(a_view(vantage, {}, seq=time.time_ns()))
    except StoreError:
        return False
    return True


async def is_hinted(reader: RedisStore, writer: RedisStore) -> bool:
    """Whether what one writes wakes the other long before it would look by itself."""
    seen = await reader.changed(-1, 0.01)
    started = time.monotonic()
    waiting = asyncio.create_task(reader.changed(seen, 1.0))
    await asyncio.sleep(0)
    await is_written(writer)
    await waiting
    return time.monotonic() - started < 0.5


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """A primary and its replica."""
    with running() as nodes:
        primary = Node(tmp_path, 'save ""', "repl-diskless-sync-delay 0")
        nodes.append(primary)
        replica = Node(tmp_path, 'save ""', f"replicaof {HOST} {primary.port}")
        nodes.append(replica)
        primary.until(lambda client: client.info("replication")["connected_slaves"] == 1)
        yield primary, replica


def switch_over(pair: tuple[Node, Node], address: Forwarder) -> None:
    """A planned failover: the replica is the primary, and the address leads to it."""
    primary, replica = pair
    with redis.Redis(port=replica.port) as client:
        client.replicaof("NO", "ONE")
    with redis.Redis(port=primary.port) as client:
        client.replicaof(HOST, replica.port)
    address.target = replica.port


async def test_demoted_primary_behind_one_address_is_left(pair: tuple[Node, Node]) -> None:
    reports: Reports = []
    with forwarding(pair[0].port) as address:
        url = f"redis://{HOST}:{address.port}/0"
        async with opened(url, reports) as writer, opened(url) as reader:
            await eventually(lambda: is_hinted(reader, writer))
            switch_over(pair, address)
            await eventually(lambda: is_written(writer), HEALED_S)
            pair[1].until(lambda client: client.exists(view_key("local")))
            assert "read only" in dict(reports)[Notice.RECONNECTED]
            assert (await reader.read([])).views


async def test_cut_off_primary_that_answers_readers_is_left(
    pair: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call of a server fails there; its views stand still."""
    monkeypatch.setattr("router.store.watchdog.STILL_S", 1.0)
    with forwarding(pair[0].port) as address:
        url = f"redis://{HOST}:{address.port}/0"
        async with opened(url) as reader:
            async with opened(url) as writer:
                await is_written(writer)
                await reader.read([])
            switch_over(pair, address)
            with redis.Redis(port=pair[0].port) as client:
                client.replicaof("NO", "ONE")
            async with opened(url) as writer:
                await is_written(writer, "newer")

            async def sees_newer() -> bool:
                return "newer" in {view.vantage for view in (await reader.read([])).views}

            await eventually(sees_newer, HEALED_S)


async def test_silent_connection_is_left_for_one_that_answers(redis: RedisServer) -> None:
    with forwarding(redis.port) as address:
        async with opened(f"redis://{HOST}:{address.port}/0", timeout_s=0.5) as store:
            await is_written(store)
            address.freeze()
            await eventually(lambda: is_written(store), HEALED_S)


async def test_replaced_cluster_behind_one_address_is_found(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with cluster(tmp_path) as old, forwarding(old[0].port) as address:
        url = f"redis+cluster://{HOST}:{address.port}"
        async with opened(url) as writer, opened(url) as reader:
            await eventually(lambda: is_hinted(reader, writer))
            for node in old:
                node.kill()
            with cluster(tmp_path / "new") as new:
                address.target = new[0].port
                await eventually(lambda: is_written(writer), 2 * HEALED_S)

                async def is_read() -> bool:
                    try:
                        return bool((await reader.read(list(CITIES))).views)
                    except StoreError:
                        return False

                await eventually(is_read, 2 * HEALED_S)
                await eventually(lambda: is_hinted(reader, writer), 2 * HEALED_S)


async def test_wrong_password_does_not_reconnect_without_end(redis_url: str, raw: Any) -> None:
    reports: Reports = []
    raw.config_set("requirepass", "another")
    async with opened(redis_url.replace("//", "//:wrong@"), reports) as store:
        for _ in range(50):
            with pytest.raises(StoreError):
                await store.read([])
    assert len([notice for notice, _ in reports if notice is Notice.RECONNECTED]) == 1


@pytest.fixture
def raw(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


async def test_half_open_connection_for_hints_is_replaced(
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
            await eventually(lambda: is_hinted(reader, writer), HEALED_S)
    assert Notice.HINTS_LOST in kinds(reports)


async def test_quiet_connection_for_hints_is_kept(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.store.listener.QUIET_S", 0.05)
    reports: Reports = []
    with forwarding(redis.port) as address:
        async with opened(f"redis://{HOST}:{address.port}/0", reports) as reader:
            async with opened(redis.url) as writer:
                await eventually(lambda: is_hinted(reader, writer))
                await asyncio.sleep(0.5)  # ten pings
                assert await is_hinted(reader, writer)
            assert (address.opened, reports) == ([redis.port], [])


@pytest.mark.parametrize("round_trip_s", [0.05, 0.1, 0.3])
async def test_far_redis_is_written_and_read(redis: RedisServer, round_trip_s: float) -> None:
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


async def test_large_view_on_a_slow_line_costs_that_view(redis_url: str, raw: Any) -> None:
    """What is left of the time for it is not taken from the others."""
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
