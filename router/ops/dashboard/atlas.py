"""Computes and caches the territory of the present fleet. It is computed in short slices, because
the public API answers on the same event loop.
"""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from router.routing.fleet import Fleet
from router.routing.ranking import Ranker
from router.routing.route_table import RouteTable
from router.routing.territory import Cell, Picks, Survey, picks, survey
from router.store.slices import Pace, in_slices


class Surveyed(NamedTuple):
    """A catalog's survey. `cells`: JSON of country → row, column and group of each of its cells,
    in one flat list.
    """

    ranker: Ranker
    survey: Survey
    cells: msgspec.Raw


class Territory(NamedTuple):
    """Which viewers get which edge under one fleet."""

    ranker: Ranker
    survey: Survey
    cells: msgspec.Raw
    picks: Picks


class Atlas:
    """Computes the territory of a table. The last one is cached."""

    def __init__(self, weights: Mapping[Cell, float]) -> None:
        self._weights = weights
        self._surveyed: Surveyed | None = None
        self._table: RouteTable | None = None
        self._known: Territory | None = None
        self._one_at_a_time = asyncio.Lock()

    async def territory(self, table: RouteTable) -> Territory:
        """Which viewers get which edge by this table."""
        async with self._one_at_a_time:
            if self._known is None or self._table is not table:
                self._known, self._table = await self._territory(table, table.fleet), table
            return self._known

    async def territory_of(self, table: RouteTable, fleet: Fleet) -> Territory:
        """Which viewers would get which edge if the table had this fleet."""
        async with self._one_at_a_time:
            return await self._territory(table, fleet)

    async def _territory(self, table: RouteTable, fleet: Fleet) -> Territory:
        known = await self._survey(table.ranker)
        picked = await in_slices(picks(known.ranker, fleet, known.survey.groups), Pace(rests=True))
        return Territory(*known, picked)

    async def _survey(self, asked: Ranker) -> Surveyed:
        """Survey the catalog with a separate ranker, because the ranker that answers requests has
        a cache, which the survey would fill.
        """
        if self._surveyed is None or self._surveyed.ranker.catalog is not asked.catalog:
            ranker = Ranker(asked.catalog)
            found = await in_slices(survey(ranker, self._weights), Pace(rests=True))
            self._surveyed = Surveyed(ranker, found, _as_json(found.cells))
        return self._surveyed


def _as_json(groups: Mapping[Cell, int]) -> msgspec.Raw:
    cells: dict[str, list[int]] = {}
    for cell, group in groups.items():
        cells.setdefault(cell.country, []).extend((cell.row, cell.column, group))
    return msgspec.Raw(msgspec.json.encode(cells))
