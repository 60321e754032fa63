"""The CPU time of one decision in process, from request to response bytes, by fleet size."""

import random
import time
from collections.abc import Sequence

import msgspec

from router.api.assembly import PublicParts, settle_memory
from router.api.http_protocol import Request
from router.config.inputs import Inputs, read_all
from router.config.settings import Settings
from router.config.values import Cidrs
from router.model import Catalog, Observed, Position, Region, Status
from router.routing.cache_headers import CachePolicy
from router.routing.client_address import parse_address
from router.routing.fleet import Edge, Fleet
from router.routing.query import Query
from router.routing.ranking import Ranker
from router.routing.route_table import RouteTable
from router.store.memory import MemoryStore
from router.telemetry.metrics import Telemetry
from tests.support.builders import a_request

ROUNDS = 5
SOME = 10_000


def decision_costs(viewers: Sequence[str]) -> dict[str, float]:
    """Name → µs, or a ratio if the name has no unit. Each is the best of some rounds."""
    settings = msgspec.structs.replace(Settings(), trusted_proxies=Cidrs(["127.0.0.0/8"]))
    catalog, geo = read_all(settings)
    requests = [a_request(viewer=viewer) for viewer in viewers]
    public = a_front(Inputs(settings, catalog, geo))
    costs = {
        "an address to an answer, µs": decided_us(public, viewers),
        "a viewer never seen, µs": cost_us(public, requests),
        "the same viewer, µs": cost_us(public, requests[:1] * SOME),
    }
    warm = {}
    for count in (10, 500):
        large = a_front(Inputs(settings, a_catalog_of(count, catalog), geo))
        some = requests[:SOME]
        costs[f"a place never seen, {count:,} edges, µs"] = once_us(large, some[:2_000])
        warm[count] = cost_us(large, some)
        costs[f"a new fleet's first answers, {count:,} edges, µs"] = rebuilt_us(large, some[:2_000])
    costs["answers known, 500 edges ÷ 10"] = warm[500] / warm[10]
    return costs


def a_front(inputs: Inputs) -> PublicParts:
    """The public app with every edge up."""
    public = PublicParts(inputs, MemoryStore(), Telemetry())
    public.watch.table = a_table(public.watch.ranker)
    settle_memory()
    return public


def a_table(ranker: Ranker, down: str | None = None) -> RouteTable:
    """A route table in which every edge is up except `down`."""
    edges = tuple(
        Edge(
            region=region,
            observed=Observed.DOWN if region.id == down else Observed.UP,
            votes={},
        )
        for region in ranker.catalog.regions
    )
    return RouteTable(ranker, Fleet(edges=edges, status=Status.OK), CachePolicy())


def a_catalog_of(count: int, like: Catalog) -> Catalog:
    """A catalog with `count` edges all over the world, the same in each run."""
    rng = random.Random(5)
    countries = sorted(like.countries)
    regions = tuple(
        Region(
            id=f"e-{number:05}",
            name=f"Edge {number}",
            country=rng.choice(countries),
            position=Position(rng.uniform(-55, 70), rng.uniform(-180, 180)),
            endpoint=f"https://e-{number:05}.example",
        )
        for number in range(count)
    )
    return Catalog(regions=regions, aliases={}, countries=like.countries)


def cost_us(public: PublicParts, requests: Sequence[Request]) -> float:
    """CPU time of a request after all were sent once. The best of some rounds."""
    once_us(public, requests)
    return min(once_us(public, requests) for _ in range(ROUNDS))


def once_us(public: PublicParts, requests: Sequence[Request]) -> float:
    """Mean CPU time of a request."""
    respond, started = public.app.respond, time.process_time()
    for request in requests:
        respond(request)
    return (time.process_time() - started) / len(requests) * 1e6


def decided_us(public: PublicParts, viewers: Sequence[str]) -> float:
    """CPU time of the decision alone, without the memo of addresses."""
    table, query, costs = public.watch.table, Query(), []
    for _ in range(ROUNDS):
        started = time.process_time()
        for viewer in viewers:
            placed = public.locator.place_address(parse_address(viewer))
            key = table.ranker.key(placed.location, placed.seed, query.scope)
            table.answer(key, query, placed.sharing)
        costs.append((time.process_time() - started) / len(viewers) * 1e6)
    return min(costs)


def rebuilt_us(public: PublicParts, requests: Sequence[Request]) -> float:
    """CPU time of a request after an edge fell, when no answer is memoized."""
    costs = []
    for number in range(ROUNDS):
        down = public.watch.ranker.catalog.regions[number].id
        public.watch.table = a_table(public.watch.ranker, down)
        costs.append(once_us(public, requests))
    return min(costs)
