"""`autorouter poll`: the health-polling worker of one vantage. Wires; holds no rules."""

import asyncio
import os
from dataclasses import replace
from functools import partial

from router.errors import ConfigError
from router.health import HealthPolicy
from router.listeners import reload_on_signal, stop_on_signals
from router.model import Catalog
from router.poller import Poller
from router.probe import Prober, open_client
from router.publisher import Publisher
from router.reload import Reload
from router.settings import Settings, secret_paths, with_secrets
from router.sources import read_catalog, regions_path
from router.store import Store
from router.store.redis import RedisStore
from router.telemetry import Telemetry, log


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
    store, telemetry = RedisStore(settings.redis_url), Telemetry()
    stop = stop_on_signals()
    log.info("polling", vantage=settings.vantage, edges=len(catalog.regions))
    running = asyncio.create_task(_run(settings, catalog, store, telemetry))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (running, stopping):
        task.cancel()
    await asyncio.gather(running, stopping, return_exceptions=True)  # the lease is given back
    await store.close()
    if not stop.is_set():
        await running
    log.info("stopped")


async def _run(settings: Settings, catalog: Catalog, store: Store, telemetry: Telemetry) -> None:
    polling = Polling(settings, catalog, store, telemetry)
    reload = Reload(
        paths=[regions_path(settings), *secret_paths(os.environ)],
        read=lambda: (with_secrets(settings, os.environ), read_catalog(settings)),
        take=lambda fresh: polling.adopt(*fresh),
        store=store,
        observer=telemetry,
        asked=reload_on_signal(),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(polling.run())
        tasks.create_task(reload.run())


class Polling:
    """A poller of every edge, and the client that it asks with. Needs a running loop."""

    def __init__(
        self, settings: Settings, catalog: Catalog, store: Store, telemetry: Telemetry
    ) -> None:
        self._client = open_client()
        prober = Prober(self._client, settings.edge_api_key)
        publisher = Publisher(
            catalog=catalog,
            store=store,
            observer=telemetry,
            vantage=settings.vantage,
            witnesses=partial(prober.witnesses, settings.witnesses),
        )
        self._poller = Poller(
            catalog=catalog,
            prober=prober,
            publisher=publisher,
            observer=telemetry,
            policy=_policy(settings),
        )

    async def run(self) -> None:
        """Poll until cancelled."""
        async with self._client:
            await self._poller.run()

    def adopt(self, settings: Settings, catalog: Catalog) -> None:
        """Go on with another catalog and key."""
        self._poller.prober = Prober(self._client, settings.edge_api_key)
        if catalog != self._poller.catalog:
            self._poller.adopt(catalog)


def _policy(settings: Settings) -> HealthPolicy:
    usual, interval_s = HealthPolicy(), settings.poll_interval_s
    return replace(usual, interval_s=interval_s, recheck_s=min(usual.recheck_s, interval_s))
