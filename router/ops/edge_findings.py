"""Findings about single edges, and countries without one. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from router.model import Intended, Intent, Observed, Outcome, Status
from router.ops.edge_conditions import Condition, condition, why
from router.ops.findings import Finding, FindingKind, Grade, Signs
from router.routing.fleet import Edge, Fleet, is_offered

_KINDS = {
    Condition.HOLD_DOWN: FindingKind.HOLD_DOWN,
    Condition.SPLIT: FindingKind.SPLIT,
    Condition.FLAPPING: FindingKind.FLAPPING,
    Condition.SLOW: FindingKind.SLOW,
}


def edge_findings(fleet: Fleet, signs: Signs) -> Iterable[Finding]:
    """One for each edge that is not up or that an operator took out."""
    for edge in fleet.edges:
        if edge.intent is not None and edge.intended is not Intended.ENABLED:
            yield _held_out(edge, edge.intent)
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
    meaning = "It is in no answer; its viewers go to the next edge."
    if not is_out:
        meaning = _offered_anyway(edge)
    if edge.never_worked:
        return _never_worked(edge, meaning, signs)
    if condition(edge) is Condition.HOLD_DOWN:
        action = "Nothing: it comes back by itself."
        action += _at_once(edge) if store_works else ""
        return _of_edge(edge, FindingKind.HOLD_DOWN, "down", meaning, action, signs.homes)
    action = "Repair it: it comes back by itself."
    action += " Disable it to keep it out." if store_works else ""
    return _of_edge(edge, FindingKind.DOWN, "down", meaning, action, signs.homes)


def _never_worked(edge: Edge, meaning: str, signs: Signs) -> Finding:
    return _of_edge(
        edge,
        FindingKind.NEVER_WORKED,
        f"{edge.observed} and has never worked",
        meaning,
        "Compare its endpoint and health_path in regions.yaml with the edge: autorouter check "
        "--probe says what it needs.",
        signs.homes,
    )


def _at_once(edge: Edge) -> str:
    return f" To have it back at once: autorouter enable {edge.region.id} --now."


def _degraded(edge: Edge, signs: Signs) -> Finding:
    named = condition(edge)
    match named:
        case Condition.SPLIT:
            action = "Look at the network between that vantage and the edge."
        case Condition.FLAPPING:
            action = "Find out why it comes and goes."
            action += _at_once(edge) if signs.store is None else ""
        case Condition.RECOVERING:
            action = "Nothing: it comes back by itself."
        case _:
            action = "Watch it"
            action += "; drain it if its users suffer." if signs.store is None else "."
    kind = FindingKind.DEGRADED if named is None else _KINDS.get(named, FindingKind.DEGRADED)
    meaning = "It is offered after every edge that is up."
    return _of_edge(edge, kind, "degraded", meaning, action, signs.homes)


def _offered_anyway(edge: Edge) -> str:
    last = ", after every edge that was seen working" if edge.never_worked else ""
    return f"It is offered all the same{last}, because health is ignored."


def _unknown(edge: Edge, status: Status, signs: Signs) -> Finding:
    if edge.never_worked:
        meaning = "It is held by the brake, and in no answer, because it was never seen working."
        if status is Status.FAIL_OPEN:
            meaning = _offered_anyway(edge)
        return _never_worked(edge, meaning, signs)
    return _of_edge(
        edge,
        FindingKind.UNKNOWN,
        "of unknown health",
        "No vantage reports on it, so it is in no answer.",
        "If it is new, wait a moment; else restart the pollers with this catalog.",
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
        meaning="No viewer: it is never chosen. Clients that name it themselves notice.",
        action="Repair it before it is made routable.",
        since=edge.since,
        edges=(edge.region.id,),
        subject=edge.region.id,
    )


def _held_out(edge: Edge, intent: Intent) -> Finding:
    return Finding(
        grade=Grade.NOTICE,
        kind=FindingKind.INTENT,
        title=f"{_name(edge)} is {edge.intended} by {intent.actor}: {intent.reason}",
        meaning="It is in no new answer until the intent ends.",
        action="Enable it when the work is done.",
        since=intent.created_at,
        edges=(edge.region.id,),
        subject=edge.region.id,
    )


def part_findings(fleet: Fleet) -> Iterable[Finding]:
    """Findings about a part of an edge: its inventory of models, or an address."""
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
        meaning="Viewers who ask for a model get edges that are known to have it first.",
        action="Have the edge list fewer models, or set `models: none` in regions.yaml."
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
        meaning="Its other addresses work. Clients that try this one first wait, or fail.",
        action="Repair what listens there, or take the address out of DNS.",
        edges=(edge.region.id,),
        subject=edge.region.id,
    )


def local_findings(fleet: Fleet) -> Iterable[Finding]:
    """One for each vantage that cannot probe some edges because of a local fault."""
    blind: dict[str, list[Edge]] = {}
    for edge in fleet.edges:
        for vantage, one in edge.seen.items():
            if one.state is Observed.UNKNOWN and one.reason is Outcome.LOCAL:
                blind.setdefault(vantage, []).append(edge)
    for vantage, edges in sorted(blind.items()):
        since = min(edge.seen[vantage].since for edge in edges)
        yield blind_finding(vantage, [edge.region.id for edge in edges], since)


def blind_finding(vantage: str, ids: Sequence[str], since: float) -> Finding:
    """A vantage that cannot probe these edges for faults of its own."""
    edges = "1 edge" if len(ids) == 1 else f"{len(ids)} edges"
    return Finding(
        grade=Grade.WARNING,
        kind=FindingKind.LOCAL,
        title=f"{vantage} cannot probe {edges} because of faults of its own",
        meaning="It has no vote on them. An edge that no other vantage sees is in no answer.",
        action="On that poller's machine, correct the resolver, the network or the limit of "
        "open files.",
        since=since,
        edges=tuple(ids),
        subject=vantage,
    )


def countries_out(fleet: Fleet, names: Mapping[str, str], signs: Signs) -> Iterable[Finding]:
    """Countries none of whose edges can be offered, unless no edge anywhere can."""
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
                meaning="Its viewers go abroad; those who must stay get 404 (residency, or "
                "strict=true).",
                action="Enable or repair one of its edges.",
                since=none_since(edges),
                edges=ids,
                subject=country,
                share=sum(signs.homes.get(id, 0.0) for id in ids) if signs.homes else None,
            )


def none_since(edges: Iterable[Edge]) -> float | None:
    """Since when none of these edges is offered: when the last of them went out."""
    return max((at for edge in edges if (at := _out_since(edge)) is not None), default=None)


def _out_since(edge: Edge) -> float | None:
    """When an edge went out, of itself or because an operator took it out."""
    times = [edge.since] if edge.observed in (Observed.DOWN, Observed.UNKNOWN) else []
    if edge.intent is not None and edge.intended is not Intended.ENABLED:
        times.append(edge.intent.created_at)
    return min((at for at in times if at is not None), default=None)
