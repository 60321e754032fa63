"""Several workers on one port act as one server: same health, same files, summed metrics."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from router.api.supervisor import Workers
from router.api.worker import COUNT_S, _run
from router.config.inputs import open_inputs
from router.config.settings import Settings
from router.processes.simulated_edges import Mode
from tests.support.running import (
    DETECTED_S,
    TORONTONIAN,
    Running,
    Site,
    rewritten,
    taken,
    under_load,
    without_edge,
)
from tests.support.servers import HOST, PATIENCE_S, eventually, plain_client

pytestmark = pytest.mark.anyio

WORKERS = 2
REQUESTS = 40
SLACK_S = 3.0  # for a busy machine


@pytest.fixture
async def server(site: Site) -> AsyncIterator[Running]:
    running = await site.serve_until_ready(WORKERS=str(WORKERS))
    yield running
    running.process.stop()


async def picks(server: Running, count: int = REQUESTS) -> set[str]:
    """The regions that `count` connections get: enough connections to reach every worker."""
    found = set()
    for _ in range(count):
        async with plain_client() as client:
            answer = await client.get(f"http://{HOST}:{server.port}/v1/route", headers=TORONTONIAN)
            found.add(answer.json()["region"])
    return found


async def is_unused(server: Running, region: str) -> bool:
    return region not in await picks(server, 10)


async def answers(server: Running, name: str = "autorouter_answers_total") -> int:
    """The number of answers, without those to the server's own health checks."""
    found = re.findall(rf"^({name}{{.*) (\d+)\.0$", await metrics(server), re.MULTILINE)
    return sum(int(count) for labels, count in found if "healthz" not in labels)


async def metrics(server: Running) -> str:
    return (await server.ops("/metrics")).text


def workers_of(server: Running) -> list[int]:
    """The worker processes: the children that listen on the public port."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    listening = listeners_on(server.port)
    return [int(pid) for pid in children.split() if sockets_of(int(pid)) & listening]


def listeners_on(port: int) -> set[str]:
    """The sockets that listen on the port, as /proc names them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {
        f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")
    }


def sockets_of(pid: int) -> set[str]:
    """The files that a process has open, as /proc names them."""
    with suppress(OSError):
        return {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return set()


@contextmanager
def invalid_file(file: Path) -> Iterator[None]:
    valid = file.read_text()
    file.write_text("regions: [")
    yield
    file.write_text(valid)


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        os.kill(pid, 0)
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


async def final_answers(server: Running) -> int:
    """The number of answers, once all workers have reported theirs."""
    count = -1
    while count != (now := await answers(server)):
        count = now
        await asyncio.sleep(2 * COUNT_S)
    return count


async def agreed_pick(server: Running) -> str:
    """The pick of all workers, once they agree."""

    async def agree() -> bool:
        return len(await picks(server)) == 1

    await eventually(agree)
    (pick,) = await picks(server)
    return pick


async def test_all_answers_are_counted_once(server: Running) -> None:
    before = await final_answers(server)
    placed = await answers(server, "autorouter_placements_total")
    await picks(server)

    async def is_counted() -> bool:
        return (
            await answers(server) == before + REQUESTS
            and await answers(server, "autorouter_placements_total") == placed + REQUESTS
        )

    await eventually(is_counted)
    assert f"autorouter_workers {WORKERS}.0" in await metrics(server)
    assert f"autorouter_workers_wanted {WORKERS}.0" in await metrics(server)


async def test_edges_document_sums_the_answers_of_all_workers(server: Running) -> None:
    for _ in range(3):
        await picks(server)

    async def is_summed() -> bool:
        found = (await server.ops("/v1/edges")).json()
        return sum(edge["share"] or 0.0 for edge in found["edges"]) == 1 and (
            found["answers"]["total"] == 3 * REQUESTS
        )

    await eventually(is_summed)
    territory = (await server.ops("/v1/territory")).json()
    assert territory["basis"] == "answers"
    (country,) = [one for one in territory["countries"] if one["share"] > 0]
    assert (country["code"], country["share"]) == ("CA", 1)


async def test_every_worker_leaves_an_edge_that_goes_down(server: Running, site: Site) -> None:
    first = await agreed_pick(server)
    await site.fleet.edges[first].set_mode(Mode.DOWN)
    await eventually(lambda: is_unused(server, first), DETECTED_S)
    assert first not in await picks(server)


async def test_every_worker_reloads_a_changed_catalog(server: Running, site: Site) -> None:
    first = await agreed_pick(server)

    rewritten(Path(site.settings["REGIONS"]), without_edge(first))
    await eventually(lambda: is_unused(server, first))
    assert first not in await picks(server)


async def test_killed_worker_is_replaced_and_its_connections_served(server: Running) -> None:
    await picks(server)
    counted = await answers(server)
    victim = workers_of(server)[0]
    os.kill(victim, signal.SIGKILL)
    await eventually(lambda: not is_alive(victim))
    assert len(await picks(server)) == 1
    assert victim not in workers_of(server)

    async def is_whole() -> bool:
        return f"autorouter_workers {WORKERS}.0" in await metrics(server)

    await eventually(is_whole)
    assert await answers(server) >= counted
    assert "a worker ended" in server.process.output


async def test_new_worker_has_the_reloaded_secret(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("an-old-secret-of-ours")
    server = await site.serve_until_ready(WORKERS=str(WORKERS), CDN_SECRET_FILE=str(file))
    file.write_text("a-new-secret-of-ours")

    async def is_known() -> bool:
        return await cache_scopes(server, "a-new-secret-of-ours") == {"public"}

    await eventually(is_known)
    old = workers_of(server)
    for worker in old:
        os.kill(worker, signal.SIGKILL)

    async def are_replaced() -> bool:
        whole = f"autorouter_workers {WORKERS}.0" in await metrics(server)
        return whole and not set(old) & set(workers_of(server))

    await eventually(are_replaced)
    assert await cache_scopes(server, "a-new-secret-of-ours") == {"public"}


async def cache_scopes(server: Running, secret: str) -> set[str]:
    """The first cache-control directives that all workers send to the CDN."""
    found = set()
    headers = {"X-Origin-Verify": secret, "X-Autorouter-Key": "CA~yto-01"}
    for _ in range(REQUESTS):
        async with plain_client() as client:
            answer = await client.get(f"http://{HOST}:{server.port}/v1/route", headers=headers)
            found.add(answer.headers["cache-control"].partition(",")[0])
    return found


async def test_new_worker_gets_the_running_catalog_if_files_are_invalid(
    server: Running, site: Site
) -> None:
    first = await agreed_pick(server)
    with invalid_file(Path(site.settings["REGIONS"])):
        for pid in workers_of(server):
            os.kill(pid, signal.SIGKILL)
        await are_replaced(server, 2)
        assert await picks(server) == {first}


async def test_valid_then_invalid_file_leaves_processes_in_agreement(
    server: Running, site: Site
) -> None:
    regions = Path(site.settings["REGIONS"])
    first = await agreed_pick(server)

    rewritten(regions, without_edge(first))
    server.process.send(signal.SIGHUP)  # reload immediately
    await asyncio.sleep(0.06)
    with invalid_file(regions):
        server.process.send(signal.SIGHUP)
        await eventually(lambda: '"refused"' in server.process.output)

        async def agree() -> bool:
            known = {edge["id"] for edge in (await server.ops("/v1/edges")).json()["edges"]}
            found = await picks(server, 20)
            return len(found) == 1 and found <= known and (first in known) == (first in found)

        await eventually(agree)
        assert await agree()


async def test_hung_worker_is_replaced_within_5_s(server: Running) -> None:
    await picks(server)
    victim = workers_of(server)[0]
    began = asyncio.get_running_loop().time()
    os.kill(victim, signal.SIGSTOP)
    await eventually(lambda: not is_alive(victim))
    assert asyncio.get_running_loop().time() - began < 4 + SLACK_S
    await are_replaced(server, 1)
    assert len(await picks(server)) == 1
    assert 'autorouter_child_ends_total{child="worker",how="hung"} 1.0' in await metrics(server)
    assert '"how": "hung"' in server.process.output


async def test_missing_worker_is_a_finding(server: Running) -> None:
    async def is_reported() -> bool:
        """Stop a worker in each call, because the server replaces it."""
        if running := workers_of(server):
            os.kill(running[0], signal.SIGSTOP)
        found = (await server.ops("/v1/edges")).json()
        return "workers" in {finding["kind"] for finding in found["findings"]}

    await eventually(is_reported, timeout_s=40)


async def are_replaced(server: Running, count: int) -> None:
    """Wait until `count` workers have ended and all workers answer."""

    async def are_back() -> bool:
        found = await metrics(server)
        ends = re.findall(
            r'^autorouter_child_ends_total{child="worker".* (\d+)\.0$', found, re.MULTILINE
        )
        return sum(map(int, ends)) >= count and f"autorouter_workers {WORKERS}.0" in found

    await eventually(are_back)


async def run_worker_here(channel: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a worker in this process until it ends."""
    monkeypatch.setattr("router.api.worker.settle_memory", lambda: None)
    with socket.create_server((HOST, 0)) as bound:
        async with asyncio.timeout(PATIENCE_S):
            await _run(bound, channel)


async def test_worker_ends_if_the_main_process_ends_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    await run_worker_here(theirs, monkeypatch)


class RecordingObserver:
    """An observer that counts how children ended."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    def child_ended(self, child: str, how: str, left: int) -> None:
        self.ends.append(how)

    def loop_failed(self, loop: str, error: Exception, wait_s: float) -> None:
        raise error

    def loop_recovered(self, loop: str) -> None: ...


async def test_failed_start_of_a_worker_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(process: SpawnProcess) -> None:
        raise BlockingIOError("no process left")

    monkeypatch.setattr(SpawnProcess, "start", start)
    observer = RecordingObserver()
    async with workers(observer) as running:
        await eventually(lambda: observer.ends[:2] == ["not_started"] * 2)
        assert not running.done()


async def test_worker_that_ends_immediately_is_retried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.api.supervisor.run_worker", ends_at_once)
    observer = RecordingObserver()
    async with workers(observer) as running:
        await eventually(lambda: observer.ends[:2] == ["exited"] * 2)
        assert not running.done()


def ends_at_once(*_: object) -> None:
    """A worker that ends immediately."""


@asynccontextmanager
async def workers(observer: RecordingObserver) -> AsyncIterator[asyncio.Task[None]]:
    inputs = open_inputs(Settings())
    with socket.create_server((HOST, 0), reuse_port=True) as bound:
        running = asyncio.create_task(Workers(inputs, [bound], observer).run())
        yield running
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_workers_end_with_the_main_process(server: Running) -> None:
    workers = workers_of(server)
    assert len(workers) == WORKERS
    server.process.kill()
    await eventually(lambda: not any(is_alive(pid) for pid in workers))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_shutdown_breaks_no_response_and_leaves_no_process(
    server: Running, number: signal.Signals
) -> None:
    workers = workers_of(server)
    async with under_load(server.port) as load:
        await eventually(lambda: load.statuses[200] > 100)
        server.process.send(number)
        assert await server.process.ended() == 0
    assert set(load.statuses) == {200}
    assert not any(is_alive(pid) for pid in workers)


async def test_port_of_another_program_is_rejected_despite_sharing(site: Site) -> None:
    async with taken() as port:
        server = site.serve(LISTEN=f"{HOST}:{port}", WORKERS="2")
        assert await server.process.ended() == 1
    assert "Address already in use" in server.process.output


async def test_second_server_on_the_port_is_rejected(server: Running, site: Site) -> None:
    second = site.serve(LISTEN=f"{HOST}:{server.port}", WORKERS="2")
    assert await second.process.ended() == 1
    assert "Address already in use" in second.process.output
