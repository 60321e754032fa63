"""Several workers on one port are one server: as healthy, as informed, as countable."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from router.api.live_fleet import FleetWatch
from router.api.supervisor import Workers
from router.api.worker import _work
from router.api.worker_channel import Fed, send
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
)
from tests.support.servers import HOST, PATIENCE_S, eventually, plain_client

pytestmark = pytest.mark.anyio

WORKERS = 2
ASKED = 40


@pytest.fixture
async def server(site: Site) -> AsyncIterator[Running]:
    running = await site.serve_until_ready(WORKERS=str(WORKERS))
    yield running
    running.process.stop()


async def picks(server: Running, count: int = ASKED) -> set[str]:
    """The regions that so many connections are told: enough for all workers to be met."""
    told = set()
    for _ in range(count):
        async with plain_client() as client:
            answer = await client.get(f"http://{HOST}:{server.port}/v1/route", headers=TORONTONIAN)
            told.add(answer.json()["region"])
    return told


async def answers(server: Running, name: str = "autorouter_answers_total") -> int:
    found = re.findall(rf"^{name}{{.* (\d+)\.0$", await metrics(server), re.MULTILINE)
    return sum(map(int, found))


async def metrics(server: Running) -> str:
    return (await server.ops("/metrics")).text


def workers_of(server: Running) -> list[int]:
    """The processes that have the public port, but for the main one."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    return [int(pid) for pid in children.split() if _is_worker(int(pid))]


def _is_worker(pid: int) -> bool:
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


@contextmanager
def faulty(file: Path) -> Iterator[None]:
    sound = file.read_text()
    file.write_text("regions: [")
    yield
    file.write_text(sound)


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        os.kill(pid, 0)
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


async def test_all_answers_are_counted_once(server: Running) -> None:
    before = await answers(server)
    await picks(server)

    async def are_counted() -> bool:
        return await answers(server) == before + ASKED

    await eventually(are_counted)
    assert await answers(server, "autorouter_placements_total") == before + ASKED
    assert f"autorouter_workers {WORKERS}.0" in await metrics(server)
    assert f"autorouter_workers_wanted {WORKERS}.0" in await metrics(server)


async def test_dashboard_sums_the_answers_of_all_workers(server: Running) -> None:
    for _ in range(3):
        await picks(server)

    async def are_summed() -> bool:
        told = (await server.ops("/v1/edges")).json()
        return sum(edge["share"] or 0.0 for edge in told["edges"]) == 1 and (
            told["answers"]["total"] == 3 * ASKED
        )

    await eventually(are_summed)
    territory = (await server.ops("/v1/territory")).json()
    assert territory["basis"] == "answers"
    (country,) = [one for one in territory["countries"] if one["share"] > 0]
    assert (country["code"], country["share"]) == ("CA", 1)


async def test_every_worker_learns_that_an_edge_fell(server: Running, site: Site) -> None:
    (first,) = await picks(server)
    await site.fleet.edges[first].set_mode(Mode.DOWN)

    async def is_nowhere() -> bool:
        return first not in await picks(server, 10)

    await eventually(is_nowhere, DETECTED_S)
    assert first not in await picks(server)


async def test_every_worker_takes_a_changed_catalog(server: Running, site: Site) -> None:
    (first,) = await picks(server)

    def drop(document: dict[str, list[dict[str, str]]]) -> None:
        document["regions"] = [each for each in document["regions"] if each["id"] != first]

    rewritten(Path(site.settings["REGIONS"]), drop)

    async def is_nowhere() -> bool:
        return first not in await picks(server, 10)

    await eventually(is_nowhere)
    assert first not in await picks(server)


async def test_worker_that_dies_is_replaced_and_its_queue_served(server: Running) -> None:
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


async def test_worker_that_comes_later_knows_the_new_secret(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("an-old-secret-of-ours")
    server = await site.serve_until_ready(WORKERS=str(WORKERS), CDN_SECRET_FILE=str(file))
    file.write_text("a-new-secret-of-ours")

    async def is_known() -> bool:
        return await sharing(server, "a-new-secret-of-ours") == {"public"}

    await eventually(is_known)
    old = workers_of(server)
    for worker in old:
        os.kill(worker, signal.SIGKILL)

    async def are_replaced() -> bool:
        whole = f"autorouter_workers {WORKERS}.0" in await metrics(server)
        return whole and not set(old) & set(workers_of(server))

    await eventually(are_replaced)
    assert await sharing(server, "a-new-secret-of-ours") == {"public"}


async def sharing(server: Running, secret: str) -> set[str]:
    """Who may keep the answers to the CDN, as all workers have it."""
    told = set()
    headers = {"X-Origin-Verify": secret, "X-Autorouter-Key": "CA~yto-01"}
    for _ in range(ASKED):
        async with plain_client() as client:
            answer = await client.get(f"http://{HOST}:{server.port}/v1/route", headers=headers)
            told.add(answer.headers["cache-control"].partition(",")[0])
    return told


async def test_server_whose_workers_cannot_start_can_be_stopped(site: Site, tmp_path: Path) -> None:
    regions = Path(site.settings["REGIONS"])
    pipe = tmp_path / "once"
    os.mkfifo(pipe)
    server = site.serve(WORKERS=str(WORKERS), REGIONS=str(pipe))
    await asyncio.to_thread(lambda: pipe.write_bytes(regions.read_bytes()))
    pipe.unlink()
    await eventually(lambda: "a worker ended" in server.process.output)
    server.process.send(signal.SIGTERM)
    assert await server.process.ended() == 0


async def test_those_left_answer_everybody_while_no_other_can_start(
    server: Running, site: Site
) -> None:
    with faulty(Path(site.settings["REGIONS"])):
        os.kill(workers_of(server)[0], signal.SIGKILL)
        await eventually(lambda: server.process.output.count("a worker ended") > 2)
        async with asyncio.timeout(PATIENCE_S):
            assert len(await picks(server)) == 1

    async def is_whole() -> bool:
        return f"autorouter_workers {WORKERS}.0" in await metrics(server)

    await eventually(is_whole)
    survivor, _ = workers_of(server)
    os.kill(survivor, signal.SIGSTOP)
    waiting = [asyncio.create_task(picks(server, 1)) for _ in range(ASKED)]
    await eventually(lambda: any(task.done() for task in waiting))  # by the newcomer
    os.kill(survivor, signal.SIGCONT)
    await asyncio.gather(*waiting)


async def work_here(channel: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a worker in this process, until it ends by itself."""
    monkeypatch.setattr("router.api.worker.settle_memory", lambda: None)
    with socket.create_server((HOST, 0)) as bound:
        async with asyncio.timeout(PATIENCE_S):
            await _work(Settings(), bound, channel)


async def test_worker_ends_if_the_main_process_is_gone_before_it_is_fed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    await work_here(theirs, monkeypatch)


async def test_worker_that_no_longer_follows_the_fleet_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(watch: FleetWatch) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(FleetWatch, "run", broken)
    ours, theirs = socket.socketpair()
    _, writer = await asyncio.open_unix_connection(sock=ours)
    send(writer, Fed((), ()))
    await work_here(theirs, monkeypatch)
    writer.close()


async def test_worker_that_cannot_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def start(process: SpawnProcess) -> None:
        tried.append(process)
        raise BlockingIOError("no process left")

    monkeypatch.setattr(SpawnProcess, "start", start)
    with socket.create_server((HOST, 0), reuse_port=True) as bound:
        running = asyncio.create_task(Workers(Settings(), [bound]).run())
        await eventually(lambda: len(tried) > 1)
        assert not running.done()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_workers_end_with_the_main_process(server: Running) -> None:
    workers = workers_of(server)
    assert len(workers) == WORKERS
    server.process.kill()
    await eventually(lambda: not any(is_alive(pid) for pid in workers))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stop_breaks_no_answer_and_leaves_no_process(
    server: Running, number: signal.Signals
) -> None:
    workers = workers_of(server)
    async with under_load(server.port) as load:
        await eventually(lambda: load.statuses[200] > 100)
        server.process.send(number)
        assert await server.process.ended() == 0
    assert set(load.statuses) == {200}
    assert not any(is_alive(pid) for pid in workers)


async def test_stranger_on_the_port_is_noticed_in_spite_of_sharing(site: Site) -> None:
    async with taken() as port:
        server = site.serve(LISTEN=f"{HOST}:{port}", WORKERS="2")
        assert await server.process.ended() == 1
    assert "Address already in use" in server.process.output


async def test_second_server_on_the_port_is_refused(server: Running, site: Site) -> None:
    second = site.serve(LISTEN=f"{HOST}:{server.port}", WORKERS="2")
    assert await second.process.ended() == 1
    assert "Address already in use" in second.process.output
