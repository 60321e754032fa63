"""`python -m bench.failover`: time from an edge's death to the first right answer through a CDN.

A real server polls simulated edges at the default interval. It is behind two CDN stand-ins and
purges only one of them. In each round some edges die at random times, and a viewer of each edge
asks continuously. Each edge dies at most once a round, and less than half of them die, so that
hold-down and brake do not affect the figures.
"""

import argparse
import asyncio
import math
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import yaml
from rich.console import Console
from rich.progress import track

from bench.figures import save
from router.model import Position
from router.processes.simulated_edges import Mode, SimulatedFleet
from tests.support.databases import write_mmdb
from tests.support.servers import AUTOROUTER, HOST, Process, clean_env, eventually, free_port
from tests.support.stand_in import SECRET, a_place, running_stand_in

KINDS = {"refused": Mode.DOWN, "hung": Mode.HANG}
TARGETS_S = {"refused": 6.0, "hung": 9.0}
METROS, DYING = 13, 12  # each metro has two edges
SPREAD_S, WARM_S, LIMIT_S, AFTER_S = 24.0, 3.0, 60.0, 3.0
PAUSE_S = 0.04


class Death(NamedTuple):
    """An edge that dies, how, when in its round, and a viewer who is sent to it."""

    edge: str
    kind: str
    at_s: float
    viewer: str


@dataclass(kw_only=True)
class Site:
    """The parts that run in a round. `doors`: name → port and header for the viewer's address."""

    fleet: SimulatedFleet
    client: aiohttp.ClientSession
    doors: Mapping[str, tuple[int, str]]
    ops_port: int

    async def pick(self, door: str, viewer: str) -> str:
        """The edge that a viewer gets at a door."""
        port, header = self.doors[door]
        url = f"http://{HOST}:{port}/v1/route"
        async with self.client.get(url, headers={header: viewer}) as response:
            return str((await response.json())["region"])

    async def is_up(self) -> bool:
        """Whether the server has every edge as up."""
        async with self.client.get(f"http://{HOST}:{self.ops_port}/v1/edges") as response:
            edges = (await response.json())["edges"]
        return {edge["state"] for edge in edges} == {"up"}


@dataclass
class Figures:
    """Seconds from death to the first right answer, by kind and door.

    `relapses`: answers that named a dead edge after an answer without it.
    """

    times_s: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    relapses: int = 0

    def add(self, kind: str, door: str, took_s: float) -> None:
        self.times_s.setdefault((kind, door), []).append(took_s)


def main() -> None:
    """Measure, print the table, save the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=6, help="with 6 refused and 6 hung edges each"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    figures, rng = Figures(), random.Random(options.seed)
    console = Console(stderr=True)
    for _ in track(range(options.rounds), "rounds", console=console):
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(play(Path(folder), rng, figures))
    result = summary(figures)
    save("failover", result)
    show(result)


def place(number: int) -> Position:
    """The position of a metro in the United States."""
    return Position(28.0 + 4.0 * (number % 5), -120.0 + 10.0 * (number // 5))


def viewer(number: int) -> str:
    return f"81.{number}.0.1"


def write_catalog(path: Path, endpoints: Mapping[str, str]) -> None:
    regions = []
    for id, endpoint in endpoints.items():
        where = place(int(id[1:3]))
        spot = {"latitude": where.latitude, "longitude": where.longitude}
        regions.append({"id": id, "name": id, "country": "US", "endpoint": endpoint, **spot})
    path.write_text(yaml.safe_dump({"regions": regions}))


@asynccontextmanager
async def open_site(folder: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        ids = [f"m{number:02}-{letter}" for number in range(METROS) for letter in "ab"]
        fleet = await stack.enter_async_context(SimulatedFleet(ids))
        write_catalog(folder / "regions.yaml", fleet.endpoints)
        places = {f"{viewer(n)}/24": a_place("US", place(n), "City") for n in range(METROS)}
        files = {
            "REGIONS": str(folder / "regions.yaml"),
            "GEO_DB": str(write_mmdb(folder / "world.mmdb", places)),
        }
        port, ops_port, cache_port = free_port(), free_port(), free_port()
        environ = clean_env(
            LISTEN=f"{HOST}:{port}",
            OPS_LISTEN=f"{HOST}:{ops_port}",
            CDN_SECRET=SECRET,
            TRUSTED_PROXIES="127.0.0.0/8",
            PURGE=f"varnish:http://{HOST}:{cache_port}/",
            **files,
        )
        server = Process([str(AUTOROUTER), "serve"], folder / "serve.log", environ)
        stack.callback(server.kill)
        await eventually(lambda: "serving" in server.output)
        doors = {"origin": (port, "X-Forwarded-For")}
        for name, own_port in (("with purge", cache_port), ("without purge", None)):
            (folder / name).mkdir()
            starting = running_stand_in(folder / name, port, cache_port=own_port, **files)
            cdn = await asyncio.to_thread(starting.__enter__)
            stack.push(starting)
            doors[name] = (cdn.port, "X-Stand-In-Viewer")
        client = await stack.enter_async_context(aiohttp.ClientSession())
        site = Site(fleet=fleet, client=client, doors=doors, ops_port=ops_port)
        await eventually(site.is_up)
        yield site


async def play(folder: Path, rng: random.Random, figures: Figures) -> None:
    """Run one round and add to the figures how long each dead edge was named at each door."""
    async with open_site(folder) as site, asyncio.TaskGroup() as watching:
        for death in await deaths(site, rng):
            died = asyncio.get_running_loop().create_future()
            watching.create_task(kill(site, death, died))
            for door in site.doors:
                watching.create_task(watch(site, death, door, died, figures))


async def deaths(site: Site, rng: random.Random) -> list[Death]:
    """In all metros but one, the edge that the metro's viewer gets."""
    kinds = list(KINDS) * (DYING // len(KINDS))
    chosen = zip(rng.sample(range(METROS), DYING), kinds, strict=True)
    return [
        Death(
            edge=await site.pick("origin", viewer(number)),
            kind=kind,
            at_s=WARM_S + rng.uniform(0, SPREAD_S),
            viewer=viewer(number),
        )
        for number, kind in chosen
    ]


async def kill(site: Site, death: Death, died: "asyncio.Future[float]") -> None:
    await asyncio.sleep(death.at_s)
    await site.fleet.edges[death.edge].set_mode(KINDS[death.kind])
    died.set_result(time.monotonic())


async def watch(
    site: Site, death: Death, door: str, died: "asyncio.Future[float]", figures: Figures
) -> None:
    """Ask until the dead edge is no longer named, and for AFTER_S more."""
    while not died.done():
        assert await site.pick(door, death.viewer) == death.edge, "moved before it died"
        await asyncio.sleep(10 * PAUSE_S)
    async with asyncio.timeout(LIMIT_S):
        right_at = await moved(site, death, door)
    figures.add(death.kind, door, right_at - died.result())
    while time.monotonic() < right_at + AFTER_S:
        figures.relapses += await site.pick(door, death.viewer) == death.edge
        await asyncio.sleep(5 * PAUSE_S)


async def moved(site: Site, death: Death, door: str) -> float:
    """Wait until another edge is named. Returns the monotonic time."""
    while True:
        if await site.pick(door, death.viewer) != death.edge:
            return time.monotonic()
        await asyncio.sleep(PAUSE_S)


def summary(figures: Figures) -> dict[str, Any]:
    result: dict[str, Any] = {"relapses": figures.relapses}
    for (kind, door), times_s in sorted(figures.times_s.items()):
        result.setdefault(kind, {})[door] = percentiles(times_s)
    return result


def percentiles(times_s: Iterable[float]) -> dict[str, float]:
    ordered = sorted(times_s)
    return {
        "p50": round(ordered[len(ordered) // 2], 2),
        "p99": round(ordered[math.ceil(len(ordered) * 0.99) - 1], 2),
        "kills": len(ordered),
    }


def show(result: Mapping[str, Any]) -> None:
    print(f"{'edge, seconds to the first right answer':<42}{'p50':>7}{'p99':>7}{'target':>8}")
    for kind, target_s in TARGETS_S.items():
        for door, found in result[kind].items():
            target = f"{target_s:.0f}" if door == "with purge" else ""
            row = f"{found['p50']:>7.1f}{found['p99']:>7.1f}{target:>8}"
            name = f"{kind}, {door}, {found['kills']} kills"
            print(f"{name:<42}{row}")
    print(f"answers that named a dead edge again: {result['relapses']}")


if __name__ == "__main__":
    main()
