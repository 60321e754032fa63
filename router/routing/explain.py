"""Why a viewer gets this edge, as plain data for people and programs. Pure.

It describes the Decision that serves the answer; nothing is decided here.
"""

from collections import defaultdict
from typing import Any

from router.geo.country_codes import code_advice, country_code
from router.geo.overrides import FeedLine
from router.geo.sphere import distance_km
from router.model import Level, Location, Position, Source
from router.routing.cache_headers import CachePolicy, Sharing, format_key
from router.routing.decision import Decision, Rejection, decide
from router.routing.dial import DialPosition, apply_dial, dial_position, picker
from router.routing.fleet import Edge, Fleet
from router.routing.location import Placed
from router.routing.query import Query
from router.routing.ranking import Ranker, RouteKey, place_seed
from router.routing.route_table import ALTERNATES_COUNT, RouteTable
from router.routing.territory import key_shares

_BY_INTENT = (Rejection.DRAINING, Rejection.DISABLED)
_BY_HEALTH = (Rejection.DOWN, Rejection.UNKNOWN)


def explain(
    ranker: Ranker,
    fleet: Fleet,
    placed: Placed,
    query: Query,
    policy: CachePolicy,
    line: FeedLine | None = None,
) -> dict[str, Any]:
    """Returns the location and its source, the route key, every edge in order with its distance,
    why and since when an edge is not offered, and the headers of the answer. Distances are from
    the viewer, in km; `estimated_ms` is given where it decides. `line`: the line of an override or
    feed about the viewer's network.
    """
    key = _key(ranker, placed, query)
    whole = decide(ranker, fleet, key, query)
    position_of = dial_position(fleet, key, placed.sharing, placed.seed)
    decision = apply_dial(whole, key, position_of)
    return {
        "location": {**_location(ranker, placed.location), **_feed_line(line)},
        "query": query._asdict(),
        "key": format_key(key),
        **_verdict(decision),
        "dial": _dial(whole, decision),
        "crossed_border": decision.crossed_border,
        "residency": None if decision.residency is None else sorted(decision.residency),
        "model": decision.model,
        "ttl": policy.ttl(decision.status),
        **_answer(RouteTable(ranker, fleet, policy), key, query, placed),
        **_edges(ranker, decision, placed, key, position_of),
    }


def _edges(
    ranker: Ranker,
    decision: Decision,
    placed: Placed,
    key: RouteKey,
    position_of: DialPosition,
) -> dict[str, Any]:
    origin = ranker.origin(placed.location)

    def describe(edge: Edge) -> dict[str, Any]:
        return _edge(edge, origin, ranker.estimated_ms(key.country, edge.region.id))

    def is_kept(edge: Edge) -> bool | None:
        """Whether the edge's dial keeps this viewer; None without a dial."""
        return position_of(edge.region.id) < edge.share if edge.share < 1.0 else None

    return {
        "candidates": [
            {"role": _role(place), **describe(edge), "kept": is_kept(edge)}
            for place, edge in enumerate(decision.candidates)
        ],
        "rejected": [
            {"why": why, "why_since": _since(edge, why), **describe(edge)}
            for edge, why in decision.rejected
        ],
    }


def _answer(table: RouteTable, key: RouteKey, query: Query, placed: Placed) -> dict[str, Any]:
    answer = table.answer(key, query, placed.sharing, placed.seed)
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return {"code": answer.code, "headers": headers}


def _verdict(decision: Decision) -> dict[str, Any]:
    return {
        "status": decision.status,
        "region": decision.candidates[0].region.id if decision.candidates else None,
        "reason": decision.reason,
        "problem": decision.problem,
    }


def _dial(whole: Decision, decision: Decision) -> dict[str, Any] | None:
    """What the dial of the nearest edge did to this viewer; None if it has no dial."""
    if not whole.candidates or whole.candidates[0].share >= 1.0:
        return None
    nearest = whole.candidates[0]
    return {
        "region": nearest.region.id,
        "share": nearest.share,
        "kept": decision.candidates[0] is nearest,
    }


def spread(ranker: Ranker, fleet: Fleet, location: Location, query: Query) -> list[dict[str, Any]]:
    """The picks of all viewers at one place: each with its share, the largest first."""
    shares: defaultdict[str | None, float] = defaultdict(float)
    pick = picker(ranker, fleet, query)
    for key, share in key_shares(ranker, location, query.scope).items():
        picked = pick(key)
        for id in picked:
            shares[id] += share / len(picked)
    ordered = sorted(shares.items(), key=lambda each: -each[1])
    return [{"region": id, "share": share} for id, share in ordered]


def parse_country(text: str) -> str | None:
    """A country's code in capitals, or None for text that is not the code of a country."""
    return country_code(text.strip())


def country_fault(text: str) -> str:
    """What is wrong with text that `parse_country` does not accept, and what to write."""
    code = text.strip()[:40]
    return f"{code!r} is not the code of a country; {code_advice(code)}"


def place_in_country(country: str, position: Position | None = None) -> Placed:
    """A viewer at a place that an operator gives; without a position, anywhere in the country."""
    level = Level.COUNTRY if position is None else Level.CITY
    location = Location(country, position, level, Source.ASKED)
    return Placed(location, place_seed(location), Sharing.PRIVATE)


def _key(ranker: Ranker, placed: Placed, query: Query) -> RouteKey:
    if placed.key is None:
        return ranker.key(placed.location, placed.seed, query.scope)
    return ranker.known(placed.key)


def _since(edge: Edge, why: Rejection) -> float | None:
    """Since when an edge is rejected; None if the catalog or the query decides that."""
    if why in _BY_INTENT and edge.intent is not None:
        return edge.intent.created_at
    return edge.since if why in _BY_HEALTH else None


def _location(ranker: Ranker, location: Location) -> dict[str, Any]:
    position = location.position
    country = ranker.catalog.countries.get(location.country or "")
    return {
        "country": location.country,
        "country_name": None if country is None else country.name,
        "latitude": None if position is None else position.latitude,
        "longitude": None if position is None else position.longitude,
        "level": location.level,
        "source": location.source,
    }


def _feed_line(line: FeedLine | None) -> dict[str, Any]:
    return {"feed": line and line.feed, "line": line and line.number}


def _edge(edge: Edge, origin: Position | None, ms: float | None) -> dict[str, Any]:
    far = None if origin is None else round(distance_km(origin, edge.region.position))
    return {
        "region": edge.region.id,
        "name": edge.region.name,
        "country": edge.region.country,
        "distance_km": far,
        "state": edge.observed,
        "since": edge.since,
        "reason": edge.reason,
        "never_worked": edge.never_worked,
        "share": edge.share,
        "intent_reason": None if edge.intent is None else edge.intent.reason,
        "until": None if edge.intent is None else edge.intent.ends_at,
        **({} if ms is None else {"estimated_ms": round(ms, 1)}),
    }


def _role(place: int) -> str:
    if place == 0:
        return "pick"
    return "alternate" if place <= ALTERNATES_COUNT else "candidate"
