"""The diagnosis: what is wrong now, which viewers are affected, and what to do. Pure. The
dashboard, `/readyz`, metrics and alerts, events and the command line all show it. It has one
finding per fault, worst first, and a headline that summarizes them by their effect on viewers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from router.model import Status, View
from router.ops.edge_findings import (
    countries_out,
    edge_findings,
    local_findings,
    part_findings,
)
from router.ops.findings import Finding, FindingKind, Grade, Signs
from router.ops.fleet_findings import is_starting, status_findings, vantage_findings
from router.ops.process_findings import process_findings
from router.ops.service_findings import (
    answer_findings,
    file_findings,
    listener_findings,
    purge_findings,
    store_findings,
)
from router.routing.fleet import Fleet

__all__ = ["Finding", "FindingKind", "Grade", "Group", "Signs", "findings", "group", "headline"]


_GRADE_ORDER = {grade: place for place, grade in enumerate(Grade)}
_KIND_ORDER = {kind: place for place, kind in enumerate(FindingKind)}
_DOWN = (FindingKind.DOWN, FindingKind.NEVER_WORKED, FindingKind.HOLD_DOWN)


def findings(
    fleet: Fleet,
    views: Sequence[View],
    *,
    now: float,
    signs: Signs = Signs(),
    names: Mapping[str, str] | None = None,
    models: Sequence[str] = (),
) -> list[Finding]:
    """All findings, worst first. If there are only notices, or none, one reports that all is well.
    `names`: country code → name. `models`: known models that no edge has.
    """
    found = [
        *status_findings(fleet, views, now, signs),
        *listener_findings(signs),
        *answer_findings(signs, models),
        *vantage_findings(views, now, signs),
        *store_findings(signs),
        *purge_findings(signs),
        *file_findings(signs, now),
        *process_findings(signs),
    ]
    if not is_starting(fleet, signs):
        found += [
            *countries_out(fleet, names or {}, signs),
            *edge_findings(fleet, signs),
            *local_findings(fleet),
            *part_findings(fleet),
        ]
    if all(finding.grade is Grade.NOTICE for finding in found):
        found.append(_all_well(fleet))
    return sorted(found, key=_rank)


def _rank(finding: Finding) -> tuple[int, int, float, float]:
    share, since = finding.share or 0.0, finding.since or 0.0
    return _GRADE_ORDER[finding.grade], _KIND_ORDER[finding.kind], -share, -since


def _all_well(fleet: Fleet) -> Finding:
    enabled = sum(edge.enabled for edge in fleet.edges)
    return Finding(
        grade=Grade.OK,
        kind=FindingKind.NOTHING,
        title=f"All well: {enabled} of {len(fleet.edges)} edges are up and in answers",
        meaning="Health is fresh, and every country with an edge is served from within.",
        action="Nothing to do.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Findings of one grade and kind. `edges`: the edges of all of them, the largest share of
    viewers first. `share`: the sum of their shares, None if unknown. `since`: the earliest.
    """

    grade: Grade
    kind: FindingKind
    title: str
    count: int
    edges: tuple[str, ...]
    share: float | None
    since: float | None


def group(found: Sequence[Finding]) -> list[Group]:
    """The findings by grade and kind, in their order."""
    return [
        _group(list(alike)) for _, alike in groupby(found, key=lambda one: (one.grade, one.kind))
    ]


def _group(alike: Sequence[Finding]) -> Group:
    first, count = alike[0], len(alike)
    title = first.title
    if count > 1:
        noun = _PLURALS.get(first.kind)
        title = f"{count} {noun}" if noun else f"{title}, and {count - 1} more like it"
    shares = [one.share for one in alike if one.share is not None]
    times = [one.since for one in alike if one.since is not None]
    return Group(
        grade=first.grade,
        kind=first.kind,
        title=title,
        count=count,
        edges=tuple(dict.fromkeys(id for one in alike for id in one.edges)),
        share=sum(shares) if len(shares) == count else None,
        since=min(times, default=None),
    )


_PLURALS = {
    FindingKind.COUNTRY_OUT: "countries have no edge left",
    FindingKind.DOWN: "edges are down",
    FindingKind.NEVER_WORKED: "edges have never worked",
    FindingKind.HOLD_DOWN: "edges pass their probes again and are held down",
    FindingKind.SPLIT: "edges are down for some vantages only",
    FindingKind.FLAPPING: "edges are flapping",
    FindingKind.SLOW: "edges are slow",
    FindingKind.DEGRADED: "edges are degraded",
    FindingKind.UNKNOWN: "edges are of unknown health",
    FindingKind.ADDRESS: "edges have an address that fails",
    FindingKind.INVENTORY: "edges have unknown models",
    FindingKind.UNROUTABLE: "edges that are not routable are not up",
    FindingKind.INTENT: "edges are taken out by operators",
}


def headline(fleet: Fleet, found: Sequence[Finding], signs: Signs = Signs()) -> str:
    """One sentence: the worst finding, or the number of edges that are down. The share of viewers
    who moved is added.
    """
    worst = found[0]
    count = Counter(finding.kind for finding in found)
    down = sum(count[kind] for kind in _DOWN)
    routable = sum(edge.region.routable for edge in fleet.edges)
    text = worst.title
    if worst.kind in _DOWN and down > 1:
        text = f"{down} of {routable} edges are down"
    elif worst.kind is FindingKind.COUNTRY_OUT and count[FindingKind.COUNTRY_OUT] > 1:
        text = f"{count[FindingKind.COUNTRY_OUT]} countries have no edge left"
    uses_health = fleet.status in (Status.OK, Status.STALE)
    if signs.moved is not None and signs.moved >= 0.005 and uses_health:
        is_cause = bool(worst.edges) and ":" not in text
        text += f"{':' if is_cause else ';'} {signs.moved:.0%} of viewers moved"
    return text
