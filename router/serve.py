"""`autorouter serve`: settings into running parts. Wires; holds no rules."""

import asyncio
import gc
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import httpx
from starlette.routing import BaseRoute

from router.caching import CachePolicy
from router.geoip import GeoDatabase
from router.lastgood import LastGood
from router.listeners import bind, listener, serve_until_stopped, stop_on_signals
from router.location import Locator
from router.model import Catalog
from router.ops import Ops
from router.poll import poll_edges
from router.public import PublicApp
from router.purge import Purge
from router.purge_targets import open_targets
from router.ranking import Ranker
from router.settings import Settings
from router.sources import read_all
from router.store import Store
from router.store.memory import MemoryStore
from router.store.redis import RedisStore
from router.telemetry import Telemetry, log
from router.viewer import Networks
from router.watch import FleetWatch

GC_ALLOCATIONS = 50_000


async def serve(settings: Settings) -> None:
    """Answer until SIGINT or SIGTERM. Raises ConfigError before any port is bound."""
    catalog, geo = read_all(settings)
    await run_server(settings, catalog, geo)


async def run_server(
    settings: Settings,
    catalog: Catalog,
    geo: GeoDatabase,
    *,
    ops_routes: Sequence[BaseRoute] = (),
    announce: str = "",
) -> None:
    """Run the public API, the ops listener and, without Redis, a poller. `announce` is
    printed once both listen."""
    policy = CachePolicy(
        ttl_s=settings.ttl_s,
        degraded_ttl_s=settings.degraded_ttl_s,
        max_age_s=settings.cdn_max_age_s,
        key_headers=settings.cache_key_headers,
    )
    locator = Locator(
        geo.locate,
        trusted=Networks.parse(settings.trusted_proxies),
        secrets=settings.cdn_secret,
        key_headers=settings.cache_key_headers,
    )
    client = httpx.AsyncClient(trust_env=False)
    targets = open_targets(settings, client)
    public_socket = bind("AUTOROUTER_LISTEN", settings.listen)
    ops_socket = bind("AUTOROUTER_OPS_LISTEN", settings.ops_listen)
    telemetry = Telemetry()
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(client)
        store: Store = RedisStore(settings.redis_url) if settings.redis_url else MemoryStore()
        stack.push_async_callback(store.close)
        watch = FleetWatch(
            Ranker(catalog), store, telemetry, cache_policy=policy, last_good=_last_good(settings)
        )
        watch.recall()
        app = PublicApp(watch, locator)
        ops = Ops(
            watch=watch,
            store=store,
            locator=locator,
            geo=geo,
            policy=policy,
            registry=telemetry.registry,
            host=settings.ops_listen.host,
            token=settings.ops_token,
            stop=stop,
        )
        telemetry.serve(app.counts, lambda: watch.fleet, geo.built_at, time.time)
        await watch.refresh()
        purges = [Purge(target=target, store=store, observer=telemetry) for target in targets]
        for purge in purges:
            watch.tell(purge.swapped)
        _settle_memory()
        log.info("serving", listen=str(settings.listen), ops=str(settings.ops_listen))
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(watch.run())]
            loops += [tasks.create_task(purge.run()) for purge in purges]
            if settings.redis_url is None:
                loops.append(tasks.create_task(poll_edges(settings, catalog, store, telemetry)))
            servers = [(listener(app), public_socket), (listener(ops.app(ops_routes)), ops_socket)]
            await serve_until_stopped(servers, stop, announce)
            for loop in loops:
                loop.cancel()
        log.info("stopped")


def _last_good(settings: Settings) -> LastGood | None:
    return None if settings.state_dir is None else LastGood(settings.state_dir)


def _settle_memory() -> None:
    """What is built by now lives as long as the process: collections need not walk it, and
    requests leave no cycles behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS)
