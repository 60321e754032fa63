"""Server and poller processes with simulated edges, and clients that put load on them."""

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from router.processes.simulated_edges import SimulatedFleet
from tests.support.builders import CITIES
from tests.support.servers import (
    HOST,
    Process,
    Start,
    a_regions_file,
    eventually,
    free_port,
    plain_client,
)

TORONTONIAN = {"X-Forwarded-For": "128.100.1.1"}


DETECTED_S = 8.0


@dataclass
class Running:
    """A server process, its ports and a client."""

    process: Process
    port: int
    ops_port: int
    client: httpx.AsyncClient

    async def route(self, query: str = "") -> dict[str, Any]:
        url = f"http://{HOST}:{self.port}/v1/route{query}"
        answer: dict[str, Any] = (await self.client.get(url, headers=TORONTONIAN)).json()
        return answer

    async def ops(self, path: str) -> httpx.Response:
        return await self.client.get(f"http://{HOST}:{self.ops_port}{path}")

    async def is_ready(self) -> bool:
        """Whether the server knows the state of every edge."""
        assert self.process.is_alive(), self.process.output
        try:
            document = (await self.ops("/v1/edges")).json()
        except httpx.TransportError:
            return False
        return document["status"] == "ok" and all(
            e["state"] != "unknown" for e in document["edges"]
        )

    async def picks(self, region: str) -> bool:
        return bool((await self.route())["region"] == region)

    async def edges_for(self, viewers: Iterable[str]) -> dict[str, str]:
        """Viewer → the edge that the server picks."""
        url, found = f"http://{HOST}:{self.port}/v1/route", {}
        for viewer in viewers:
            response = await self.client.get(url, headers={"X-Forwarded-For": viewer})
            found[viewer] = str(response.json()["region"])
        return found


@dataclass
class Site:
    """A simulated fleet, and settings for servers and pollers that use it."""

    start: Start
    fleet: SimulatedFleet
    client: httpx.AsyncClient
    settings: dict[str, str] = field(default_factory=dict)

    def poll(self, **settings: str) -> Process:
        return self.start("poll", **self.settings, **settings)

    def serve(self, **settings: str) -> Running:
        port, ops_port = free_port(), free_port()
        listens = {"LISTEN": f"{HOST}:{port}", "OPS_LISTEN": f"{HOST}:{ops_port}"}
        process = self.start("serve", **(self.settings | listens | settings))
        return Running(process, port, ops_port, self.client)

    async def serve_until_ready(self, **settings: str) -> Running:
        running = self.serve(**settings)
        await eventually(running.is_ready)
        return running


@pytest.fixture
async def site(start: Start, tmp_path: Path) -> AsyncIterator[Site]:
    async with SimulatedFleet(CITIES) as fleet, plain_client() as client:
        regions = a_regions_file(tmp_path / "regions.yaml", fleet.endpoints)
        settings = {
            "REGIONS": str(regions),
            "POLL_INTERVAL_S": "0.3",
            "TRUSTED_PROXIES": "127.0.0.0/8",
        }
        yield Site(start, fleet, client, settings)


@pytest.fixture
async def joined(site: Site, redis_url: str) -> Site:
    """The same with a Redis that `serve` and `poll` share."""
    site.settings["REDIS_URL"] = redis_url
    return site


@dataclass
class Load:
    """The results of requests that are sent without a pause."""

    statuses: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0
    broken: int = 0


@asynccontextmanager
async def under_load(port: int, connections: int = 4) -> AsyncIterator[Load]:
    """Send requests over persistent connections until the block ends."""
    load, going = Load(), asyncio.Event()
    going.set()
    tasks = [asyncio.create_task(_send(port, load, going)) for _ in range(connections)]
    try:
        yield load
    finally:
        going.clear()
        await asyncio.wait_for(asyncio.gather(*tasks), 10)


async def _send(port: int, load: Load, going: asyncio.Event) -> None:
    said = b"GET /v1/route HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 128.100.1.1\r\n\r\n"
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        while going.is_set():
            started = time.monotonic()
            writer.write(said)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
            json.loads(await reader.readexactly(length))
            load.statuses[int(head.split(b" ")[1])] += 1
            load.slowest_s = max(load.slowest_s, time.monotonic() - started)
    except (OSError, asyncio.IncompleteReadError):
        load.broken += 1
    finally:
        writer.transport.abort()


@asynccontextmanager
async def taken() -> AsyncIterator[int]:
    """A port that is in use."""
    with socket.create_server((HOST, 0)) as one:
        yield one.getsockname()[1]


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a YAML document and replace its file in one step."""
    document = yaml.safe_load(path.read_text())
    change(document)
    replace_file(path, yaml.safe_dump(document).encode())


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file in one step."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(path)


def without_edge(id: str) -> Callable[[dict[str, Any]], None]:
    """A change for `rewritten` that removes one edge from a catalog."""

    def change(document: dict[str, Any]) -> None:
        document["regions"] = [each for each in document["regions"] if each["id"] != id]

    return change
