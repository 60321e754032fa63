"""The request log describes answers, contains no client data and never delays a request."""

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from router.api.access_log import MAX_WAITING, RequestLog
from router.api.app import PublicApp
from router.api.http_protocol import Respond
from router.api.live_fleet import FleetWatch
from router.routing.cache_headers import CachePolicy
from router.routing.client_address import Networks
from router.routing.location import Locator
from router.store.memory import MemoryStore
from router.telemetry.metrics import Telemetry
from tests.support.builders import a_location, a_ranker, a_request, a_view
from tests.support.servers import eventually, plain_client, public_server, served

pytestmark = pytest.mark.anyio

FLEET = "0a1b2c3d"
ADDRESS, SECRET = "192.0.2.7", "a-secret-of-the-cdn"
FROM_CANADA = {"X-Forwarded-For": ADDRESS, "User-Agent": "polargrid-sdk"}


class Lines:
    """Records the lines that are written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def __call__(self, line: bytes) -> None:
        self.written.append(line)

    @property
    def parsed(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.written]


async def an_app() -> PublicApp:
    """An app whose edges are all up and whose viewers are all in Toronto."""
    store = MemoryStore()
    await store.publish(a_view())
    watch = FleetWatch(a_ranker(), store, Telemetry(), cache_policy=CachePolicy())
    await watch.refresh()
    trusted = Networks.parse(["127.0.0.0/8"])
    return PublicApp(watch, Locator(lambda _: a_location(), trusted=trusted, secrets=[SECRET]))


async def a_log(share: float = 1.0, **options: Any) -> RequestLog:
    return RequestLog((await an_app()).exchange, share, fleet=lambda: FLEET, **options)


@asynccontextmanager
async def asking(respond: Respond) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a real server that uses `respond`."""
    async with (
        served(respond, public_server) as port,
        plain_client(f"http://127.0.0.1:{port}") as client,
    ):
        yield client


def ask(respond: Respond, count: int) -> None:
    """Make `count` requests without a network."""
    for _ in range(count):
        respond(a_request())


async def test_line_describes_the_answer() -> None:
    lines = Lines()
    log = await a_log(clock=lambda: 1_700_000_000.25, write=lines)
    async with asking(log.respond) as client:
        parsed = (await client.get("/v1/route", headers=FROM_CANADA)).json()
    log.flush()
    (line,) = lines.parsed
    assert line.pop("duration_us") >= 0
    assert line == {
        "event": "request",
        "level": "info",
        "timestamp": "2023-11-14T22:13:20.250000Z",
        "code": 200,
        "region": parsed["region"],
        "reason": "nearest_in_country",
        "status": "static",
        "scope": "country",
        "residency": "",
        "sharing": "private",
        "crossed": "false",
        "country": "CA",
        "key": "CA~yto-02.yto-01.yul-01",
        "fleet": FLEET,
        "share": 1.0,
    }


@pytest.mark.parametrize("path", ["/v1/route", "/v1/route?model=%01", "/healthz", "/nothing"])
async def test_logging_does_not_change_answers(path: str) -> None:
    app = await an_app()
    logged = RequestLog(app.exchange, 1.0, fleet=lambda: FLEET, write=Lines())
    assert logged.respond(a_request(path)) == app.respond(a_request(path))
    assert sum(app.counts.answers.values()) == 2


async def test_not_modified_is_logged_as_304() -> None:
    lines = Lines()
    log = await a_log(write=lines)
    async with asking(log.respond) as client:
        etag = (await client.get("/v1/route")).headers["etag"]
        await client.get("/v1/route", headers={"If-None-Match": etag})
        await client.post("/v1/chat")
    log.flush()
    assert [line["code"] for line in lines.parsed] == [200, 304, 403]


async def test_line_contains_no_client_data() -> None:
    lines = Lines()
    log = await a_log(write=lines)
    headers = {**FROM_CANADA, "X-Origin-Verify": SECRET, "Cookie": "crumbs"}
    async with asking(log.respond) as client:
        await client.get("/v1/route?model=my-model&token=hunter2", headers=headers)
        await client.get("/path/of/mine?model=my-model", headers=headers)
    log.flush()
    sent = rf"{re.escape(ADDRESS)}|127\.0|{SECRET}|polargrid-sdk|crumbs|my-model|hunter|of/mine"
    assert len(lines.written) == 2
    assert re.findall(sent, str(lines.written)) == []


async def test_share_of_requests_is_reported() -> None:
    lines = Lines()
    draws = iter([0.09, 0.1, 0.5, 0.0, 0.99])
    log = await a_log(0.1, draw=lambda: next(draws), write=lines)
    ask(log.respond, 5)
    log.flush()
    assert [line["share"] for line in lines.parsed] == [0.1, 0.1]


async def test_writer_that_hangs_does_not_delay_requests() -> None:
    lines, free = Lines(), threading.Event()

    def hang(line: bytes) -> None:
        free.wait(20)
        lines(line)

    log = await a_log(write=hang)
    writing = asyncio.create_task(log.run())
    ask(log.respond, MAX_WAITING + 500)
    await eventually(
        lambda: len(log._waiting) < MAX_WAITING
    )  # the writer thread has started and hangs
    ask(log.respond, 100)
    free.set()
    await eventually(lambda: lines.parsed[-1:] != [] and "count" in lines.parsed[-1])
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    dropped = sum(line["count"] for line in lines.parsed if "count" in line)
    parsed = sum(line["event"] == "request" for line in lines.parsed)
    assert dropped >= 500
    assert parsed + dropped == MAX_WAITING + 600


async def test_logging_continues_after_a_failed_write() -> None:
    lines, is_broken = Lines(), True

    def write(line: bytes) -> None:
        if is_broken:
            raise BrokenPipeError
        lines(line)

    log = await a_log(write=write)
    ask(log.respond, 3)
    log.flush()
    is_broken = False
    ask(log.respond, 1)
    log.flush()
    log.flush()
    assert [line["event"] for line in lines.parsed] == ["request", "request lines dropped"]
    assert lines.parsed[-1]["count"] == 3


async def test_pending_lines_are_written_at_the_end() -> None:
    lines = Lines()
    log = await a_log(write=lines)
    running = asyncio.create_task(log.run())
    await asyncio.sleep(0)
    ask(log.respond, 7)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(lines.written) == 7
