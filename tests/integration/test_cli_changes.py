"""Operators at the command line: through a server that wants a token, and straight in Redis."""

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
class Desk:
    """Where an operator sits: settings, and a store to look into."""

    store: RedisStore | Any
    settings: dict[str, str] = field(default_factory=dict)

    async def run(self, *words: str, **settings: str) -> Done:
        return await asyncio.to_thread(run_autorouter, *words, **(self.settings | settings))

    async def intended(self) -> dict[str, str]:
        """Each edge that is held back, and how."""
        return {one.edge: one.state for one in (await self.store.read(list(CITIES))).intents}


@pytest.fixture
def guarded(server: Server) -> Desk:
    """Beside a server that listens for everybody, and so wants a token."""
    server.ops.token, server.ops.host = TOKEN, "0.0.0.0"
    return Desk(server.store, {"OPS_LISTEN": f"{HOST}:{server.client.base_url.port}"})


async def test_operator_with_the_token_may_change(guarded: Desk) -> None:
    done = await guarded.run(*DRAIN, OPS_TOKEN=TOKEN)
    assert (done.returncode, done.stderr) == (0, "")
    assert await guarded.intended() == {"yto-01": "draining"}
    assert (await guarded.run("enable", "yto-01", OPS_TOKEN=TOKEN)).returncode == 0
    assert await guarded.intended() == {}


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ({}, "403 send Authorization: Bearer"),
        ({"OPS_TOKEN": "another-token-of-others"}, "403 this is not the AUTOROUTER_OPS_TOKEN"),
    ],
)
async def test_operator_without_the_token_is_told_so(
    guarded: Desk, token: dict[str, str], told: str
) -> None:
    done = await guarded.run(*DRAIN, **token)
    assert (done.returncode, done.stdout, await guarded.intended()) == (1, "", {})
    assert told in done.stderr
    assert "another-token" not in done.stderr


async def test_anybody_may_look(guarded: Desk) -> None:
    assert (await guarded.run("events")).returncode == 0
    assert json.loads((await guarded.run("edges", "--json")).stdout)["status"] == "ok"


@pytest.fixture
async def redis_desk(redis: RedisServer) -> AsyncIterator[Desk]:
    """With Redis and no server."""
    store = RedisStore(redis.url)
    await store.publish(a_view(probed_at=time.time()))
    settings = {"REDIS_URL": redis.url, "OPS_LISTEN": f"{HOST}:{free_port()}"}
    yield Desk(store, settings)
    await store.close()


async def test_change_in_redis_is_told_as_json(redis_desk: Desk) -> None:
    done = await redis_desk.run(*DRAIN, "--actor", "ann", "--json")
    (event,) = json.loads(done.stdout)["events"]
    assert (event["edge"], event["after"], event["actor"]) == ("yto-01", "draining", "ann")
    assert [one.event.actor for one in await redis_desk.store.events()] == ["ann"]
    (intent,) = (await redis_desk.store.read(["yto-01"])).intents
    assert intent.expires_at - time.time() == pytest.approx(7_200, abs=30)


async def test_operator_is_named_after_user_and_host(redis_desk: Desk) -> None:
    await redis_desk.run(*DRAIN)
    (logged,) = await redis_desk.store.events()
    assert logged.event.actor == f"{getpass.getuser()}@{socket.gethostname()}"


async def test_edges_in_redis_are_disabled_and_enabled_together(redis_desk: Desk) -> None:
    words = ["--for", "10m", "--reason", "new disks"]
    await redis_desk.run("disable", "yto-01", "nyc-01", *words)
    assert await redis_desk.intended() == {"yto-01": "disabled", "nyc-01": "disabled"}
    await redis_desk.run("enable", "yto-01", "nyc-01")
    assert await redis_desk.intended() == {}


@pytest.mark.parametrize("edges", [[*CANADIAN, "nyc-01"], ["yto-01", "nowhere-01"]])
async def test_refusal_in_redis_changes_nothing(redis_desk: Desk, edges: list[str]) -> None:
    done = await redis_desk.run("drain", *edges, "--for", "1h", "--reason", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert (await redis_desk.intended(), await redis_desk.store.events()) == ({}, ())


async def test_last_edge_that_works_stays_unless_forced(redis_desk: Desk) -> None:
    down = dict.fromkeys(CANADIAN[1:], Observed.DOWN) | {CANADIAN[0]: Observed.UP}
    await redis_desk.store.publish(a_view(edges=down, probed_at=time.time(), seq=2))
    assert "would leave CA" in (await redis_desk.run(*DRAIN)).stderr
    assert (await redis_desk.run(*DRAIN, "--force")).returncode == 0
    assert await redis_desk.intended() == {"yto-01": "draining"}


async def test_text_unfit_for_a_record_is_refused(redis_desk: Desk) -> None:
    done = await redis_desk.run("enable", "yto-01", "--actor", "\x1b[31mroot")
    assert (done.returncode, "the actor must be" in done.stderr) == (1, True)
    assert await redis_desk.store.events() == ()


async def test_change_goes_to_redis_when_there_is_one_and_a_server_too(
    redis_desk: Desk, server: Server
) -> None:
    listen = f"{HOST}:{server.client.base_url.port}"
    assert (await redis_desk.run(*DRAIN, OPS_LISTEN=listen)).returncode == 0
    assert await redis_desk.intended() == {"yto-01": "draining"}
    assert (await server.store.read(list(CITIES))).intents == ()


async def test_events_in_redis_are_told_oldest_first(redis_desk: Desk) -> None:
    await redis_desk.run(*DRAIN)
    await redis_desk.run("enable", "yto-01")
    lines = (await redis_desk.run("events", "--json")).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["after"] for event in events] == ["draining", "enabled"]
    assert [event["id"] for event in events] == [one.id for one in await redis_desk.store.events()]


@pytest.mark.parametrize(
    "url", ["redis://a:1,b:2/0", "redis+cluster://h/3", "redis://h?socket_timeout=9", "redis://h/x"]
)
async def test_wrong_redis_url_is_a_line_and_no_traceback(url: str) -> None:
    done = await Desk(None).run("edges", REDIS_URL=url)
    assert done.returncode == 1
    assert done.stderr.startswith("error: AUTOROUTER_REDIS_URL: must ") or "may only" in done.stderr
    assert len(done.stderr.splitlines()) == 1
