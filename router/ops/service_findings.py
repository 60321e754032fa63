"""Findings about the service around the edges: fleet status, vantages, store, files, CDN,
workers and what viewers were answered. Pure.
"""

from collections.abc import Iterable, Sequence

from router.geo.feeds import OLD_DAYS, FeedNote
from router.health.guard import VantagePolicy
from router.model import Status, View
from router.ops.edge_conditions import clock_time
from router.ops.findings import Amiss, Finding, Grade, Signs
from router.routing.fleet import Fleet, FleetPolicy
from router.safe_text import escaped

GEO_OLD_DAYS = 45
STARTING_S = 10.0
MAX_NAMED = 5
UNPLACED_SHARE = 0.3
FEW_ROUTES = 100

_WINDOW = "in the last 5 minutes"


def is_starting(fleet: Fleet, signs: Signs) -> bool:
    """Whether no view came yet, and it is too early to worry about that."""
    return fleet.seen_at is None and signs.age_s < STARTING_S


def status_findings(
    fleet: Fleet, views: Sequence[View], signs: Signs, policy: FleetPolicy
) -> Iterable[Finding]:
    """What the fleet's status means: at most one."""
    bring_back = "Bring a poller back (autorouter poll), or Redis between."
    if is_starting(fleet, signs):
        yield Finding(
            grade=Grade.WARNING,
            kind=Amiss.STARTING,
            title="Starting: no health has been read yet",
            meaning="Every enabled edge is offered by distance until the first probes are in.",
            action="Wait some seconds.",
        )
    elif not any(edge.enabled for edge in fleet.edges):
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
            meaning="Viewers get edges that probably do not work." + _unproven(fleet),
            action="Look at the edges and at what they share. If only the poller is cut off, "
            "viewers may be fine: ask an edge by hand.",
            since=max((edge.since or 0.0 for edge in fleet.edges if edge.enabled), default=None),
        )
    elif fleet.status is Status.STATIC:
        disable = " Disable edges that you know to be broken." if signs.store is None else ""
        yield Finding(
            grade=Grade.ALARM,
            kind=Amiss.STATIC,
            title="Static: health is too old or unknown, and ignored",
            meaning="Every enabled edge is offered by distance alone; edges that broke since "
            "are still in answers.",
            action=bring_back + disable,
            since=max(
                (view.probed_at + policy.stale_s for view in views if not view.isolated),
                default=None,
            ),
        )
    elif fleet.status is Status.STALE:
        yield Finding(
            grade=Grade.WARNING,
            kind=Amiss.STALE,
            title="Stale: no vantage has published for a while",
            meaning="Answers rest on the last known health. After 120 s it is ignored.",
            action=bring_back,
            since=fleet.seen_at,
        )


def _unproven(fleet: Fleet) -> str:
    """The enabled edges that no vantage ever saw working, in words."""
    ids = [edge.region.id for edge in fleet.edges if edge.enabled and edge.never_worked]
    return f" Never seen working: {_names(ids)}." if ids else ""


def vantage_findings(
    views: Sequence[View], now: float, signs: Signs, policy: FleetPolicy
) -> Iterable[Finding]:
    """Vantages that hold removals back, are isolated, or silent."""
    ages = {view.vantage: now - view.probed_at for view in views}
    some_fresh = any(age <= policy.fresh_s for age in ages.values())
    for view in views:
        if view.held:
            yield _brake(view, signs)
        if view.isolated:
            yield Finding(
                grade=Grade.WARNING,
                kind=Amiss.ISOLATION,
                title=f"Isolation: {view.vantage} cannot see its witnesses",
                meaning="It has no say in health until it can; what it said before ages.",
                action="Look at the network of that vantage.",
                subject=view.vantage,
            )
        if some_fresh and policy.fresh_s < ages[view.vantage] and not view.isolated:
            yield Finding(
                grade=Grade.WARNING,
                kind=Amiss.VANTAGE_SILENT,
                title=f"Vantage {view.vantage} is silent",
                meaning="The other vantages decide without it.",
                action="Restart its poller (autorouter poll).",
                since=view.probed_at,
                subject=view.vantage,
            )


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
        kind=Amiss.BRAKE,
        title=f"Brake: {view.vantage} saw {edges} fall at once and does not believe it",
        meaning=f"They stay in answers as last seen working, {until}, in case the vantage is "
        f"at fault: {_names(view.held)}.",
        action="Ask one of them by hand."
        + (f" If they are really down, disable them: {disable}" if signs.store is None else ""),
        since=view.held_since,
        edges=view.held,
        subject=view.vantage,
    )


def _names(ids: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(ids) - MAX_NAMED
    return ", ".join(ids[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def listener_findings(signs: Signs) -> Iterable[Finding]:
    """What is wrong with the public listener and what it answered."""
    recent = signs.recent
    if signs.public is not None:
        yield Finding(
            grade=Grade.ALARM,
            kind=Amiss.PUBLIC_SILENT,
            title="The public listener does not answer",
            meaning=f"New viewers get no edge from this server. {signs.public.text}",
            action="Restart this server; keep its log.",
            since=signs.public.since,
        )
    if signs.workers < signs.workers_wanted and signs.age_s >= STARTING_S:
        missing = signs.workers_wanted - signs.workers
        yield Finding(
            grade=Grade.ALARM if signs.workers == 0 else Grade.WARNING,
            kind=Amiss.WORKERS,
            title=f"{missing} of {_count(signs.workers_wanted, 'worker')} "
            f"{'does' if missing == 1 else 'do'} not answer",
            meaning="The others answer with less to spare."
            if signs.workers
            else "Viewers get no answer from this server.",
            action="Read the log for why it ends. Restart the server if it does not come back.",
        )
    if recent.connections_refused:
        yield Finding(
            grade=Grade.ALARM,
            kind=Amiss.SHED,
            title=f"{_count(recent.connections_refused, 'connection')} refused {_WINDOW}",
            meaning="New viewers get 503 or nothing; their SDKs use their built-in edge.",
            action="Let only the CDN reach this port, or start more servers.",
        )
    if recent.faults:
        yield Finding(
            grade=Grade.ALARM,
            kind=Amiss.FAULTS,
            title=f"{_count(recent.faults, 'request')} failed with 500 {_WINDOW}",
            meaning="Those viewers got no edge, because of a defect of autorouter.",
            action="Report it with the traceback in the log.",
        )


def answer_findings(signs: Signs, models: Sequence[str]) -> Iterable[Finding]:
    """What viewers asked for and did not get. `models`: known ones that no edge has."""
    recent = signs.recent
    if recent.residency_refused:
        yield Finding(
            grade=Grade.ALARM,
            kind=Amiss.RESIDENCY,
            title=f"{_count(recent.residency_refused, 'viewer')} who must stay got 404 {_WINDOW}",
            meaning="No edge works where a residency rule lets them go.",
            action="Enable or repair an edge there.",
        )
    if recent.model_unavailable:
        named = f": {', '.join(models)}" if models else ""
        yield Finding(
            grade=Grade.WARNING,
            kind=Amiss.MODEL_NOWHERE,
            title="Viewers ask for a model that no edge has loaded",
            meaning=f"{_count(recent.model_unavailable, 'request')} got 404 model_unavailable "
            f"{_WINDOW}.",
            action=f"Load it on an edge. Known models that no edge has{named or ': none'}. "
            "autorouter edges --wide shows what each edge has.",
        )
    if recent.placed >= FEW_ROUTES and recent.unplaced > UNPLACED_SHARE * recent.placed:
        share = recent.unplaced / recent.placed
        yield Finding(
            grade=Grade.WARNING,
            kind=Amiss.UNPLACED,
            title=f"{share:.0%} of viewers are of unknown place",
            meaning="They get edges in the order of regions.yaml, however far away.",
            action="See that the proxy in front sends X-Forwarded-For, and that "
            "AUTOROUTER_TRUSTED_PROXIES names it.",
            share=share,
        )


def source_findings(signs: Signs, now: float) -> Iterable[Finding]:
    """The store, the files and the CDN."""
    if signs.store is not None:
        yield Finding(
            grade=Grade.WARNING,
            kind=Amiss.STORE,
            title="The store cannot be read",
            meaning=f"Answers come from memory, and health ages. {signs.store.text}",
            action="Bring Redis back; servers take up by themselves.",
            since=signs.store.since,
        )
    if signs.store_values is not None:
        yield Finding(
            grade=Grade.WARNING,
            kind=Amiss.STORE_VALUES,
            title="Values in the store cannot be read and are left out",
            meaning="A vantage's view or an operator's intent does not count. "
            + escaped(signs.store_values.text),
            action="See which program writes these keys. Delete a faulty one with redis-cli: "
            "pollers publish their views again by themselves, intents must be set again.",
            since=signs.store_values.since,
        )
    for target, trouble in signs.purges.items():
        yield Finding(
            grade=Grade.WARNING,
            kind=Amiss.PURGE,
            title=f"{target} does not take purges",
            meaning=f"Cached answers may name a dead edge until they expire. {trouble.text}",
            action="Check the address and the secret of AUTOROUTER_PURGE, and the CDN's status.",
            since=trouble.since,
            subject=target,
        )
    if signs.reload is not None:
        yield Finding(
            grade=Grade.WARNING,
            kind=Amiss.RELOAD,
            title="Changed files were refused; the old ones are in use",
            meaning=f"A process that restarts now does not start. {signs.reload.text}",
            action="Correct what autorouter check lists.",
            since=signs.reload.since,
        )
    if signs.geo_age_days > GEO_OLD_DAYS:
        yield Finding(
            grade=Grade.NOTICE,
            kind=Amiss.GEO_OLD,
            title=f"The geo database is {signs.geo_age_days:.0f} days old",
            meaning="Addresses that have moved since are placed where they were.",
            action="Fetch a current one: autorouter geodata update.",
        )
    yield from _old_feeds(signs.feeds, now)


def _old_feeds(feeds: Sequence[FeedNote], now: float) -> Iterable[Finding]:
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


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
