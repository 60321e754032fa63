"""`autorouter poll`: the health-polling worker of one vantage. Wires; holds no rules."""

import asyncio
import os
import time
from dataclasses import replace
from functools import partial
from typing import Any

from router.api.servers import (
    bind,
    listener,
    reload_on_signal,
    serve_until_stopped,
    stop_on_signals,
)
from router.config.inputs import read_catalog, regions_path
from router.config.settings import Settings, secret_paths, with_secrets
from router.errors import ConfigError
from router.health.client import open_client
from router.health.poller import Poller
from router.health.probe import Prober
from router.health.publisher import Publisher
from router.health.state import HealthPolicy
from router.model import Catalog
from router.ops.health_routes import Vitals
from router.processes.reload import Reload
from router.routing.fleet import FleetPolicy
from router.store import Store
from router.telemetry.logs import log
from router.telemetry.metrics import Telemetry

FRESH_S = FleetPolicy().fresh_s


async def poll(settings: Settings) -> None:
    """Poll and publish until SIGINT or SIGTERM, and take in changed files on the way.
    Raises ConfigError before it starts."""
    if settings.redis_url is None:
        raise ConfigError(
            [
                "AUTOROUTER_REDIS_URL: `poll` publishes to Redis and needs it, like "
                "redis://127.0.0.1:6379/0; without Redis, `serve` polls by itself"
            ]
        )
    catalog = read_catalog(settings)
    listen = settings.poll_listen
    bound = [] if listen is None else [bind("AUTOROUTER_POLL_LISTEN", listen)]
    stop = stop_on_signals()
    from router.store.redis import RedisStore  # 7 MB that a server without Redis is spared

    telemetry = Telemetry()
    store = RedisStore(settings.redis_url, settings.store_timeout_s, telemetry.noticed)
    polling = Polling(settings, catalog, store, telemetry)
    vitals = Vitals(registry=telemetry.registry, readiness=polling.readiness)
    log.info("polling", vantage=settings.vantage, edges=len(catalog.regions))
    async with asyncio.TaskGroup() as tasks:
        loops = [
            tasks.create_task(polling.run()),
            tasks.create_task(_reload(settings, polling, store, telemetry).run()),
        ]
        await serve_until_stopped([(listener(vitals.app()), one) for one in bound], stop)
        for loop in loops:
            loop.cancel()
    await store.close()
    log.info("stopped")


def _reload(
    settings: Settings, polling: "Polling", store: Store, telemetry: Telemetry
) -> Reload[tuple[Settings, Catalog]]:
    return Reload(
        paths=[regions_path(settings), *secret_paths(os.environ)],
        read=lambda: (with_secrets(settings, os.environ), read_catalog(settings)),
        take=lambda fresh: polling.adopt(*fresh),
        store=store,
        observer=telemetry,
        asked=reload_on_signal(),
    )


class Polling:
    """A poller of every edge, and the client that it asks with. Needs a running loop."""

    def __init__(
        self, settings: Settings, catalog: Catalog, store: Store, telemetry: Telemetry
    ) -> None:
        self._client = open_client()
        prober = Prober(self._client, settings.edge_api_key)
        self._publisher = Publisher(
            catalog=catalog,
            store=store,
            observer=telemetry,
            vantage=settings.vantage,
            witnesses=partial(prober.witnesses, settings.witnesses),
        )
        self._poller = Poller(
            catalog=catalog,
            prober=prober,
            publisher=self._publisher,
            observer=telemetry,
            policy=_policy(settings),
        )

    async def run(self) -> None:
        """Poll until cancelled."""
        async with self._client:
            await self._poller.run()

    def readiness(self) -> dict[str, Any]:
        """Ready while the store takes what this vantage has to say."""
        heard_at = self._publisher.heard_at
        age_s = None if heard_at is None else max(0.0, time.time() - heard_at)
        ready = age_s is not None and age_s <= FRESH_S
        amiss = [] if ready else ["the store has not taken a view from here lately"]
        return {
            "ready": ready,
            "amiss": amiss,
            "vantage": self._publisher.vantage,
            "heard_s_ago": None if age_s is None else round(age_s, 1),
        }

    def adopt(self, settings: Settings, catalog: Catalog) -> None:
        """Go on with another catalog and key."""
        self._poller.prober = Prober(self._client, settings.edge_api_key)
        if catalog != self._poller.catalog:
            self._poller.adopt(catalog)


def _policy(settings: Settings) -> HealthPolicy:
    usual, interval_s = HealthPolicy(), settings.poll_interval_s
    return replace(usual, interval_s=interval_s, recheck_s=min(usual.recheck_s, interval_s))
