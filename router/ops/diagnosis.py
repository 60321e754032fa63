"""What is amiss now, what it means to viewers and what to do about it. Pure.

One finding a fault, worst first: an operator reads them from the top.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from router.geo.feeds import OLD_DAYS, FeedNote
from router.model import Intended, Intent, Observed, Outcome, Status, View
from router.routing.fleet import Edge, Fleet, FleetPolicy, is_offered

GEO_OLD_DAYS = 90


class Grade(StrEnum):
    """How bad a finding is, in the order to be read."""

    ALARM = "alarm"  # viewers are hit
    WARNING = "warning"  # viewers are served, with less to fall back on
    OK = "ok"
    NOTICE = "notice"  # good to know


class Amiss(StrEnum):
    """The kinds of findings."""

    NO_EDGE = "no_edge"
    FAIL_OPEN = "fail_open"
    STATIC = "static"
    BRAKE = "brake"
    COUNTRY_OUT = "country_out"
    DOWN = "down"
    STALE = "stale"
    STORE = "store"
    ISOLATION = "isolation"
    VANTAGE_SILENT = "vantage_silent"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"
    INTENT = "intent"
    GEO_OLD = "geo_old"
    FEEDS_OLD = "feeds_old"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that an operator should know. `since`: Unix seconds, None when unknown."""

    grade: Grade
    kind: Amiss
    title: str
    meaning: str
    action: str
    since: float | None = None
    edges: tuple[str, ...] = ()


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
    Outcome.OK: "it answers",
}


def findings(
    fleet: Fleet,
    views: Sequence[View],
    *,
    now: float,
    geo_age_days: float = 0.0,
    feeds: Sequence[FeedNote] = (),
    store_error: str | None = None,
    policy: FleetPolicy = FleetPolicy(),
) -> list[Finding]:
    """All that is amiss, worst first; one finding that says so when nothing is."""
    found = [
        *_status(fleet),
        *_countries_out(fleet),
        *_edges(fleet),
        *_vantages(views, now, policy),
        *_sources(geo_age_days, store_error),
        *_feeds(feeds, now),
    ]
    if all(finding.grade is Grade.NOTICE for finding in found):
        found.append(_all_well(fleet))
    grades, kinds = list(Grade), list(Amiss)
    return sorted(
        found, key=lambda one: (grades.index(one.grade), kinds.index(one.kind), -(one.since or 0.0))
    )


def _all_well(fleet: Fleet) -> Finding:
    enabled = [edge for edge in fleet.edges if edge.enabled]
    return Finding(
        grade=Grade.OK,
        kind=Amiss.NOTHING,
        title=f"All well: {len(enabled)} of {len(fleet.edges)} edges are up and in answers",
        meaning="Health is fresh, and every country with an edge is served at home.",
        action="Nothing to do.",
    )


def _status(fleet: Fleet) -> Iterable[Finding]:
    if not any(edge.enabled for edge in fleet.edges):
        yield Finding(
            grade=Grade.ALARM,
            kind=Amiss.NO_EDGE,
            title="No edge is enabled: viewers get 503",
            meaning="Operators hold every routable edge out of answers. SDKs fall back to "
            "their built-in edge.",
            action="Enable an edge that works, now.",
            since=max(
                (edge.intent.created_at for edge in fleet.edges if edge.intent), default=None
            ),
        )
    elif fleet.status is Status.FAIL_OPEN:
        yield Finding(
            grade=Grade.ALARM,
            kind=Amiss.FAIL_OPEN,
            title="Fail-open: no edge is up, so every enabled edge is offered",
            meaning="Viewers get edges that probably do not work.",
            action="Look at the edges and at what they share. If only the poller is cut off, "
            "viewers may be fine: ask an edge by hand.",
            since=max((edge.since or 0.0 for edge in fleet.edges if edge.enabled), default=None),
        )
    elif fleet.status is Status.STATIC:
        yield Finding(
            grade=Grade.ALARM,
            kind=Amiss.STATIC,
            title="Static: health is too old or unknown, and ignored",
            meaning="Every enabled edge is offered by distance alone; edges that broke since "
            "are still in answers.",
            action="Bring a poller back (autorouter poll), or the store between. Disable edges "
            "that you know to be broken.",
            since=fleet.seen_at,
        )
    elif fleet.status is Status.STALE:
        yield Finding(
            grade=Grade.WARNING,
            kind=Amiss.STALE,
            title="Stale: no vantage has published for a while",
            meaning="Answers rest on the last known health. After 120 s it is ignored.",
            action="Bring a poller back (autorouter poll), or the store between.",
            since=fleet.seen_at,
        )


def _countries_out(fleet: Fleet) -> Iterable[Finding]:
    """Countries that have edges and none to offer, unless that is so everywhere."""
    if fleet.status in (Status.STATIC, Status.FAIL_OPEN):
        return
    homes: dict[str, list[Edge]] = {}
    for edge in fleet.edges:
        if edge.region.routable:
            homes.setdefault(edge.region.country, []).append(edge)
    for country, edges in sorted(homes.items()):
        if not any(is_offered(edge) for edge in edges):
            yield Finding(
                grade=Grade.ALARM,
                kind=Amiss.COUNTRY_OUT,
                title=f"{country} has no edge left",
                meaning="Its viewers go abroad; those who must stay get 404 (residency, or "
                "strict=true).",
                action="Enable or repair one of its edges.",
                since=max((_out_since(edge) or 0.0 for edge in edges), default=0.0) or None,
                edges=tuple(edge.region.id for edge in edges),
            )


def _out_since(edge: Edge) -> float | None:
    return edge.since if edge.intent is None else edge.intent.created_at


def _edges(fleet: Fleet) -> Iterable[Finding]:
    for edge in fleet.edges:
        if edge.intent is not None and edge.intended is not Intended.ENABLED:
            yield _held_out(edge, edge.intent)
        elif edge.observed is Observed.DOWN:
            yield _of_edge(
                edge,
                Grade.WARNING,
                Amiss.DOWN,
                "down",
                "It is in no answer; its viewers go to the next edge."
                if fleet.status in (Status.OK, Status.STALE)
                else "It is offered all the same, because health is ignored.",
                "Repair it: it is let back in by itself. Disable it to keep it out.",
            )
        elif edge.observed is Observed.DEGRADED:
            yield _of_edge(
                edge,
                Grade.WARNING,
                Amiss.DEGRADED,
                "degraded",
                "It is offered after every edge that is up.",
                "Watch it; drain it if its users suffer.",
            )
        elif edge.observed is Observed.UNKNOWN and fleet.status is not Status.STATIC:
            yield _of_edge(
                edge,
                Grade.WARNING,
                Amiss.UNKNOWN,
                "of unknown health",
                "No vantage says anything of it, so it is in no answer.",
                "If it is new, wait a moment; else restart the pollers with this catalog.",
            )


def _of_edge(
    edge: Edge, grade: Grade, kind: Amiss, state: str, meaning: str, action: str
) -> Finding:
    met = "" if edge.reason is None else f": {_MET[edge.reason]}"
    return Finding(
        grade=grade,
        kind=kind,
        title=f"{edge.region.id} ({edge.region.name}) is {state}{met}",
        meaning=meaning,
        action=action,
        since=edge.since,
        edges=(edge.region.id,),
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
    )


def _vantages(views: Sequence[View], now: float, policy: FleetPolicy) -> Iterable[Finding]:
    ages = {view.vantage: now - view.probed_at for view in views}
    some_fresh = any(age <= policy.fresh_s for age in ages.values())
    for view in views:
        if view.held:
            yield Finding(
                grade=Grade.ALARM,
                kind=Amiss.BRAKE,
                title=f"Brake: {view.vantage} saw {len(view.held)} edges fall at once and "
                "does not believe it",
                meaning="They stay in answers as last seen working, for 120 s at most, in case "
                "the vantage is at fault.",
                action="Ask one of them by hand. If they are really down, disable them.",
                edges=view.held,
            )
        if view.isolated:
            yield Finding(
                grade=Grade.WARNING,
                kind=Amiss.ISOLATION,
                title=f"Isolation: {view.vantage} cannot see its witnesses",
                meaning="It has no say in health until it can; what it said before ages.",
                action="Look at the network of that vantage.",
                since=view.probed_at,
            )
        if some_fresh and policy.fresh_s < ages[view.vantage] and not view.isolated:
            yield Finding(
                grade=Grade.WARNING,
                kind=Amiss.VANTAGE_SILENT,
                title=f"Vantage {view.vantage} is silent",
                meaning="The other vantages decide without it.",
                action="Restart its poller (autorouter poll).",
                since=view.probed_at,
            )


def _sources(geo_age_days: float, store_error: str | None) -> Iterable[Finding]:
    if store_error is not None:
        yield Finding(
            grade=Grade.WARNING,
            kind=Amiss.STORE,
            title="The store cannot be read",
            meaning=f"Answers come from memory, and health ages. {store_error}",
            action="Bring Redis back; servers take up by themselves.",
        )
    if geo_age_days > GEO_OLD_DAYS:
        yield Finding(
            grade=Grade.NOTICE,
            kind=Amiss.GEO_OLD,
            title=f"The geo database is {geo_age_days:.0f} days old",
            meaning="Addresses that have moved since are placed where they were.",
            action="Fetch a current one: autorouter geodata update.",
        )


def _feeds(feeds: Sequence[FeedNote], now: float) -> Iterable[Finding]:
    old = [feed for feed in feeds if feed.age_days(now) > OLD_DAYS]
    if old:
        oldest = max(feed.age_days(now) for feed in old)
        yield Finding(
            grade=Grade.NOTICE,
            kind=Amiss.FEEDS_OLD,
            title=f"Feeds are up to {oldest:.0f} days old: {', '.join(feed.name for feed in old)}",
            meaning="Networks that moved since are placed where they were.",
            action="Fetch them again: autorouter geodata feeds.",
        )
