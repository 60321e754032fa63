"""A geo database that is overwritten in place does not harm the server that reads it."""

import fcntl
import multiprocessing
import os
import re
from pathlib import Path
from typing import Any

import pytest

from router.geo.memory_file import copy_to_memory
from tests.support.databases import nested, write_mmdb
from tests.support.running import Running, Site
from tests.support.servers import eventually

pytestmark = pytest.mark.anyio

OTHER_USER = 65_534
NETWORK = "128.100.0.0/16"  # of tests.support.running.TORONTONIAN


async def start_server(site: Site, database: Path, workers: int = 1) -> Running:
    write_mmdb(database, {NETWORK: nested("Toronto")})
    return await site.serve_until_ready(GEO_DB=str(database), WORKERS=str(workers))


async def has_rejected_the_file(server: Running) -> bool:
    """Whether the server has rejected the file; fails if the server stops answering."""
    assert (await server.route())["region"] in ("yto-01", "yto-02")
    events = (await server.ops("/v1/events")).json()["events"]
    return any(each["kind"] == "reload" and each["after"] == "refused" for each in events)


@pytest.mark.parametrize("size", [0, 1_000])
async def test_server_keeps_answering_when_its_database_is_truncated(
    site: Site, tmp_path: Path, size: int
) -> None:
    database = tmp_path / "geo.mmdb"
    server = await start_server(site, database)
    os.truncate(database, size)
    await eventually(lambda: has_rejected_the_file(server))


async def test_database_overwritten_in_place_is_reloaded(site: Site, tmp_path: Path) -> None:
    database, other = tmp_path / "geo.mmdb", tmp_path / "other.mmdb"
    server = await start_server(site, database)
    write_mmdb(other, {NETWORK: nested("Montreal")})
    inode = database.stat().st_ino
    database.write_bytes(other.read_bytes())

    async def is_taken() -> bool:
        return str((await server.route())["region"]).startswith("yul")

    await eventually(is_taken)
    assert database.stat().st_ino == inode


def mapped_databases(pid: int) -> set[str]:
    """The inodes of the in-memory geo databases that a process maps."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return set(re.findall(r" (\d+) +/memfd:autorouter-geo", maps))


def processes_of(server: Running) -> list[int]:
    """The main process and its workers, if they map a geo database."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for one in (pid, *map(int, children)) if mapped_databases(one)]


async def test_workers_share_one_copy_before_and_after_a_reload(site: Site, tmp_path: Path) -> None:
    database, other = tmp_path / "geo.mmdb", tmp_path / "other.mmdb"
    server = await start_server(site, database, workers=2)
    await eventually(lambda: len(processes_of(server)) == 3)
    processes = processes_of(server)
    first = set.union(*map(mapped_databases, processes))
    assert len(first) == 1

    write_mmdb(other, {NETWORK: nested("Montreal")})
    other.replace(database)

    def is_replaced() -> bool:
        inodes = [mapped_databases(pid) for pid in processes]
        return inodes[0] != first and inodes.count(inodes[0]) == 3 and len(inodes[0]) == 1

    await eventually(is_replaced)


async def test_two_servers_share_one_copy(site: Site, tmp_path: Path) -> None:
    database = tmp_path / "geo.mmdb"
    first, second = (
        await start_server(site, database),
        await site.serve_until_ready(GEO_DB=str(database)),
    )
    assert mapped_databases(first.process.pid) == mapped_databases(second.process.pid) != set()


SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def create_memory_file(path: Path, user: int, seals: int, ready: Any, done: Any) -> None:
    """Runs in another process: create a memory file with the right name and wrong content."""
    status = path.stat()
    if user:
        os.setuid(user)
    name = f"autorouter-geo-{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
    descriptor = os.memfd_create(name, os.MFD_ALLOW_SEALING)
    os.write(descriptor, b"x" * status.st_size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    ready.set()
    done.wait(60)


@pytest.mark.parametrize(
    ("user", "seals", "is_taken"), [(0, SEALS, True), (0, 0, False), (OTHER_USER, SEALS, False)]
)
def test_existing_copy_is_used_only_if_sealed_and_ours(
    tmp_path: Path, user: int, seals: int, is_taken: bool
) -> None:
    if user and os.geteuid():
        pytest.skip("only root can be another user")
    file = tmp_path / "geo.mmdb"
    file.write_bytes(b"right")
    fork = multiprocessing.get_context("fork")
    ready, done = fork.Event(), fork.Event()
    process = fork.Process(target=create_memory_file, args=(file, user, seals, ready, done))
    process.start()
    try:
        assert ready.wait(60)
        copy = copy_to_memory(file)
        assert (Path(copy.path).read_bytes() == b"xxxxx") is is_taken
    finally:
        done.set()
        process.join()
