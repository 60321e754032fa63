"""Redis clients for any URL of router.store.urls."""

from typing import Any

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff

from router.store.urls import Place, read_url

TIMEOUT_S = 0.25

Client = Redis | RedisCluster


def connect(url: str) -> Client:
    """A client for commands: no retries, a quarter of a second to connect and to answer."""
    return _client(read_url(url), TIMEOUT_S)


def connect_listener(url: str) -> Client:
    """A client for pub/sub, which may wait for long."""
    return _client(read_url(url), None)


async def disconnect(client: Client) -> None:
    """Close a client, and what it asks Sentinels with."""
    await client.aclose()
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        await pool.sentinel_manager.aclose()


def _client(place: Place, timeout_s: float | None) -> Client:
    transport = {"ssl": True, **place.options} if place.tls else {}
    options: dict[str, Any] = {
        **transport,
        **_limits(timeout_s),
        "username": place.user,
        "password": place.password,
    }
    if place.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in place.servers]
        return RedisCluster(startup_nodes=nodes, **options)
    if place.kind == "sentinel":
        # One that is dead must not cost the time to ask the next.
        asked = {
            **transport,
            **_limits(TIMEOUT_S),
            "username": place.sentinel_user,
            "password": place.sentinel_password,
        }
        sentinels: Any = Sentinel(place.servers, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
        client: Redis = sentinels.master_for(place.service, db=place.database, **options)
        return client
    ((host, port),) = place.servers
    return Redis(host=host, port=port, db=place.database, **options)


def _limits(timeout_s: float | None) -> dict[str, Any]:
    return {
        "socket_connect_timeout": TIMEOUT_S,
        "socket_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
    }
