"""Runs one fault scenario and checks the answers of its viewers against its promises."""

import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.site.fleet import Pace, Site, open_site
from tests.support.site.scenarios import Promise, Scenario
from tests.support.site.viewers import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one run. Times are seconds from the fault and belong to the first promise.

    `bound_s`: when the promise must hold. `last_wrong_s`: the last answer that broke it.
    `first_right_s`: the first answer that kept it to a question whose answer broke it before.
    """

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


async def run(scenario: Scenario, vantages: int, pace: Pace, servers: int) -> Result:
    """Run one scenario with this number of vantages."""
    with tempfile.TemporaryDirectory(prefix="autorouter-") as folder:
        async with open_site(Path(folder), pace, scenario.setup, vantages, servers) as site:
            await scenario.act(site)
            site.mark("end")
        return judge(scenario, site)


def judge(scenario: Scenario, site: Site) -> Result:
    """Evaluate the answers of a run."""
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
    """The three times of a promise, as in `Result`."""
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
    """The monotonic times between which a promise must hold."""
    start = site.marks[promise.since] + promise.from_s
    return start, min(start + promise.for_s, site.marks.get(promise.until, math.inf))


def breaches(promises: Sequence[Promise], site: Site, answers: Sequence[Answer]) -> list[str]:
    """A line for each broken promise."""
    lines = []
    for promise in promises:
        start, end = span(promise, site)
        due = [answer for answer in answers if start <= answer.asked_at < end]
        broken = [answer for answer in due if not promise.is_kept(answer)]
        if not due and math.isfinite(start):
            lines.append(f"{promise.about}: not tested by any answer")
        if broken:
            late_s = broken[-1].asked_at - start
            count = f"{len(broken)} of {len(due)}"
            lines.append(f"{promise.about}: {count}, {late_s:.2f} s too late; {broken[-1]}")
    return lines


def unusable(site: Site, answers: Sequence[Answer]) -> list[str]:
    """A line for each kind of answer that an SDK cannot use."""
    codes = Counter(answer.code for answer in answers if answer.code != 200)
    empty = [one for one in answers if one.code == 200 and not (one.region and one.endpoint)]
    lines = [f"status {code}: {count} answers" for code, count in codes.items()]
    return [*lines, f"no edge: {empty[0]}"] if empty else lines
