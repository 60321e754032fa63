"""`python -m bench.faults`: what viewers get while edges, pollers, Redis and clocks fail.

Real processes and sockets, and 50 viewers a second who keep all that they are told. Each
scenario starts from a healthy site of its own, so that all of them take about an hour.
"""

import argparse
import asyncio
import json
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.scenarios import SCENARIOS, Promise, Scenario
from bench.site import Pace, Site, open_site
from bench.viewers import Answer

RESULTS = Path(__file__).parent / "results" / "faults.json"
SERVERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run. Of the first promise: when it has to hold, when it was last broken, and first
    kept by an answer that would have broken it before, in seconds from the fault."""

    scenario: str
    vantages: int
    promise: str
    bound_s: float | None
    last_wrong_s: float | None
    first_right_s: float | None
    statuses: dict[str, int]
    answers: int
    worst_ms: float
    breaches: list[str]


def main() -> None:
    """Run scenarios, print a table, keep the figures as JSON with those of earlier runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument(
        "--scenario", action="append", choices=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument(
        "--vantages", type=int, choices=(1, 2, 3), help="default: each that matters"
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


async def run(scenario: Scenario, vantages: int, pace: Pace, servers: int) -> Result:
    """One scenario at one number of vantages."""
    with tempfile.TemporaryDirectory(prefix="autorouter-") as folder:
        async with open_site(Path(folder), pace, scenario.setup, vantages, servers) as site:
            await scenario.act(site)
            site.mark("end")
        return judge(scenario, site)


def judge(scenario: Scenario, site: Site) -> Result:
    """What the answers come to."""
    promises = scenario.promises(site)
    after = [one for one in site.viewers.answers if one.asked_at >= site.marks["fault"]]
    return Result(
        scenario=scenario.name,
        vantages=len(site.vantages),
        promise=promises[0].about,
        **timing(promises[0], site, after),
        statuses=dict(Counter(answer.status for answer in after)),
        answers=len(after),
        worst_ms=round(max(answer.took_s for answer in after) * 1_000, 1),
        breaches=[*unusable(site, site.viewers.answers), *breaches(promises, site, after)],
    )


def timing(promise: Promise, site: Site, answers: Iterable[Answer]) -> dict[str, Any]:
    """The bound of a promise, and when it came true."""
    fault_at = site.marks["fault"]
    start, end = span(promise, site)
    seen = [answer for answer in answers if answer.asked_at < end]
    wrong = [answer.asked_at for answer in seen if not promise.is_kept(answer)]
    right = [
        answer.asked_at
        for answer in seen
        if promise.is_kept(answer) and not promise.is_kept(site.baseline[answer.question])
    ]
    return {
        "bound_s": round(start - fault_at, 1) if math.isfinite(start) else None,
        "last_wrong_s": round(max(wrong) - fault_at, 2) if wrong else None,
        "first_right_s": round(min(right) - fault_at, 2) if right else None,
    }


def span(promise: Promise, site: Site) -> tuple[float, float]:
    """When a promise binds, monotonic."""
    start = site.marks[promise.since] + promise.from_s
    return start, min(start + promise.for_s, site.marks.get(promise.until, math.inf))


def breaches(promises: Sequence[Promise], site: Site, answers: Sequence[Answer]) -> list[str]:
    """A line for each promise that was broken."""
    lines = []
    for promise in promises:
        start, end = span(promise, site)
        due = [answer for answer in answers if start <= answer.asked_at < end]
        broken = [answer for answer in due if not promise.is_kept(answer)]
        if not due and math.isfinite(start):
            lines.append(f"{promise.about}: no answer tells")
        if broken:
            late_s = broken[-1].asked_at - start
            count = f"{len(broken)} of {len(due)}"
            lines.append(f"{promise.about}: {count}, {late_s:.2f} s too late; {broken[-1]}")
    return lines


def unusable(site: Site, answers: Sequence[Answer]) -> list[str]:
    """A line for each kind of answer that an SDK can do nothing with."""
    codes = Counter(answer.code for answer in answers if answer.code != 200)
    empty = [one for one in answers if one.code == 200 and not (one.region and one.endpoint)]
    lines = [f"status {code}: {count} answers" for code, count in codes.items()]
    return [*lines, f"no edge: {empty[0]}"] if empty else lines


def keep(result: Result) -> None:
    """Put a result in the place of the same run's earlier one."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    others = [one for one in kept if _run(one) != _run(asdict(result))]
    order = [scenario.name for scenario in SCENARIOS]
    kept = sorted(
        [*others, asdict(result)], key=lambda one: (order.index(one["scenario"]), one["vantages"])
    )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


def _run(result: dict[str, Any]) -> tuple[str, int]:
    return result["scenario"], result["vantages"]


def show(results: Iterable[Result]) -> None:
    """A table for people; times in seconds from the fault, on the first promise."""
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
