"""`autorouter dev`: everything on one machine, with a simulated fleet to break."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.config.catalog import with_endpoints
from router.config.inputs import Inputs, packaged_path, read_all
from router.config.settings import Settings
from router.config.values import Cidrs, Listen
from router.geo.database import GeoDatabase
from router.model import Catalog, Scope
from router.ops.health_routes import answer_json
from router.processes.serve import run_server
from router.processes.simulated_edges import Mode, SimulatedFleet
from router.routing.client_address import parse_address
from router.routing.ranking import Ranker

LOOPBACK = Cidrs(("127.0.0.0/8", "::1/128"))
CANADIAN, GERMAN = "24.48.0.1", "85.214.132.117"

_WELCOME = """
{count} simulated edges; answers on http://{public}, ops on http://{ops}
The dashboard: http://{ops}/
Try, from another terminal:

  a viewer in Canada
    curl -s -H 'X-Forwarded-For: {canadian}' {public}/v1/route

  a viewer in Germany, which has no edge
    curl -s -H 'X-Forwarded-For: {german}' {public}/v1/route

  take {edge} down, and the Canadian's answer changes within 6 seconds
    curl -s -X PUT {ops}/simulation/{edge}/down; sleep 6; \\
    curl -s -H 'X-Forwarded-For: {canadian}' {public}/v1/route

The last with `healthy` for `down` brings it back, about 30 seconds later: an edge that
fell is held down for a while. Other modes: {modes}.
Ctrl-C stops everything.
"""


async def dev(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM, on loopback, without Redis. Raises ConfigError."""
    regions = settings.regions or packaged_path("regions.yaml")
    settings = msgspec.structs.replace(settings, regions=regions)
    catalog, geo = read_all(settings)
    local = msgspec.structs.replace(
        settings,
        listen=Listen("127.0.0.1", settings.listen.port),
        workers=1,
        redis_url=None,
        trusted_proxies=settings.trusted_proxies or LOOPBACK,
    )
    async with SimulatedFleet(region.id for region in catalog.regions) as fleet:
        await run_server(
            Inputs(local, with_endpoints(catalog, fleet.endpoints), geo),
            ops_routes=simulation_routes(fleet),
            announce=_welcome(local, catalog, geo),
        )


def simulation_routes(fleet: SimulatedFleet) -> list[Route]:
    """`GET /simulation`; `PUT /simulation/{edge}/{mode}`; `PUT /simulation/{edge}/models/{ids}`."""

    async def show(_: Request) -> Response:
        return answer_json({id: _shown(fleet, id) for id in fleet.edges})

    async def set_mode(request: Request) -> Response:
        id, mode = request.path_params["edge"], request.path_params["mode"]
        if id not in fleet.edges or mode not in list(Mode):
            choices = f"edges: {', '.join(fleet.edges)}; modes: {', '.join(Mode)}"
            return answer_json({"detail": f"no such edge or mode; {choices}"}, 404)
        await fleet.edges[id].set_mode(Mode(mode))
        return answer_json(_shown(fleet, id))

    async def set_models(request: Request) -> Response:
        id, models = request.path_params["edge"], request.path_params["models"]
        if id not in fleet.edges:
            return answer_json({"detail": f"no such edge; edges: {', '.join(fleet.edges)}"}, 404)
        fleet.edges[id].models = tuple(filter(None, models.split(",")))
        return answer_json(_shown(fleet, id))

    return [
        Route("/simulation", show),
        Route("/simulation/{edge}/models/{models:path}", set_models, methods=["PUT"]),
        Route("/simulation/{edge}/{mode}", set_mode, methods=["PUT"]),
    ]


def _shown(fleet: SimulatedFleet, id: str) -> dict[str, Any]:
    edge = fleet.edges[id]
    return {"id": id, "endpoint": edge.endpoint, "mode": edge.mode, "models": edge.models}


def _welcome(settings: Settings, catalog: Catalog, geo: GeoDatabase) -> str:
    address = parse_address(CANADIAN)
    key = address and Ranker(catalog).key(geo.locate(CANADIAN), address.seed, Scope.COUNTRY)
    nearest = key.preferred[0] if key and key.preferred else catalog.regions[0].id
    return _WELCOME.format(
        count=len(catalog.regions),
        public=settings.listen,
        ops=settings.ops_listen,
        canadian=CANADIAN,
        german=GERMAN,
        edge=nearest,
        modes=", ".join(Mode),
    )
