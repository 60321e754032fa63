"""What a storm does to a site: each fault begins, lasts and ends."""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import redis as redis_client

from router.model import Intended
from router.store.codec import written
from router.store.redis import EVENTS, VANTAGES, intent_key, lease_key, view_key
from tests.support.builders import CITIES, a_view, an_edge_view, an_intent
from tests.support.servers import HOST, RedisServer
from tests.support.site.fleet import Site
from tests.support.site.soak import rewrite

Fault = Callable[[Site, random.Random], contextlib.AbstractAsyncContextManager[None]]


def _client(site: Site) -> Any:
    """A client of whatever Redis the address leads to."""
    assert site.address is not None
    return redis_client.Redis(host=HOST, port=site.address.target, socket_timeout=5)


@contextlib.asynccontextmanager
async def redis_killed(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """It comes back empty."""
    site.redis.kill()
    try:
        yield
    finally:
        await asyncio.to_thread(site.redis.start)


@contextlib.asynccontextmanager
async def redis_hung(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """It accepts connections and answers nothing."""
    site.redis.pause()
    try:
        yield
    finally:
        site.redis.resume()


@contextlib.asynccontextmanager
async def redis_demoted(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """A planned failover behind one address: the old primary goes on as a replica."""
    assert site.address is not None
    folder = site.folder / f"redis-{rng.randrange(2**32)}"
    folder.mkdir()
    old = site.redis
    fresh = await asyncio.to_thread(RedisServer, folder, replicaof=f"{HOST} {old.port}")
    with redis_client.Redis(port=fresh.port) as client:
        client.replicaof("NO", "ONE")
    with redis_client.Redis(port=old.port) as client:
        client.replicaof(HOST, fresh.port)
    site.address.target = fresh.port
    site.redis = fresh
    try:
        yield
    finally:
        old.kill()


@contextlib.asynccontextmanager
async def redis_silent(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """Connections stay open and carry nothing; new ones work."""
    assert site.address is not None
    site.address.freeze()
    yield


@contextlib.asynccontextmanager
async def redis_far(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """Three seconds away: no call ends in time."""
    assert site.address is not None
    site.address.delay_s = 1.5
    try:
        yield
    finally:
        site.address.delay_s = 0.0


@contextlib.asynccontextmanager
async def redis_full(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """It is read and cannot be written."""
    with _client(site) as client:
        client.config_set("maxmemory", "1")
    try:
        yield
    finally:
        with _client(site) as client:
            client.config_set("maxmemory", "0")


@contextlib.asynccontextmanager
async def wrong_types(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """At the list of vantages, a view, a lease, the events and an intent."""
    vantage = site.last
    keys = [VANTAGES, view_key(vantage), lease_key(vantage), EVENTS, intent_key("dal-02")]
    with _client(site) as client:
        for key in keys:
            client.delete(key)
            client.hset(key, "x", "y")
    try:
        yield
    finally:
        with _client(site) as client:
            client.delete(intent_key("dal-02"))


@contextlib.asynccontextmanager
async def hostile_values(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """Times in milliseconds, an inventory from the future, thousands of names, large views."""
    lie = a_view("evil", {"nyc-01": an_edge_view(models=["lie"], models_at=time.time() + 1e6)})
    padded = written(a_view("a0", {}))[:-1] + b',"x":"' + b"x" * 3_900_000 + b'"}'
    wish = an_intent("nyc-02", Intended.DISABLED, expires_at=time.time() * 1_000)
    names = [f"a{number:04}" for number in range(4_000)]
    keys = [view_key("evil"), intent_key("nyc-02"), *(view_key(name) for name in names[:8])]
    with _client(site) as client:
        client.sadd(VANTAGES, *names, "evil")
        client.set(view_key("evil"), written(lie))
        client.set(intent_key("nyc-02"), written(wish))
        for name in names[:8]:
            client.set(view_key(name), padded.replace(b'"a0"', f'"{name}"'.encode()))
    try:
        yield
    finally:
        with _client(site) as client:
            client.delete(*keys)
            client.srem(VANTAGES, *names, "evil")


@contextlib.asynccontextmanager
async def intent_lost(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """An operator drains an edge, and Redis evicts that."""
    id = rng.choice(sorted(CITIES))
    url = f"http://{HOST}:{site.servers[0].ops_port}/v1/edges/{id}/intent"
    wish = {"state": "draining", "for": "1h", "reason": "storm", "actor": "storm", "force": True}
    with contextlib.suppress(Exception):
        await site.client.put(url, json=wish)
        await asyncio.sleep(2)
        with _client(site) as client:
            client.delete(intent_key(id))
    yield


@contextlib.asynccontextmanager
async def poller_killed(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """One of two."""
    name = rng.choice(sorted(site.pollers))
    site.pollers[name].kill()
    try:
        yield
    finally:
        site.poll(name)


@contextlib.asynccontextmanager
async def poller_hung(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """One of two, and it goes on as if nothing had happened."""
    poller = site.pollers[rng.choice(sorted(site.pollers))]
    poller.send(signal.SIGSTOP)
    try:
        yield
    finally:
        if poller.is_alive():
            poller.send(signal.SIGCONT)


@contextlib.asynccontextmanager
async def regions_faulty(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """A reload that is refused."""
    latitude = CITIES["yto-01"][2].latitude
    rewrite(site, lambda document: document["regions"][0].update(latitude=91))
    try:
        yield
    finally:
        rewrite(site, lambda document: document["regions"][0].update(latitude=latitude))


FAULTS: dict[str, Fault] = {
    fault.__name__.replace("_", " "): fault
    for fault in (
        redis_killed,
        redis_hung,
        redis_demoted,
        redis_silent,
        redis_far,
        redis_full,
        wrong_types,
        hostile_values,
        intent_lost,
        poller_killed,
        poller_hung,
        regions_faulty,
    )
}
