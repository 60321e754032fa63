"""A Redis client for any URL of router.store.urls."""

from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from router.store.urls import hosts

TIMEOUT_S = 0.25

Client = Redis | RedisCluster


def connect(url: str) -> Client:
    """A client for commands: no retries, a quarter of a second to connect and to answer."""
    return _client(url, TIMEOUT_S)


def connect_listener(url: str) -> Client:
    """A client for pub/sub, which may wait for long."""
    return _client(url, None)


def _client(url: str, timeout_s: float | None) -> Client:
    limits: dict[str, Any] = {
        "socket_connect_timeout": TIMEOUT_S,
        "socket_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
    }
    transport, _, kind = urlsplit(url).scheme.partition("+")
    if kind == "sentinel":
        return _sentinel(url, transport == "rediss", limits)
    plain = transport + url[url.index(":") :]
    if kind == "cluster":
        return RedisCluster.from_url(plain, **limits)
    return Redis.from_url(plain, **limits)


def _sentinel(url: str, tls: bool, limits: dict[str, Any]) -> Redis:
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    user, password = _login(parts.netloc)
    asked = {"socket_connect_timeout": TIMEOUT_S, "socket_timeout": TIMEOUT_S}
    sentinels: Any = Sentinel(hosts(parts.netloc), sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
    client: Redis = sentinels.master_for(
        service, username=user, password=password, db=int(database or 0), ssl=tls, **limits
    )
    return client


def _login(netloc: str) -> tuple[str | None, str | None]:
    login = netloc.rpartition("@")[0]
    user, _, password = login.partition(":")
    return unquote(user) or None, unquote(password) or None
