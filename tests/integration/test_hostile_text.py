"""Text of edges, Redis and people: nothing unprintable reaches a terminal, a log or an event."""

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
SHOWN = r"\x1b[2J"
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
    """Processes that were given hostile texts from every side."""

    server: Running
    poller: Process
    settings: dict[str, str]


def unprintable(text: str) -> list[str]:
    return [line for line in text.split("\n") if not line.isprintable()]


async def plant(redis_url: str) -> None:
    """Write an intent and an event to Redis as no release would."""
    now = time.time()
    intent = replace(
        an_intent("yul-01", Intended.DRAINING, expires_at=now + 3_600),
        actor="ACTOR",
        reason="REASON",
        created_at=now,
    )
    event = Event(at=now, kind=EventKind.INTENT, edge="EDGE", after="AFTER", reason="REASON")
    texts = {name: json.dumps(TEXT)[1:-1].encode() for name in ("ACTOR", "REASON", "EDGE", "AFTER")}

    def mangled(value: bytes) -> bytes:
        for name, text in texts.items():
            value = value.replace(name.encode(), text)
        return value

    async with Redis.from_url(redis_url) as client:
        await client.set(intent_key("yul-01"), mangled(encode(intent)))
        await client.xadd(EVENTS, {"event": mangled(encode(event))})


@pytest.fixture
async def attacked(joined: Site, redis_url: str) -> AsyncIterator[Attacked]:
    await plant(redis_url)
    joined.fleet.edges["yto-01"].models = (TEXT, "kokoro-82m")
    async with stand_in(FAILING) as failing:

        def point_at_it(document: dict[str, list[dict[str, str]]]) -> None:
            for region in document["regions"]:
                if region["id"] == "yto-02":
                    region["endpoint"] = f"http://{HOST}:{failing.port}"

        rewritten(Path(joined.settings["REGIONS"]), point_at_it)
        poller = joined.poll(LOG_FORMAT="text")
        server = await joined.serve_until_ready(LOG_REQUESTS="all")
        settings = joined.settings | {"OPS_LISTEN": f"{HOST}:{server.ops_port}"}
        yield Attacked(server, poller, settings)
        poller.send(signal.SIGTERM)
        await poller.ended()  # before the edge that it asks


async def test_hostile_text_is_escaped_wherever_it_is_shown(attacked: Attacked) -> None:
    """One test, since starting the processes costs most of its time."""
    await attacked.server.client.get(
        f"http://{HOST}:{attacked.server.port}/v1/route", params={"model": TEXT}
    )
    await eventually(lambda: SHOWN in attacked.poller.output)
    shown = set()
    for words in COMMANDS:
        done = await asyncio.to_thread(run_autorouter, *words, **attacked.settings)
        assert unprintable(done.stdout + done.stderr) == [], words
        if SHOWN in (done.stdout + done.stderr).replace("\\\\", "\\").replace("\\u001b", "\\x1b"):
            shown.add(words[0])
    assert shown >= {"edges", "events", "check"}
    for process in (attacked.server.process, attacked.poller):
        assert unprintable(process.output) == []
    document = (await attacked.server.ops("/v1/events")).json()
    texts = [text for each in document["events"] for text in each.values() if isinstance(text, str)]
    assert any(SHOWN in text for text in texts)
    assert all(text.isprintable() for text in texts)
