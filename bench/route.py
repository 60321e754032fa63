"""`python -m bench.route`: requests a second of /v1/route as a ratio to bare uvicorn.

Rounds alternate between the two servers, so that a noisy machine disturbs both alike;
the median of the rounds' ratios counts. Server and load have a core each.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from bench.servers import (
    autorouter,
    free_port,
    load,
    real_addresses,
    rotating,
    running,
    simulated_regions,
)

RESULTS = Path(__file__).parent / "results"
# The server remembers 65,536 viewers; of more in turn, it meets each as if for the first time.
VIEWERS = {"seen_again": 50_000, "never_seen_again": 200_000}
SETTLE_S = 5


def main() -> None:
    """Measure, print a table, keep the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each round")
    options = parser.parse_args()
    with ExitStack() as stack:
        figures = measure(stack, options.rounds, options.seconds)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "route.json").write_text(json.dumps(figures, indent=2) + "\n")
    show(figures)


def measure(stack: ExitStack, rounds: int, seconds: int) -> dict[str, Any]:
    """All figures of one run."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    regions = stack.enter_context(simulated_regions())
    ours, bare = free_port(), free_port()
    started = time.monotonic()
    pid = stack.enter_context(autorouter(ours, regions))
    answer = httpx.get(f"http://127.0.0.1:{ours}/v1/route")
    first_answer_s = time.monotonic() - started
    answer.raise_for_status()
    time.sleep(SETTLE_S)  # until every edge has a verdict
    answer = httpx.get(
        f"http://127.0.0.1:{ours}/v1/route", headers={"X-Forwarded-For": "24.48.0.1"}
    )
    bare_pid = stack.enter_context(bare_server(bare, answer, folder / "answer.json"))
    figures: dict[str, Any] = {"answer_bytes": len(answer.content)}
    for name, viewers in VIEWERS.items():
        script = rotating(real_addresses(viewers), folder / "viewers.lua")
        load(ours, pid, script, seconds)  # warm up
        pairs = []
        for number in range(rounds):
            print(f"{name}, round {number + 1} of {rounds}", file=sys.stderr)
            mine = load(ours, pid, script, seconds)
            pairs.append((mine, load(bare, bare_pid, script, seconds)))
        figures[name] = {"viewers": viewers, **compared(pairs)}
    return {**figures, "first_answer_s": first_answer_s, "memory_mb": memory_mb(pid)}


def compared(pairs: list[tuple[dict[str, float], dict[str, float]]]) -> dict[str, Any]:
    """Medians over the rounds, ours to bare: of requests/s, of CPU, of p99 latency."""
    return {
        "rounds": [{"autorouter": mine, "bare": yours} for mine, yours in pairs],
        "ratio": statistics.median(mine["rps"] / yours["rps"] for mine, yours in pairs),
        "cpu_ratio": statistics.median(yours["cpu_us"] / mine["cpu_us"] for mine, yours in pairs),
        "p99_ratio": statistics.median(mine["p99_ms"] / yours["p99_ms"] for mine, yours in pairs),
    }


def bare_server(port: int, answer: httpx.Response, path: Path) -> Any:
    """The yardstick, with the very bytes and headers of our answer."""
    headers = [(name, value) for name, value in answer.headers.items() if name != "date"]
    path.write_text(json.dumps({"headers": headers, "body": answer.text}))
    return running([sys.executable, "-m", "bench.bare", str(port), str(path)], port)


def memory_mb(pid: int) -> float:
    """Resident memory without the mapped geo database, MiB (Linux smaps)."""
    total_kb, is_database = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = line.split()[0]
        if not head.endswith(":"):
            is_database = line.endswith(".mmdb")
        elif head == "Rss:" and not is_database:
            total_kb += int(line.split()[1])
    return total_kb / 1_024


def show(figures: dict[str, Any]) -> None:
    """A table for people."""
    for name in VIEWERS:
        told = figures[name]
        print(f"{told['viewers']:,} viewers in turn, {name.replace('_', ' ')}")
        print(f"{'':>5} {'requests/s':^26} {'':>6} {'server CPU, µs a request':^26}")
        heads = ("round", "autorouter", "bare", "ratio", "autorouter", "bare")
        print("{:>5} {:>12} {:>12} {:>6} {:>12} {:>12}".format(*heads))
        for number, one in enumerate(told["rounds"], 1):
            mine, yours = one["autorouter"], one["bare"]
            ratio = mine["rps"] / yours["rps"]
            rates = f"{mine['rps']:>12,.0f} {yours['rps']:>12,.0f} {ratio:>6.2f}"
            print(f"{number:>5} {rates} {mine['cpu_us']:>12.1f} {yours['cpu_us']:>12.1f}")
        print(
            f"median ratios: requests/s {told['ratio']:.2f}, CPU {told['cpu_ratio']:.2f}, "
            f"p99 latency {told['p99_ratio']:.2f}\n"
        )
    print(f"start to first answer {figures['first_answer_s']:.2f} s")
    print(f"resident memory {figures['memory_mb']:.0f} MiB, the mapped database aside")


if __name__ == "__main__":
    main()
