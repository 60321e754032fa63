"""What `/v1/explain` and `autorouter explain` return about one viewer."""

from typing import Any

from router.geo.database import GeoDatabase
from router.ops.questions import Subject
from router.routing.cache_headers import CachePolicy
from router.routing.explain import explain, spread
from router.routing.fleet import Fleet
from router.routing.query import Query
from router.routing.ranking import Ranker


def explain_subject(
    ranker: Ranker,
    fleet: Fleet,
    subject: Subject,
    query: Query,
    policy: CachePolicy,
    geo: GeoDatabase,
) -> dict[str, Any]:
    """See router.routing.explain, with the address, the name of its place, and, for all viewers of
    a place, their picks.
    """
    from router.geo.second_reader import place_name  # loads geoip2

    placed = subject.placed
    address = None if subject.address is None else subject.address.text
    line = None if address is None else geo.line_of(address)
    document = {"ip": address, **explain(ranker, fleet, placed, query, policy, line)}
    if subject.is_many:
        document["spread"] = spread(ranker, fleet, placed.location, query)
    if address is not None:
        document["location"]["place"] = place_name(geo, address, placed.location.source)
    return document
