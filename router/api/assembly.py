"""Builds the part of a server that answers, from its inputs. A single process and each worker use
it. Composition only; no logic.
"""

import gc
from dataclasses import replace
from pathlib import Path

from router.api.access_log import RequestLog
from router.api.app import PublicApp
from router.api.connection_limit import ConnectionLimit
from router.api.http_protocol import Respond
from router.api.live_fleet import FleetWatch, Observer, Source
from router.api.servers import Listener, affordable_connections, public_listener
from router.config.inputs import Inputs, cache_policy
from router.routing.client_address import Networks
from router.routing.location import Locator
from router.routing.ranking import Ranker
from router.routing.response import Counts
from router.store.snapshot import LastGood, SnapshotWriter, load_in_time
from router.store.snapshot import Observer as SnapshotObserver

GC_ALLOCATIONS = 50_000


class PublicParts:
    """`watch` holds the Fleet, `locator` locates viewers, and `app` answers from both. `loops` are
    the background loops to run.
    """

    def __init__(self, inputs: Inputs, source: Source, observer: Observer) -> None:
        self.policy = cache_policy(inputs.settings)
        self.watch = FleetWatch(
            Ranker(inputs.catalog),
            source,
            observer,
            cache_policy=self.policy,
        )
        self.locator = _locator(inputs, self.watch.ranker)
        self.app = PublicApp(self.watch, self.locator)
        self.connection_limit = ConnectionLimit(
            affordable_connections(inputs.settings.max_connections)
        )
        self.loops: list[tuple[str, FleetWatch | RequestLog | SnapshotWriter]] = [
            ("fleet", self.watch)
        ]
        self.respond: Respond = self.app.respond
        if inputs.settings.log_requests > 0.0:
            log = RequestLog(
                self.app.exchange,
                inputs.settings.log_requests,
                fleet=lambda: self.watch.table.version,
            )
            self.respond = log.respond
            self.loops.append(("access_log", log))

    async def keep_snapshot(self, folder: Path | None, observer: SnapshotObserver) -> None:
        """Restore the last good health from the folder, if it responds, and add a loop that saves
        it there.
        """
        if folder is None:
            return
        last_good = LastGood(folder)
        saved = await load_in_time(last_good, observer)
        if saved is not None:
            self.watch.restore(saved)
        writer = SnapshotWriter(last_good, observer)
        self.watch.on_refresh(writer.offer)
        self.loops.append(("snapshot", writer))

    def listener(self) -> Listener:
        """A server that answers."""
        return public_listener(self.respond, self.app.refuse, self.connection_limit)

    def counts(self) -> Counts:
        """What it has done so far."""
        return replace(
            self.app.counts, shed=self.connection_limit.shed, connections=len(self.connection_limit)
        )

    def replace_inputs(self, fresh: Inputs) -> None:
        """Replace the inputs between two requests."""
        if fresh.catalog != self.watch.ranker.catalog:
            self.watch.replace_ranker(Ranker(fresh.catalog))
        self.locator = _locator(fresh, self.watch.ranker)
        self.app.replace_locator(self.locator)


def settle_memory() -> None:
    """Freeze all objects built so far: they live as long as the process, so garbage collections
    need not visit them. Requests create no reference cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS)


def _locator(inputs: Inputs, ranker: Ranker) -> Locator:
    return Locator(
        inputs.geo.locate,
        trusted=Networks.parse(inputs.settings.trusted_proxies),
        secrets=inputs.settings.cdn_secret,
        key_headers=inputs.settings.cache_key_headers,
        divided=ranker.divided,
    )
