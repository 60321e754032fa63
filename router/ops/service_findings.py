"""Findings about the service itself: workers, answers to viewers, store, CDN and files. Pure."""

from collections.abc import Iterable, Sequence

from router.geo.feeds import OLD_DAYS, FeedNote
from router.ops.findings import Finding, FindingKind, Grade, Signs
from router.ops.fleet_findings import STARTING_S
from router.safe_text import escaped

GEO_OLD_DAYS = 45
UNPLACED_SHARE = 0.3
FEW_ROUTES = 100

_WINDOW = "in the last 5 minutes"


def listener_findings(signs: Signs) -> Iterable[Finding]:
    """Findings about the public listener and its answers."""
    recent = signs.recent
    if signs.public is not None:
        yield Finding(
            grade=Grade.ALARM,
            kind=FindingKind.PUBLIC_SILENT,
            title="The public listener does not answer",
            meaning=f"New viewers get no edge from this server. {signs.public.text}",
            action="Restart this server; keep its log.",
            since=signs.public.since,
        )
    if signs.workers < signs.workers_wanted and signs.age_s >= STARTING_S:
        missing = signs.workers_wanted - signs.workers
        yield Finding(
            grade=Grade.ALARM if signs.workers == 0 else Grade.WARNING,
            kind=FindingKind.WORKERS,
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
            kind=FindingKind.SHED,
            title=f"{_count(recent.connections_refused, 'connection')} refused {_WINDOW}",
            meaning="New viewers get 503 or nothing; their SDKs use their built-in edge.",
            action="Let only the CDN reach this port, or start more servers.",
        )
    if recent.faults:
        yield Finding(
            grade=Grade.ALARM,
            kind=FindingKind.FAULTS,
            title=f"{_count(recent.faults, 'request')} failed with 500 {_WINDOW}",
            meaning="Those viewers got no edge, because of a defect of autorouter.",
            action="Report it with the traceback in the log.",
        )


def answer_findings(signs: Signs, models: Sequence[str]) -> Iterable[Finding]:
    """Findings about requests that could not be satisfied. `models`: known models that no edge
    has.
    """
    recent = signs.recent
    if recent.residency_refused:
        yield Finding(
            grade=Grade.ALARM,
            kind=FindingKind.RESIDENCY,
            title=f"{_count(recent.residency_refused, 'viewer')} who must stay got 404 {_WINDOW}",
            meaning="No edge works where a residency rule lets them go.",
            action="Enable or repair an edge there.",
        )
    if recent.model_unavailable:
        named = f": {', '.join(models)}" if models else ""
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.MODEL_NOWHERE,
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
            kind=FindingKind.UNPLACED,
            title=f"{share:.0%} of viewers are of unknown place",
            meaning="They get edges in the order of regions.yaml, however far away.",
            action="See that the proxy in front sends X-Forwarded-For, and that "
            "AUTOROUTER_TRUSTED_PROXIES names it.",
            share=share,
        )


def store_findings(signs: Signs) -> Iterable[Finding]:
    """Findings about the store and its contents."""
    if signs.store is not None:
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.STORE,
            title="The store cannot be read",
            meaning=f"Answers come from memory, and health ages. {signs.store.text}",
            action="Bring Redis back; servers take up by themselves.",
            since=signs.store.since,
        )
    if signs.store_values is not None:
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.STORE_VALUES,
            title="Values in the store cannot be read and are left out",
            meaning="A vantage's view or an operator's intent does not count. "
            + escaped(signs.store_values.text),
            action="See which program writes these keys. Delete a faulty one with redis-cli: "
            "pollers publish their views again by themselves, intents must be set again.",
            since=signs.store_values.since,
        )


def purge_findings(signs: Signs) -> Iterable[Finding]:
    """Findings about CDNs that do not accept purges."""
    for target, trouble in signs.purges.items():
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.PURGE,
            title=f"{target} does not take purges",
            meaning=f"Cached answers may name a dead edge until they expire. {trouble.text}",
            action="Check the address and the secret of AUTOROUTER_PURGE, and the CDN's status.",
            since=trouble.since,
            subject=target,
        )


def file_findings(signs: Signs, now: float) -> Iterable[Finding]:
    """Findings about files that were refused, or are old."""
    if signs.reload is not None:
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.RELOAD,
            title="Changed files were refused; the old ones are in use",
            meaning=f"A process that restarts now does not start. {signs.reload.text}",
            action="Correct what autorouter check lists.",
            since=signs.reload.since,
        )
    if signs.geo_age_days > GEO_OLD_DAYS:
        yield Finding(
            grade=Grade.NOTICE,
            kind=FindingKind.GEO_OLD,
            title=f"The geo database is {signs.geo_age_days:.0f} days old",
            meaning="autorouter uses the old location of addresses that have moved since then.",
            action="Fetch a current one: autorouter geodata update.",
        )
    yield from _old_feeds(signs.feeds, now)


def _old_feeds(feeds: Sequence[FeedNote], now: float) -> Iterable[Finding]:
    old = [feed for feed in feeds if feed.age_days(now) > OLD_DAYS]
    if old:
        oldest = max(feed.age_days(now) for feed in old)
        yield Finding(
            grade=Grade.NOTICE,
            kind=FindingKind.FEEDS_OLD,
            title=f"Feeds are up to {oldest:.0f} days old: {', '.join(feed.name for feed in old)}",
            meaning="autorouter uses the old location of networks that have moved since then.",
            action="Fetch them again: autorouter geodata feeds.",
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
