"""The soak test: a site under load for some minutes, with random faults, and its checks.

The server has two workers. Viewers ask it directly and through the CDN stand-in. Edges, Redis,
pollers, the geo database and regions.yaml fail at times that follow from the seed.
"""

import asyncio
import contextlib
import random
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from router.geo.database import packaged_database
from router.health.publisher import LEASE_S
from router.model import Check
from router.processes.simulated_edges import Mode
from router.routing.fleet import FleetPolicy
from tests.support.builders import CITIES
from tests.support.proc import open_files, private_mb, workers_of
from tests.support.running import replace_file, rewritten
from tests.support.servers import HOST, Process, eventually
from tests.support.site.fleet import Pace, Server, Setup, Site, open_site
from tests.support.site.viewers import Answer, Viewers
from tests.support.stand_in import running_stand_in

BROKEN = sorted(set(Mode) - {Mode.HEALTHY, Mode.DEGRADED, Mode.SLOW})
MILD = (Mode.DEGRADED, Mode.SLOW)
STAYS = "US"  # the country with a residency rule
SAMPLE_S = 5.0
SETTLED_S = 90.0
GROWTH_MB, GROWTH_SHARE, GROWTH_FILES = 16.0, 0.10, 16
AT_ONCE, EVERY_S = 50, 0.05
CERTAIN = 150  # in this many answers, every worker has answered every question
OFTEN_S, SELDOM_S = (5, 20), (30, 90)
PURGED_S = 1.0  # includes 0.25 s in which the server collects purges
STAYING = ("128.59.1.1", "129.110.1.1", "171.64.1.1")  # the viewers in STAYS


@dataclass(kw_only=True)
class FaultLog:
    """The faults of a run, with monotonic times.

    `broken`: (edge, from, until). `troubled`: times when Redis, a poller or regions.yaml was
    disturbed, so that a broken edge may be detected late.
    """

    seed: int
    done: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[str, float, float]] = field(default_factory=list)
    troubled: list[tuple[float, float]] = field(default_factory=list)

    @contextlib.contextmanager
    def trouble(self, name: str, after_s: float) -> Any:
        """Record a disturbance that lasts as long as the block and `after_s` longer."""
        self.done[name] += 1
        started = time.monotonic()
        try:
            yield
        finally:
            self.troubled.append((started, time.monotonic() + after_s))


Fault = Callable[[Site, FaultLog, random.Random], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The private memory in MiB and the open files of a process at a time."""

    at: float
    memory_mb: float
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The figures of one run.

    `telling`: answers to requests sent while a broken edge had to be known, directly or through
    the CDN. `memory_mb`, `files`: of each process, at a third of the time and at the end.
    """

    seed: int
    minutes: float
    faults: dict[str, int]
    answers: int
    telling: int
    answers_by_cdn: int
    telling_by_cdn: int
    strangers: int
    codes: dict[int, int]
    statuses: dict[str, int]
    worst_ms: float
    memory_mb: dict[str, tuple[float, float]]
    files: dict[str, tuple[int, int]]
    breaches: list[str]


async def run(minutes: float, seed: int, pace: Pace) -> Result:
    """Run for this number of minutes, wait until the site is healthy, and check the answers."""
    setup = Setup(standby=True, workers=2, own_geo=True, cdn=True)
    with tempfile.TemporaryDirectory(prefix="autorouter-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        async with open_site(folder, pace, setup, 2, 1) as site:
            await keep_at_home(site)
            server = site.servers[0]
            cdn = running_stand_in(
                folder,
                server.port,
                cache_port=site.cache_port,
                REGIONS=server.settings["REGIONS"],
            )
            port = (await asyncio.to_thread(stack.enter_context, cdn)).port
            data = RunData(
                site=site,
                faults=FaultLog(seed=seed),
                behind=Viewers(site.client, header="X-Stand-In-Viewer", ports=[port]),
            )
            async with going_on(
                data.strangers.run(server.port),
                data.behind.run(),
                watch(server, data.usage),
                *fault_loops(site, data.faults),
            ):
                await asyncio.sleep(minutes * 60)
            breaches = [*await not_recovered(site), *broken_promises(data), *leaks(data.usage)]
            return result(data, minutes, breaches)


async def keep_at_home(site: Site) -> None:
    """Add a residency rule: viewers in STAYS get only edges there."""
    rewrite(site, lambda document: document.update(residency={STAYS: [STAYS]}))
    await eventually(lambda: not any(map(is_sent_abroad, site.viewers.answers[-CERTAIN:])))
    site.viewers.answers.clear()


@contextlib.asynccontextmanager
async def going_on(*loops: Awaitable[None]) -> AsyncIterator[None]:
    """Run endless loops until the block ends. They are cancelled and clean up."""
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


# Faults


def fault_loops(site: Site, faults: FaultLog) -> list[Awaitable[None]]:
    """A loop for each kind of fault. Each has its own random numbers, so that the duration of
    one fault does not change the others."""
    return [
        _fault_loop(site, faults, break_edges, OFTEN_S),
        _fault_loop(site, faults, replace_geo, OFTEN_S),
        _fault_loop(site, faults, replace_regions, SELDOM_S),
        _fault_loop(site, faults, break_redis, SELDOM_S),
        _fault_loop(site, faults, break_poller, SELDOM_S),
    ]


async def _fault_loop(site: Site, faults: FaultLog, fault: Fault, every_s: tuple[int, int]) -> None:
    rng = random.Random(f"{faults.seed}-{fault.__name__}")
    while True:
        await asyncio.sleep(rng.uniform(*every_s))
        await fault(site, faults, rng)


async def break_edges(site: Site, faults: FaultLog, rng: random.Random) -> None:
    """Break one or two edges, which are too few for the brake."""
    mode = rng.choice([*BROKEN, *MILD])
    edges = rng.sample(sorted(CITIES), rng.choice((1, 2)))
    for_s = rng.uniform(15, 30)
    faults.done[f"edges {mode}"] += 1
    started = time.monotonic()
    try:
        await site.set_modes(dict.fromkeys(edges, mode))
        await asyncio.sleep(for_s)
    finally:
        if mode in BROKEN:
            faults.broken += [(edge, started, time.monotonic()) for edge in edges]
        await site.set_modes(dict.fromkeys(edges, Mode.HEALTHY))


async def break_redis(site: Site, faults: FaultLog, rng: random.Random) -> None:
    """Kill Redis and restart it empty, or stop it for a while."""
    how, for_s = rng.choice(("killed", "hung")), rng.uniform(1, 8)
    break_, mend = {
        "killed": (site.redis.kill, site.redis.start),
        "hung": (site.redis.pause, site.redis.resume),
    }[how]
    with faults.trouble(f"redis {how}", LEASE_S):
        break_()
        try:
            await asyncio.sleep(for_s)
        finally:
            mend()


async def break_poller(site: Site, faults: FaultLog, rng: random.Random) -> None:
    """Kill a poller and restart it, or stop it for a while. Its last votes count until they
    expire."""
    name = rng.choice(sorted(site.pollers))
    how, for_s = rng.choice(("killed", "hung")), rng.uniform(1, 12)
    with faults.trouble(f"poller {how}", FleetPolicy().fresh_s + LEASE_S):
        if how == "killed":
            site.pollers[name].kill()
            try:
                await asyncio.sleep(for_s)
            finally:
                site.poll(site.vantages[0] if name == "standby" else name, name)
        else:
            await _hang(site.pollers[name], for_s)


async def _hang(process: Process, for_s: float) -> None:
    process.send(signal.SIGSTOP)
    try:
        await asyncio.sleep(for_s)
    finally:
        process.send(signal.SIGCONT)


async def replace_geo(site: Site, faults: FaultLog, rng: random.Random) -> None:
    """Replace the geo database by a damaged copy, then by a valid one."""
    sound = packaged_database().read_bytes()
    how, damaged = rng.choice(
        (
            ("cut", sound[: rng.randrange(len(sound))]),
            ("without its end", sound[:-200_000]),
            ("rubbish", rng.randbytes(10_000)),
            ("empty", b""),
        )
    )
    faults.done[f"geo {how}"] += 1
    try:
        replace_file(site.folder / "geo.mmdb", damaged)
        await asyncio.sleep(rng.uniform(3, 8))
    finally:
        replace_file(site.folder / "geo.mmdb", sound)


async def replace_regions(site: Site, faults: FaultLog, rng: random.Random) -> None:
    """Replace regions.yaml by an invalid one or one with other weights, then restore it."""
    path = site.folder / "regions.yaml"
    before, how = path.read_bytes(), rng.choice(("cut", "faulty", "other weights"))
    with faults.trouble(f"regions {how}", site.pace.interval_s):
        try:
            if how == "cut":
                # A cut between two entries would leave a valid file without the "[".
                replace_file(path, before[: rng.randrange(1, len(before))] + b"\n[")
            elif how == "faulty":
                rewrite(site, lambda document: document["regions"][0].update(latitude=91))
            else:
                weight = rng.uniform(0.5, 2)
                rewrite(site, lambda document: document["regions"][0].update(weight=weight))
            await asyncio.sleep(rng.uniform(3, 8))
        finally:
            replace_file(path, before)


def rewrite(site: Site, change: Callable[[dict[str, Any]], object]) -> None:
    """Change regions.yaml in one step."""
    rewritten(site.folder / "regions.yaml", change)


# Viewers and measurements


@dataclass
class OneTimeViewers:
    """Thousands of viewers and questions, most of which occur only once."""

    asked: int = 0
    refused: int = 0

    async def run(self, port: int) -> None:
        """Send requests until cancelled."""
        reader, writer = await asyncio.open_connection(HOST, port, limit=2**20)
        try:
            while True:
                numbers = range(self.asked, self.asked + AT_ONCE)
                writer.write(b"".join(map(_question, numbers)))
                for _ in numbers:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = head.partition(b"content-length: ")[2].split()[0]
                    await reader.readexactly(int(length))
                    self.refused += not head.startswith(b"HTTP/1.1 200 ")
                self.asked += AT_ONCE
                await asyncio.sleep(EVERY_S)
        finally:
            writer.transport.abort()


@dataclass(kw_only=True)
class RunData:
    """The parts and data of a run. `behind`: viewers who ask through the CDN."""

    site: Site
    faults: FaultLog
    behind: Viewers
    strangers: OneTimeViewers = field(default_factory=OneTimeViewers)
    usage: dict[str, list[Usage]] = field(default_factory=dict)

    def asked(self) -> Iterator[tuple[str, Sequence[Answer], float]]:
        """Way to ask, its answers, and the time until they must not name a broken edge."""
        caught_s = self.site.pace.caught_s(Check().timeout_s)
        yield "directly", self.site.viewers.answers, caught_s
        yield "through the CDN", self.behind.answers, caught_s + PURGED_S


def _question(number: int) -> bytes:
    viewer = b"%d.%d.1.1" % (1 + number % 200, number // 200 % 100)
    head = b"GET /v1/route?all=true&n=%d HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %b\r\n\r\n"
    return head % (number, viewer)


async def watch(server: Server, usage: dict[str, list[Usage]]) -> None:
    """Record the usage of a server's processes every SAMPLE_S seconds."""
    while True:
        for name, pid in processes_of(server.process.pid).items():
            usage.setdefault(name, []).append(used_by(pid))
        await asyncio.sleep(SAMPLE_S)


def processes_of(pid: int) -> dict[str, int]:
    """Name → pid of the main process and its workers."""
    workers = enumerate(sorted(workers_of(pid)), 1)
    return {"main": pid} | {f"worker {number}": one for number, one in workers}


def used_by(pid: int) -> Usage:
    """The current usage of a process."""
    return Usage(at=time.monotonic(), memory_mb=private_mb(pid), files=open_files(pid))


# Checks


async def not_recovered(site: Site) -> list[str]:
    """An empty list if the site is healthy in time, else one line."""
    try:
        await eventually(lambda: _is_well(site), SETTLED_S)
    except TimeoutError:
        return [f"not healthy {SETTLED_S:g} s after the last fault: {await site.account()}"]
    return []


async def _is_well(site: Site) -> bool:
    """Whether every vantage sees every edge working, and the last reload succeeded."""
    server = site.servers[0]
    document = await site.fleet_document(server)
    votes = [set(edge["votes"].values()) for edge in document.get("edges", [])]
    metrics = (await site.client.get(f"http://{HOST}:{server.ops_port}/metrics")).text
    is_whole = document.get("status") == "ok" and all(vote <= {"up", "degraded"} for vote in votes)
    return is_whole and "autorouter_last_reload_ok 1.0" in metrics


def broken_promises(data: RunData) -> list[str]:
    """A line for each broken promise, with an example."""
    return [
        f"{way}, {about}: {len(those)}, like {those[0]}"
        for way, answers, caught_s in data.asked()
        for about, those in broken_by(answers, data.faults, caught_s).items()
        if those
    ]


def broken_by(
    answers: Sequence[Answer], faults: FaultLog, caught_s: float
) -> dict[str, list[Answer]]:
    """Broken promise → the answers that broke it."""
    known = [known_broken(one.asked_at, faults, caught_s) for one in answers]
    return {
        "no response, or not 200": [one for one in answers if one.code != 200],
        "no edge named": [one for one in answers if one.code == 200 and not one.endpoint],
        "health too old": [one for one in answers if one.status not in ("ok", "stale", "")],
        "sent out of the country": [one for one in answers if is_sent_abroad(one)],
        "named a broken edge": [
            one for one, out in zip(answers, known, strict=True) if out & {*one.named}
        ],
    }


def is_sent_abroad(answer: Answer) -> bool:
    """Whether the answer names an edge abroad to a viewer with a residency rule."""
    homes = {CITIES[id][1] for id in answer.named}
    return answer.address in STAYING and homes - {STAYS} != set()


def known_broken(asked_at: float, faults: FaultLog, caught_s: float) -> set[str]:
    """The edges that must be known to be broken at this time."""
    return {
        edge
        for edge, since, until in faults.broken
        if since < asked_at < until
        and noticed_from(since, asked_at, faults.troubled) + caught_s < asked_at
    }


def noticed_from(since: float, asked_at: float, troubled: Sequence[tuple[float, float]]) -> float:
    """The time from which nothing disturbed the detection of a broken edge."""
    ends = [end for start, end in troubled if start < asked_at and end > since]
    return max([since, *ends])


def leaks(usage: Mapping[str, Sequence[Usage]]) -> list[str]:
    """A line for each process that grew between a third of the run and its end."""
    lines = []
    for name, (before, after) in compare(usage).items():
        grown_mb = after.memory_mb - before.memory_mb
        if grown_mb > GROWTH_MB + GROWTH_SHARE * before.memory_mb:
            lines.append(f"{name} grew by {grown_mb:.0f} MiB from {before.memory_mb:.0f} MiB")
        if after.files > before.files + GROWTH_FILES:
            lines.append(f"{name} opened {after.files - before.files} files more")
    return lines


def compare(usage: Mapping[str, Sequence[Usage]]) -> dict[str, tuple[Usage, Usage]]:
    """The median usage after a third of the run, and in its last sixth."""
    return {
        name: (_typical(all_[len(all_) // 3 : len(all_) // 2 + 1]), _typical(all_[-_sixth(all_) :]))
        for name, all_ in usage.items()
    }


def _sixth(samples: Sequence[Usage]) -> int:
    return max(1, len(samples) // 6)


def _typical(samples: Sequence[Usage]) -> Usage:
    return Usage(
        at=samples[-1].at,
        memory_mb=statistics.median(one.memory_mb for one in samples),
        files=round(statistics.median(one.files for one in samples)),
    )


def result(data: RunData, minutes: float, breaches: list[str]) -> Result:
    """The figures of a run."""
    faults, strangers, pairs = data.faults, data.strangers, compare(data.usage)
    if strangers.refused:
        breaches = [*breaches, f"one-time viewers: {strangers.refused} of {strangers.asked} failed"]
    counts = [
        (len(answers), sum(bool(known_broken(one.asked_at, faults, caught_s)) for one in answers))
        for _, answers, caught_s in data.asked()
    ]
    answers = [*data.site.viewers.answers, *data.behind.answers]
    return Result(
        seed=faults.seed,
        minutes=minutes,
        faults=dict(sorted(faults.done.items())),
        answers=counts[0][0],
        telling=counts[0][1],
        answers_by_cdn=counts[1][0],
        telling_by_cdn=counts[1][1],
        strangers=strangers.asked,
        codes=dict(Counter(one.code for one in answers)),
        statuses=dict(Counter(one.status for one in answers)),
        worst_ms=round(max(one.took_s for one in answers) * 1_000, 1),
        memory_mb={
            name: (round(before.memory_mb, 1), round(after.memory_mb, 1))
            for name, (before, after) in pairs.items()
        },
        files={name: (before.files, after.files) for name, (before, after) in pairs.items()},
        breaches=breaches,
    )
