"""`autorouter serve`: settings into running parts. Wires; holds no rules."""

import asyncio
import gc
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Protocol

import httpx
from starlette.routing import BaseRoute

from router.caching import CachePolicy
from router.lastgood import LastGood
from router.listeners import bind, listener, reload_on_signal, serve_until_stopped, stop_on_signals
from router.location import Locator
from router.ops import Ops
from router.poll import Polling
from router.public import PublicApp
from router.purge import Purge, Target
from router.purge_targets import open_targets
from router.ranking import Ranker
from router.reload import Reload
from router.settings import Settings
from router.sources import Inputs, input_paths, read_all, read_inputs
from router.store import Store
from router.store.memory import MemoryStore
from router.store.redis import RedisStore
from router.telemetry import Telemetry, log
from router.viewer import Networks
from router.watch import FleetWatch

GC_ALLOCATIONS = 50_000


class Loop(Protocol):
    """A part that runs until it is cancelled."""

    async def run(self) -> None:
        """Never returns."""


async def serve(settings: Settings) -> None:
    """Answer until SIGINT or SIGTERM, and take in changed files on the way. Raises
    ConfigError before any port is bound."""
    await run_server(Inputs(settings, *read_all(settings)), follows_files=True)


async def run_server(
    inputs: Inputs,
    *,
    follows_files: bool = False,
    ops_routes: Sequence[BaseRoute] = (),
    announce: str = "",
) -> None:
    """Run the public API, the ops listener and, without Redis, a poller. `announce` is
    printed once both listen."""
    settings = inputs.settings
    client = httpx.AsyncClient(trust_env=False)
    targets = open_targets(settings, client)
    public_socket = bind("AUTOROUTER_LISTEN", settings.listen)
    ops_socket = bind("AUTOROUTER_OPS_LISTEN", settings.ops_listen)
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(client)
        store: Store = RedisStore(settings.redis_url) if settings.redis_url else MemoryStore()
        stack.push_async_callback(store.close)
        telemetry = Telemetry()
        parts = _Parts(inputs, store, telemetry, targets, stop)
        await parts.watch.refresh()
        loops = parts.loops()
        if follows_files:
            loops.append(
                Reload(
                    paths=input_paths(settings, os.environ),
                    read=lambda: read_inputs(settings, os.environ),
                    take=lambda fresh: parts.take(fresh, open_targets(fresh.settings, client)),
                    store=store,
                    observer=telemetry,
                    asked=reload_on_signal(),
                )
            )
        _settle_memory()
        log.info("serving", listen=str(settings.listen), ops=str(settings.ops_listen))
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(loop.run()) for loop in loops]
            servers = [
                (listener(parts.app), public_socket),
                (listener(parts.ops.app(ops_routes)), ops_socket),
            ]
            await serve_until_stopped(servers, stop, announce)
            for loop in running:
                loop.cancel()
        log.info("stopped")


class _Parts:
    """What a server is made of, and what of it changes with its files."""

    def __init__(
        self,
        inputs: Inputs,
        store: Store,
        telemetry: Telemetry,
        targets: Sequence[Target],
        stop: asyncio.Event,
    ) -> None:
        settings = inputs.settings
        policy = _cache_policy(settings)
        self.watch = FleetWatch(
            Ranker(inputs.catalog),
            store,
            telemetry,
            cache_policy=policy,
            last_good=None if settings.state_dir is None else LastGood(settings.state_dir),
        )
        self.watch.recall()
        self.app = PublicApp(self.watch, _locator(inputs))
        self.ops = Ops(
            watch=self.watch,
            store=store,
            locator=_locator(inputs),
            geo=inputs.geo,
            policy=policy,
            registry=telemetry.registry,
            host=settings.ops_listen.host,
            token=settings.ops_token,
            stop=stop,
        )
        telemetry.serve(
            self.app.counts, lambda: self.watch.fleet, lambda: self.ops.geo.built_at, time.time
        )
        self._purges = [Purge(target=target, store=store, observer=telemetry) for target in targets]
        self._polling = (
            None if settings.redis_url else Polling(settings, inputs.catalog, store, telemetry)
        )

    def loops(self) -> list[Loop]:
        """What is to run. From here on changes are purged."""
        for purge in self._purges:
            self.watch.on_swap(purge.swapped)
        polling = [] if self._polling is None else [self._polling]
        return [self.watch, *self._purges, *polling]

    def take(self, fresh: Inputs, targets: Sequence[Target]) -> None:
        """Go on with what the files hold now, between two requests."""
        if fresh.catalog != self.watch.ranker.catalog:
            self.watch.adopt(Ranker(fresh.catalog))
        self.app.adopt(_locator(fresh))
        self.ops.locator, self.ops.geo = _locator(fresh), fresh.geo
        self.ops.token = fresh.settings.ops_token
        for purge, target in zip(self._purges, targets, strict=True):
            purge.target = target
        if self._polling is not None:
            self._polling.adopt(fresh.settings, fresh.catalog)


def _cache_policy(settings: Settings) -> CachePolicy:
    return CachePolicy(
        ttl_s=settings.ttl_s,
        degraded_ttl_s=settings.degraded_ttl_s,
        max_age_s=settings.cdn_max_age_s,
        key_headers=settings.cache_key_headers,
    )


def _locator(inputs: Inputs) -> Locator:
    return Locator(
        inputs.geo.locate,
        trusted=Networks.parse(inputs.settings.trusted_proxies),
        secrets=inputs.settings.cdn_secret,
        key_headers=inputs.settings.cache_key_headers,
    )


def _settle_memory() -> None:
    """What is built by now lives as long as the process: collections need not walk it, and
    requests leave no cycles behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS)
