"""Builders with defaults: a test gives only the values that matter to it.

The default fleet is the shipped one: five edges in Canada, five in the United States.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from router.api.http_protocol import Request
from router.model import (
    Catalog,
    Check,
    Country,
    EdgeView,
    Intended,
    Intent,
    Level,
    Location,
    Observed,
    Position,
    Region,
    Source,
    Status,
    View,
)
from router.routing.cache_headers import CachePolicy, Sharing
from router.routing.fleet import Edge, Fleet
from router.routing.location import Placed
from router.routing.ranking import Ranker, RouteKey
from router.routing.route_table import RouteTable
from router.store import Change

NOW = 1_700_000_000.0

TORONTO = Position(43.6532, -79.3832)
MONTREAL = Position(45.5019, -73.5674)
VANCOUVER = Position(49.2827, -123.1207)
NEW_YORK = Position(40.7128, -74.0060)
DALLAS = Position(32.7767, -96.7970)
SAN_FRANCISCO = Position(37.7749, -122.4194)
BERLIN = Position(52.5200, 13.4050)

CITIES = {
    "yto-01": ("Toronto", "CA", TORONTO),
    "yto-02": ("Toronto 02", "CA", TORONTO),
    "yul-01": ("Montreal", "CA", MONTREAL),
    "yul-02": ("Montreal 02", "CA", MONTREAL),
    "yvr-02": ("Vancouver", "CA", VANCOUVER),
    "nyc-01": ("New York", "US", NEW_YORK),
    "nyc-02": ("New York 02", "US", NEW_YORK),
    "dal-01": ("Dallas", "US", DALLAS),
    "dal-02": ("Dallas 02", "US", DALLAS),
    "sfo-01": ("San Francisco", "US", SAN_FRANCISCO),
}
CANADIAN = [id for id, (_, country, _) in CITIES.items() if country == "CA"]
AMERICAN = [id for id, (_, country, _) in CITIES.items() if country == "US"]
COUNTRIES = {
    "CA": Country(code="CA", name="Canada", centre=Position(46.9, -89.6)),
    "US": Country(code="US", name="United States", centre=Position(37.3, -92.1)),
    "DE": Country(code="DE", name="Germany", centre=Position(50.9, 9.9)),
    "JP": Country(code="JP", name="Japan", centre=Position(35.7, 137.7)),
    "AQ": Country(code="AQ", name="Antarctica", centre=None),
}


def a_region(
    id: str = "yto-01",
    *,
    country: str | None = None,
    position: Position | None = None,
    endpoint: str | None = None,
    routable: bool = True,
    weight: float = 1.0,
    check: Check = Check(),
) -> Region:
    """A shipped region by its id. Any other id gives a region in Toronto."""
    name, home, place = CITIES.get(id, (f"City of {id}", "CA", TORONTO))
    return Region(
        id=id,
        name=name,
        country=country or home,
        position=position or place,
        endpoint=endpoint or f"https://api.{id}.edge.polargrid.ai",
        routable=routable,
        weight=weight,
        check=check,
    )


def a_catalog(
    *regions: Region,
    aliases: Mapping[str, str] | None = None,
    countries: Mapping[str, Country] = COUNTRIES,
) -> Catalog:
    """The given regions, or the ten shipped ones. `kokoro` is an alias by default."""
    return Catalog(
        regions=regions or tuple(a_region(id) for id in CITIES),
        aliases=dict({"kokoro": "kokoro-82m"} if aliases is None else aliases),
        countries=dict(countries),
    )


def an_edge(
    region: Region | str = "yto-01",
    observed: Observed = Observed.UP,
    *,
    intended: Intended = Intended.ENABLED,
    models: Iterable[str] | None = None,
) -> Edge:
    """An edge that is up and enabled. Its inventory is unknown."""
    return Edge(
        region=a_region(region) if isinstance(region, str) else region,
        observed=observed,
        since=NOW - 3600,
        votes={"local": observed},
        models=None if models is None else frozenset(models),
        intended=intended,
    )


def a_held_edge(
    id: str = "yto-01", state: Intended = Intended.DRAINING, observed: Observed = Observed.UP
) -> Edge:
    """An edge that an operator drained a minute ago. The intent ends in an hour."""
    return replace(an_edge(id, observed, intended=state), intent=an_intent(id, state))


def a_fleet(*edges: Edge, status: Status = Status.OK) -> Fleet:
    """The given edges, or all ten shipped ones, which are up."""
    return Fleet(edges=edges or tuple(an_edge(id) for id in CITIES), status=status, seen_at=NOW)


def a_fleet_but(*changed: Edge, status: Status = Status.OK) -> Fleet:
    """The ten shipped edges. Those that are not given are up."""
    by_id = {id: an_edge(id) for id in CITIES} | {edge.region.id: edge for edge in changed}
    return a_fleet(*by_id.values(), status=status)


def a_dialled_fleet(shares: Mapping[str, float], *, slot: int = 0) -> Fleet:
    """The ten shipped edges, up, with the dials of `shares`."""
    edges = (replace(an_edge(id), share=shares.get(id, 1.0)) for id in CITIES)
    return replace(a_fleet(*edges), slot=slot)


def a_ranker(*regions: Region) -> Ranker:
    return Ranker(a_catalog(*regions))


def a_ranker_for(fleet: Fleet) -> Ranker:
    return a_ranker(*(edge.region for edge in fleet.edges))


def a_table(fleet: Fleet | None = None, policy: CachePolicy = CachePolicy()) -> RouteTable:
    fleet = fleet or a_fleet()
    return RouteTable(a_ranker_for(fleet), fleet, policy)


def a_key(*preferred: str, country: str | None = "CA") -> RouteKey:
    """The key of a viewer in Toronto, or in `country` with these preferred edges."""
    default = ("yto-01", "yto-02", "yul-01") if country == "CA" else ()
    return RouteKey(country, preferred or default)


def a_location(position: Position | None = TORONTO, country: str | None = "CA") -> Location:
    """A location of city level, or of country level if there is no position."""
    if position is None and country is None:
        return Location()
    level = Level.COUNTRY if position is None else Level.CITY
    return Location(country=country, position=position, level=level, source=Source.DATABASE)


def a_placed(
    location: Location | None = None, *, seed: int = 1, key: RouteKey | None = None
) -> Placed:
    """A viewer who was placed by address, or by the CDN's `key`."""
    sharing = Sharing.PRIVATE if key is None else Sharing.KEYED
    return Placed(a_location() if location is None else location, seed, sharing, key)


def a_request(
    target: str = "/v1/route",
    *,
    viewer: str | None = "24.48.0.1",
    method: str = "GET",
    peer: str | None = "127.0.0.1",
) -> Request:
    """A request that a proxy on loopback forwards for a viewer in Canada."""
    headers = [] if viewer is None else [(b"x-forwarded-for", viewer.encode())]
    return Request(method.encode(), target.encode(), headers, peer)


def an_edge_view(
    state: Observed = Observed.UP,
    *,
    since: float = NOW - 3600,
    models: Iterable[str] | None = None,
    models_at: float = NOW,
) -> EdgeView:
    return EdgeView(
        state=state,
        since=since,
        models=None if models is None else tuple(models),
        models_at=None if models is None else models_at,
    )


def a_view(
    vantage: str = "local",
    edges: Mapping[str, EdgeView | Observed] | None = None,
    *,
    probed_at: float = NOW,
    isolated: bool = False,
    held: Iterable[str] = (),
    seq: int = 1,
) -> View:
    """The view of one vantage. By default every shipped edge is up."""
    states = dict.fromkeys(CITIES, Observed.UP) if edges is None else edges
    return View(
        vantage=vantage,
        seq=seq,
        probed_at=probed_at,
        isolated=isolated,
        held=tuple(held),
        edges={
            id: an_edge_view(seen) if isinstance(seen, Observed) else seen
            for id, seen in states.items()
        },
    )


def an_intent(
    edge: str = "yto-01",
    state: Intended = Intended.DRAINING,
    *,
    expires_at: float = NOW + 3600,
) -> Intent:
    return Intent(
        edge=edge,
        state=state,
        actor="ops",
        reason="maintenance",
        created_at=NOW - 60,
        expires_at=expires_at,
    )


def wishes(*intents: Intent) -> list[Change]:
    """Store changes that set these intents, without events."""
    return [Change(intent.edge, intent) for intent in intents]
