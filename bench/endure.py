"""`python -m bench.endure`: half an hour at 70 % of the top rate with a fleet change each second.

Each second an operator drains or enables an edge. The run fails at any response that is not 2xx.
"""

import argparse
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any, Self

import httpx

from bench.figures import save
from bench.route import SETTLE_S, forwarded
from bench.servers import (
    autorouter,
    load,
    memory_mb,
    real_addresses,
    simulated_regions,
    wrk_script,
)
from router.config.inputs import read_catalog
from router.config.settings import Settings
from tests.support.proc import open_files
from tests.support.servers import free_port

VIEWERS = 200_000
SHARE = 0.7
ROUND_S = 30
WARM_UP_S = 10
GROWTH_MB = 2.0  # the free memory of the allocator varies


def main() -> None:
    """Run, print a line for each round, save the figures as JSON. Exit code 1: memory grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    options = parser.parse_args()
    with ExitStack() as stack:
        figures = measure(stack, options.minutes)
    save("endure", figures)
    print({name: value for name, value in figures.items() if name != "rounds"})
    sys.exit(0 if figures["grown_mb"] < GROWTH_MB else 1)


def measure(stack: ExitStack, minutes: float) -> dict[str, Any]:
    """Run all rounds. `grown_mb`: peak memory of the last quarter minus that of the second."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    regions = stack.enter_context(simulated_regions())
    port, ops = free_port(), free_port()
    settings = {"AUTOROUTER_OPS_LISTEN": f"127.0.0.1:{ops}"}
    pid = stack.enter_context(autorouter(port, regions, **settings))
    time.sleep(SETTLE_S)
    script = wrk_script(forwarded(real_addresses(VIEWERS)), folder / "viewers.lua")
    top = load(port, pid, script, WARM_UP_S)["rps"]
    changes = stack.enter_context(Changes(ops))
    rounds = []
    for number in range(round(minutes * 60 / ROUND_S)):
        found = load(port, pid, script, ROUND_S, rate=top * SHARE)
        rounds.append({**found, "memory_mb": memory_mb(pid), "open_files": open_files(pid)})
        print(f"{number + 1}: {rounds[-1]}", file=sys.stderr)
    memory = [one["memory_mb"] for one in rounds]
    quarter = max(1, len(rounds) // 4)
    return {
        "top_rps": top,
        "rate": top * SHARE,
        "changes": changes.count,
        "grown_mb": max(memory[-quarter:]) - max(memory[quarter : 2 * quarter] or memory),
        "rounds": rounds,
    }


class Changes:
    """An operator who drains and enables each edge in turn, in a thread. A failed change makes
    the run fail."""

    def __init__(self, ops: int) -> None:
        self.count = 0
        self._url = f"http://127.0.0.1:{ops}/v1/edges"
        self._stop = threading.Event()
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._running = self._thread.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread and raise its error. A drain that is left ends after a minute."""
        self._stop.set()
        self._thread.shutdown()
        self._running.result()

    def _run(self) -> None:
        with httpx.Client() as client:
            for region in cycle(read_catalog(Settings()).regions):
                for is_wish in (True, False):
                    if self._stop.wait(1):
                        return
                    self._ask(client, f"{self._url}/{region.id}/intent", is_wish)
                    self.count += 1

    @staticmethod
    def _ask(client: httpx.Client, url: str, is_wish: bool) -> None:
        wish = {"state": "draining", "for": "1m", "reason": "endurance", "actor": "bench"}
        if is_wish:
            client.put(url, json={**wish, "force": True}).raise_for_status()
        else:
            client.delete(url, params={"actor": "bench"}).raise_for_status()


if __name__ == "__main__":
    main()
