"""`autorouter poll`: the health-polling worker of one vantage. Wires; holds no rules."""

import asyncio
from dataclasses import replace
from functools import partial

from router.errors import ConfigError
from router.health import HealthPolicy
from router.listeners import stop_on_signals
from router.model import Catalog
from router.poller import Poller
from router.probe import Prober, open_client
from router.publisher import Publisher
from router.settings import Settings
from router.sources import read_catalog
from router.store import Store
from router.store.redis import RedisStore
from router.telemetry import Telemetry, log


async def poll(settings: Settings) -> None:
    """Poll and publish until SIGINT or SIGTERM. Raises ConfigError before it starts."""
    if settings.redis_url is None:
        raise ConfigError(
            [
                "AUTOROUTER_REDIS_URL: `poll` publishes to Redis and needs it, like "
                "redis://127.0.0.1:6379/0; without Redis, `serve` polls by itself"
            ]
        )
    catalog = read_catalog(settings)
    store = RedisStore(settings.redis_url)
    stop = stop_on_signals()
    log.info("polling", vantage=settings.vantage, edges=len(catalog.regions))
    polling = asyncio.create_task(poll_edges(settings, catalog, store, Telemetry()))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({polling, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (polling, stopping):
        task.cancel()
    await asyncio.gather(polling, stopping, return_exceptions=True)  # the lease is given back
    await store.close()
    if not stop.is_set():
        await polling
    log.info("stopped")


async def poll_edges(
    settings: Settings, catalog: Catalog, store: Store, telemetry: Telemetry
) -> None:
    """Poll every edge of the catalog until cancelled."""
    async with open_client() as client:
        prober = Prober(client, settings.edge_api_key)
        poller = Poller(
            catalog=catalog,
            prober=prober,
            publisher=Publisher(
                catalog=catalog,
                store=store,
                observer=telemetry,
                vantage=settings.vantage,
                witnesses=partial(prober.witnesses, settings.witnesses),
            ),
            observer=telemetry,
            policy=_policy(settings),
        )
        await poller.run()


def _policy(settings: Settings) -> HealthPolicy:
    usual, interval_s = HealthPolicy(), settings.poll_interval_s
    return replace(usual, interval_s=interval_s, recheck_s=min(usual.recheck_s, interval_s))
