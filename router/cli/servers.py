"""Commands that run servers: `dev`, `serve`, `poll`; and `check`, which starts nothing."""

import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click
import msgspec

from router.cli.app import Command
from router.cli.options import JSON, PORT, REGIONS, print_json, read_settings
from router.config.settings import Settings
from router.config.values import Listen
from router.errors import ConfigError


@click.command(cls=Command, epilog="autorouter dev --port 8081 --ops-port 9091")
@REGIONS
@click.option("--port", type=PORT, default=8080, help="The public API's port.")
@click.option("--ops-port", type=PORT, default=9090, help="The ops port.")
def dev(regions: Path | None, port: int, ops_port: int) -> None:
    """Run everything on this machine, with a simulated fleet.

    Needs no configuration. Starts HTTP edges on loopback, a poller, an embedded store, the API
    and the ops listener. Fetches a geo database if there is none. Prints commands to try.
    """
    from router.cli import geo_database as databases
    from router.cli import text as render
    from router.processes.dev import dev as run

    settings = read_settings(regions)
    if not databases.in_use(settings):
        with render.show_progress() as progress:
            databases.fetch_first(settings, progress)
    settings = msgspec.structs.replace(
        settings, listen=Listen("127.0.0.1", port), ops_listen=Listen("127.0.0.1", ops_port)
    )
    try:
        _run(settings, run)
    except ConfigError as error:
        raise ConfigError([_in_options_of_dev(fault) for fault in error.faults]) from error


def _in_options_of_dev(fault: str) -> str:
    """The fault with options of `dev` in place of settings: these options set the ports."""
    return fault.replace("AUTOROUTER_LISTEN:", "--port:").replace(
        "AUTOROUTER_OPS_LISTEN:", "--ops-port:"
    )


@click.command(cls=Command, epilog="autorouter serve --regions my-regions.yaml --workers 2")
@REGIONS
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Worker processes, instead of AUTOROUTER_WORKERS. Use one per core.",
)
@click.option("--port", type=PORT, help="The public port, instead of that of AUTOROUTER_LISTEN.")
def serve(regions: Path | None, workers: int | None, port: int | None) -> None:
    """Serve the public API and its ops listener.

    Without AUTOROUTER_REDIS_URL it polls the edges itself. With it, it reads from Redis what
    `autorouter poll` publishes. Only one process polls, reads Redis and has the ops listener,
    whatever the number of workers.
    """
    from router.processes.serve import serve as run

    settings = read_settings(regions)
    if workers is not None:
        settings = msgspec.structs.replace(settings, workers=workers)
    if port is not None:
        listen = Listen(settings.listen.host, port)
        settings = msgspec.structs.replace(settings, listen=listen)
    _run(settings, run)


@click.command(cls=Command, epilog="AUTOROUTER_REDIS_URL=redis://127.0.0.1:6379 autorouter poll")
@REGIONS
def poll(regions: Path | None) -> None:
    """Poll the edges and publish their health to Redis.

    Set AUTOROUTER_VANTAGE to a different name at each place that polls. If several pollers have
    the same name, one of them polls and the others wait as standby. AUTOROUTER_POLL_LISTEN adds
    /healthz, /readyz and /metrics.
    """
    from router.processes.poll import poll as run

    _run(read_settings(regions), run)


@click.command(cls=Command, epilog="autorouter check --regions my-regions.yaml --probe")
@REGIONS
@click.option("--probe", "asks", is_flag=True, help="Also probe every edge once.")
@JSON
def check(regions: Path | None, asks: bool, as_json: bool) -> None:
    """Validate settings, regions.yaml and the geo database; list every fault.

    Starts nothing, and sends requests only with --probe. Warns about variables that look like a
    misspelled setting. With --probe, it prints for each edge what it answered and what to change.
    Run it where the poller will run.
    """
    from router.cli.check import check as examine

    found = examine(os.environ, regions)
    if asks and found["ok"]:
        from router.cli.probe import probe_edges

        found["probes"] = probe_edges(os.environ, regions)
        found["ok"] = all(row["ok"] for row in found["probes"])
    if as_json:
        print_json(found)
    else:
        from router.cli import text as render

        render.show_findings(found)
    sys.exit(0 if found["ok"] else 1)


def _run(settings: Settings, command: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Set up logging, and run a server command on uvloop."""
    import uvloop

    from router.telemetry.logs import start_logging

    start_logging(settings.log_level, settings.log_format)
    uvloop.run(command(settings))
