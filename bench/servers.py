"""Servers and load generators for benchmarks: real processes, each on its own core."""

import asyncio
import contextlib
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from router.config.inputs import read_catalog, read_geo
from router.config.settings import Settings
from router.model import Catalog
from router.processes.simulated_edges import SimulatedFleet
from tests.support.servers import a_regions_file, free_port

SERVER_CORE, LOAD_CORE = "0", "1"
PACED_CONNECTIONS = 256
DEADLINE_S = 20
_LATENCY = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def real_addresses(count: int) -> list[str]:
    """Random IPv4 addresses that the geo database knows, the same in each run."""
    rng, geo = random.Random(1), read_geo(Settings())
    found: list[str] = []
    while len(found) < count:
        address = f"{rng.randrange(1, 224)}.{'.'.join(str(rng.randrange(256)) for _ in range(3))}"
        if geo.locate(address).country is not None:
            found.append(address)
    return found


@contextlib.contextmanager
def simulated_regions() -> Iterator[Path]:
    """A regions.yaml whose edges are simulated in a thread of this process."""
    catalog = read_catalog(Settings())
    with tempfile.TemporaryDirectory() as folder, _running_fleet(catalog) as endpoints:
        yield a_regions_file(Path(folder) / "regions.yaml", endpoints)


@contextlib.contextmanager
def _running_fleet(catalog: Catalog) -> Iterator[dict[str, str]]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    fleet = SimulatedFleet(region.id for region in catalog.regions)
    asyncio.run_coroutine_threadsafe(fleet.__aenter__(), loop).result()
    try:
        yield fleet.endpoints
    finally:
        asyncio.run_coroutine_threadsafe(fleet.__aexit__(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def running(
    command: list[str], port: int, env: dict[str, str] | None = None, cores: str = SERVER_CORE
) -> Iterator[int]:
    """A server process on its core. Yields its pid when it accepts connections."""
    process = subprocess.Popen(
        ["taskset", "--cpu-list", cores, *command],
        env={**os.environ, **(env or {})},
        stderr=subprocess.DEVNULL,
    )
    try:
        _await_port(process, port)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def autorouter(
    port: int, regions: Path, *, cores: str = SERVER_CORE, **settings: str
) -> Iterator[int]:
    """`autorouter serve` with simulated edges. Yields its pid."""
    env = {
        "AUTOROUTER_LISTEN": f"127.0.0.1:{port}",
        "AUTOROUTER_OPS_LISTEN": f"127.0.0.1:{free_port()}",
        "AUTOROUTER_REGIONS": str(regions),
        "AUTOROUTER_TRUSTED_PROXIES": "127.0.0.0/8",
        **settings,
    }
    with running([sys.executable, "-m", "router", "serve"], port, env, cores) as pid:
        yield pid


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.005)
    raise RuntimeError(f"{process.args!r} does not listen on {port}")


def load(
    port: int,
    pids: int | Sequence[int],
    script: Path,
    seconds: int,
    *,
    connections: int = 32,
    rate: float | None = None,
) -> dict[str, float]:
    """Run one round of wrk, at full speed or at a rate.

    Returns requests/s, p99 latency in ms, and the server's CPU time per request in µs.
    """
    pids = [pids] if isinstance(pids, int) else pids
    pause_ms = 0.0
    if rate is not None:
        connections = PACED_CONNECTIONS
        pause_ms = connections / rate * 1_000
    cpu_s = sum(map(_cpu_s, pids))
    run = subprocess.run(
        [
            *("taskset", "--cpu-list", LOAD_CORE, "wrk", "--latency"),
            *("--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"),
            *("--script", str(script), f"http://127.0.0.1:{port}/v1/route"),
            *("--", f"{pause_ms:.3f}"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    report = run.stdout
    if run.stderr:
        raise RuntimeError(f"wrk reported errors: {run.stderr}")
    if "Non-2xx" in report or "Socket errors" in report:
        raise RuntimeError(f"some requests failed:\n{report}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", report)
    count = re.search(r"(\d+) requests in", report)
    tail = re.search(r"99%\s+([\d.]+)(us|ms|s)", report)
    if found is None or tail is None or count is None:
        raise RuntimeError(f"cannot read wrk's report:\n{report}")
    return {
        "rps": float(found[1]),
        "p99_ms": float(tail[1]) * _LATENCY[tail[2]],
        "cpu_us": (sum(map(_cpu_s, pids)) - cpu_s) / int(count[1]) * 1e6,
    }


def _cpu_s(pid: int) -> float:
    """The user and system time of a process (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wrk_script(requests: Sequence[Mapping[str, str]], path: Path) -> Path:
    """A wrk script that sends requests with each of these headers in turn.

    Its argument is the mean pause in ms between two requests of a connection. The headers are in
    a separate file, because a Lua script can have only 65,536 constants and wrk ignores a script
    with more.
    """
    data = path.with_suffix(".txt")
    lines = ("\t".join(f"{name}\t{value}" for name, value in one.items()) for one in requests)
    data.write_text("".join(f"{line}\n" for line in lines))
    path.write_text(
        "local requests, at, pause = {}, 0, 0\n"
        "init = function(args)\n"
        "  pause = tonumber(args[1]) or 0\n"
        f'  for line in io.lines("{data}") do\n'
        "    local headers = {}\n"
        '    for name, value in line:gmatch("([^\\t]+)\\t([^\\t]*)") do headers[name] = value end\n'
        '    requests[#requests + 1] = wrk.format("GET", nil, headers)\n'
        "  end\n"
        "end\n"
        "request = function()\n"
        "  at = at % #requests + 1\n"
        "  return requests[at]\n"
        "end\n"
        "delay = function()\n"
        "  return math.random() * 2 * pause\n"
        "end\n"
    )
    return path


def memory_mb(pid: int) -> float:
    """Resident memory without the mapped geo database, MiB (Linux smaps)."""
    total_kb, is_database = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = line.split()[0]
        if not head.endswith(":"):
            is_database = ".mmdb" in line or "memfd:autorouter-geo" in line
        elif head == "Rss:" and not is_database:
            total_kb += int(line.split()[1])
    return total_kb / 1_024
