"""Through the CDN stand-in, viewers get the same answers as from the origin: for any earlier
requests, any query and any change of the fleet.

Cached answers do not expire here. Answers that a change makes wrong must be purged by their tags.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import maxminddb
import pytest

from router.geo.database import packaged_database
from router.model import Position
from router.processes.simulated_edges import Mode, SimulatedFleet
from tests.support.builders import CITIES
from tests.support.databases import write_mmdb
from tests.support.servers import HOST, eventually
from tests.support.stand_in import StandIn, a_place, origin_behind_stand_in

pytestmark = pytest.mark.anyio

QUESTIONS, STEPS, ASKED_DURING, ASKED_AFTER = 250, 50, 50, 100
MIN_OFFERED = 2
UNKNOWN_SHARE, COUNTRY_SHARE, IPV6_SHARE = 0.05, 0.15, 0.25
IPV6 = [0x2400, 0x2404, 0x2600, 0x2607, 0x2620, 0x2800, 0x2A00, 0x2A02, 0x2A03, 0x2C0F]
MODELS = {"kokoro-82m": 0.7, "whisper-large": 0.3, "llama-8b": 0.15}
QUERIES = [
    "",
    "?scope=global",
    "?strict=true",
    "?all=true",
    "?all=true&scope=global",
    "?model=kokoro",
    "?model=whisper-large",
    "?model=llama-8b&strict=true",
    "?model=llama-8b&scope=global&all=true",
    "?model=nobody-has-it",
    f"?model={'m' * 129}",
]


class Question(NamedTuple):
    viewer: str
    query: str


class Told(NamedTuple):
    status: int
    etag: str
    body: bytes


@dataclass(kw_only=True)
class Site:
    """Edges, an origin and a CDN stand-in. `did`: counts of X-Cache values."""

    fleet: SimulatedFleet
    cdn: StandIn
    port: int
    ops_port: int
    client: aiohttp.ClientSession
    did: Counter[str] = field(default_factory=Counter)

    async def through(self, questions: Iterable[Question]) -> list[Told]:
        """The stand-in's answers to concurrent questions."""
        asking = (self._ask(self.cdn.port, "X-Stand-In-Viewer", one) for one in questions)
        return await asyncio.gather(*asking)

    async def directly(self, questions: Iterable[Question]) -> list[Told]:
        """The origin's answers to concurrent questions."""
        asking = (self._ask(self.port, "X-Forwarded-For", one) for one in questions)
        return await asyncio.gather(*asking)

    async def _ask(self, port: int, header: str, question: Question) -> Told:
        url = f"http://{HOST}:{port}/v1/route{question.query}"
        async with self.client.get(url, headers={header: question.viewer}) as response:
            self.did[response.headers.get("X-Cache", "")] += 1
            body = await response.read()
            return Told(response.status, response.headers.get("ETag", ""), body)

    async def ops(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request to the ops listener."""
        url = f"http://{HOST}:{self.ops_port}{path}"
        async with self.client.request(method, url, json=body) as response:
            response.raise_for_status()
            return await response.json()

    async def edges(self) -> dict[str, dict[str, Any]]:
        """Id → the origin's document of the edge."""
        return {edge["id"]: edge for edge in (await self.ops("GET", "/v1/edges"))["edges"]}

    async def edge_facts(self) -> dict[str, Any]:
        """Id → the facts of the edge that answers depend on."""
        facts = ("state", "intent", "models")
        return {id: [edge[fact] for fact in facts] for id, edge in (await self.edges()).items()}

    async def is_ready(self) -> bool:
        """Whether the origin knows the state and models of every edge."""
        edges = (await self.edges()).values()
        return all(edge["state"] == "up" and edge["models"] is not None for edge in edges)


@asynccontextmanager
async def a_site(folder: Path, rng: random.Random, geo_db: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(SimulatedFleet(CITIES))
        for edge in fleet.edges.values():
            edge.models = tuple(model for model, share in MODELS.items() if rng.random() < share)
        settings = {"CDN_MAX_AGE_S": "3600", "POLL_INTERVAL_S": "0.1"}
        origin = await stack.enter_async_context(
            origin_behind_stand_in(folder, fleet.endpoints, geo_db, **settings)
        )
        few = aiohttp.TCPConnector(limit=8)  # the same loop must also answer probes
        client = await stack.enter_async_context(aiohttp.ClientSession(connector=few))
        site = Site(
            fleet=fleet,
            cdn=origin.cdn,
            port=origin.port,
            ops_port=origin.ops_port,
            client=client,
        )
        await eventually(site.is_ready)
        yield site


def a_world(path: Path, rng: random.Random) -> list[Question]:
    """Write a database of real places. Returns questions of viewers there.

    The database does not contain some of the viewers. For others it knows only the country.
    """
    real = maxminddb.open_database(packaged_database())
    places: dict[str, dict[str, Any]] = {}
    questions: list[Question] = []
    while len(questions) < QUESTIONS:
        viewer = an_address(rng)
        record = real.get(viewer)
        country = record.get("country") if isinstance(record, dict) else None
        if isinstance(record, dict) and isinstance(country, dict) and "iso_code" in country:
            questions.append(Question(viewer, rng.choice(QUERIES)))
            if rng.random() > UNKNOWN_SHARE:
                bits = 48 if ":" in viewer else 24
                places[str(ip_network(f"{viewer}/{bits}", strict=False))] = a_record(record, rng)
    write_mmdb(path, places)
    return questions


def an_address(rng: random.Random) -> str:
    if rng.random() > IPV6_SHARE:
        return str(IPv4Address(rng.randrange(1 << 24, 224 << 24)))
    return str(IPv6Address(rng.choice(IPV6) << 112 | rng.getrandbits(112)))


def a_record(real: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    where = Position(real["location"]["latitude"], real["location"]["longitude"])
    city = None if rng.random() < COUNTRY_SHARE else "City"
    return a_place(real["country"]["iso_code"], where, city)


async def change(site: Site, rng: random.Random) -> list[str]:
    """Disable or enable some edges and wait until the origin knows. Returns their ids."""
    edges = await site.edges()
    gone = [id for id, edge in edges.items() if edge["intent"] != "enabled"]
    if rng.random() < len(gone) / len(edges):
        changed = rng.sample(gone, min(a_few(rng), len(gone)))
        await site.ops("DELETE", f"/v1/edges/{','.join(changed)}/intent?actor=t")
        await eventually(lambda: have_intent(site, changed, {"enabled"}))
        return changed
    offered = [id for id, edge in edges.items() if id not in gone and edge["state"] != "down"]
    changed = rng.sample(offered, max(1, min(a_few(rng), len(offered) - MIN_OFFERED)))
    state = rng.choice(["draining", "disabled"])
    wish = {"state": state, "for": "1h", "reason": "test", "actor": "t", "force": True}
    await site.ops("PUT", f"/v1/edges/{','.join(changed)}/intent", wish)
    await eventually(lambda: have_intent(site, changed, {state}))
    return changed


def a_few(rng: random.Random) -> int:
    """Usually one."""
    return rng.choice([1, 1, 1, 2, 5])


async def have_intent(site: Site, ids: Iterable[str], states: set[str]) -> bool:
    edges = await site.edges()
    return {edges[id]["intent"] for id in ids} == states


async def change_mode(site: Site, id: str, mode: Mode, state: str) -> list[str]:
    """Set an edge's mode and wait until the origin has it in this state. Returns its id."""

    async def is_known() -> bool:
        return bool((await site.edges())[id]["state"] == state)

    await site.fleet.edges[id].set_mode(mode)
    await eventually(is_known)
    return [id]


def mode_changes(rng: random.Random) -> dict[int, tuple[str, Mode, str]]:
    """Step → edge, mode and state. No edge that goes down recovers during the test."""
    degraded, killed, failing, unhealthy = rng.sample(sorted(CITIES), 4)
    modes = [
        (degraded, Mode.DEGRADED, "degraded"),
        (killed, Mode.DOWN, "down"),
        (degraded, Mode.HEALTHY, "up"),
        (unhealthy, Mode.UNHEALTHY, "down"),
        (failing, Mode.ERROR, "down"),
    ]
    return dict(zip(sorted(rng.sample(range(STEPS), len(modes))), modes, strict=True))


@pytest.mark.parametrize("seed", [1, 2])
async def test_cached_answers_equal_those_of_the_origin(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    questions = a_world(tmp_path / "world.mmdb", rng)
    changes, compared = mode_changes(rng), 0
    async with a_site(tmp_path, rng, tmp_path / "world.mmdb") as site:
        for step in range(STEPS):
            asked = rng.sample(questions, ASKED_AFTER)
            soon = asked[:ASKED_DURING]
            was, before = await site.edge_facts(), await site.directly(soon)
            changed = await (
                change_mode(site, *changes[step]) if step in changes else change(site, rng)
            )
            now, during = await site.edge_facts(), await site.through(soon)
            site.cdn.purge(*(f"edge:{id}" for id in changed))
            through, after = await site.through(asked), await site.directly(asked)
            others_moved = any(was[id] != now[id] for id in was.keys() - set(changed))
            if others_moved or await site.edge_facts() != now:
                site.cdn.purge("route")  # a probe was late on a busy machine
                continue
            compared += 1
            where = f"seed {seed}, step {step}, changed {changed}"
            assert differing(asked, through, after) == [], where
            kept = zip(soon, during, before, after[:ASKED_DURING], strict=True)
            assert [one for one in kept if one[1] not in one[2:]] == [], where
        assert compared > STEPS / 2
        assert site.did["Hit"] > 1_000  # with few hits the test would prove little


def differing(
    asked: list[Question], through: list[Told], direct: list[Told]
) -> list[tuple[Question, Told, Told]]:
    triples = zip(asked, through, direct, strict=True)
    return [(question, got, wanted) for question, got, wanted in triples if got != wanted]
