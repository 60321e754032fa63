"""Real servers, pollers, a Redis and simulated edges on this machine, for fault injection."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis as redis_client
import yaml

from router.geo.database import packaged_database
from router.processes.simulated_edges import Mode, SimulatedEdge, SimulatedFleet
from router.store.redis import lease_key
from router.store.snapshot import FILE_NAME
from tests.support.builders import CITIES
from tests.support.dns import NameServer, name_server
from tests.support.forwarder import Forwarder, forwarding
from tests.support.running import replace_file
from tests.support.servers import (
    AUTOROUTER,
    HOST,
    Process,
    RedisServer,
    a_regions_file,
    clean_env,
    eventually,
    free_port,
    plain_client,
    running_redis,
)
from tests.support.site.certificates import TlsProxy, trusted_by
from tests.support.site.viewers import QUESTIONS, Answer, Viewers
from tests.support.stand_in import SECRET

EDGE = "yto-01"
VANTAGES = ("one", "two", "three")
PROPAGATION_S = 1.5
READY_S = 60.0
HOLD_DOWN_S = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How soon a fault must show, given the poll interval (docs/health.md).

    `slack_s`: extra time for a busy machine.
    """

    interval_s: float = 3.0
    slack_s: float = 0.0

    def caught_s(self, probe_s: float = 0.0) -> float:
        """Time until no answer names an edge whose probes fail after `probe_s`.

        It is the wait for the next probe, two rechecks, the probe itself and the propagation.
        """
        recheck_s = min(0.85, self.interval_s)
        detected_s = 1.1 * (self.interval_s + 2 * recheck_s) + probe_s + 0.3
        return detected_s + PROPAGATION_S + self.slack_s

    @property
    def publish_s(self) -> float:
        """The longest time between two views of a vantage."""
        return min(3.0, self.interval_s) + 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What runs besides the servers and one poller a vantage.

    - `partial`: the last vantage probes its own copies of the edges.
    - `witness`: the last vantage has a witness.
    - `standby`: the first vantage has a second poller.
    - `clocks`: the commands whose clocks can be set.
    - `sentinel`: Redis has a replica and a Sentinel.
    - `tls`: EDGE uses TLS.
    - `workers`: the number of workers of each server.
    - `own_geo`: servers read a copy of the geo database in the site's folder.
    - `cdn`: servers have the secret of a CDN stand-in and purge it.
    - `address`: clients reach Redis through a forwarder that can move, delay or drop.
    - `names`: edges have host names, which pollers resolve at the site's name server.
    """

    partial: bool = False
    witness: bool = False
    standby: bool = False
    clocks: tuple[str, ...] = ()
    sentinel: bool = False
    tls: bool = False
    workers: int = 1
    own_geo: bool = False
    cdn: bool = False
    address: bool = False
    names: bool = False


@dataclass(slots=True, kw_only=True)
class Server:
    """One `autorouter serve`."""

    process: Process
    port: int
    ops_port: int
    settings: Mapping[str, str]


@dataclass(kw_only=True)
class Site:
    """All running parts of a site.

    `marks`: monotonic times of actions by name. The first is `fault`. `broken`: edges that are
    unreachable in every mode. `hung_at`: when workers were stopped. `repairs`: actions of a
    Redis client after all faults have ended.
    """

    folder: Path
    pace: Pace
    setup: Setup
    vantages: tuple[str, ...]
    fleet: SimulatedFleet
    partial: SimulatedFleet
    witness: SimulatedEdge
    client: httpx.AsyncClient
    viewers: Viewers
    redis: RedisServer
    replica: RedisServer | None = None
    door: TlsProxy | None = None
    address: Forwarder | None = None
    names: NameServer | None = None
    broken: set[str] = field(default_factory=set)
    hung_at: list[float] = field(default_factory=list)
    repairs: list[Callable[[Any], object]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    servers: list[Server] = field(default_factory=list)
    pollers: dict[str, Process] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    baseline: dict[tuple[str, str], Answer] = field(default_factory=dict)
    cache_port: int = field(default_factory=free_port)

    @property
    def last(self) -> str:
        """The last vantage, which scenarios break."""
        return self.vantages[-1]

    @property
    def processes(self) -> list[Process]:
        """Every server and poller."""
        return [*self.pollers.values(), *(server.process for server in self.servers)]

    def mark(self, name: str) -> None:
        """Record the time of an action."""
        self.marks[name] = time.monotonic()

    async def set_modes(self, modes: Mapping[str, Mode]) -> None:
        for id, mode in modes.items():
            await self.fleet.edges[id].set_mode(mode)

    def poll(self, vantage: str, name: str = "") -> None:
        regions = "partial" if self.setup.partial and vantage == self.last else "regions"
        settings = {"VANTAGE": vantage, "REGIONS": str(self.folder / f"{regions}.yaml")}
        if self.setup.witness and vantage == self.last:
            settings["WITNESSES"] = self.witness.endpoint
        self.pollers[name or vantage] = self._start("poll", name or vantage, settings)

    def serve(self) -> Server:
        """Start a server."""
        port, ops_port = free_port(), free_port()
        settings = {
            "REGIONS": str(self.folder / "regions.yaml"),
            "LISTEN": f"{HOST}:{port}",
            "OPS_LISTEN": f"{HOST}:{ops_port}",
            "STATE_DIR": str(self.folder / f"state-{port}"),
            "WORKERS": str(self.setup.workers),
        }
        if self.setup.own_geo:
            settings |= {"GEO_DB": str(self.folder / "geo.mmdb")}
            settings |= {"GEO_DIR": str(self.folder / "feeds")}
        if self.setup.cdn:
            purge = f"varnish:http://{HOST}:{self.cache_port}/"
            secret = str(self.folder / "cdn-secret")
            settings |= {"CDN_SECRET_FILE": secret, "PURGE": purge}
        process = self._start("serve", f"serve-{port}", settings)
        return Server(process=process, port=port, ops_port=ops_port, settings=settings)

    def _start(self, command: str, name: str, settings: Mapping[str, str]) -> Process:
        env = clean_env(**self.settings, **settings) | self.env
        if command in self.setup.clocks:
            env |= faked_clock(self.folder / "clock")
        program = [str(AUTOROUTER)]
        if command == "poll" and self.names is not None:
            env["NAME_SERVER"] = self.names.address
            program = [sys.executable, "-m", "tests.support.site.own_names"]
        return Process([*program, command], self.folder / f"{name}.log", env)

    def set_clocks(self, offset_s: int) -> None:
        """Shift the clocks of `setup.clocks` by this number of seconds."""
        replace_file(self.folder / "clock", f"{offset_s:+d}\n".encode())

    async def restart(self, server: Server) -> None:
        """Restart a server with the same settings. Viewers do not use it until it answers."""
        self.viewers.ports.remove(server.port)
        await asyncio.sleep(0.2)  # pending requests end
        await asyncio.to_thread(server.process.stop)
        server.process = self._start("serve", f"again-{server.port}", server.settings)
        await eventually(lambda: self._answers(server), READY_S)
        self.viewers.ports.append(server.port)

    async def _answers(self, server: Server) -> bool:
        try:
            await self.client.get(f"http://{HOST}:{server.port}/healthz")
        except httpx.HTTPError:
            return False
        return True

    async def fleet_document(self, server: Server) -> dict[str, Any]:
        """The `/v1/edges` document of a server, or an empty one if it does not respond."""
        try:
            response = await self.client.get(f"http://{HOST}:{server.ops_port}/v1/edges")
        except httpx.HTTPError:
            return {}
        document: dict[str, Any] = response.json()
        return document

    async def is_ready(self) -> bool:
        """Whether every server has a vote of `up` from every vantage for every edge."""
        if not all(process.is_alive() for process in self.processes):
            raise ChildProcessError("a process ended")
        documents = [await self.fleet_document(server) for server in self.servers]
        votes = [edge["votes"] for one in documents for edge in one.get("edges", [{"votes": {}}])]
        return all(one.get("status") == "ok" for one in documents) and all(
            vote == dict.fromkeys(self.vantages, "up") for vote in votes
        )

    async def leader(self, vantage: str) -> Process:
        """The poller that has the lease of a vantage."""
        with redis_client.Redis.from_url(self.redis.url) as client:
            holder: Any = await asyncio.to_thread(client.get, lease_key(vantage))
        pid = int(holder.decode().split(":")[1])
        return next(process for process in self.pollers.values() if process.pid == pid)

    async def is_settled(self) -> bool:
        """Whether every server has answered every question since it was ready."""
        self.baseline = {answer.question: answer for answer in self.viewers.answers}
        return len(self.viewers.answers) > len(QUESTIONS) * len(self.servers) + 5

    async def account(self) -> str:
        """The output of every process and the fleet of every server, for an error message."""
        lines = [f"{server.port}: {await self.fleet_document(server)}" for server in self.servers]
        return "\n".join([*lines, *(process.output for process in self.processes)])

    def last_good(self, server: Server) -> str:
        """The text of a server's snapshot, or an empty string if there is none."""
        path = Path(server.settings["STATE_DIR"]) / FILE_NAME
        return path.read_text() if path.exists() else ""


@asynccontextmanager
async def open_site(
    folder: Path, pace: Pace, setup: Setup, vantages: int, servers: int
) -> AsyncIterator[Site]:
    """A healthy site under load."""
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(SimulatedFleet(CITIES))
        partial = await stack.enter_async_context(SimulatedFleet(CITIES))
        witness = SimulatedEdge(id="witness")
        await witness.start()
        stack.push_async_callback(witness.stop)
        client = await stack.enter_async_context(plain_client())
        redis = stack.enter_context(running_redis(folder / "redis"))
        site = Site(
            folder=folder,
            pace=pace,
            setup=setup,
            vantages=VANTAGES[:vantages],
            fleet=fleet,
            partial=partial,
            witness=witness,
            client=client,
            viewers=Viewers(client),
            redis=redis,
        )
        endpoints = dict(fleet.endpoints)
        if setup.tls:
            site.door = await stack.enter_async_context(
                TlsProxy.open(folder, fleet.edges[EDGE].port)
            )
            site.env |= trusted_by(folder)
            endpoints[EDGE] = site.door.endpoint
        a_regions_file(folder / "regions.yaml", endpoints)
        a_regions_file(folder / "partial.yaml", partial.endpoints)
        if setup.names:
            names: dict[str, Any] = {name_of(id): [HOST] for id in CITIES}
            site.names = await stack.enter_async_context(name_server(names, ttl_s=1))
            _name_edges(folder / "regions.yaml")
            _name_edges(folder / "partial.yaml")
        if setup.own_geo:
            (folder / "geo.mmdb").write_bytes(packaged_database().read_bytes())
        if setup.cdn:
            (folder / "cdn-secret").write_text(SECRET)
        site.set_clocks(0)
        site.settings = {
            "REDIS_URL": redis.url,
            "POLL_INTERVAL_S": str(pace.interval_s),
            "TRUSTED_PROXIES": "127.0.0.0/8",
        }
        if setup.sentinel:
            site.replica, site.settings["REDIS_URL"] = stack.enter_context(_watched(site))
        if setup.address:
            site.address = stack.enter_context(forwarding(redis.port))
            site.settings["REDIS_URL"] = f"redis://{HOST}:{site.address.port}/0"
        stack.callback(_kill_all, site)
        await _start_all(site, servers)
        viewing = asyncio.create_task(site.viewers.run())
        try:
            await eventually(site.is_settled, READY_S)
            yield site
        finally:
            viewing.cancel()
            await asyncio.gather(viewing, return_exceptions=True)


def name_of(id: str) -> str:
    """The host name of an edge on a site with `names`."""
    return f"{id}.edge.test"


def _name_edges(path: Path) -> None:
    """Make pollers use the host names of edges. The hold-down is short, because it gets longer
    each time an edge falls again."""
    document = yaml.safe_load(path.read_text())
    document["defaults"] |= {"health_plain_http": True, "hold_down_s": HOLD_DOWN_S}
    for region in document["regions"]:
        health = region["endpoint"] + document["defaults"]["health_path"]
        region["health_url"] = health.replace(HOST, name_of(region["id"]))
    path.write_text(yaml.safe_dump(document))


async def _start_all(site: Site, servers: int) -> None:
    for _ in range(servers):
        site.servers.append(site.serve())
    for vantage in site.vantages:
        site.poll(vantage)
    try:
        await eventually(site.is_ready, READY_S)
    except (TimeoutError, ChildProcessError) as error:
        raise RuntimeError(f"not ready:\n{await site.account()}") from error
    if site.setup.standby:
        site.poll(site.vantages[0], "standby")
        await eventually(lambda: "standing by" in site.pollers["standby"].output, READY_S)
    site.viewers.ports.extend(server.port for server in site.servers)


def _kill_all(site: Site) -> None:
    for process in site.processes:
        process.kill()


@contextmanager
def _watched(site: Site) -> Iterator[tuple[RedisServer, str]]:
    """A replica of the site's Redis and a Sentinel. Yields the replica and the store URL."""
    with ExitStack() as stack:
        port = site.redis.port
        replica = stack.enter_context(
            running_redis(site.folder / "replica", replicaof=f"{HOST} {port}")
        )
        config, sentinel_port = site.folder / "sentinel.conf", free_port()
        config.write_text(
            f"bind {HOST}\nport {sentinel_port}\ndir {site.folder}\n"
            f"sentinel monitor store {HOST} {port} 1\n"
            "sentinel down-after-milliseconds store 1000\n"
            "sentinel failover-timeout store 5000\n"
        )
        sentinel = Process(
            ["redis-server", str(config), "--sentinel"], site.folder / "sentinel.log"
        )
        stack.callback(sentinel.kill)
        sentinel.wait_for(lambda: "+slave" in sentinel.output)
        yield replica, f"redis+sentinel://{HOST}:{sentinel_port}/store/0"


def faked_clock(path: Path) -> dict[str, str]:
    """Environment variables that shift the wall clock by the offset in a file (libfaketime).

    The monotonic clock is not shifted, as when a real clock is set.
    """
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        raise FileNotFoundError("libfaketime: apt-get install faketime")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(path),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
