"""The one diagnosis: what is wrong now, whom it hits and what to do about it. Pure.

The dashboard, `/readyz`, metrics and alerts, events and the command line all show it.
One finding a fault, worst first, and one headline that sums them up by impact.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from router.model import Status, View
from router.ops.edge_findings import countries_out, edge_findings
from router.ops.findings import Amiss, Finding, Grade, Signs
from router.ops.process_findings import process_findings
from router.ops.service_findings import (
    answer_findings,
    is_starting,
    listener_findings,
    source_findings,
    status_findings,
    vantage_findings,
)
from router.routing.fleet import Fleet, FleetPolicy

__all__ = ["Amiss", "Finding", "Grade", "Signs", "findings", "headline"]


def findings(
    fleet: Fleet,
    views: Sequence[View],
    *,
    now: float,
    signs: Signs = Signs(),
    names: Mapping[str, str] | None = None,
    models: Sequence[str] = (),
    policy: FleetPolicy = FleetPolicy(),
) -> list[Finding]:
    """All that is wrong, worst first; one finding that says so when nothing is. `names`: of
    countries, by code. `models`: known ones that no edge has."""
    found = [
        *status_findings(fleet, signs),
        *listener_findings(signs),
        *answer_findings(signs, models),
        *vantage_findings(views, now, policy),
        *source_findings(signs, now),
        *process_findings(signs),
    ]
    if not is_starting(fleet, signs):
        found += [*countries_out(fleet, names or {}, signs), *edge_findings(fleet, signs)]
    if all(finding.grade is Grade.NOTICE for finding in found):
        found.append(_all_well(fleet))
    return sorted(found, key=_rank)


def _rank(finding: Finding) -> tuple[int, int, float, float]:
    grades, kinds = list(Grade), list(Amiss)
    share, since = finding.share or 0.0, finding.since or 0.0
    return grades.index(finding.grade), kinds.index(finding.kind), -share, -since


def _all_well(fleet: Fleet) -> Finding:
    enabled = sum(edge.enabled for edge in fleet.edges)
    return Finding(
        grade=Grade.OK,
        kind=Amiss.NOTHING,
        title=f"All well: {enabled} of {len(fleet.edges)} edges are up and in answers",
        meaning="Health is fresh, and every country with an edge is served at home.",
        action="Nothing to do.",
    )


def headline(fleet: Fleet, found: Sequence[Finding], signs: Signs = Signs()) -> str:
    """One sentence: the worst finding, or how many edges are down, and how many viewers are
    not where they would be if all were well."""
    worst = found[0]
    count = Counter(finding.kind for finding in found)
    routable = sum(edge.region.routable for edge in fleet.edges)
    said = worst.title
    if worst.kind is Amiss.DOWN and count[Amiss.DOWN] > 1:
        said = f"{count[Amiss.DOWN]} of {routable} edges are down"
    elif worst.kind is Amiss.COUNTRY_OUT and count[Amiss.COUNTRY_OUT] > 1:
        said = f"{count[Amiss.COUNTRY_OUT]} countries have no edge left"
    is_judged = fleet.status in (Status.OK, Status.STALE)
    if signs.moved is not None and signs.moved >= 0.005 and is_judged:
        said += (
            f": {signs.moved:.0%} of viewers moved"
            if ":" not in said
            else (f"; {signs.moved:.0%} of viewers moved")
        )
    return said
