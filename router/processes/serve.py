"""`autorouter serve`: settings into running parts. Composition only."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from starlette.routing import BaseRoute

from router.api.assembly import PublicParts, settle_memory
from router.api.servers import (
    Listener,
    bind,
    bind_shared,
    listener,
    reload_on_signal,
    serve_until_stopped,
    stop_on_signals,
    wait_for_any,
)
from router.api.supervisor import Workers
from router.cdn.purge import Purge, Target
from router.config.inputs import (
    Inputs,
    input_paths,
    open_inputs,
    read_cells,
    read_inputs,
    regions_path,
)
from router.config.settings import Settings
from router.geo.database import describe_files
from router.ops.app import Ops
from router.ops.dashboard import Dashboard
from router.ops.monitor import Monitor
from router.ops.public_probe import PublicProbe, reachable
from router.ops.recorder import Recorder, choose_keeper
from router.processes.reload import Reload
from router.routing.response import Counts
from router.store import Store
from router.store.memory import MemoryStore
from router.supervised import keep_running
from router.telemetry.collector import ServerCollector
from router.telemetry.logs import lines, log
from router.telemetry.metrics import Telemetry
from router.telemetry.recent_counts import RecentCounts
from router.telemetry.unhandled import report_unhandled

if TYPE_CHECKING:
    from router.processes.prober import ProberProcess

OpenTargets = Callable[[Settings], Sequence[Target]]


class Loop(Protocol):
    """A part that runs until it is cancelled."""

    async def run(self) -> None:
        """Never returns."""


class Prepared(NamedTuple):
    """What is made from changed files. It is made in a thread, so that the loop that answers does
    not wait.
    """

    inputs: Inputs
    targets: Sequence[Target]


async def serve(settings: Settings) -> None:
    """Answer until SIGINT or SIGTERM, and reload changed files. Raises ConfigError before any port
    is bound.
    """
    await run_server(open_inputs(settings), follows_files=True)


async def run_server(
    inputs: Inputs,
    *,
    follows_files: bool = False,
    ops_routes: Sequence[BaseRoute] = (),
    announce: str = "",
) -> None:
    """Run the public API, the ops listener and, without Redis, a prober. `announce` is
    printed once both listen."""
    settings = inputs.settings
    async with AsyncExitStack() as stack:
        open_targets = await _target_opener(settings, stack)
        targets = open_targets(settings)
        public_sockets = bind_shared("AUTOROUTER_LISTEN", settings.listen, settings.workers)
        ops_socket = bind("AUTOROUTER_OPS_LISTEN", settings.ops_listen)
        stop = stop_on_signals()
        telemetry = Telemetry()
        report_unhandled(telemetry)
        store = open_store(settings, telemetry)
        stack.push_async_callback(store.close)
        parts = _Parts(inputs, store, telemetry, targets, stop)
        await parts.public.keep_snapshot(settings.state_dir, telemetry)
        await parts.public.watch.refresh()
        servers = [(listener(parts.ops.app([*ops_routes, *parts.dashboard.routes()])), ops_socket)]
        loops = parts.loops()
        address = reachable(public_sockets[0])
        probe = PublicProbe(address, settings.workers, telemetry.troubles)
        loops.append(("public_probe", probe))
        if settings.workers == 1:
            servers.append((parts.public.listener(), public_sockets[0]))
        else:
            loops.append(("workers", parts.add_workers(inputs, public_sockets)))
        if follows_files:
            loops.append(("reload", _reload(settings, parts, open_targets)))
        del inputs  # the first geo database must not stay in memory once it is replaced
        telemetry.register_loops(*(name for name, _ in loops))
        settle_memory()
        await _run(servers, loops, telemetry, stop, _announce(settings, parts, announce))
        log.info("stopped")


async def _run(
    servers: Sequence[tuple[Listener, socket.socket]],
    loops: Iterable[tuple[str, Loop]],
    telemetry: Telemetry,
    stop: asyncio.Event,
    announcing: Coroutine[Any, Any, None],
) -> None:
    """Run servers and loops until `stop` is set."""
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(keep_running(name, loop.run, telemetry)) for name, loop in loops
        ]
        running.append(tasks.create_task(announcing))
        await serve_until_stopped(servers, stop)
        for task in running:
            task.cancel()


async def _announce(settings: Settings, parts: "_Parts", announce: str) -> None:
    """Print that requests are answered, once they are. The ops listener answers earlier."""
    await parts.ready()
    _warn_of_few_files(settings.max_connections, parts.public.connection_limit.limit)
    log.info(
        "serving",
        listen=str(settings.listen),
        ops=str(settings.ops_listen),
        regions=str(regions_path(settings)),
        geo_db=describe_files(parts.ops.geo),
    )
    if announce:
        print(announce, flush=True)


def _reload(settings: Settings, parts: "_Parts", open_targets: OpenTargets) -> Reload[Prepared]:
    def read() -> Prepared:
        fresh = read_inputs(settings, os.environ)
        return Prepared(fresh, open_targets(fresh.settings))

    return Reload(
        paths=lambda: input_paths(settings, os.environ),
        read=read,
        replace=lambda fresh: parts.replace(fresh.inputs, fresh.targets),
        store=parts.store,
        observer=parts.telemetry,
        asked=reload_on_signal(),
    )


async def _target_opener(settings: Settings, stack: AsyncExitStack) -> OpenTargets:
    """A function that opens the CDNs to purge, at the start and whenever secrets change."""
    if not settings.purge:
        return lambda _: ()
    import httpx  # 9 MB, needed only with a CDN to purge

    from router.cdn.providers import open_targets

    client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
    return lambda fresh: open_targets(fresh, client)


def open_store(settings: Settings, telemetry: Telemetry) -> Store:
    if settings.redis_url is None:
        return MemoryStore()
    from router.store.redis import RedisStore  # 7 MB, needed only with Redis

    return RedisStore(settings.redis_url, settings.store_timeout_s, telemetry.report_notice)


def open_prober(inputs: Inputs, store: Store, telemetry: Telemetry) -> "ProberProcess | None":
    if inputs.settings.redis_url is not None:
        return None
    from router.processes.prober import ProberProcess

    return ProberProcess(inputs, store, telemetry)


def _warn_of_few_files(wanted: int, affordable: int) -> None:
    if affordable < wanted:
        hint = "raise the hard limit of open files, or lower AUTOROUTER_MAX_CONNECTIONS"
        log.warning("fewer connections than wanted", limit=affordable, hint=hint)


class _Parts:
    """The parts of a server, and how they are replaced when files change."""

    def __init__(
        self,
        inputs: Inputs,
        store: Store,
        telemetry: Telemetry,
        targets: Sequence[Target],
        stop: asyncio.Event,
    ) -> None:
        settings = inputs.settings
        self.store, self.telemetry = store, telemetry
        self.public = PublicParts(inputs, store, telemetry)
        self._workers: Workers | None = None
        self.monitor = Monitor(
            watch=self.public.watch,
            store=store,
            troubles=telemetry.troubles,
            counts=self.counts,
            geo_age_days=lambda: self.ops.geo.age_days(time.time()),
            feeds=lambda: self.ops.geo.feeds,
            workers=self._worker_count,
            workers_wanted=settings.workers,
            on_event=telemetry.event_happened,
        )
        self.recorder = Recorder(
            watch=self.public.watch,
            counts=self.counts,
            keeper=choose_keeper(
                settings.state_dir, store, is_shared=settings.redis_url is not None
            ),
        )
        self.ops = self._open_ops(inputs, stop)
        self.dashboard = Dashboard(
            self.ops, read_cells(), RecentCounts(lambda: self.counts().countries)
        )
        self._inputs = inputs
        self._purges = [Purge(target=target, store=store, observer=telemetry) for target in targets]
        for target in targets:
            telemetry.register_target(target.name)
        self._prober = open_prober(inputs, store, telemetry)

    def _open_ops(self, inputs: Inputs, stop: asyncio.Event) -> Ops:
        settings = inputs.settings
        collector = ServerCollector(
            counts=self.counts,
            watch=self.public.watch,
            geo_built_at=lambda: self.ops.geo.built_at,
            workers=self._worker_count,
            workers_wanted=settings.workers,
            lines_dropped=lambda: self.lines_dropped,
            clock=time.time,
        )
        return Ops(
            monitor=self.monitor,
            history=self.recorder.history,
            watch=self.public.watch,
            store=self.store,
            locator=self.public.locator,
            geo=inputs.geo,
            policy=self.public.policy,
            registry=self.telemetry.registry,
            answers=RecentCounts(lambda: self.counts().answers),
            collectors=lambda: [collector.moment()],
            host=settings.ops_listen.host,
            token=settings.ops_token,
            hosts=settings.ops_hosts,
            stop=stop,
        )

    def loops(self) -> list[tuple[str, Loop]]:
        """The loops to run, by name. From here on, changes are purged."""
        loops: list[tuple[str, Loop]] = [*self.public.loops]
        loops += [("monitor", self.monitor), ("monitor", self.monitor.tally)]
        loops.append(("history", self.recorder))
        loops += [("dashboard", loop) for loop in self.dashboard.loops]
        for purge in self._purges:
            self.public.watch.on_fleet_replaced(purge.schedule)
            loops.append(("purge", purge))
        if self._prober is not None:
            self.public.watch.on_refresh(self._prober.send_stored)
            loops.append(("prober", self._prober))
        return loops

    def add_workers(self, inputs: Inputs, sockets: Sequence[socket.socket]) -> Workers:
        """Start workers, one for each socket."""
        self._workers = Workers(inputs, sockets, self.telemetry)
        self._workers.send_stored(self.public.watch.stored)
        self.public.watch.on_refresh(self._workers.send_stored)
        return self._workers

    async def ready(self) -> None:
        """Return once requests can be answered, or when the server stops."""
        if self._workers is not None:
            await wait_for_any(self._workers.ready, self.ops.stop)

    def _worker_count(self) -> int:
        return 1 if self._workers is None else self._workers.ready_count

    @property
    def lines_dropped(self) -> int:
        """The number of log lines lost by all processes that answer."""
        return lines.dropped + (0 if self._workers is None else self._workers.lines_dropped)

    def counts(self) -> Counts:
        """The counts of all processes so far."""
        return self.public.counts() if self._workers is None else self._workers.counts()

    def replace(self, fresh: Inputs, targets: Sequence[Target]) -> None:
        """Replace what comes from files, between two requests."""
        self._inputs = fresh
        self.public.replace_inputs(fresh)
        self.ops.locator, self.ops.geo = self.public.locator, fresh.geo
        self.ops.token = fresh.settings.ops_token
        for purge, target in zip(self._purges, targets, strict=True):
            purge.target = target
        if self._prober is not None:
            self._prober.replace_inputs(fresh)
        if self._workers is not None:
            self._workers.replace_inputs(fresh)
