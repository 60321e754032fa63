"""`simulate`: what would move where."""

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
        """The id, and the number within its bounds."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([a-z0-9-]{1,63})=(\d{1,4}(?:\.\d{1,6})?)%?", value, re.ASCII)
        if match is None or not self._least <= float(match[2]) <= self._most:
            bounds = f"from {self._least:g} to {self._most:g}"
            self.fail(f"write {self.name} with a number {bounds}", param, ctx)
        return match[1], float(match[2])


@click.command(cls=Command, epilog="autorouter simulate --drain yto-01,yto-02 --svg map.svg")
@click.option("--drain", "drained", type=Ids(), default=(), help="Edges left out of new answers.")
@click.option("--down", type=Ids(), default=(), help="Edges that fail.")
@click.option("--without", type=Ids(), default=(), help="Regions taken out of the catalog.")
@click.option(
    "--dial",
    "dials",
    type=_Numbers("ID=SHARE", 0.0, 100.0),
    multiple=True,
    help="Edges that keep a share of their viewers, in percent: yto-01=70.",
)
@click.option(
    "--weight",
    "weights",
    type=_Numbers("ID=N", 0.001, 1_000.0),
    multiple=True,
    help="Edges of another weight: yto-01=2.",
)
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
@SCOPE
@click.option("--model", help="For viewers who ask for this model.")
@click.option("--from", "server", metavar="URL", help="Start from the fleet of this ops listener.")
@click.option("--all-up", is_flag=True, help="Start from every edge up and enabled.")
@click.option("--svg", type=_PICTURE, help="Draw a map as SVG.")
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
    """Show what would move where if edges were drained, dialled, down, added or gone.

    Changes nothing. Starts from the present fleet: asks the server on
    AUTOROUTER_OPS_LISTEN; without one, reads Redis; without that, takes every edge as up.
    Viewers are weighed by the IPv4 addresses of the geo database. To read it takes half a
    minute; AUTOROUTER_STATE_DIR keeps what was found.
    """
    from router.cli.text import working
    from router.cli.whatif_text import moves
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
        raise click.UsageError(f"say what changes: {_CHANGES}")
    supposed = SimulationInput(change, _query(scope, model), server, all_up)
    with working() as progress:
        outcome = asyncio.run(run(read_settings(regions), supposed, progress))
    if svg is not None:
        svg.write(outcome.svg.encode())
    print_json(outcome.document) if as_json else moves(outcome.document)


def _query(scope: str, model: str | None) -> "Query":
    from router.ops.client import query_of

    query = query_of(scope=scope, model=model or "")
    if query is None:
        raise click.UsageError("--model must be at most 128 characters, none a control character")
    return query
