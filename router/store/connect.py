"""Redis clients for any URL of router.store.urls."""

from typing import Any

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff

from router.store.urls import Place, read_url

TIMEOUT_S = 1.0
SENTINEL_TIMEOUT_S = 0.25

Client = Redis | RedisCluster


def connect(url: str, timeout_s: float = TIMEOUT_S) -> Client:
    """A client for commands: no retries, `timeout_s` to connect and for each reply."""
    return _client(read_url(url), timeout_s, timeout_s)


def connect_listener(url: str, timeout_s: float = TIMEOUT_S) -> Client:
    """A client for pub/sub, which waits for messages without a timeout."""
    return _client(read_url(url), timeout_s, None)


async def disconnect(client: Client) -> None:
    """Close a client, and its connections to Sentinels."""
    await client.aclose()
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        await pool.sentinel_manager.aclose()


def _client(place: Place, connect_s: float, reply_s: float | None) -> Client:
    transport = {"ssl": True, **place.options} if place.tls else {}
    options: dict[str, Any] = {
        **transport,
        **_limits(connect_s, reply_s),
        "username": place.user,
        "password": place.password,
    }
    if place.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in place.servers]
        return RedisCluster(startup_nodes=nodes, **options)
    if place.kind == "sentinel":
        # Shorter, so that a dead Sentinel does not use up the time to ask the next one.
        asked_s = min(connect_s, SENTINEL_TIMEOUT_S * max(1.0, connect_s))
        asked = {
            **transport,
            **_limits(asked_s, asked_s),
            "username": place.sentinel_user,
            "password": place.sentinel_password,
        }
        sentinels: Any = Sentinel(place.servers, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
        client: Redis = sentinels.master_for(place.service, db=place.database, **options)
        return client
    ((host, port),) = place.servers
    return Redis(host=host, port=port, db=place.database, **options)


def _limits(connect_s: float, reply_s: float | None) -> dict[str, Any]:
    return {
        "socket_connect_timeout": connect_s,
        "socket_timeout": reply_s,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,  # CLIENT SETINFO would cost a round trip for each connection
    }
