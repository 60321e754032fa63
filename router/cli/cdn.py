"""Commands that generate from the catalog what a CDN in front needs."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from router.cli.app import Group
from router.cli.options import JSON, REGIONS, print_json, read_settings

if TYPE_CHECKING:
    from router.routing.ranking import Ranker

_NAMES_SHOWN = 10


@click.group(cls=Group)
def cdn() -> None:
    """Generate from the catalog what a CDN in front needs."""


@cdn.command(epilog="autorouter cdn render --output function.js")
@REGIONS
@click.option(
    "--for",
    "where",
    type=click.Choice(["cloudfront", "cloudflare", "fastly"]),
    default="cloudfront",
    help="A CloudFront function, a Cloudflare Worker, or a program for Fastly Compute.",
)
@click.option(
    "--kvs",
    is_flag=True,
    help="CloudFront only: read the table from a KeyValueStore, see `autorouter cdn publish`.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Write to this file instead of standard output.",
)
def render(regions: Path | None, where: str, kvs: bool, output: Path | None) -> None:
    """Generate the CDN program that makes the route key, from regions.yaml.

    Deploy it again when edges are added or removed; it does not depend on health. With --kvs,
    deploy it again only for a new release: `autorouter cdn publish` writes the edges.
    """
    from router.cdn.edge_function import fill
    from router.cdn.edge_function import render as fitted
    from router.cdn.programs import Target, read_program

    if kvs and where != "cloudfront":
        raise click.UsageError("--kvs is for CloudFront: leave --for out")
    target = Target.CLOUDFRONT_KVS if kvs else Target(where)
    write = fitted if where == "cloudfront" else fill
    program = write(_ranker(regions), read_program(target))
    if output is None:
        click.echo(program, nl=False)
    else:
        _replace(output, program)


@cdn.command(
    epilog="autorouter cdn publish arn:aws:cloudfront::123456789012:key-value-store/a1b2 --yes"
)
@click.argument("store", metavar="ARN")
@REGIONS
@click.option("--yes", "acts", is_flag=True, help="Write the table.")
@JSON
def publish(store: str, regions: Path | None, acts: bool, as_json: bool) -> None:
    """Write the table for `autorouter cdn render --kvs` to a CloudFront KeyValueStore.

    Without --yes it only shows what would change. Needs boto3 with awscrt, and AWS credentials
    where boto3 finds them. If two processes publish at the same time, one of them stops with an
    error.
    """
    from router.cdn import key_value_store as kvs
    from router.cdn.key_value_table import make_table
    from router.cli import text

    opened = kvs.KeyValueStore(store)
    change = kvs.plan(opened, make_table(_ranker(regions)))
    if not as_json:
        _show(change)
    if acts and not change.is_empty:
        with text.show_progress() as progress:
            kvs.publish(opened, change, lambda done, calls: progress("writing", done, calls))
    if as_json:
        print_json({**_summary(change), "published": acts or change.is_empty})
    elif acts and not change.is_empty:
        click.echo(f"published version {change.version}")
    elif not change.is_empty:
        click.echo("nothing was written: add --yes to publish")


def _ranker(regions: Path | None) -> "Ranker":
    from router.config.inputs import read_catalog
    from router.routing.ranking import Ranker

    return Ranker(read_catalog(read_settings(regions)))


def _replace(path: Path, text: str) -> None:
    """Write a file completely or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _summary(change: Any) -> dict[str, Any]:
    """The plan, with the numbers of values in place of the values."""
    summary = asdict(change)
    summary["puts"], summary["deletes"] = len(change.puts), len(change.deletes)
    summary["calls"] = change.calls
    del summary["etag"]
    return summary


def _show(change: Any) -> None:
    current = change.before[0] if change.before else "none"
    click.echo(f"current version  {current}")
    click.echo(f"this catalog     {change.version}, {change.size_bytes:,} bytes")
    if change.is_empty:
        click.echo("nothing to do: the store already has this table")
        return
    for sign, ids in (("+", change.edges_added), ("-", change.edges_removed)):
        for id in ids[:_NAMES_SHOWN]:
            click.echo(f"  {sign} {id}")
        if len(ids) > _NAMES_SHOWN:
            click.echo(f"  {sign} and {len(ids) - _NAMES_SHOWN} more")
    click.echo(
        f"values           {len(change.puts)} to write, {len(change.deletes)} of older versions to "
        f"remove, in {change.calls} calls"
    )
