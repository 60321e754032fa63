"""Operator commands: through a server that requires a token, and directly in Redis."""

import asyncio
import getpass
import json
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from router.model import Observed
from router.store.redis import RedisStore
from tests.support.builders import CITIES, a_view
from tests.support.ops_server import TOKEN, Server
from tests.support.servers import HOST, RedisServer, free_port, run_autorouter

pytestmark = pytest.mark.anyio

DRAIN = ["drain", "yto-01", "--for", "2h", "--reason", "new disks"]
CANADIAN = [id for id, (_, country, _) in CITIES.items() if country == "CA"]
Done = subprocess.CompletedProcess[str]


@dataclass
class Operator:
    """An operator's settings, and the store that the commands change."""

    store: RedisStore | Any
    settings: dict[str, str] = field(default_factory=dict)

    async def run(self, *words: str, **settings: str) -> Done:
        return await asyncio.to_thread(run_autorouter, *words, **(self.settings | settings))

    async def intents(self) -> dict[str, str]:
        """The state of each edge that has an intent."""
        return {one.edge: one.state for one in (await self.store.read(list(CITIES))).intents}


@pytest.fixture
def with_server(server: Server) -> Operator:
    """With a server that listens on all addresses and so requires a token."""
    server.ops.token, server.ops.host = TOKEN, "0.0.0.0"
    return Operator(server.store, {"OPS_LISTEN": f"{HOST}:{server.client.base_url.port}"})


async def test_change_with_the_token_is_accepted(with_server: Operator) -> None:
    done = await with_server.run(*DRAIN, OPS_TOKEN=TOKEN)
    assert (done.returncode, done.stderr) == (0, "")
    assert await with_server.intents() == {"yto-01": "draining"}
    assert (await with_server.run("enable", "yto-01", OPS_TOKEN=TOKEN)).returncode == 0
    assert await with_server.intents() == {}


@pytest.mark.parametrize(
    ("token", "error"),
    [
        ({}, "403 send Authorization: Bearer"),
        ({"OPS_TOKEN": "another-token-of-others"}, "403 this is not the AUTOROUTER_OPS_TOKEN"),
    ],
)
async def test_change_without_the_right_token_is_rejected(
    with_server: Operator, token: dict[str, str], error: str
) -> None:
    done = await with_server.run(*DRAIN, **token)
    assert (done.returncode, done.stdout, await with_server.intents()) == (1, "", {})
    assert error in done.stderr
    assert "another-token" not in done.stderr


async def test_reading_needs_no_token(with_server: Operator) -> None:
    assert (await with_server.run("events")).returncode == 0
    assert json.loads((await with_server.run("edges", "--json")).stdout)["status"] == "ok"


@pytest.fixture
async def with_redis(redis: RedisServer) -> AsyncIterator[Operator]:
    """With Redis and without a server."""
    store = RedisStore(redis.url)
    await store.publish(a_view(probed_at=time.time()))
    settings = {"REDIS_URL": redis.url, "OPS_LISTEN": f"{HOST}:{free_port()}"}
    yield Operator(store, settings)
    await store.close()


async def test_change_in_redis_prints_its_event_in_json(with_redis: Operator) -> None:
    done = await with_redis.run(*DRAIN, "--actor", "ann", "--json")
    (event,) = json.loads(done.stdout)["events"]
    assert (event["edge"], event["after"], event["actor"]) == ("yto-01", "draining", "ann")
    assert [one.event.actor for one in await with_redis.store.events()] == ["ann"]
    (intent,) = (await with_redis.store.read(["yto-01"])).intents
    assert intent.expires_at - time.time() == pytest.approx(7_200, abs=30)


async def test_default_actor_is_user_and_host(with_redis: Operator) -> None:
    await with_redis.run(*DRAIN)
    (logged,) = await with_redis.store.events()
    assert logged.event.actor == f"{getpass.getuser()}@{socket.gethostname()}"


async def test_edges_in_redis_are_disabled_and_enabled_together(with_redis: Operator) -> None:
    words = ["--for", "10m", "--reason", "new disks"]
    await with_redis.run("disable", "yto-01", "nyc-01", *words)
    assert await with_redis.intents() == {"yto-01": "disabled", "nyc-01": "disabled"}
    await with_redis.run("enable", "yto-01", "nyc-01")
    assert await with_redis.intents() == {}


@pytest.mark.parametrize("edges", [[*CANADIAN, "nyc-01"], ["yto-01", "nowhere-01"]])
async def test_rejected_change_in_redis_changes_nothing(
    with_redis: Operator, edges: list[str]
) -> None:
    done = await with_redis.run("drain", *edges, "--for", "1h", "--reason", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert (await with_redis.intents(), await with_redis.store.events()) == ({}, ())


async def test_last_healthy_edge_of_a_country_is_drained_only_by_force(
    with_redis: Operator,
) -> None:
    down = dict.fromkeys(CANADIAN[1:], Observed.DOWN) | {CANADIAN[0]: Observed.UP}
    await with_redis.store.publish(a_view(edges=down, probed_at=time.time(), seq=2))
    assert "would leave CA" in (await with_redis.run(*DRAIN)).stderr
    assert (await with_redis.run(*DRAIN, "--force")).returncode == 0
    assert await with_redis.intents() == {"yto-01": "draining"}


async def test_actor_with_control_characters_is_rejected(with_redis: Operator) -> None:
    done = await with_redis.run("enable", "yto-01", "--actor", "\x1b[31mroot")
    assert (done.returncode, "the actor must be" in done.stderr) == (1, True)
    assert await with_redis.store.events() == ()


async def test_change_prefers_redis_to_a_server(with_redis: Operator, server: Server) -> None:
    listen = f"{HOST}:{server.client.base_url.port}"
    assert (await with_redis.run(*DRAIN, OPS_LISTEN=listen)).returncode == 0
    assert await with_redis.intents() == {"yto-01": "draining"}
    assert (await server.store.read(list(CITIES))).intents == ()


async def test_events_in_redis_are_listed_oldest_first(with_redis: Operator) -> None:
    await with_redis.run(*DRAIN)
    await with_redis.run("enable", "yto-01")
    lines = (await with_redis.run("events", "--json")).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["after"] for event in events] == ["draining", "enabled"]
    assert [event["id"] for event in events] == [one.id for one in await with_redis.store.events()]


@pytest.mark.parametrize(
    "url", ["redis://a:1,b:2/0", "redis+cluster://h/3", "redis://h?socket_timeout=9", "redis://h/x"]
)
async def test_wrong_redis_url_is_a_one_line_error(url: str) -> None:
    done = await Operator(None).run("edges", REDIS_URL=url)
    assert done.returncode == 1
    assert done.stderr.startswith("error: AUTOROUTER_REDIS_URL: must ") or "may only" in done.stderr
    assert len(done.stderr.splitlines()) == 1
