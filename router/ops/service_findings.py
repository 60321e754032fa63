"""Findings about the service: workers, answers to viewers, store, CDN and files. Pure."""

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
            meaning="The other workers answer, with less spare capacity."
            if signs.workers
            else "Viewers get no answer from this server.",
            action="The log says why a worker ended. If it does not come back, restart the server.",
        )
    if recent.connections_refused:
        yield Finding(
            grade=Grade.ALARM,
            kind=FindingKind.SHED,
            title=f"{_count(recent.connections_refused, 'connection')} refused {_WINDOW}",
            meaning="New viewers get 503 or no response; their SDKs use their built-in edge.",
            action="Let only the CDN reach this port, or start more servers.",
        )
    if recent.faults:
        yield Finding(
            grade=Grade.ALARM,
            kind=FindingKind.FAULTS,
            title=f"{_count(recent.faults, 'request')} failed with 500 {_WINDOW}",
            meaning="Those viewers got no edge, because of a bug in autorouter.",
            action="Report it with the traceback in the log.",
        )


def answer_findings(signs: Signs, models: Sequence[str]) -> Iterable[Finding]:
    """Findings about requests that got no suitable edge. `models`: known models without an edge."""
    recent = signs.recent
    if recent.residency_refused:
        yield Finding(
            grade=Grade.ALARM,
            kind=FindingKind.RESIDENCY,
            title=f"{_count(recent.residency_refused, 'viewer')} with a residency rule got 404 "
            f"{_WINDOW}",
            meaning="No edge works in the countries that the rule allows.",
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
            action="Load it on an edge. Models of regions.yaml that no edge has"
            f"{named or ': none'}. autorouter edges --wide shows what each edge has.",
        )
    if recent.placed >= FEW_ROUTES and recent.unplaced > UNPLACED_SHARE * recent.placed:
        share = recent.unplaced / recent.placed
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.UNPLACED,
            title=f"The location of {share:.0%} of viewers is unknown",
            meaning="They get edges in the order of regions.yaml, whatever the distance.",
            action="Check that the proxy in front sends X-Forwarded-For, and that "
            "AUTOROUTER_TRUSTED_PROXIES lists it.",
            share=share,
        )


def store_findings(signs: Signs) -> Iterable[Finding]:
    """Findings about the store and its contents."""
    if signs.store is not None:
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.STORE,
            title="The store cannot be read",
            meaning=f"Answers come from memory, and health gets older. {signs.store.text}",
            action="Bring Redis back; servers reconnect automatically.",
            since=signs.store.since,
        )
    if signs.store_values is not None:
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.STORE_VALUES,
            title="Values in the store cannot be read and are ignored",
            meaning="A vantage's view or an operator's intent does not count. "
            + escaped(signs.store_values.text),
            action="Find the program that wrote these keys, then delete them with redis-cli. "
            "Pollers publish their views again automatically; set intents again yourself.",
            since=signs.store_values.since,
        )


def purge_findings(signs: Signs) -> Iterable[Finding]:
    """Findings about CDNs that reject purges."""
    for target, trouble in signs.purges.items():
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.PURGE,
            title=f"{target} does not accept purges",
            meaning=f"Cached answers may name a dead edge until they expire. {trouble.text}",
            action="Check the address and the secret in AUTOROUTER_PURGE, and the CDN's status.",
            since=trouble.since,
            subject=target,
        )


def file_findings(signs: Signs, now: float) -> Iterable[Finding]:
    """Findings about files that were rejected, or are old."""
    if signs.reload is not None:
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.RELOAD,
            title="Changed files were rejected; the old ones are in use",
            meaning=f"A process that restarts now does not start. {signs.reload.text}",
            action="Correct the errors that autorouter check lists.",
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
