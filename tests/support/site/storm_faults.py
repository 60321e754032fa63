"""The faults of the storm test. Each is a context manager: it lasts as long as its block."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import redis as redis_client

from router.model import Intended
from router.processes.simulated_edges import Mode
from router.store.codec import encode
from router.store.redis import EVENTS, VANTAGES, intent_key, lease_key, view_key
from router.store.snapshot import FILE_NAME
from tests.support.builders import CITIES, a_view, an_edge_view, an_intent
from tests.support.dns import HANG, SERVFAIL, Answer
from tests.support.proc import workers_of
from tests.support.servers import HOST, RedisServer
from tests.support.site.fleet import Site, name_of
from tests.support.site.soak import rewrite

Fault = Callable[[Site, random.Random], contextlib.AbstractAsyncContextManager[None]]


@contextlib.contextmanager
def _client(site: Site) -> Iterator[Any]:
    """A client of the current Redis. Errors are ignored: another fault may have broken it."""
    assert site.address is not None
    with (
        contextlib.suppress(redis_client.RedisError),
        redis_client.Redis(host=HOST, port=site.address.target, socket_timeout=2) as client,
    ):
        yield client


def _repair(site: Site, *keys: str) -> None:
    """Delete keys once all faults have ended."""
    site.repairs.append(lambda client: client.delete(*keys))


@contextlib.asynccontextmanager
async def redis_killed(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """Redis is killed and restarts empty."""
    site.redis.kill()
    try:
        yield
    finally:
        await asyncio.to_thread(site.redis.start)


@contextlib.asynccontextmanager
async def redis_hung(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """Redis accepts connections and does not reply."""
    site.redis.pause()
    try:
        yield
    finally:
        site.redis.resume()


@contextlib.asynccontextmanager
async def redis_demoted(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """A planned failover behind one address. The old primary becomes a replica."""
    assert site.address is not None
    folder = site.folder / f"redis-{rng.randrange(2**32)}"
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
    """Open connections lose all data. New ones work."""
    assert site.address is not None
    site.address.freeze()
    yield


@contextlib.asynccontextmanager
async def redis_far(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """The round trip to Redis takes three seconds, so every call times out."""
    assert site.address is not None
    site.address.delay_s = 1.5
    try:
        yield
    finally:
        site.address.delay_s = 0.0


@contextlib.asynccontextmanager
async def redis_full(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """Redis is out of memory: reads work, writes fail."""
    with _client(site) as client:
        client.config_set("maxmemory", "1")
    site.repairs.append(lambda client: client.config_set("maxmemory", "0"))
    yield


@contextlib.asynccontextmanager
async def wrong_types(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """The keys of the vantages, a view, a lease, the events and an intent have wrong types."""
    vantage = site.last
    keys = [VANTAGES, view_key(vantage), lease_key(vantage), EVENTS, intent_key("dal-02")]
    with _client(site) as client:
        pipe = client.pipeline()  # in one transaction, because pollers write to some keys
        for key in keys:
            pipe.delete(key)
            pipe.hset(key, "x", "y")
        pipe.execute()
    _repair(site, intent_key("dal-02"))
    yield


@contextlib.asynccontextmanager
async def hostile_values(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """Times in milliseconds, a future inventory, thousands of vantages, and large views."""
    lie = a_view("evil", {"nyc-01": an_edge_view(models=["lie"], models_at=time.time() + 1e6)})
    padded = encode(a_view("a0", {}))[:-1] + b',"x":"' + b"x" * 3_900_000 + b'"}'
    wish = an_intent("nyc-02", Intended.DISABLED, expires_at=time.time() * 1_000)
    names = [f"a{number:04}" for number in range(4_000)]
    keys = [view_key("evil"), intent_key("nyc-02"), *(view_key(name) for name in names[:8])]
    with _client(site) as client:
        client.sadd(VANTAGES, *names, "evil")
        client.set(view_key("evil"), encode(lie))
        client.set(intent_key("nyc-02"), encode(wish))
        for name in names[:8]:
            client.set(view_key(name), padded.replace(b'"a0"', f'"{name}"'.encode()))
    _repair(site, *keys)
    site.repairs.append(lambda client: client.srem(VANTAGES, *names, "evil"))
    yield


@contextlib.asynccontextmanager
async def intent_lost(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """An operator drains an edge, and Redis loses the intent."""
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
    """One of two pollers is killed and restarted."""
    name = rng.choice(sorted(site.pollers))
    site.pollers[name].kill()
    try:
        yield
    finally:
        site.poll(name)


@contextlib.asynccontextmanager
async def poller_hung(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """One of two pollers is stopped and resumes."""
    poller = site.pollers[rng.choice(sorted(site.pollers))]
    poller.send(signal.SIGSTOP)
    try:
        yield
    finally:
        if poller.is_alive():
            poller.send(signal.SIGCONT)


@contextlib.asynccontextmanager
async def regions_faulty(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """regions.yaml is invalid, so its reload is rejected."""
    latitude = CITIES["yto-01"][2].latitude
    rewrite(site, lambda document: document["regions"][0].update(latitude=91))
    try:
        yield
    finally:
        rewrite(site, lambda document: document["regions"][0].update(latitude=latitude))


@contextlib.asynccontextmanager
async def names_hang(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """The name server does not reply for the names of two edges."""
    with _unresolved(site, rng, HANG):
        yield


@contextlib.asynccontextmanager
async def names_fail(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """The name server replies SERVFAIL for the names of two edges."""
    with _unresolved(site, rng, SERVFAIL):
        yield


@contextlib.contextmanager
def _unresolved(site: Site, rng: random.Random, answer: Answer) -> Iterator[None]:
    assert site.names is not None
    ids = rng.sample(sorted(set(CITIES) - site.broken), 2)
    site.broken.update(ids)
    site.names.names |= {name_of(id): answer for id in ids}
    try:
        yield
    finally:
        site.names.names |= {name_of(id): [HOST] for id in ids}
        site.broken.difference_update(ids)


@contextlib.asynccontextmanager
async def worker_hung(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """One worker of one server is stopped. It resumes long after it was replaced."""
    victim = rng.choice(workers_of(rng.choice(site.servers).process.pid))
    os.kill(victim, signal.SIGSTOP)
    site.hung_at.append(time.monotonic())
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGCONT)


@contextlib.asynccontextmanager
async def state_folder_hung(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """Saving the snapshot blocks: its file is a pipe without a reader. A dead network mount
    blocks in the same way."""
    server = rng.choice(site.servers)
    pipe = Path(server.settings["STATE_DIR"]) / f".{FILE_NAME}.{server.process.pid}"
    while True:
        with contextlib.suppress(FileExistsError):  # the server is saving now
            os.mkfifo(pipe)
            break
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # unblocks the pending save
        pipe.unlink()
        await asyncio.sleep(0.1)
        os.close(reader)


@contextlib.asynccontextmanager
async def brake(site: Site, rng: random.Random) -> AsyncIterator[None]:
    """Only the last vantage sees six of ten working edges fall at once."""
    ids = rng.sample(sorted(CITIES), 6)
    for id in ids:
        await site.partial.edges[id].set_mode(Mode.DOWN)
    try:
        yield
    finally:
        for id in ids:
            await site.partial.edges[id].set_mode(Mode.HEALTHY)


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
        names_hang,
        names_fail,
        worker_hung,
        state_folder_hung,
        brake,
    )
}
