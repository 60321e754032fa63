"""Processes and commands work in spite of values in Redis that no release writes."""

import asyncio
import json
import time

import pytest
from redis.asyncio import Redis

from router.model import Intended
from router.processes.simulated_edges import Mode
from router.store.codec import encode
from router.store.event_log import EVENTS
from router.store.keys import VANTAGES
from router.store.reading import intent_key, view_key
from tests.support.builders import a_view, an_edge_view, an_intent
from tests.support.running import DETECTED_S, Running, Site, joined, site
from tests.support.servers import HOST, eventually, run_autorouter

pytestmark = pytest.mark.anyio

__all__ = ["joined", "site"]

COMMANDS = [["edges"], ["events"], ["explain", "CA"]]
OPS_PATHS = [
    "/",
    "/v1/edges",
    "/v1/events",
    "/v1/explain?ip=128.100.1.1",
    "/metrics",
    "/v1/history",
]


async def write_hostile_values(redis_url: str) -> None:
    """Write an intent in milliseconds, an intent without an end, a view and an event of the far
    future, an inventory with a false age, a name without a view, and a list in place of a view."""
    now = time.time()
    intent = an_intent("yto-01", Intended.DISABLED, expires_at=now + 60)
    fields = {**json.loads(encode(intent)), "created_at": now * 1_000, "expires_at": now * 1_000}
    endless = {**json.loads(encode(intent)), "edge": "yul-01", "expires_at": 1e300}
    false_models = an_edge_view(models=["lie"], models_at=now + 1e6)
    event = {"at": 1e300, "kind": "intent", "edge": "yto-01", "until": now * 1e6}
    async with Redis.from_url(redis_url) as client:
        await client.set(intent_key("yto-01"), json.dumps(fields))
        await client.set(intent_key("yul-01"), json.dumps(endless))
        await client.sadd(VANTAGES, "evil", "nobody", "list")
        await client.set(
            view_key("evil"), encode(a_view("evil", {"nyc-01": false_models}, seq=2**60))
        )
        await client.lpush(view_key("list"), "x")
        await client.xadd(EVENTS, {"event": json.dumps(event)})


async def test_hostile_values_break_no_process_or_command(joined: Site) -> None:
    await write_hostile_values(joined.settings["REDIS_URL"])
    joined.poll()
    server = await joined.serve_until_ready()
    first = (await server.route())["region"]
    assert first.startswith("yto")
    for path in OPS_PATHS:
        assert (await server.ops(path)).status_code == 200, path
    settings = joined.settings | {"OPS_LISTEN": f"{HOST}:{server.ops_port}"}
    for command in COMMANDS:
        done = await asyncio.to_thread(run_autorouter, *command, **settings)
        assert done.returncode == 0, (command, done.stderr)
    assert (await server.route("?model=lie"))["code"] == "model_unavailable"
    await joined.fleet.edges[first].set_mode(Mode.DOWN)
    await eventually(lambda: has_moved(server, first), DETECTED_S + 20)


async def has_moved(server: Running, first: str) -> bool:
    return bool((await server.route())["region"] != first)
