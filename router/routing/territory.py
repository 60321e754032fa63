"""Which edge serves which part of the world, and what would move if that changed. Pure.

Every pick comes from the Ranker and the `decide` that serve answers. Viewers are grouped by cells
of a grid: those of one country in one cell rank edges as the centre of the cell does. Long work is
a generator, so that its caller can pause between steps.
"""

from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from router.model import Level, Location, Observed, Position, Scope, Source, Status
from router.routing.dial import Picked, picker
from router.routing.fleet import Edge, Fleet
from router.routing.query import Query
from router.routing.ranking import Metro, Ranker, RouteKey, mix32

CELL_DEG = 2
NETWORKS = 256

# Sample networks: inside a metro, a viewer's network decides.
_SEEDS = tuple(mix32(number) for number in range(NETWORKS))
_PLAIN = Query()

Shares = Mapping[str | None, float]  # edge id, or None for no edge, → share of viewers
Picks = Mapping[RouteKey, Picked]
Change = tuple[str | None, str | None]  # from one edge to another
Work = Generator[None, None, Picks]


class Cell(NamedTuple):
    """The part of a country inside one square of the grid: rows count from the south
    pole, columns from 180 degrees west."""

    country: str
    row: int
    column: int

    @property
    def centre(self) -> Position:
        """The middle of the square."""
        return Position((self.row + 0.5) * CELL_DEG - 90, (self.column + 0.5) * CELL_DEG - 180)


class Block(NamedTuple):
    """Viewers of one country, or of none known, who rank edges alike."""

    country: str | None
    group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Everything that depends on the catalog only. `groups`: for each group of viewers who rank
    edges alike, their route keys and the share of the group with each. `cells`: the group of each
    cell. `weights`: for each block, the sum over its cells. `homes`: the pick of each key if all
    edges are up.
    """

    groups: tuple[Mapping[RouteKey, float], ...]
    cells: Mapping[Cell, int]
    weights: Mapping[Block, float]
    homes: Picks


class Move(NamedTuple):
    """The share of all viewers who would change from one edge to another, and their countries,
    largest first.
    """

    origin: str | None
    target: str | None
    share: float
    countries: tuple[str | None, ...]


def survey(ranker: Ranker, weights: Mapping[Cell, float]) -> Generator[None, None, Survey]:
    """Group every cell of `weights` by how its viewers rank edges. The last group is for viewers
    of unknown location; no cell is in it.
    """
    numbers: dict[tuple[str, tuple[Metro, ...]], int] = {}
    groups: list[Mapping[RouteKey, float]] = []
    cells: dict[Cell, int] = {}
    totals: defaultdict[Block, float] = defaultdict(float)
    for cell, weight in weights.items():
        alike = cell.country, ranker.around(cell.country, cell.centre, Scope.COUNTRY)
        if alike not in numbers:
            numbers[alike] = len(groups)
            groups.append(key_shares(ranker, _location(cell)))
        cells[cell] = numbers[alike]
        totals[Block(cell.country, cells[cell])] += weight
        yield
    groups.append(key_shares(ranker, Location()))
    homes = yield from picks(ranker, all_up_fleet(ranker), groups)
    return Survey(groups=tuple(groups), cells=cells, weights=totals, homes=homes)


def key_shares(
    ranker: Ranker, location: Location, scope: Scope = Scope.COUNTRY
) -> Mapping[RouteKey, float]:
    """The route keys of the viewers there, and the share of viewers with each."""
    counts = Counter(ranker.key(location, seed, scope) for seed in _SEEDS)
    return {key: count / NETWORKS for key, count in counts.items()}


def all_up_fleet(ranker: Ranker) -> Fleet:
    """The fleet with every edge up and enabled."""
    regions = ranker.catalog.regions
    edges = tuple(Edge(region=one, observed=Observed.UP, votes={}) for one in regions)
    return Fleet(edges=edges, status=Status.OK)


def picks(ranker: Ranker, fleet: Fleet, groups: Iterable[Mapping[RouteKey, float]]) -> Work:
    """The pick of every key for a request without parameters; None: no edge."""
    picked: dict[RouteKey, Picked] = {}
    pick = picker(ranker, fleet, _PLAIN)
    for key in dict.fromkeys(key for group in groups for key in group):
        picked[key] = pick(key)
        yield
    return picked


def weigh(surveyed: Survey, answers: Mapping[str | None, int]) -> dict[Block, float]:
    """The share of all viewers in each block. If `answers` are given, a country's weight is its
    number of answers (None: viewers of unknown country). Within a country, and without answers,
    the survey's weights are used.
    """
    asked, whole = sum(answers.values()), sum(surveyed.weights.values())
    totals: defaultdict[str | None, float] = defaultdict(float)
    for block, weight in surveyed.weights.items():
        totals[block.country] += weight
    shares = {
        block: (weight / totals[block.country]) * answers.get(block.country, 0) / asked
        if asked
        else weight / whole
        for block, weight in surveyed.weights.items()
        if totals[block.country]
    }
    unplaced = sum(count for country, count in answers.items() if not totals[country])
    shares[Block(None, len(surveyed.groups) - 1)] = unplaced / asked if asked else 0.0
    return shares


def edge_shares(group: Mapping[RouteKey, float], picked: Picks) -> Shares:
    """The share of a group's viewers that each edge gets."""
    shares: defaultdict[str | None, float] = defaultdict(float)
    for key, share in group.items():
        for edge in picked[key]:
            shares[edge] += share / len(picked[key])
    return shares


def country_shares(
    surveyed: Survey, weights: Mapping[Block, float], picked: Picks
) -> Mapping[str | None, Shares]:
    """Country → the edges of its viewers, in shares of all viewers."""
    mixes = [edge_shares(group, picked) for group in surveyed.groups]
    countries: dict[str | None, defaultdict[str | None, float]] = {}
    for block, weight in weights.items():
        country = countries.setdefault(block.country, defaultdict(float))
        for edge, share in mixes[block.group].items():
            country[edge] += weight * share
    return countries


def moves(
    surveyed: Survey, weights: Mapping[Block, float], before: Picks, after: Picks
) -> tuple[Move, ...]:
    """Which viewers change edges, the largest share first."""
    changed = [changes(group, before, after) for group in surveyed.groups]
    totals: dict[Change, defaultdict[str | None, float]] = {}
    for block, weight in weights.items():
        for change, share in changed[block.group].items() if weight else ():
            countries = totals.setdefault(change, defaultdict(float))
            countries[block.country] += weight * share
    found = [_move(change, countries) for change, countries in totals.items()]
    return tuple(sorted(found, key=lambda move: -move.share))


def changes(group: Mapping[RouteKey, float], before: Picks, after: Picks) -> Mapping[Change, float]:
    """The shares of a group that go from one edge to another."""
    found: defaultdict[Change, float] = defaultdict(float)
    for key, share in group.items():
        if before[key] != after[key]:
            parts = max(len(before[key]), len(after[key]))
            for change in zip(_repeat(before[key], parts), _repeat(after[key], parts), strict=True):
                if change[0] != change[1]:
                    found[change] += share / parts
    return found


def _repeat(picked: Picked, parts: int) -> Picked:
    return picked if len(picked) == parts else picked * parts


def _move(change: Change, countries: Mapping[str | None, float]) -> Move:
    ordered = sorted(countries, key=lambda code: -countries[code])
    return Move(*change, sum(countries.values()), tuple(ordered))


def _location(cell: Cell) -> Location:
    return Location(cell.country, cell.centre, Level.CITY, Source.NONE)
