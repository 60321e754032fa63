"""Findings about the status of the whole fleet, and about vantages. Pure."""

from collections.abc import Iterable, Sequence

from router.health.guard import VantagePolicy
from router.model import Outcome, Status, View
from router.ops.edge_conditions import clock_time
from router.ops.edge_findings import blind_finding, none_since
from router.ops.findings import Finding, FindingKind, Grade, Signs
from router.routing.fleet import Fleet, FleetPolicy, is_doubted

STARTING_S = 10.0
MAX_NAMED = 5

_POLICY = FleetPolicy()
_RESTORE = "Restart a poller (autorouter poll), or Redis if it is down."


def is_starting(fleet: Fleet, signs: Signs) -> bool:
    """Whether the server has just started and has no view yet."""
    return fleet.seen_at is None and signs.age_s < STARTING_S


def status_findings(
    fleet: Fleet, views: Sequence[View], now: float, signs: Signs
) -> Iterable[Finding]:
    """At most one finding about the fleet's status. None if a finding about the brake explains the
    status.
    """
    is_braked = any(
        is_doubted(view, _POLICY) and now - view.probed_at <= _POLICY.fresh_s for view in views
    )
    if is_starting(fleet, signs):
        yield _STARTING
    elif not any(edge.enabled for edge in fleet.edges):
        yield _no_edge(fleet)
    elif fleet.status is Status.FAIL_OPEN:
        yield _fail_open(fleet)
    elif fleet.status is Status.STATIC:
        yield _static(views, now, signs)
    elif fleet.status is Status.STALE and not is_braked:
        yield _stale(fleet)


_STARTING = Finding(
    grade=Grade.WARNING,
    kind=FindingKind.STARTING,
    title="Starting: no health has been read yet",
    meaning="Until the first probes finish, every enabled edge is offered by distance.",
    action="Wait a few seconds.",
)


def _no_edge(fleet: Fleet) -> Finding:
    return Finding(
        grade=Grade.ALARM,
        kind=FindingKind.NO_EDGE,
        title="No edge is enabled: viewers get 503",
        meaning="Operators took out every routable edge. SDKs use their built-in edge.",
        action="Enable an edge that works now.",
        since=none_since(edge for edge in fleet.edges if edge.region.routable),
    )


def _fail_open(fleet: Fleet) -> Finding:
    return Finding(
        grade=Grade.ALARM,
        kind=FindingKind.FAIL_OPEN,
        title="Fail-open: no edge is up, so every enabled edge is offered",
        meaning="Viewers get edges that probably do not work." + _unproven(fleet),
        action="Send a request to an edge yourself. If it answers, repair the network of the "
        "poller. If not, look for a cause that the edges have in common.",
        since=none_since(edge for edge in fleet.edges if edge.region.routable),
    )


def _static(views: Sequence[View], now: float, signs: Signs) -> Finding:
    disable = " Disable edges that you know are down." if signs.store is None else ""
    return Finding(
        grade=Grade.ALARM,
        kind=FindingKind.STATIC,
        title="Static: health is too old or unknown, so it is ignored",
        meaning="Every enabled edge is offered by distance alone; answers may name edges that are "
        "down.",
        action=_RESTORE + disable,
        since=_ignored_since(views, now),
    )


def _ignored_since(views: Sequence[View], now: float) -> float | None:
    """When the last health that counts became too old. None if there never was any, because the
    vantages were always isolated.
    """
    seen = [view.isolated_since if view.isolated else view.probed_at for view in views]
    ends = [at + _POLICY.stale_s for at in seen if at is not None]
    return max((end for end in ends if end <= now), default=None)


def _stale(fleet: Fleet) -> Finding:
    return Finding(
        grade=Grade.WARNING,
        kind=FindingKind.STALE,
        title="Stale: no vantage has published for a while",
        meaning="Answers use the last known health. After 120 s it is ignored.",
        action=_RESTORE,
        since=fleet.seen_at,
    )


def _unproven(fleet: Fleet) -> str:
    """A sentence about enabled edges that have never worked."""
    ids = [edge.region.id for edge in fleet.edges if edge.enabled and edge.never_worked]
    return f" Never seen working: {_names(ids)}." if ids else ""


def vantage_findings(views: Sequence[View], now: float, signs: Signs) -> Iterable[Finding]:
    """Findings about vantages that hold the brake, are isolated, or are silent."""
    ages = {view.vantage: now - view.probed_at for view in views}
    some_fresh = any(age <= _POLICY.fresh_s for age in ages.values())
    for view in views:
        if view.held and ages[view.vantage] <= _POLICY.stale_s:
            yield _brake(view, signs)
        if view.isolated:
            yield Finding(
                grade=Grade.WARNING,
                kind=FindingKind.ISOLATION,
                title=f"Isolation: {view.vantage} cannot reach its witnesses",
                meaning="Until it can, it does not vote, and its last view gets older.",
                action="Check the network of that vantage.",
                since=view.isolated_since,
                subject=view.vantage,
            )
        is_old = _POLICY.fresh_s < ages[view.vantage]
        if is_old and _is_blind(view):
            yield blind_finding(view.vantage, sorted(view.edges), view.probed_at)
        elif some_fresh and is_old and not view.isolated:
            yield Finding(
                grade=Grade.WARNING,
                kind=FindingKind.VANTAGE_SILENT,
                title=f"Vantage {view.vantage} is silent",
                meaning="The other vantages decide without it.",
                action="Restart its poller (autorouter poll).",
                since=view.probed_at,
                subject=view.vantage,
            )


def _is_blind(view: View) -> bool:
    """Whether it cannot probe any edge because of errors on its own machine."""
    reasons = {edge.reason for edge in view.edges.values()}
    return reasons == {Outcome.LOCAL} and not view.isolated


def _brake(view: View, signs: Signs) -> Finding:
    count = len(view.held)
    edges = "1 edge" if count == 1 else f"{count} edges"
    until = f"for {VantagePolicy().hold_s:.0f} s at most"
    if view.held_until is not None:
        until = f"until {clock_time(view.held_until)} at most"
    ids = " ".join(view.held[:MAX_NAMED]) + (" ..." if count > MAX_NAMED else "")
    disable = f'autorouter disable {ids} --for 1h --reason "brake"'
    return Finding(
        grade=Grade.ALARM,
        kind=FindingKind.BRAKE,
        title=f"Brake: {view.vantage} saw {edges} fail at once, and does not remove them yet",
        meaning=f"Answers still name them, {until}, because the vantage itself may be cut off: "
        f"{_names(view.held)}. If it is the only vantage, the status is stale.",
        action="Send a request to one of them yourself."
        + (f" If they are down, disable them: {disable}" if signs.store is None else ""),
        since=view.held_since,
        edges=view.held,
        subject=view.vantage,
    )


def _names(ids: Sequence[str]) -> str:
    """The first ids, and the number of the others."""
    more = len(ids) - MAX_NAMED
    return ", ".join(ids[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
