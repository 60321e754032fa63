"""`autorouter poll`: the health-polling worker of one vantage. Composition only."""

import asyncio
import os

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
from router.model import Catalog
from router.ops.health_routes import HealthRoutes
from router.processes.polling import Polling
from router.processes.reload import Reload
from router.store import Store
from router.supervised import keep_running
from router.telemetry.logs import log
from router.telemetry.metrics import Telemetry
from router.telemetry.unhandled import report_unhandled


async def poll(settings: Settings) -> None:
    """Poll and publish until SIGINT or SIGTERM, and reload changed files. Raises ConfigError
    before it starts.
    """
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
    from router.store.redis import RedisStore  # 7 MB that a server without Redis can spare

    telemetry = Telemetry()
    store = RedisStore(settings.redis_url, settings.store_timeout_s, telemetry.report_notice)
    telemetry.register_loops("polling", "probing", "inventory", "reload")
    report_unhandled(telemetry)
    polling = Polling(settings, catalog, store, telemetry)
    health = HealthRoutes(registry=telemetry.registry, readiness=polling.readiness)
    reload = _reload(settings, polling, store, telemetry)
    log.info(
        "polling",
        vantage=settings.vantage,
        edges=len(catalog.regions),
        regions=str(regions_path(settings)),
    )
    async with asyncio.TaskGroup() as tasks:
        loops = [
            tasks.create_task(keep_running("polling", polling.run, telemetry)),
            tasks.create_task(keep_running("reload", reload.run, telemetry)),
        ]
        await serve_until_stopped([(listener(health.app()), one) for one in bound], stop)
        for loop in loops:
            loop.cancel()
    await store.close()
    log.info("stopped")


def _reload(
    settings: Settings, polling: Polling, store: Store, telemetry: Telemetry
) -> Reload[tuple[Settings, Catalog]]:
    return Reload(
        paths=lambda: [regions_path(settings), *secret_paths(os.environ)],
        read=lambda: (with_secrets(settings, os.environ), read_catalog(settings)),
        replace=lambda fresh: polling.replace_inputs(*fresh),
        store=store,
        observer=telemetry,
        asked=reload_on_signal(),
    )
