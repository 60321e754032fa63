"""`python -m bench.faults`: what viewers get while edges, pollers, Redis and clocks fail.

It uses real processes and sockets. Viewers send 50 requests a second and record every answer.
Each scenario starts its own healthy site. All scenarios together take about an hour.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from bench.figures import RESULTS, save
from tests.support.site.fault_run import Result, run
from tests.support.site.fleet import Pace
from tests.support.site.scenarios import SCENARIOS

SERVERS = 2


def main() -> None:
    """Run scenarios, print a table, and merge the figures with those of earlier runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument(
        "--scenario", action="append", choices=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument(
        "--vantages", type=int, choices=(1, 2, 3), help="default: all numbers of the scenario"
    )
    options = parser.parse_args()
    wanted = [one for one in SCENARIOS if one.name in (options.scenario or names)]
    results = []
    for scenario in wanted:
        for vantages in scenario.vantages:
            if options.vantages in (None, vantages):
                print(f"{scenario.name}, vantages: {vantages}", file=sys.stderr, flush=True)
                results.append(asyncio.run(run(scenario, vantages, Pace(), SERVERS)))
                keep(results[-1])
    show(results)
    sys.exit(any(result.breaches for result in results))


def keep(result: Result) -> None:
    """Replace the earlier result of the same scenario and number of vantages."""
    kept = json.loads((RESULTS / "faults.json").read_text())
    others = [one for one in kept if _run(one) != _run(asdict(result))]
    order = [scenario.name for scenario in SCENARIOS]
    kept = sorted(
        [*others, asdict(result)], key=lambda one: (order.index(one["scenario"]), one["vantages"])
    )
    save("faults", kept, indent=1)


def _run(result: dict[str, Any]) -> tuple[str, int]:
    return result["scenario"], result["vantages"]


def show(results: Iterable[Result]) -> None:
    """Print a table. Times are seconds from the fault and belong to the first promise."""
    heads = f"{'bound':>8}{'wrong to':>10}{'right from':>12}{'answers':>9}{'worst ms':>10}"
    print(f"{'scenario':<34}{'v':>2}{heads}  statuses")
    for one in results:
        times = f"{_shown(one.bound_s):>8}{_shown(one.last_wrong_s):>10}"
        times += f"{_shown(one.first_right_s):>12}{one.answers:>9}{one.worst_ms:>10.1f}"
        statuses = " ".join(f"{name}:{count}" for name, count in one.statuses.items())
        print(f"{one.scenario:<34}{one.vantages:>2}{times}  {statuses}")
        for breach in one.breaches:
            print(f"    BROKEN {breach}")


def _shown(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"


if __name__ == "__main__":
    main()
