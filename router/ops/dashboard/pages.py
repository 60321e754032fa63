"""The dashboard's requests: its files, the territory, and previews of changes."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.errors import RouterError
from router.model import MAX_INTENT_S, Intended, Intent
from router.ops.app import Ops
from router.ops.dashboard.assets import read_assets, respond_with_tag
from router.ops.dashboard.atlas import Atlas, Territory
from router.ops.health_routes import answer_json
from router.ops.intents import (
    check_known,
    countries_without_edge,
    has_one_edge_per_country,
    leaves_no_edge,
)
from router.ops.monitor import Outlook
from router.routing.cache_headers import etag
from router.routing.fleet import Fleet
from router.routing.ranking import Metro, Ranker
from router.routing.route_table import RouteTable
from router.routing.territory import (
    CELL_DEG,
    Block,
    Cell,
    Move,
    changes,
    country_shares,
    edge_shares,
    moves,
    weigh,
)
from router.telemetry.recent_counts import RecentCounts

MIN_ANSWERS = 100  # with fewer, viewers are weighted by population
MAX_COUNTRIES = 12
OUTLOOK_S = 1.0

_NOT_FOUND = answer_json({"detail": "no such file"}, 404)


class Dashboard:
    """`/`, its files, `/v1/territory` and `/v1/preview` of one server."""

    def __init__(
        self, ops: Ops, people: Mapping[Cell, float], countries: RecentCounts[str | None]
    ) -> None:
        self._ops = ops
        self._countries = countries
        self._atlas = Atlas(people)
        self._assets = read_assets()

    @property
    def loops(self) -> "Sequence[RecentCounts[Any] | Dashboard]":
        """The loops to run together with the listener."""
        return [self._countries, self._ops.answers, self]

    async def run(self) -> None:
        """Pass the share of viewers that moved to the diagnosis, until cancelled."""
        known: RouteTable | None = None
        while True:
            await asyncio.sleep(OUTLOOK_S)
            table = self._ops.watch.table
            if table is not known:
                known = table
                self._ops.monitor.outlook = await self.outlook()

    async def outlook(self) -> Outlook:
        """The share of viewers that moved, and each edge's share if all edges were up."""
        known = await self._atlas.territory(self._ops.watch.table)
        weights = self._weights(known)[1]
        homes: defaultdict[str, float] = defaultdict(float)
        for shares in country_shares(known.survey, weights, known.survey.homes).values():
            for edge, share in shares.items():
                if edge is not None:
                    homes[edge] += share
        moved = moves(known.survey, weights, known.survey.homes, known.picks)
        return Outlook(moved=sum(move.share for move in moved), homes=dict(homes))

    def routes(self) -> list[Route]:
        """The routes to add to the ops listener."""
        return [
            Route("/", self.page),
            Route("/static/{name}", self.file),
            Route("/v1/territory", self.territory),
            Route("/v1/preview", self.preview),
        ]

    async def page(self, request: Request) -> Response:
        """The dashboard."""
        return self._assets["index.html"].answer(request)

    async def file(self, request: Request) -> Response:
        """A script, a style sheet or the map."""
        asset = self._assets.get(request.path_params["name"])
        return _NOT_FOUND if asset is None else asset.answer(request)

    async def territory(self, request: Request) -> Response:
        """Which viewers get which edge now."""
        table = self._ops.watch.table
        known = await self._atlas.territory(table)
        basis, weights = self._weights(known)
        body = msgspec.json.encode(_territory(known, table.fleet, basis, weights))
        headers = {
            "Cache-Control": "no-cache",
            "Content-Type": "application/json",
            "ETag": etag(body).decode(),
        }
        return respond_with_tag(request, body, headers)

    async def preview(self, request: Request) -> Response:
        """What would change if the edges in `?edges=` had the intent in `?state=`; with `enabled`
        there may be a `dial`. Returns the shares of viewers that would move, from which edge to
        which, and the countries left without an edge.
        """
        try:
            edges, state, dial = _parse_preview(request.query_params)
            check_known(self._ops.watch.fleet, edges)
        except ValueError:
            detail = f"state must be one of {', '.join(Intended)}, and dial from 0 to 1"
            return answer_json({"detail": detail}, 400)
        except RouterError as error:
            return answer_json({"detail": str(error)}, 404)
        watch = self._ops.watch
        table, previewed = watch.table, self._preview_fleet(edges, state, dial)
        left = [] if state is Intended.ENABLED else countries_without_edge(watch.fleet, edges)
        takes_last = state is not Intended.ENABLED and leaves_no_edge(watch.fleet, edges)
        before = await self._atlas.territory(table)
        after = await self._atlas.territory_of(table, previewed)
        basis, weights = self._weights(before)
        moved = await asyncio.to_thread(moves, before.survey, weights, before.picks, after.picks)
        return answer_json(
            {
                "edges": edges,
                "state": state,
                "status": previewed.status,
                "basis": basis,
                "moves": [_move(move) for move in moved],
                "countries_left": left,
                "needs_force": (bool(left) and not has_one_edge_per_country(watch.fleet))
                or takes_last,
                "unanswered": not any(edge.enabled for edge in previewed.edges),
            }
        )

    def _preview_fleet(self, edges: Sequence[str], state: Intended, dial: float | None) -> Fleet:
        if state is Intended.ENABLED and dial is None:
            return self._ops.watch.preview((), without=edges)
        now = time.time()
        end = now + MAX_INTENT_S
        share = 1.0 if dial is None else dial
        intent = Intent(
            edge="", state=state, actor="", reason="", created_at=now, expires_at=end, share=share
        )
        return self._ops.watch.preview([replace(intent, edge=id) for id in edges])

    def _weights(self, known: Territory) -> tuple[str, Mapping[Block, float]]:
        """How viewers are weighted (`people` or `answers`), and the share of viewers in each
        block.
        """
        answers = self._countries.recent()
        if sum(answers.values()) < MIN_ANSWERS:
            return "people", weigh(known.survey, {})
        return "answers", weigh(known.survey, answers)


def _parse_preview(asked: Mapping[str, str]) -> tuple[list[str], Intended, float | None]:
    """The edges, the intent, and the share of a dial. Raises ValueError."""
    edges = list(dict.fromkeys(asked.get("edges", "").split(",")))
    state = Intended(asked.get("state", ""))
    return edges, state, _dial(asked.get("dial")) if state is Intended.ENABLED else None


def _move(move: Move) -> dict[str, Any]:
    return {
        "from": move.origin,
        "to": move.target,
        "share": move.share,
        "countries": move.countries[:MAX_COUNTRIES],
        "more_countries": max(0, len(move.countries) - MAX_COUNTRIES),
    }


def _dial(text: str | None) -> float | None:
    """A share from 0 to 1. Raises ValueError."""
    if text is None:
        return None
    share = float(text)
    if not 0.0 <= share <= 1.0:
        raise ValueError(text)
    return share


def _territory(
    known: Territory, fleet: Fleet, basis: str, weights: Mapping[Block, float]
) -> dict[str, Any]:
    surveyed = known.survey
    return {
        "status": fleet.status,
        "basis": basis,
        "cell_deg": CELL_DEG,
        "sites": [_site(metro, known.ranker) for metro in known.ranker.metros],
        "groups": [_shares(edge_shares(group, known.picks)) for group in surveyed.groups],
        "moved": [
            sum(changes(group, surveyed.homes, known.picks).values()) for group in surveyed.groups
        ],
        "cells": known.cells,
        "countries": _countries(known, weights),
        "moves": [
            {"from": move.origin, "to": move.target, "share": move.share}
            | {"countries": move.countries[:MAX_COUNTRIES]}
            for move in moves(surveyed, weights, surveyed.homes, known.picks)
        ],
    }


def _site(metro: Metro, ranker: Ranker) -> dict[str, Any]:
    """The edges of one city, with the shortest of their names."""
    regions = [ranker.regions[edge.id] for edge in metro.edges]
    first = min(regions, key=lambda region: (len(region.name), region.id))
    return {
        "name": first.name,
        "latitude": first.position.latitude,
        "longitude": first.position.longitude,
        "edges": [region.id for region in regions],
    }


def _shares(shares: Mapping[str | None, float]) -> list[tuple[str | None, float]]:
    return sorted(shares.items(), key=lambda each: -each[1])


def _countries(known: Territory, weights: Mapping[Block, float]) -> list[dict[str, Any]]:
    """Every country that viewers come from, the largest share first."""
    names = known.ranker.catalog.countries
    now = country_shares(known.survey, weights, known.picks)
    well = country_shares(known.survey, weights, known.survey.homes)
    rows = [
        {
            "code": code,
            "name": names[code].name if code in names else code or "Unknown place",
            "share": sum(shares.values()),
            "edges": _shares(shares),
            "moved": _difference(shares, well[code]),
        }
        for code, shares in now.items()
    ]
    return sorted(rows, key=lambda country: (-country["share"], country["name"]))


def _difference(now: Mapping[str | None, float], well: Mapping[str | None, float]) -> float:
    """The share of viewers who would get another edge if all edges were up."""
    return sum(max(0.0, share - well.get(edge, 0.0)) for edge, share in now.items())
