"""No unprintable character from edges, Redis or people reaches a terminal, a log or an event."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from router.model import Event, EventKind, Intended
from router.store.codec import encode
from router.store.event_log import EVENTS
from router.store.reading import intent_key
from tests.support.builders import an_intent
from tests.support.hostile import HOSTILE_TEXTS
from tests.support.inference_servers import Kind, Reply, stand_in
from tests.support.running import Running, Site, joined, rewritten, site
from tests.support.servers import HOST, Process, eventually, run_autorouter

pytestmark = pytest.mark.anyio

__all__ = ["joined", "site"]

TEXT = "".join(HOSTILE_TEXTS)
ESCAPED = r"\x1b[2J"
FAILING = Kind(
    well={"/health": Reply(body=json.dumps({"status": TEXT}).encode())}, unwell={}, models=None
)
COMMANDS = [
    ["edges", "--json"],
    ["edges", "yto-01", "yul-01"],
    ["events"],
    ["events", "--json"],
    ["explain", "CA", "--model", TEXT],
    ["drain", "yto-01", "--for", "1h", "--reason", TEXT, "--actor", TEXT],
    ["check", "--probe"],
]


@dataclass
class Attacked:
    """Processes that got hostile texts from edges, Redis and clients."""

    server: Running
    poller: Process
    settings: dict[str, str]


def unprintable(text: str) -> list[str]:
    return [line for line in text.split("\n") if not line.isprintable()]


async def write_hostile_values(redis_url: str) -> None:
    """Write an intent and an event with hostile texts to Redis."""
    now = time.time()
    intent = replace(
        an_intent("yul-01", Intended.DRAINING, expires_at=now + 3_600),
        actor="ACTOR",
        reason="REASON",
        created_at=now,
    )
    event = Event(at=now, kind=EventKind.INTENT, edge="EDGE", after="AFTER", reason="REASON")
    texts = {name: json.dumps(TEXT)[1:-1].encode() for name in ("ACTOR", "REASON", "EDGE", "AFTER")}

    def with_hostile_texts(value: bytes) -> bytes:
        for name, text in texts.items():
            value = value.replace(name.encode(), text)
        return value

    async with Redis.from_url(redis_url) as client:
        await client.set(intent_key("yul-01"), with_hostile_texts(encode(intent)))
        await client.xadd(EVENTS, {"event": with_hostile_texts(encode(event))})


@pytest.fixture
async def attacked(joined: Site, redis_url: str) -> AsyncIterator[Attacked]:
    await write_hostile_values(redis_url)
    joined.fleet.edges["yto-01"].models = (TEXT, "kokoro-82m")
    async with stand_in(FAILING) as failing:

        def use_failing_edge(document: dict[str, list[dict[str, str]]]) -> None:
            for region in document["regions"]:
                if region["id"] == "yto-02":
                    region["endpoint"] = f"http://{HOST}:{failing.port}"

        rewritten(Path(joined.settings["REGIONS"]), use_failing_edge)
        poller = joined.poll(LOG_FORMAT="text")
        server = await joined.serve_until_ready(LOG_REQUESTS="all")
        settings = joined.settings | {"OPS_LISTEN": f"{HOST}:{server.ops_port}"}
        yield Attacked(server, poller, settings)
        poller.send(signal.SIGTERM)
        await poller.ended()  # before the edge that it polls stops


async def test_hostile_text_is_escaped_in_all_output(attacked: Attacked) -> None:
    """One test for all output, because starting the processes takes most of the time."""
    await attacked.server.client.get(
        f"http://{HOST}:{attacked.server.port}/v1/route", params={"model": TEXT}
    )
    await eventually(lambda: ESCAPED in attacked.poller.output)
    commands_that_show_it = set()
    for words in COMMANDS:
        done = await asyncio.to_thread(run_autorouter, *words, **attacked.settings)
        assert unprintable(done.stdout + done.stderr) == [], words
        if ESCAPED in (done.stdout + done.stderr).replace("\\\\", "\\").replace("\\u001b", "\\x1b"):
            commands_that_show_it.add(words[0])
    assert commands_that_show_it >= {"edges", "events", "check"}
    for process in (attacked.server.process, attacked.poller):
        assert unprintable(process.output) == []
    document = (await attacked.server.ops("/v1/events")).json()
    texts = [text for each in document["events"] for text in each.values() if isinstance(text, str)]
    assert any(ESCAPED in text for text in texts)
    assert all(text.isprintable() for text in texts)
