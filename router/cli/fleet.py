"""Commands that show the fleet: `edges`, `explain`, `events`."""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from router.cli.app import Command
from router.cli.completion import edge_ids
from router.cli.options import (
    JSON,
    REGIONS,
    SCOPE,
    Moment,
    print_json,
    read_settings,
    server_settings,
)
from router.errors import RouterError
from router.routing.unknown_edges import unknown_edges
from router.safe_text import escaped_json

WATCH_S = 2.0


@click.command(cls=Command, epilog="autorouter edges --wide")
@click.argument("ids", nargs=-1, metavar="[ID]...", shell_complete=edge_ids)
@click.option("--wide", is_flag=True, help="Show all columns, even if the terminal is narrow.")
@click.option("--watch", is_flag=True, help="Refresh every 2 seconds until Ctrl-C.")
@REGIONS
@JSON
def edges(
    ids: tuple[str, ...], wide: bool, watch: bool, regions: Path | None, as_json: bool
) -> None:
    """Show the fleet, one line per edge, or all details of the given edges.

    Asks the server on AUTOROUTER_OPS_LISTEN. If there is none, reads Redis. Without Redis, shows
    only the catalog. A narrow terminal shows fewer columns, but always the state, the reason and
    the operators' intent.
    """
    from router.cli.fleet_text import show_edge, show_edges
    from router.ops import client as inquire

    while True:
        document = asyncio.run(inquire.edges(server_settings(), lambda: read_settings(regions)))
        document["edges"] = _chosen(document["edges"], ids)
        if watch and sys.stdout.isatty():
            click.clear()
        if as_json:
            print_json(document)
        elif ids:
            for edge in document["edges"]:
                show_edge(document, edge)
        else:
            show_edges(document, wide=wide)
        if not watch:
            return
        time.sleep(WATCH_S)


def _chosen(edges: list[dict[str, Any]], ids: Sequence[str]) -> list[dict[str, Any]]:
    known = {edge["id"]: edge for edge in edges}
    fault = unknown_edges(ids, known)
    if fault is not None:
        raise RouterError(fault)
    return [known[id] for id in ids] if ids else edges


@click.command(cls=Command, epilog="autorouter explain 24.48.0.1 --model kokoro")
@click.argument("viewer", required=False, metavar="[IP|COUNTRY]")
@click.option("--key", help="A route key, as in request log lines: CA~yto-01.yul-01.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME:VALUE",
    help="A header that the CDN sent, like 'CloudFront-Viewer-Country: CA'. Repeat for more.",
)
@click.option(
    "--at", type=Moment(), help="Use the fleet of this time: 20m (ago), 14:30 (UTC), an ISO time."
)
@SCOPE
@click.option("--model", help="Leave out edges that are known not to have this model.")
@click.option("--strict", is_flag=True, help="Only edges in the viewer's country.")
@REGIONS
@JSON
def explain(
    viewer: str | None,
    key: str | None,
    headers: tuple[str, ...],
    at: float | None,
    scope: str,
    model: str | None,
    strict: bool,
    regions: Path | None,
    as_json: bool,
) -> None:
    """Explain which edge a viewer gets, by IP address or by country (DE or Germany).

    Asks the server on AUTOROUTER_OPS_LISTEN. If there is none, uses the health in Redis. Without
    Redis, uses only the catalog. --at needs a server or Redis, and goes back one hour.
    """
    from router.cli import text as render
    from router.ops import client as inquire
    from router.ops.questions import QuestionError

    who = _who(viewer, key, headers)
    try:
        asked = inquire.question(who, scope=scope, model=model, strict=strict, at=at)
    except QuestionError as error:
        raise click.UsageError(str(error)) from error
    if asked is None:
        raise click.UsageError("--model must be at most 128 characters, without control characters")
    document = asyncio.run(
        inquire.explain(server_settings(), lambda: read_settings(regions), asked)
    )
    print_json(document) if as_json else render.show_explanation(document)


def _who(viewer: str | None, key: str | None, headers: Sequence[str]) -> list[tuple[str, str]]:
    """The viewer, as parameters of `/v1/explain`."""
    if sum(map(bool, (viewer, key, headers))) != 1:
        raise click.UsageError("give exactly one of: an IP address, a country, --key, --header")
    if viewer:
        text = viewer.strip()
        is_address = any(one.isdigit() or one == ":" for one in text)
        return [("ip", text) if is_address else ("country", _country(text))]
    return [("key", key)] if key else [("header", header) for header in headers]


def _country(text: str) -> str:
    """The code of the country with this name; any other text unchanged."""
    from router.config.inputs import packaged_path
    from router.geo.countries import load_countries

    countries = load_countries(packaged_path("geodata/countries.csv"))
    names = {one.name.casefold(): code for code, one in countries.items()}
    return names.get(text.casefold(), text)


@click.command(cls=Command, epilog="autorouter events --since 2h")
@click.option("--follow", "-f", is_flag=True, help="Also show new events until Ctrl-C.")
@click.option(
    "--since", type=Moment(), help="Only from this time on: 2h (ago), 14:30 (UTC), an ISO time."
)
@click.option("--edge", help="Only events of this edge.", shell_complete=edge_ids)
@JSON
def events(follow: bool, since: float | None, edge: str | None, as_json: bool) -> None:
    """Show events: transitions, intents, the brake, isolation, purges, reloads.

    With --json, prints one object per line.
    """
    from router.cli import text as render
    from router.ops import client as inquire

    def show(events: Sequence[dict[str, Any]]) -> None:
        if not as_json:
            render.show_events(events)
            return
        for event in events:
            click.echo(escaped_json(msgspec.json.encode(event).decode()))

    showing = inquire.show_events(server_settings(), show, edge=edge, since=since, follow=follow)
    asyncio.run(showing)
