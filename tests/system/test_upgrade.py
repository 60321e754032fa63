"""An upgrade and a rollback as in docs/upgrade.md. Processes of this release and the previous one
share a Redis while viewers in many places send requests and edges fail."""

import asyncio
import signal
import subprocess
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from time import monotonic

import httpx
import pytest

from router.processes.simulated_edges import Mode
from tests.support.builders import CITIES
from tests.support.release_before import ARCHIVE, ARCHIVED, COMMIT, starting_in, unpacked
from tests.support.running import Running, Site
from tests.support.servers import ROOT, Process, Start, eventually
from tests.support.site.viewers import ADDRESSES, Answer, Viewers

pytestmark = pytest.mark.anyio

# The edges in each viewer's country. For all other viewers every edge is right.
CANADA = {"yto-01", "yto-02", "yul-01", "yul-02", "yvr-02"}
OWN_COUNTRY = {
    **dict.fromkeys(("128.100.1.1", "132.204.1.1", "142.103.1.1"), CANADA),
    **dict.fromkeys(("128.59.1.1", "129.110.1.1", "171.64.1.1"), CITIES.keys() - CANADA),
}
TRUSTED = ("ok", "stale")  # a busy machine may be late to poll
PATIENCE_S = 60.0


async def wait_long(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait with a long timeout and slow polling, for a busy machine."""
    await eventually(condition, PATIENCE_S, every_s=0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """A time span in which no server may name an edge. Times are monotonic."""

    edge: str
    since: float
    until: float

    def breaks(self, answer: Answer) -> bool:
        during = self.since <= answer.asked_at and answer.asked_at + answer.took_s <= self.until
        return during and self.edge in answer.named


@dataclass(kw_only=True)
class Upgrade:
    """Both releases on one site, the servers that viewers ask, and the expected absences of
    edges."""

    old: Site
    new: Site
    viewers: Viewers
    servers: list[Running] = field(default_factory=list)
    absences: list[Absence] = field(default_factory=list)

    async def join(self, site: Site) -> Running:
        """Start a server and send viewers to it when it knows every edge."""
        server = site.serve()
        await wait_long(server.is_ready)
        self.servers.append(server)
        self._balance()
        return server

    async def leave(self, server: Running) -> None:
        """Send no more viewers to the server, then stop it."""
        self.servers.remove(server)
        self._balance()
        server.process.send(signal.SIGTERM)
        assert await server.process.ended(PATIENCE_S) == 0

    def _balance(self) -> None:
        self.viewers.ports = [server.port for server in self.servers]

    async def change_intents(self, site: Site, *words: str) -> None:
        """Run a command of one release."""
        command = site.start(*words, **site.settings)
        assert await command.ended(PATIENCE_S) == 0, command.output

    async def named(self, server: Running) -> set[str]:
        """The edges that the server offers."""
        regions = (await server.route("?all=true"))["regions"]
        return {each["region"] for each in regions}

    async def all_name(self, edge: str) -> bool:
        return all([edge in await self.named(server) for server in self.servers])

    async def none_names(self, edge: str) -> bool:
        return not any([edge in await self.named(server) for server in self.servers])

    @asynccontextmanager
    async def absent(self, edge: str) -> AsyncIterator[None]:
        """Wait until no server names the edge. None may name it until the block ends."""
        await wait_long(lambda: self.none_names(edge))
        since = monotonic()
        yield
        self.absences.append(Absence(edge=edge, since=since, until=monotonic()))

    @asynccontextmanager
    async def drained(self, edge: str, *, by: Site, until: Site) -> AsyncIterator[None]:
        """One release drains the edge, the other one enables it."""
        await self.change_intents(by, "drain", edge, "--for", "10m", "--reason", "upgrade")
        async with self.absent(edge):
            yield
        await self.change_intents(until, "enable", edge)
        await wait_long(lambda: self.all_name(edge))

    async def lose(self, edge: str) -> None:
        """Make an edge refuse connections until no server has named it for a while."""
        await self.old.fleet.edges[edge].set_mode(Mode.DOWN)
        async with self.absent(edge):
            await self.some_answers()
        await self.old.fleet.edges[edge].set_mode(Mode.HEALTHY)

    async def some_answers(self) -> None:
        """Wait until every viewer has asked every server."""
        enough = len(self.viewers.answers) + len(ADDRESSES) * len(self.servers)
        await wait_long(lambda: len(self.viewers.answers) >= enough)

    async def agree(self, one: Running, other: Running) -> bool:
        """Whether both servers pick the same edge for each viewer."""
        return await one.edges_for(ADDRESSES) == await other.edges_for(ADDRESSES)

    def wrong_answers(self) -> list[Answer]:
        return [each for each in self.viewers.answers if self._is_wrong(each)]

    def _is_wrong(self, answer: Answer) -> bool:
        is_anywhere = "global" in answer.query or answer.address not in OWN_COUNTRY
        allowed = CITIES.keys() if is_anywhere else OWN_COUNTRY[answer.address]
        is_right = answer.code == 200 and answer.region in allowed and answer.status in TRUSTED
        return not is_right or any(absence.breaks(answer) for absence in self.absences)


@pytest.fixture
def start_before(tmp_path: Path) -> Iterator[Start]:
    checkout = tmp_path / "before"
    checkout.mkdir()
    with starting_in(unpacked(checkout), tmp_path) as start:
        yield start


@pytest.fixture
async def upgrade(joined: Site, start_before: Start) -> AsyncIterator[Upgrade]:
    joined.client.timeout = httpx.Timeout(PATIENCE_S)
    viewers = Viewers(joined.client)
    asking = asyncio.create_task(viewers.run())
    yield Upgrade(old=replace(joined, start=start_before), new=joined, viewers=viewers)
    asking.cancel()


def test_archive_has_the_files_of_the_commit() -> None:
    """Compared only if the commit is available. A shallow clone has only the archive."""
    done = subprocess.run(
        ["git", "archive", COMMIT, *ARCHIVED], cwd=ROOT, capture_output=True, check=False
    )
    with tarfile.open(ARCHIVE) as archive:
        kept = {each.name: each.size for each in archive}
    assert "router/cli.py" in kept
    if done.returncode == 0:
        with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
            assert {each.name: each.size for each in archive} == kept


async def hand_over(poller: Process, site: Site, server: Running) -> Process:
    """Start a poller of another release as standby, then stop the one that publishes."""
    standby = site.poll()
    await wait_long(lambda: "polling" in standby.output)
    poller.send(signal.SIGTERM)
    assert await poller.ended(PATIENCE_S) == 0
    await wait_long(server.is_ready)
    return standby


async def test_upgrade_and_rollback_give_no_wrong_answer(upgrade: Upgrade) -> None:
    old, new = upgrade.old, upgrade.new
    poller = old.poll()
    old_server = await upgrade.join(old)

    # Upgrade the servers first: both releases read what the older poller writes.
    new_server = await upgrade.join(new)
    await wait_long(lambda: upgrade.agree(old_server, new_server))
    async with upgrade.drained("yto-01", by=old, until=new):
        await upgrade.some_answers()
    async with upgrade.drained("yul-01", by=new, until=old):
        await upgrade.some_answers()
    await upgrade.lose("nyc-01")

    # Then upgrade the poller: both releases read what the newer one writes.
    poller = await hand_over(poller, new, new_server)
    await upgrade.lose("dal-01")
    await upgrade.leave(old_server)
    await upgrade.change_intents(
        new, "dial", "yul-02", "40%", "--for", "10m", "--reason", "too warm"
    )
    await upgrade.some_answers()

    # Roll back in the opposite order, with a dial that the older release does not know.
    poller = await hand_over(poller, old, new_server)
    await upgrade.lose("yto-02")
    old_server = await upgrade.join(old)
    await upgrade.leave(new_server)
    assert await upgrade.named(old_server) >= {"yul-01", "yul-02"}
    await upgrade.change_intents(old, "enable", "yul-02")
    await upgrade.some_answers()

    assert poller.is_alive()
    assert len(upgrade.viewers.answers) > 400
    assert upgrade.wrong_answers() == []
