"""Why a viewer gets this edge, as plain data for people and programs. Pure.

It tells the very Decision that serves the answer; nothing is decided here.
"""

from typing import Any

from router.caching import CachePolicy, format_key
from router.decision import decide
from router.fleet import Edge, Fleet
from router.geo import distance_km
from router.location import Placed
from router.model import Location, Position
from router.query import Query
from router.ranking import Ranker
from router.routes import ALTERNATES_COUNT


def explain(
    ranker: Ranker, fleet: Fleet, placed: Placed, query: Query, policy: CachePolicy
) -> dict[str, Any]:
    """Location and its source, the route key, every edge in order with its distance, and
    for each one not offered, why. Distances are from the viewer, in km."""
    if placed.key is None:
        key = ranker.key(placed.location, placed.seed, query.scope)
    else:
        key = ranker.known(placed.key)
    decision = decide(ranker, fleet, key, query)
    origin = ranker.origin(placed.location)
    return {
        "location": _location(placed.location),
        "query": query._asdict(),
        "key": format_key(key),
        "status": decision.status,
        "region": decision.candidates[0].region.id if decision.candidates else None,
        "reason": decision.reason,
        "problem": decision.problem,
        "crossed_border": decision.crossed_border,
        "residency": None if decision.residency is None else sorted(decision.residency),
        "model": decision.model,
        "ttl": policy.ttl(decision.status),
        "candidates": [
            {"role": _role(place), **_edge(edge, origin)}
            for place, edge in enumerate(decision.candidates)
        ],
        "rejected": [{"why": why, **_edge(edge, origin)} for edge, why in decision.rejected],
    }


def describe_edge(edge: Edge) -> dict[str, Any]:
    """All that is known of an edge, for the ops listener and `autorouter edges`."""
    return {
        "id": edge.region.id,
        "name": edge.region.name,
        "country": edge.region.country,
        "endpoint": edge.region.endpoint,
        "routable": edge.region.routable,
        "weight": edge.region.weight,
        "state": edge.observed,
        "since": edge.since,
        "reason": edge.reason,
        "rtt_ms": edge.rtt_ms,
        "intent": edge.intended,
        "models": None if edge.models is None else sorted(edge.models),
        "votes": dict(edge.votes),
    }


def describe_fleet(fleet: Fleet) -> dict[str, Any]:
    """The fleet: its status, when it was last seen, and every edge in catalog order."""
    return {
        "status": fleet.status,
        "seen_at": fleet.seen_at,
        "edges": [describe_edge(edge) for edge in fleet.edges],
    }


def _location(location: Location) -> dict[str, Any]:
    position = location.position
    return {
        "country": location.country,
        "latitude": None if position is None else position.latitude,
        "longitude": None if position is None else position.longitude,
        "level": location.level,
        "source": location.source,
    }


def _edge(edge: Edge, origin: Position | None) -> dict[str, Any]:
    far = None if origin is None else round(distance_km(origin, edge.region.position))
    return {
        "region": edge.region.id,
        "name": edge.region.name,
        "country": edge.region.country,
        "distance_km": far,
        "state": edge.observed,
        "since": edge.since,
        "reason": edge.reason,
    }


def _role(place: int) -> str:
    if place == 0:
        return "pick"
    return "alternate" if place <= ALTERNATES_COUNT else "candidate"
