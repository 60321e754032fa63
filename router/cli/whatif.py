"""`autorouter simulate`: which viewers would move to which edges."""

import asyncio
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from router.cli.app import Command
from router.cli.options import JSON, REGIONS, SCOPE, Ids, print_json, read_settings

if TYPE_CHECKING:
    from router.routing.query import Query

_PICTURE = click.File("wb", lazy=True)
_CHANGES = "--drain, --down, --without, --dial, --weight, --add or --nearness"


class _Numbers(click.ParamType[tuple[str, float]]):
    """An edge and a number: `yto-01=70`."""

    def __init__(self, name: str, least: float, most: float) -> None:
        self.name = name
        self._least, self._most = least, most

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, float]:
        """Parse the id and the number, and check its bounds."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([a-z0-9-]{1,63})=(\d{1,4}(?:\.\d{1,6})?)%?", value, re.ASCII)
        if match is None or not self._least <= float(match[2]) <= self._most:
            bounds = f"from {self._least:g} to {self._most:g}"
            self.fail(f"write {self.name} with a number {bounds}", param, ctx)
        return match[1], float(match[2])


@click.command(cls=Command, epilog="autorouter simulate --drain yto-01,yto-02 --svg map.svg")
@click.option("--drain", "drained", type=Ids(), default=(), help="Edges to drain.")
@click.option("--down", type=Ids(), default=(), help="Edges that are down.")
@click.option("--without", type=Ids(), default=(), help="Regions to remove from the catalog.")
@click.option(
    "--dial",
    "dials",
    type=_Numbers("ID=SHARE", 0.0, 100.0),
    multiple=True,
    help="An edge, and the share of viewers that it keeps, in percent: yto-01=70.",
)
@click.option(
    "--weight",
    "weights",
    type=_Numbers("ID=N", 0.001, 1_000.0),
    multiple=True,
    help="An edge, and its new weight: yto-01=2.",
)
@click.option(
    "--add",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file like regions.yaml, with regions to add.",
)
@click.option(
    "--nearness",
    type=click.Choice(["distance", "network"]),
    help="How to order cities for viewers whose country has no edge.",
)
@SCOPE
@click.option("--model", help="Simulate viewers who ask for this model.")
@click.option("--from", "server", metavar="URL", help="Start from the fleet of this ops listener.")
@click.option("--all-up", is_flag=True, help="Start with every edge up and enabled.")
@click.option("--svg", type=_PICTURE, help="Write a map to this SVG file.")
@REGIONS
@JSON
def simulate(
    drained: tuple[str, ...],
    down: tuple[str, ...],
    without: tuple[str, ...],
    dials: tuple[tuple[str, float], ...],
    weights: tuple[tuple[str, float], ...],
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
    """Show which viewers would move if edges were drained, dialled, down, added or removed.

    Changes nothing. Starts from the present fleet: that of the server on AUTOROUTER_OPS_LISTEN.
    If there is none, reads Redis. Without Redis, every edge is up. Viewers are weighted by the
    IPv4 addresses in the geo database. Counting these takes about a minute; the result is saved in
    AUTOROUTER_STATE_DIR.
    """
    from router.cli.text import show_progress
    from router.cli.whatif_text import show_moves
    from router.config.inputs import read_regions
    from router.model import Nearness
    from router.whatif.command import SimulationInput
    from router.whatif.command import simulate as run
    from router.whatif.scenario import Change

    change = Change(
        drained=drained,
        down=down,
        without=without,
        added=read_regions(add) if add else (),
        nearness=None if nearness is None else Nearness(nearness),
        dials={id: percent / 100 for id, percent in dials},
        weights=dict(weights),
    )
    if not change.text:
        raise click.UsageError(f"give at least one change: {_CHANGES}")
    supposed = SimulationInput(change, _query(scope, model), server, all_up)
    with show_progress() as progress:
        outcome = asyncio.run(run(read_settings(regions), supposed, progress))
    if svg is not None:
        svg.write(outcome.svg.encode())
    print_json(outcome.document) if as_json else show_moves(outcome.document)


def _query(scope: str, model: str | None) -> "Query":
    from router.ops.client import query_of

    query = query_of(scope=scope, model=model or "")
    if query is None:
        raise click.UsageError("--model must be at most 128 characters, without control characters")
    return query
