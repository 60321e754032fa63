"""`autorouter simulate`: what would move where, from the present fleet and the geo database."""

import time
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from router.config.inputs import read_all, with_latency
from router.config.settings import Settings
from router.errors import RouterError
from router.geodata import Progress, no_progress
from router.geodata.survey import read_census
from router.model import Catalog, EdgeView, Intended, Nearness, Observed, Status
from router.ops.client import ask, stored_fleet
from router.routing.fleet import Edge, Fleet
from router.routing.query import Query
from router.whatif.moves import Side, compare, summary
from router.whatif.scenario import NO_CHANGE, Change, change_catalog, change_fleet
from router.whatif.svg_map import draw


class SimulationInput(NamedTuple):
    """What to simulate. `server`: the ops listener to start from, or None for the one of
    the settings; `all_up`: start from every edge up instead."""

    change: Change
    query: Query = Query()
    server: str | None = None
    all_up: bool = False


class SimulationResult(NamedTuple):
    """The outcome as plain data, and as a map."""

    document: dict[str, Any]
    svg: str


class _ServerDial(msgspec.Struct):
    share: float


class _ServerEdge(msgspec.Struct):
    id: str
    state: Observed
    intent: Intended
    models: frozenset[str] | None = None
    dial: _ServerDial | None = None
    never_worked: bool = False


class _ServerFleet(msgspec.Struct):
    status: Status
    edges: list[_ServerEdge]


_UNPROVEN = {"told": EdgeView(state=Observed.UNKNOWN, since=0.0, worked=False)}


async def simulate(
    settings: Settings, asked: SimulationInput, progress: Progress = no_progress
) -> SimulationResult:
    """Compare the present fleet with the supposed one. `progress` is called with the progress of
    reading the geo database.
    """
    catalog, geo = read_all(settings)
    change, query, now = asked.change, asked.query, time.time()
    catalog_after = _with_nearness(change.nearness, settings, change_catalog(catalog, change))
    present, origin, unknown_ids = await _present_fleet(settings, catalog, asked)
    before = Side(catalog, change_fleet(catalog, present, NO_CHANGE, now), query)
    after = Side(catalog_after, change_fleet(catalog_after, present, change, now), query)
    census = read_census(geo, settings.state_dir, progress)
    moves = compare(census, before, after)
    document = {
        "from": origin,
        "change": change.text,
        "query": query._asdict(),
        "not_in_catalog": unknown_ids,
        "census": {
            "database": census.database,
            "credit": geo.terms.attribution,
            "built_at": census.built_at,
            "addresses": census.addresses,
            "places": len(census.places),
        },
        **summary(moves, before, after),
    }
    regions = before.regions | after.regions
    return SimulationResult(
        document, draw(moves, regions, document, change.text, geo.terms.attribution)
    )


def _with_nearness(nearness: Nearness | None, settings: Settings, catalog: Catalog) -> Catalog:
    """The catalog with this order of cities; unchanged for None."""
    if nearness is Nearness.NETWORK:
        return with_latency(settings, catalog)
    if nearness is Nearness.DISTANCE:
        return replace(catalog, nearness=nearness, latency=None)
    return catalog


async def _present_fleet(
    settings: Settings, catalog: Catalog, asked: SimulationInput
) -> tuple[Fleet, str, list[str]]:
    """The present fleet, its source, and edges that it has but the catalog lacks."""
    if asked.all_up:
        return Fleet(edges=(), status=Status.OK), "every edge up", []
    document = await ask(settings, "/v1/edges", base=asked.server)
    if document is not None:
        return _fleet_from_server(catalog, document)
    if asked.server is not None:
        raise RouterError(f"{asked.server}: no server answers there")
    return *await stored_fleet(settings, catalog), []


def _fleet_from_server(catalog: Catalog, document: dict[str, Any]) -> tuple[Fleet, str, list[str]]:
    try:
        fleet = msgspec.convert(document, _ServerFleet)
    except msgspec.ValidationError as error:
        raise RouterError(f"{document['from']}: not an autorouter's fleet ({error})") from error
    regions = {region.id: region for region in catalog.regions}
    edges = tuple(
        Edge(
            region=regions[edge.id],
            observed=edge.state,
            intended=edge.intent,
            models=edge.models,
            votes={},
            share=1.0 if edge.dial is None else edge.dial.share,
            seen=_UNPROVEN if edge.never_worked else {},
        )
        for edge in fleet.edges
        if edge.id in regions
    )
    unknown_ids = [edge.id for edge in fleet.edges if edge.id not in regions]
    return Fleet(edges=edges, status=fleet.status), document["from"], unknown_ids
