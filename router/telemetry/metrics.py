"""Metrics and log lines of the background loops.

Labels have a limited set of values; none contains an address.
"""

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client import Counter as Count

from router import __version__
from router.errors import PurgeError, StoreError
from router.health.state import Transition
from router.model import (
    Event,
    EventKind,
    Intent,
    Observed,
    Probe,
    Region,
    Status,
    View,
)
from router.routing.fleet import Fleet
from router.store.notices import Notice
from router.telemetry.logs import log
from router.telemetry.troubles import Troubles

PURGE_BUCKETS_S = (0.25, 0.3, 0.4, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
MAX_TROUBLE = 500
ONE_OFF_S = 60.0
PROBE_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)

_BAD = (Observed.DOWN, "failing", "gave up", "refused")


class Telemetry:
    """Counts and logs what the loops report. One registry per process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.troubles = Troubles()
        build = self._gauge(
            "autorouter_build_info", "Always 1; the label is the release", "version"
        )
        build.labels(__version__).set(1)
        self._add_health_metrics()
        self._add_store_metrics()
        self._add_cdn_metrics()
        self._add_process_metrics()
        self._begin()
        self._publish_failed = False
        self._read_failed = False
        self._standing_by = False

    def _add_health_metrics(self) -> None:
        self._probes = self._histogram(
            "autorouter_probe_duration_seconds",
            "Duration of health probes that got an HTTP response",
            "region",
            buckets=PROBE_BUCKETS_S,
        )
        self._outcomes = self._count(
            "autorouter_probes_total", "Health probes", "region", "outcome"
        )
        self._transitions = self._count(
            "autorouter_transitions_total",
            "Changes of an edge's state as this vantage sees it",
            "region",
            "state",
        )
        self._publishes = self._count(
            "autorouter_publishes_total", "Views to publish, by result", "result"
        )
        self._held = self._gauge(
            "autorouter_held_edges", "Failed edges whose removal the fleet brake delays"
        )
        self._isolated = self._gauge("autorouter_isolated", "1 while most witnesses do not answer")
        self._events = self._count("autorouter_events_total", "Events by kind", "kind")

    def _add_store_metrics(self) -> None:
        self._reads = self._count("autorouter_store_reads_total", "Reads of the store", "result")
        self._unreadable = self._count(
            "autorouter_store_unreadable_total",
            "Stored values that could not be decoded and were ignored",
        )
        self._notices = self._count(
            "autorouter_store_notices_total", "Unusual events in the store, by kind", "kind"
        )
        self._saves = self._count(
            "autorouter_last_good_saves_total", "Writes of the last good health to disk", "result"
        )

    def _add_cdn_metrics(self) -> None:
        self._swaps = self._count(
            "autorouter_fleet_swaps_total", "Changes of the fleet that can change answers"
        )
        self._purges = self._count(
            "autorouter_purges_total",
            "Purge requests to a CDN, including retries",
            "target",
            "result",
        )
        self._purge_delay = self._histogram(
            "autorouter_purge_delay_seconds",
            "Time from a change until the CDN accepted its purge",
            "target",
            buckets=PURGE_BUCKETS_S,
        )

    def _add_process_metrics(self) -> None:
        self._reloads = self._count(
            "autorouter_reloads_total", "Reloads of changed files", "result"
        )
        self._reload_ok = self._gauge(
            "autorouter_last_reload_ok", "0 while a changed file is rejected"
        )
        self._reload_ok.set(1)
        self._loop_failures = self._count(
            "autorouter_loop_failures_total",
            "Background loops that failed and were restarted",
            "loop",
        )
        self._child_ends = self._count(
            "autorouter_child_ends_total",
            "Child processes that were replaced, by reason",
            "child",
            "how",
        )

    def _count(self, name: str, help: str, *labels: str) -> Count:
        return Count(name, help, labels, registry=self.registry)

    def _gauge(self, name: str, help: str, *labels: str) -> Gauge:
        return Gauge(name, help, labels, registry=self.registry)

    def _histogram(self, name: str, help: str, *labels: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, help, labels, buckets=buckets, registry=self.registry)

    def _begin(self) -> None:
        """Start series at zero, so that the first of a kind shows as an increase (Prometheus,
        "Avoid missing metrics").
        """
        for counter, results in (
            (self._publishes, ("ok", "error", "standby")),
            (self._reads, ("ok", "error")),
            (self._saves, ("ok", "error")),
            (self._reloads, ("ok", "refused")),
            (self._notices, tuple(Notice)),
        ):
            for result in results:
                counter.labels(result)

    def register_loops(self, *loops: str) -> None:
        """Start the counters of these loops at zero."""
        for loop in loops:
            self._loop_failures.labels(loop)

    def loop_failed(self, loop: str, error: Exception, wait_s: float) -> None:
        """A background loop failed; it restarts after `wait_s`."""
        self._loop_failures.labels(loop).inc()
        life_s = ONE_OFF_S if wait_s == 0.0 else None  # otherwise until it has recovered
        text = f"{type(error).__name__}: {error}"[:MAX_TROUBLE]
        self.troubles.note(f"loop {loop}", text, life_s)
        log.error("a background loop failed", loop=loop, again_in_s=wait_s, exc_info=error)

    def loop_recovered(self, loop: str) -> None:
        """Log that a loop runs again after a failure."""
        self.troubles.note(f"loop {loop}", None)
        log.info("a background loop runs again", loop=loop)

    def child_ended(self, child: str, how: str, left: int) -> None:
        """A worker or the prober exited, hung or did not start. `left`: the workers that remain."""
        self._child_ends.labels(child, how).inc()
        log.error(f"a {child} ended; starting another", how=how, left=left)

    def register_target(self, target: str) -> None:
        """Start the counters of this CDN at zero."""
        for result in ("ok", "error"):
            self._purges.labels(target, result)

    def edge_probed(self, region: Region, probe: Probe) -> None:
        self._outcomes.labels(region.id, probe.outcome).inc()
        if probe.rtt_ms is not None:
            self._probes.labels(region.id).observe(probe.rtt_ms / 1_000)

    def fault_found(self, region: Region, probe: Probe) -> None:
        """Log a failure of an edge that a person must correct."""
        log.warning("edge fails", edge=region.id, outcome=str(probe.outcome), met=probe.detail)

    def state_changed(self, region: Region, transition: Transition) -> None:
        """Count a change of an edge's state at this vantage."""
        self._transitions.labels(region.id, transition.after).inc()

    def view_published(self, view: View, error: StoreError | None) -> None:
        """Count a view that was written or failed; log when the result changes."""
        self._publishes.labels("ok" if error is None else "error").inc()
        self._held.set(len(view.held))
        self._isolated.set(view.isolated)
        failed = error is not None
        if failed and not self._publish_failed:
            log.error("publishing failed; retrying", vantage=view.vantage, error=str(error))
        elif self._publish_failed and not failed:
            log.info("publishing works again", vantage=view.vantage)
        self._publish_failed = failed
        self._standing_by = False

    def standing_by(self, vantage: str) -> None:
        """Count a view that another poller of this vantage publishes; log when that begins."""
        self._publishes.labels("standby").inc()
        if not self._standing_by:
            log.info("standing by: another poller publishes", vantage=vantage)
        self._standing_by = True

    def event_happened(self, event: Event) -> None:
        """Count an event and log its fields."""
        self._events.labels(event.kind).inc()
        details = {
            each.name: str(value)
            for each in fields(event)
            if each.name not in ("at", "kind") and (value := getattr(event, each.name)) is not None
        }
        bad = event.after in _BAD or event.kind in (EventKind.BRAKE, EventKind.ISOLATION)
        (log.warning if bad else log.info)(str(event.kind), **details)

    def store_read(self, error: StoreError | None, faults: tuple[str, ...]) -> None:
        """Count a read of the store; log when the result changes."""
        self._reads.labels("ok" if error is None else "error").inc()
        self._unreadable.inc(len(faults))
        if error is None:
            self.troubles.note("store_values", "; ".join(faults)[:MAX_TROUBLE] if faults else None)
        failed = error is not None or bool(faults)
        if failed and not self._read_failed:
            message = str(error) if error is not None else "; ".join(faults)
            log.error("the store cannot be read; answering from memory", error=message)
        elif self._read_failed and not failed:
            log.info("the store can be read again")
        self._read_failed = failed

    def report_notice(self, notice: Notice, about: str) -> None:
        """Count and log an unusual event in the store."""
        self._notices.labels(notice).inc()
        log.warning("store", notice=str(notice), about=about)

    def intent_changed(self, edge: str, wish: Intent | None) -> None:
        """Log an operator's intent that was made, changed or ended, on any server."""
        if wish is None:
            log.info("intent over", edge=edge)
            return
        until = datetime.fromtimestamp(wish.ends_at, UTC).isoformat(timespec="seconds")
        about = {"actor": wish.actor, "reason": wish.reason, "until": until}
        log.info("intent", edge=edge, state=str(wish.state), **about)

    def snapshot_saved(self, error: OSError | None) -> None:
        """Count a write of the last good health to disk; log when the result changes."""
        self._saves.labels("ok" if error is None else "error").inc()
        text = None if error is None else str(error)[:MAX_TROUBLE]
        if not self.troubles.note("state_dir", text):
            return
        if text is None:
            log.info("the last good health can be saved again")
        else:
            log.error("the last good health cannot be saved", error=text)

    def snapshot_loaded(self, faults: tuple[str, ...]) -> None:
        """Count and log the values of the last good health that were ignored."""
        self._unreadable.inc(len(faults))
        log.error("parts of the last good health were left out", faults="; ".join(faults))

    def fleet_replaced(self, before: Fleet, after: Fleet) -> None:
        """Count a new Fleet; log when its status changes."""
        self._swaps.inc()
        if before.status is not after.status:
            say = log.info if after.status is Status.OK else log.warning
            say("fleet status", before=str(before.status), after=str(after.status))

    def files_reloaded(self, faults: Sequence[str]) -> None:
        """Count a reload of changed files; log each error."""
        self._reloads.labels("refused" if faults else "ok").inc()
        self._reload_ok.set(not faults)
        self.troubles.note("reload", "; ".join(faults)[:MAX_TROUBLE] if faults else None)
        for fault in faults:
            log.error("files not loaded; keeping the old ones", fault=fault)

    def purge_ended(self, target: str, delay_s: float, error: PurgeError | None) -> None:
        """Count a purge request to a CDN."""
        self._purges.labels(target, "ok" if error is None else "error").inc()
        self.troubles.note(f"purge {target}", None if error is None else str(error)[:MAX_TROUBLE])
        if error is None:
            self._purge_delay.labels(target).observe(delay_s)
