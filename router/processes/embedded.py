"""The public answers inside another server's process. Composition only; no logic."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from router.api.assembly import PublicParts, settle_memory
from router.api.http_protocol import Respond
from router.config.inputs import Inputs, input_paths, open_inputs, read_inputs
from router.config.settings import load_settings
from router.processes.reload import Reload
from router.processes.serve import Loop, open_prober, open_store
from router.store import Store
from router.supervised import keep_running
from router.telemetry.logs import log, start_logging
from router.telemetry.metrics import Telemetry


@asynccontextmanager
async def open_answers() -> AsyncIterator[Respond]:
    """Answers with the settings in the environment, with a prober if there is no Redis. Reloads
    changed files. Raises ConfigError.
    """
    settings = load_settings(os.environ)
    start_logging(settings.log_level, settings.log_format)
    inputs = open_inputs(settings)
    telemetry = Telemetry()
    store = open_store(settings, telemetry)
    public = PublicParts(inputs, store, telemetry)
    await public.keep_snapshot(settings.state_dir, telemetry)
    loops = _loops(inputs, public, store, telemetry)
    telemetry.register_loops(*(name for name, _ in loops))
    await public.watch.refresh()
    settle_memory()
    running = [asyncio.create_task(keep_running(name, loop.run, telemetry)) for name, loop in loops]
    log.info("answering", edges=len(inputs.catalog.regions))
    try:
        yield public.respond
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await store.close()


def _loops(
    inputs: Inputs, public: PublicParts, store: Store, telemetry: Telemetry
) -> list[tuple[str, Loop]]:
    prober = open_prober(inputs, store, telemetry)

    def replace(fresh: Inputs) -> None:
        public.replace_inputs(fresh)
        if prober is not None:
            prober.replace_inputs(fresh)

    reload = Reload(
        paths=lambda: input_paths(inputs.settings, os.environ),
        read=lambda: read_inputs(inputs.settings, os.environ),
        replace=replace,
        store=store,
        observer=telemetry,
    )
    loops: list[tuple[str, Loop]] = [*public.loops, ("reload", reload)]
    if prober is not None:
        public.watch.on_refresh(prober.send_stored)
        loops.append(("prober", prober))
    return loops
