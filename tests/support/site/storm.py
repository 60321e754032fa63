"""Injects faults, one by one and in pairs, while edges break, and checks every answer.

In each round one or two edges break together with the faults, and stay broken past every bound.
A round fails if an answer names a broken edge with the status `ok`, if an answer is unusable, if
the site does not recover in time, or if nothing reported the faults.
"""

import asyncio
import contextlib
import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import redis as redis_client
from prometheus_client.parser import text_string_to_metric_families

from router.model import Check, Observed
from router.processes.simulated_edges import Mode
from router.routing.fleet import FleetPolicy
from tests.support.builders import CITIES
from tests.support.servers import HOST, eventually
from tests.support.site.fleet import Pace, Server, Setup, Site, open_site
from tests.support.site.storm_faults import FAULTS
from tests.support.site.viewers import Answer

MODES = (Mode.DOWN, Mode.HANG)
SETUP = Setup(address=True, names=True, partial=True, workers=2)
HUNG_S = 5.0  # until a worker that hangs is replaced
HEALED_S = 60.0
APART_S = 2.0
SAMPLE_S = 0.5
LAST_S = 3.0  # edges stay broken for this long after the bound

# Counters and findings that report the injected faults. Broken edges do not raise them.
COUNTERS = {
    ("autorouter_store_reads_total", "error"),
    ("autorouter_reloads_total", "refused"),
    ("autorouter_store_notices_total", "reconnected"),
    ("autorouter_store_notices_total", "hints_lost"),
    ("autorouter_store_notices_total", "wrong_type"),
    ("autorouter_store_notices_total", "intent_lost"),
    ("autorouter_store_unreadable_total", ""),
    ("autorouter_child_ends_total", "worker"),
}
FINDINGS = {
    *("store", "stale", "static", "vantage_silent", "isolation", "reload"),
    *("brake", "state_dir", "workers"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The result of a round.

    `late`: answers to requests sent past the bound. `wrong`: those of them that name a broken
    edge with the status `ok`. `healed_s`: time to recover, None if it was too long. `signals`:
    the counters and findings that reported the faults.
    """

    faults: tuple[str, ...]
    edges: tuple[str, ...]
    answers: int
    late: int
    wrong: int
    unusable: int
    statuses: dict[str, int]
    healed_s: float | None
    signals: tuple[str, ...]

    @property
    def breaches(self) -> list[str]:
        """A line for each broken promise."""
        name = " and ".join(self.faults)
        lines = []
        if self.wrong:
            lines.append(f"{name}: {self.wrong} answers name {self.edges} past the bound as ok")
        if self.unusable:
            lines.append(f"{name}: {self.unusable} answers are not 200 or name no edge")
        if self.healed_s is None:
            lines.append(f"{name}: not recovered after {HEALED_S:g} s")
        if not self.signals:
            lines.append(f"{name}: nothing reported it")
        return lines


@dataclass(slots=True)
class Signals:
    """The counters that rose and the findings that servers reported so far."""

    site: Site
    before: dict[str, float] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    looked: set[int] = field(default_factory=set)

    async def watch(self) -> None:
        """Poll the servers until cancelled."""
        while True:
            for server in self.site.servers:
                with contextlib.suppress(httpx.HTTPError, ValueError):
                    await self._look(server)
            await asyncio.sleep(SAMPLE_S)

    async def _look(self, server: Server) -> None:
        response = await self.site.client.get(f"http://{HOST}:{server.ops_port}/metrics")
        is_first = server.port not in self.looked
        for name, value in counters(response.text):
            # A series that appears later has risen from 0.
            if value > self.before.setdefault(f"{server.port} {name}", value if is_first else 0.0):
                self.seen.add(name)
        self.looked.add(server.port)
        document = await self.site.fleet_document(server)
        for finding in document.get("findings", ()):
            is_of_fault = finding["kind"] in FINDINGS or (
                finding["kind"] == "down" and self.site.broken.intersection(finding["edges"])
            )
            if is_of_fault:
                self.seen.add(f"finding {finding['kind']}")


def counters(text: str) -> Iterator[tuple[str, float]]:
    """The counters that report faults: name with its first label, and value."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            label = next(iter(sample.labels.values()), "")
            if (sample.name, label) in COUNTERS:
                yield f"{sample.name} {label}".strip(), sample.value


def covering(names: Sequence[str], size: int, rng: random.Random) -> list[tuple[str, ...]]:
    """Sets of at most `size` names that together contain every pair."""
    left = set(itertools.combinations(sorted(names), 2))
    sets = []
    while left:
        tries = [tuple(sorted(rng.sample(names, min(size, len(names))))) for _ in range(500)]
        best = max(tries, key=lambda one: len(left.intersection(itertools.combinations(one, 2))))
        left.difference_update(itertools.combinations(best, 2))
        sets.append(best)
    return sets


async def run(seed: int, chosen: Sequence[tuple[str, ...]], pace: Pace) -> AsyncIterator[Round]:
    """Run a round with each of these sets of faults on one site. Yields each result."""
    rng = random.Random(seed)
    # Edges take turns, because the hold-down is longer for an edge that falls again soon.
    turns = itertools.cycle(rng.sample(sorted(CITIES), len(CITIES)))
    with tempfile.TemporaryDirectory(prefix="autorouter-") as folder:
        async with open_site(Path(folder), pace, SETUP, 2, 2) as site:
            try:
                for names in chosen:
                    edges = tuple(sorted(itertools.islice(turns, rng.choice((1, 2)))))
                    yield await one_round(site, names, edges, rng)
            finally:
                site.redis.kill()


async def one_round(
    site: Site, names: Sequence[str], edges: tuple[str, ...], rng: random.Random
) -> Round:
    """Inject faults and break edges together, then wait for recovery."""
    site.viewers.answers.clear()
    site.hung_at.clear()
    mode = rng.choice(MODES)
    bound_s = site.pace.caught_s(Check().timeout_s) + FleetPolicy().fresh_s
    async with reported(site) as signals:
        async with contextlib.AsyncExitStack() as stack:
            for name in names:
                await stack.enter_async_context(FAULTS[name](site, rng))
                await asyncio.sleep(rng.uniform(0, APART_S))
            broken_at = time.monotonic()
            await set_modes(site, edges, mode)
            await asyncio.sleep(bound_s + LAST_S)
            until, broken = time.monotonic(), site.broken.union(edges)
        await set_modes(site, edges, Mode.HEALTHY)
        await asyncio.to_thread(repair, site)
        healed_s = await healed(site)
    answers = list(site.viewers.answers)
    late = [one for one in answers if broken_at + bound_s < one.asked_at < until]
    return Round(
        faults=tuple(names),
        edges=edges,
        answers=len(answers),
        late=len(late),
        wrong=sum(is_wrong(one, broken) for one in late),
        unusable=sum(is_unusable(one, site.hung_at) for one in answers),
        statuses=dict(Counter(one.status for one in answers)),
        healed_s=healed_s,
        signals=tuple(sorted(signals.seen)),
    )


def repair(site: Site) -> None:
    """Remove what faults left in Redis."""
    assert site.address is not None
    with redis_client.Redis(host=HOST, port=site.address.target, socket_timeout=5) as client:
        while site.repairs:
            site.repairs.pop()(client)


async def set_modes(site: Site, edges: Sequence[str], mode: Mode) -> None:
    """Set the modes of edges for every vantage."""
    for fleet in (site.fleet, site.partial):
        for id in edges:
            await fleet.edges[id].set_mode(mode)


def is_unusable(answer: Answer, hung_at: Sequence[float]) -> bool:
    """Whether an SDK cannot use the answer. Timeouts are allowed while a worker hangs."""
    if any(at - 1 <= answer.asked_at <= at + HUNG_S for at in hung_at) and answer.code == 0:
        return False
    return answer.code != 200 or not answer.endpoint


def is_wrong(answer: Answer, broken: Collection[str]) -> bool:
    """Whether the answer names a broken edge although its status is `ok`."""
    return answer.status == "ok" and not set(broken).isdisjoint(answer.named)


@contextlib.asynccontextmanager
async def reported(site: Site) -> AsyncIterator[Signals]:
    """Collect what servers report while the block lasts."""
    signals = Signals(site)
    watching = asyncio.create_task(signals.watch())
    try:
        yield signals
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def healed(site: Site) -> float | None:
    """The time until the site is healthy, or None if it takes too long."""
    started = time.monotonic()
    try:
        await eventually(lambda: is_well(site), HEALED_S)
    except TimeoutError:
        return None
    return round(time.monotonic() - started, 1)


async def is_well(site: Site) -> bool:
    """Whether every server has fresh health, no vote for down, and no finding of a fault."""
    documents = [await site.fleet_document(server) for server in site.servers]
    found = {finding["kind"] for one in documents for finding in one.get("findings", [])}
    if found & FINDINGS:
        return False
    votes = [edge["votes"] for one in documents for edge in one.get("edges", [])]
    return all(one.get("status") == "ok" for one in documents) and all(
        set(vote) >= set(site.vantages) and set(vote.values()) <= {Observed.UP, Observed.DEGRADED}
        for vote in votes
    )


def breaches(rounds: Sequence[Round]) -> list[str]:
    """The broken promises of all rounds."""
    return [line for one in rounds for line in one.breaches]


HEADINGS = (
    "| faults | answers past the bound | wrong | recovered after, s | reported by |\n"
    "|---|--:|--:|--:|---|"
)


def row(one: Round) -> str:
    """One row of the Markdown table."""
    names = ", ".join(signal.removeprefix("autorouter_") for signal in one.signals)
    after = "never" if one.healed_s is None else f"{one.healed_s:.1f}"
    faults = "; ".join(one.faults)
    return f"| {faults} | {one.late:,} | {one.wrong} | {after} | {names or 'nothing'} |"
