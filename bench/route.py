"""`python -m bench.route`: the cost of /v1/route, compared with servers that send the same bytes.

Rounds alternate between the servers, so that a noisy machine disturbs them equally. The result is
the median of the ratios of all rounds. The server and the load generator have one core each.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from bench.charts import bars
from bench.contestants import CDN_SECRET, bare_uvicorn, nginx
from bench.decision import decision_costs
from bench.figures import RESULTS, save
from bench.servers import (
    autorouter,
    load,
    memory_mb,
    real_addresses,
    simulated_regions,
    wrk_script,
)
from router.config.inputs import read_all
from router.config.settings import Settings
from router.model import Scope
from router.routing.cache_headers import KEY_HEADER, format_key
from router.routing.client_address import Networks, parse_address
from router.routing.location import Locator
from router.routing.ranking import Ranker
from tests.support.proc import workers_of
from tests.support.servers import free_port

VIEWERS, KEYS = 200_000, 10_000
# The requests of production: keys from the CDN, and viewers that were never seen.
KEYED, NEVER_SEEN = "keyed by the CDN ÷ bare uvicorn", "never seen ÷ bare uvicorn"
BESIDE_NGINX = "never seen ÷ nginx with geoip2"
CANADIAN = "24.48.0.1"
SETTLE_S = 5
PACE = 20_000
TARGETS = {
    KEYED: 0.92,
    NEVER_SEEN: 0.85,
    BESIDE_NGINX: 0.40,
}


class Contestant(NamedTuple):
    """A server process, and the wrk script with its requests."""

    port: int
    pid: int
    script: Path


def main() -> None:
    """Measure, print tables, save the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each round")
    options = parser.parse_args()
    with ExitStack() as stack:
        figures = measure(stack, options.rounds, options.seconds)
    save("route", figures)
    (RESULTS / "route.svg").write_text(plot(figures))
    show(figures)


def measure(stack: ExitStack, rounds: int, seconds: int) -> dict[str, Any]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    regions = stack.enter_context(simulated_regions())
    port, started = free_port(), time.monotonic()
    pid = stack.enter_context(autorouter(port, regions, AUTOROUTER_CDN_SECRET=CDN_SECRET))
    ask(port, {}).raise_for_status()
    first_answer_s = time.monotonic() - started
    time.sleep(SETTLE_S)  # until every edge has a verdict
    by_address = ask(port, {"X-Forwarded-For": CANADIAN})
    bare = stack.enter_context(bare_uvicorn(by_address, folder))
    other = stack.enter_context(nginx(by_address, folder))
    viewers = real_addresses(VIEWERS)
    unseen = wrk_script(forwarded(viewers), folder / "unseen.lua")
    keyed = wrk_script(keys_of(viewers[:KEYS]), folder / "keyed.lua")
    duels = {
        KEYED: (Contestant(port, pid, keyed), Contestant(*bare, keyed)),
        NEVER_SEEN: (Contestant(port, pid, unseen), Contestant(*bare, unseen)),
        BESIDE_NGINX: (Contestant(port, pid, unseen), Contestant(*other, unseen)),
    }
    figures: dict[str, Any] = {
        "answer_bytes": len(by_address.content),
        "duels": {name: duel(name, *pair, rounds, seconds) for name, pair in duels.items()},
    }
    figures["half_rate"] = half_rate(*duels[NEVER_SEEN], figures["duels"], rounds, seconds)
    figures["memory_mb"] = memory_mb(pid)
    figures["first_answer_s"] = first_answer_s
    figures["workers"] = workers(regions, unseen, rounds, seconds)
    figures["decision"] = decision_costs(viewers)
    return figures


def ask(port: int, headers: dict[str, str]) -> httpx.Response:
    """Send one request to our server."""
    return httpx.get(f"http://127.0.0.1:{port}/v1/route", headers=headers)


def forwarded(viewers: Sequence[str]) -> list[dict[str, str]]:
    """For each viewer, the headers that a proxy sends."""
    return [{"X-Forwarded-For": viewer} for viewer in viewers]


def keys_of(viewers: Sequence[str]) -> list[dict[str, str]]:
    """For each viewer, the headers that the CDN with its function sends."""
    catalog, geo = read_all(Settings())
    ranker, locator = Ranker(catalog), Locator(geo.locate, trusted=Networks())
    headers = []
    for viewer in viewers:
        placed = locator.place_address(parse_address(viewer))
        key = format_key(ranker.key(placed.location, placed.seed, Scope.COUNTRY))
        headers.append({"X-Forwarded-For": viewer, KEY_HEADER: key, "X-Origin-Verify": CDN_SECRET})
    return headers


def duel(name: str, ours: Contestant, theirs: Contestant, rounds: int, seconds: int) -> Any:
    """Median ratios of requests/s, CPU time and p99 latency, ours to theirs."""
    load(*ours, seconds)  # warm up
    load(*theirs, 1)
    pairs = []
    for number in range(rounds):
        print(f"{name}, round {number + 1} of {rounds}", file=sys.stderr)
        pairs.append((load(*ours, seconds), load(*theirs, seconds)))
    return {
        "rounds": [{"ours": mine, "theirs": yours} for mine, yours in pairs],
        "ratio": statistics.median(mine["rps"] / yours["rps"] for mine, yours in pairs),
        "cpu_ratio": statistics.median(yours["cpu_us"] / mine["cpu_us"] for mine, yours in pairs),
        "p99_ratio": statistics.median(mine["p99_ms"] / yours["p99_ms"] for mine, yours in pairs),
    }


def half_rate(
    ours: Contestant, theirs: Contestant, duels: dict[str, Any], rounds: int, seconds: int
) -> Any:
    """Ratio of p99 latency, ours to theirs, at half of the slower server's top rate."""
    tops = [one["ours"]["rps"] for one in duels[NEVER_SEEN]["rounds"]]
    theirs_tops = [one["theirs"]["rps"] for one in duels[NEVER_SEEN]["rounds"]]
    rate = min(statistics.median(tops), statistics.median(theirs_tops)) / 2
    pairs = []
    for number in range(rounds):
        print(f"half of the top rate, round {number + 1} of {rounds}", file=sys.stderr)
        pairs.append((load(*ours, seconds, rate=rate), load(*theirs, seconds, rate=rate)))
    return {
        "rate": rate,
        "rounds": [{"ours": mine, "theirs": yours} for mine, yours in pairs],
        "p99_ratio": statistics.median(mine["p99_ms"] / yours["p99_ms"] for mine, yours in pairs),
    }


def workers(regions: Path, script: Path, rounds: int, seconds: int) -> Any:
    """One and two workers on two cores. The load generator uses one of the same cores.

    At full load it takes CPU that the second worker needs. At a lower rate the cores are not busy,
    so the CPU time per request shows how close two workers come to twice the capacity.
    """
    found: dict[str, Any] = {}
    for count in (1, 2):
        port = free_port()
        with autorouter(port, regions, cores="0,1", AUTOROUTER_WORKERS=str(count)) as pid:
            time.sleep(SETTLE_S)
            pids = workers_of(pid) if count > 1 else [pid]
            load(port, pids, script, seconds)
            full = [load(port, pids, script, seconds) for _ in range(rounds)]
            paced = [load(port, pids, script, seconds, rate=PACE) for _ in range(rounds)]
        found[str(count)] = {
            "rps": statistics.median(one["rps"] for one in full),
            "cpu_us": statistics.median(one["cpu_us"] for one in full),
            "paced_cpu_us": statistics.median(one["cpu_us"] for one in paced),
        }
    return found


def plot(figures: dict[str, Any]) -> str:
    """A chart of the requests/s of each duel."""
    pairs = {
        name: (median_of(found, "ours", "rps"), median_of(found, "theirs", "rps"))
        for name, found in figures["duels"].items()
    }
    return bars("Requests a second, one core each", ("autorouter", "the other server"), pairs)


def median_of(found: dict[str, Any], who: str, what: str) -> float:
    """The median of a figure over the rounds of a duel."""
    return statistics.median(float(one[who][what]) for one in found["rounds"])


def show(figures: dict[str, Any]) -> None:
    print(f"{'':34} {'requests/s':^19} {'CPU, µs a request':^19}")
    print(f"{'median of the rounds':34} {'ours':>9} {'theirs':>9} {'ours':>9} {'theirs':>9} "
          f"{'ratio':>6} {'CPU':>6} {'target':>7}")  # fmt: skip
    for name, found in figures["duels"].items():
        cells = [
            median_of(found, who, what) for what in ("rps", "cpu_us") for who in ("ours", "theirs")
        ]
        print(
            f"{name:34} {cells[0]:>9,.0f} {cells[1]:>9,.0f} {cells[2]:>9.1f} {cells[3]:>9.1f} "
            f"{found['ratio']:>6.2f} {found['cpu_ratio']:>6.2f} {TARGETS[name]:>7.2f}"
        )
    half = figures["half_rate"]
    print(f"\np99 at {half['rate']:,.0f} requests/s: {half['p99_ratio']:.2f} of bare uvicorn's")
    one, two = figures["workers"]["1"], figures["workers"]["2"]
    print(
        f"two workers, load on the same cores: {two['rps'] / one['rps']:.2f} times the requests/s "
        f"of one; computed from the CPU time per request at {PACE:,} requests/s: "
        f"{2 * one['paced_cpu_us'] / two['paced_cpu_us']:.2f} times"
    )
    print(f"start to first answer {figures['first_answer_s']:.2f} s")
    print(f"resident memory without the mapped database {figures['memory_mb']:.0f} MiB")
    for name, cost in figures["decision"].items():
        print(f"{name}: {cost:.2f}")


if __name__ == "__main__":
    main()
