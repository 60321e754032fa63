"""Findings about single edges, the true name of each edge's state, and countries without one.
Pure.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from router.model import Intended, Intent, Observed, Outcome, Status
from router.ops.findings import Amiss, Finding, Grade, Signs
from router.routing.fleet import Edge, Fleet, is_offered

_MET = {
    Outcome.UNHEALTHY: "it says that it is unhealthy",
    Outcome.REFUSED: "connection refused",
    Outcome.CONNECT_TIMEOUT: "no connection in time",
    Outcome.TIMEOUT: "no answer in time",
    Outcome.RESET: "the connection breaks",
    Outcome.TLS: "TLS fails",
    Outcome.STATUS: "an HTTP status other than 200",
    Outcome.BAD_BODY: "an answer that is no health document",
    Outcome.TOO_LARGE: "an answer that is too large",
    Outcome.LOCAL: "a fault of the poller itself",
    Outcome.DEGRADED: "it says that it is degraded",
}


class Condition(StrEnum):
    """Why an edge that passes its probes is not up."""

    HOLD_DOWN = "hold_down"
    SPLIT = "split"
    UNSTEADY = "unsteady"  # slow, or flapping: what is published does not tell which


def condition(edge: Edge) -> Condition | None:
    """The condition of an edge whose last probe passed and that is not up; else None."""
    if edge.observed is Observed.DEGRADED and Observed.DOWN in edge.votes.values():
        return Condition.SPLIT
    if edge.reason is not Outcome.OK:
        return None
    if edge.observed is Observed.DOWN:
        return Condition.HOLD_DOWN
    return Condition.UNSTEADY if edge.observed is Observed.DEGRADED else None


def reason(edge: Edge) -> str | None:
    """Why the edge is in its state, in one word. Never `ok` for one that is not up."""
    why = condition(edge)
    return edge.reason if why is None else why


def why(edge: Edge) -> str:
    """The same in words, to follow the state."""
    match condition(edge):
        case Condition.HOLD_DOWN:
            return "it passes again, and is held down for a while"
        case Condition.SPLIT:
            return _split(edge)
        case Condition.UNSTEADY:
            return "slow, or up and down too often"
    return "" if edge.reason is None else _MET.get(edge.reason, "")


def _split(edge: Edge) -> str:
    down = sorted(name for name, vote in edge.votes.items() if vote is Observed.DOWN)
    sees = "sees" if len(down) == 1 else "see"
    return f"only {' and '.join(down)} {sees} it down"


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
        elif fleet.status is not Status.STATIC:
            yield _unknown(edge)


def _down(edge: Edge, status: Status, signs: Signs) -> Finding:
    is_out = status in (Status.OK, Status.STALE)
    heals = condition(edge) is Condition.HOLD_DOWN
    store_works = signs.store is None and status is not Status.STATIC
    keep_out = " Disable it to keep it out." if store_works else ""
    return _of_edge(
        edge,
        Amiss.DOWN,
        "down",
        "It is in no answer; its viewers go to the next edge."
        if is_out
        else "It is offered all the same, because health is ignored.",
        ("Nothing: it comes back by itself." if heals else "Repair it: it comes back by itself.")
        + keep_out,
        signs.homes,
    )


def _degraded(edge: Edge, signs: Signs) -> Finding:
    is_split = condition(edge) is Condition.SPLIT
    return _of_edge(
        edge,
        Amiss.SPLIT if is_split else Amiss.DEGRADED,
        "degraded",
        "It is offered after every edge that is up.",
        "Look at the network between that vantage and the edge."
        if is_split
        else "Watch it; drain it if its users suffer."
        if signs.store is None
        else "Watch it.",
        signs.homes,
    )


def _unknown(edge: Edge) -> Finding:
    return _of_edge(
        edge,
        Amiss.UNKNOWN,
        "of unknown health",
        "No vantage reports on it, so it is in no answer.",
        "If it is new, wait a moment; else restart the pollers with this catalog.",
        {},
    )


def _of_edge(
    edge: Edge, kind: Amiss, state: str, meaning: str, action: str, homes: Mapping[str, float]
) -> Finding:
    met = why(edge)
    return Finding(
        grade=Grade.WARNING,
        kind=kind,
        title=f"{edge.region.id} ({edge.region.name}) is {state}{f': {met}' if met else ''}",
        meaning=meaning,
        action=action,
        since=edge.since,
        edges=(edge.region.id,),
        subject=edge.region.id,
        share=homes.get(edge.region.id),
    )


def _unroutable(edge: Edge) -> Finding:
    return Finding(
        grade=Grade.NOTICE,
        kind=Amiss.UNROUTABLE,
        title=f"{edge.region.id} ({edge.region.name}), which is not routable, is {edge.observed}",
        meaning="No viewer: it is never chosen. Those who pin it notice.",
        action="Repair it before it is made routable.",
        since=edge.since,
        edges=(edge.region.id,),
        subject=edge.region.id,
    )


def _held_out(edge: Edge, intent: Intent) -> Finding:
    return Finding(
        grade=Grade.NOTICE,
        kind=Amiss.INTENT,
        title=f"{edge.region.id} ({edge.region.name}) is {edge.intended} "
        f"by {intent.actor}: {intent.reason}",
        meaning="It is in no new answer until the intent ends.",
        action="Enable it when the work is done.",
        since=intent.created_at,
        edges=(edge.region.id,),
        subject=edge.region.id,
    )


def countries_out(fleet: Fleet, names: Mapping[str, str], signs: Signs) -> Iterable[Finding]:
    """Countries that have edges and none to offer, unless that is so everywhere."""
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
                kind=Amiss.COUNTRY_OUT,
                title=f"{names.get(country, country)} has no edge left",
                meaning="Its viewers go abroad; those who must stay get 404 (residency, or "
                "strict=true).",
                action="Enable or repair one of its edges.",
                since=max((_out_since(edge) or 0.0 for edge in edges), default=0.0) or None,
                edges=ids,
                subject=country,
                share=sum(signs.homes.get(id, 0.0) for id in ids) if signs.homes else None,
            )


def _out_since(edge: Edge) -> float | None:
    return edge.since if edge.intent is None else edge.intent.created_at
