"""What a CDN in front needs from the catalog."""

from pathlib import Path

import click

from router.cli.app import Group
from router.cli.options import REGIONS, read_settings


@click.group(cls=Group)
def cdn() -> None:
    """What a CDN in front needs from the catalog."""


@cdn.command(epilog="autorouter cdn render --output function.js")
@REGIONS
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

    program = write(Ranker(read_catalog(read_settings(regions))), cdn_program())
    if output is None:
        click.echo(program, nl=False)
    else:
        output.write_text(program, encoding="utf-8")
