"""Findings about single edges, and about countries that have no edge left. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from router.model import Intended, Intent, Observed, Outcome, Status
from router.ops.edge_conditions import Condition, condition, why
from router.ops.findings import Finding, FindingKind, Grade, Signs
from router.routing.fleet import Edge, Fleet, is_offered

_CONDITION_KINDS: dict[Condition | None, FindingKind] = {
    Condition.HOLD_DOWN: FindingKind.HOLD_DOWN,
    Condition.SPLIT: FindingKind.SPLIT,
    Condition.FLAPPING: FindingKind.FLAPPING,
    Condition.SLOW: FindingKind.SLOW,
}


def edge_findings(fleet: Fleet, signs: Signs) -> Iterable[Finding]:
    """A finding for each edge that is not up or that an operator took out."""
    for edge in fleet.edges:
        if edge.intent is not None and edge.intended is not Intended.ENABLED:
            yield _taken_out(edge, edge.intent)
        elif edge.observed is Observed.UP:
            continue
        elif not edge.region.routable:
            yield _unroutable(edge)
        elif edge.observed is Observed.DOWN:
            yield _down(edge, fleet.status, signs)
        elif edge.observed is Observed.DEGRADED:
            yield _degraded(edge, signs)
        elif fleet.status is not Status.STATIC and edge.reason is not Outcome.LOCAL:
            yield _unknown(edge, fleet.status, signs)


def _down(edge: Edge, status: Status, signs: Signs) -> Finding:
    is_out = status in (Status.OK, Status.STALE)
    store_works = signs.store is None and status is not Status.STATIC
    meaning = "No answer names it; its viewers get the next edge."
    if not is_out:
        meaning = _offered_anyway(edge)
    if edge.never_worked:
        return _never_worked(edge, meaning, signs)
    if condition(edge) is Condition.HOLD_DOWN:
        action = "Nothing to do: it comes back by itself."
        action += _at_once(edge) if store_works else ""
        return _of_edge(edge, FindingKind.HOLD_DOWN, "down", meaning, action, signs.homes)
    action = "Repair it; then it comes back by itself."
    action += " Disable it if it should stay out." if store_works else ""
    return _of_edge(edge, FindingKind.DOWN, "down", meaning, action, signs.homes)


def _never_worked(edge: Edge, meaning: str, signs: Signs) -> Finding:
    return _of_edge(
        edge,
        FindingKind.NEVER_WORKED,
        f"{edge.observed} and has never worked",
        meaning,
        "Check its endpoint and health_path in regions.yaml: autorouter check --probe says what to "
        "change.",
        signs.homes,
    )


def _at_once(edge: Edge) -> str:
    return f" To bring it back now: autorouter enable {edge.region.id} --now."


def _degraded(edge: Edge, signs: Signs) -> Finding:
    named = condition(edge)
    match named:
        case Condition.SPLIT:
            action = "Look at the network between that vantage and the edge."
        case Condition.FLAPPING:
            action = "Find out why it goes up and down."
            action += _at_once(edge) if signs.store is None else ""
        case Condition.RECOVERING:
            action = "Nothing to do: it comes back by itself."
        case _:
            action = "Watch it"
            action += "; drain it if viewers are affected." if signs.store is None else "."
    kind = _CONDITION_KINDS.get(named, FindingKind.DEGRADED)
    meaning = "It is offered after every edge that is up."
    return _of_edge(edge, kind, "degraded", meaning, action, signs.homes)


def _offered_anyway(edge: Edge) -> str:
    last = ", after every edge that has worked" if edge.never_worked else ""
    return f"It is still offered{last}, because health is ignored."


def _unknown(edge: Edge, status: Status, signs: Signs) -> Finding:
    if edge.never_worked:
        meaning = "The brake holds it. No answer names it, because it has never worked."
        if status is Status.FAIL_OPEN:
            meaning = _offered_anyway(edge)
        return _never_worked(edge, meaning, signs)
    return _of_edge(
        edge,
        FindingKind.UNKNOWN,
        "of unknown health",
        "No vantage reports on it, so no answer names it.",
        "If it is new, wait a few seconds. Otherwise restart the pollers with this regions.yaml.",
        {},
    )


def _of_edge(
    edge: Edge, kind: FindingKind, state: str, meaning: str, action: str, homes: Mapping[str, float]
) -> Finding:
    met = why(edge)
    return Finding(
        grade=Grade.WARNING,
        kind=kind,
        title=f"{_name(edge)} is {state}{f': {met}' if met else ''}",
        meaning=meaning,
        action=action,
        since=edge.since,
        edges=(edge.region.id,),
        subject=edge.region.id,
        share=homes.get(edge.region.id),
    )


def _name(edge: Edge) -> str:
    return f"{edge.region.id} ({edge.region.name})"


def _unroutable(edge: Edge) -> Finding:
    return Finding(
        grade=Grade.NOTICE,
        kind=FindingKind.UNROUTABLE,
        title=f"{_name(edge)}, which is not routable, is {edge.observed}",
        meaning="Viewers never get it. Only clients that call it directly are affected.",
        action="Repair it before you set routable to true.",
        since=edge.since,
        edges=(edge.region.id,),
        subject=edge.region.id,
    )


def _taken_out(edge: Edge, intent: Intent) -> Finding:
    return Finding(
        grade=Grade.NOTICE,
        kind=FindingKind.INTENT,
        title=f"{_name(edge)} is {edge.intended} by {intent.actor}: {intent.reason}",
        meaning="No new answer names it until the intent ends.",
        action="Enable it when the work is done.",
        since=intent.created_at,
        edges=(edge.region.id,),
        subject=edge.region.id,
    )


def part_findings(fleet: Fleet) -> Iterable[Finding]:
    """Findings about a part of an edge: its list of models, or one of its addresses."""
    for edge in fleet.edges:
        if edge.region.routable and edge.observed in (Observed.UP, Observed.DEGRADED):
            yield from _inventory(edge)
            yield from _addresses(edge)


def _inventory(edge: Edge) -> Iterable[Finding]:
    faults = {one.models_fault for one in edge.seen.values()}
    if edge.models is not None or faults.isdisjoint({Outcome.TOO_LARGE, Outcome.BAD_BODY}):
        return
    is_large = Outcome.TOO_LARGE in faults
    yield Finding(
        grade=Grade.WARNING,
        kind=FindingKind.INVENTORY,
        title=f"The models of {_name(edge)} are unknown: "
        + ("its list is too large" if is_large else "it sends no list of models"),
        meaning="Viewers who ask for a model get other edges first: those known to have it.",
        action="Shorten the edge's list of models, or set `models: none` in regions.yaml."
        if is_large
        else "Correct models_path, or set `models: openai` or `models: none` in regions.yaml.",
        edges=(edge.region.id,),
        subject=edge.region.id,
    )


def _addresses(edge: Edge) -> Iterable[Finding]:
    failing = sorted({address for one in edge.seen.values() for address in one.bad_addresses})
    if not failing:
        return
    verb = "an address that fails" if len(failing) == 1 else "addresses that fail"
    yield Finding(
        grade=Grade.WARNING,
        kind=FindingKind.ADDRESS,
        title=f"{_name(edge)} has {verb}: {', '.join(failing)}",
        meaning="Its other addresses work. Clients that try a failing one first wait, or fail.",
        action="Repair the server at that address, or remove the address from DNS.",
        edges=(edge.region.id,),
        subject=edge.region.id,
    )


def local_findings(fleet: Fleet) -> Iterable[Finding]:
    """A finding for each vantage that cannot probe some edges because of a local error."""
    blind: dict[str, list[Edge]] = {}
    for edge in fleet.edges:
        for vantage, one in edge.seen.items():
            if one.state is Observed.UNKNOWN and one.reason is Outcome.LOCAL:
                blind.setdefault(vantage, []).append(edge)
    for vantage, edges in sorted(blind.items()):
        since = min(edge.seen[vantage].since for edge in edges)
        yield blind_finding(vantage, [edge.region.id for edge in edges], since)


def blind_finding(vantage: str, ids: Sequence[str], since: float) -> Finding:
    """A vantage that cannot probe these edges because of errors on its own machine."""
    edges = "1 edge" if len(ids) == 1 else f"{len(ids)} edges"
    return Finding(
        grade=Grade.WARNING,
        kind=FindingKind.LOCAL,
        title=f"{vantage} cannot probe {edges} because of errors on its own machine",
        meaning="It has no vote on them. If no other vantage probes an edge, no answer names it.",
        action="On that poller's machine, check the resolver, the network and the limit of open "
        "files.",
        since=since,
        edges=tuple(ids),
        subject=vantage,
    )


def countries_out(fleet: Fleet, names: Mapping[str, str], signs: Signs) -> Iterable[Finding]:
    """Countries without an edge that can be offered. Empty if no edge of the fleet can be."""
    if fleet.status in (Status.STATIC, Status.FAIL_OPEN):
        return
    homes: dict[str, list[Edge]] = {}
    for edge in fleet.edges:
        if edge.region.routable:
            homes.setdefault(edge.region.country, []).append(edge)
    for country, edges in sorted(homes.items()):
        if not any(is_offered(edge) for edge in edges):
            ids = tuple(edge.region.id for edge in edges)
            yield Finding(
                grade=Grade.ALARM,
                kind=FindingKind.COUNTRY_OUT,
                title=f"{names.get(country, country)} has no edge left",
                meaning="Its viewers get edges abroad; those with a residency rule or strict=true "
                "get 404.",
                action="Enable or repair one of its edges.",
                since=none_since(edges),
                edges=ids,
                subject=country,
                share=sum(signs.homes.get(id, 0.0) for id in ids) if signs.homes else None,
            )


def none_since(edges: Iterable[Edge]) -> float | None:
    """Since when none of these edges is offered: when the last of them stopped being offered."""
    return max((at for edge in edges if (at := _out_since(edge)) is not None), default=None)


def _out_since(edge: Edge) -> float | None:
    """When an edge went down, or an operator took it out; the earlier of the two."""
    times = [edge.since] if edge.observed in (Observed.DOWN, Observed.UNKNOWN) else []
    if edge.intent is not None and edge.intended is not Intended.ENABLED:
        times.append(edge.intent.created_at)
    return min((at for at in times if at is not None), default=None)
