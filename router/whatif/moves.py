"""Which viewers get another edge in another fleet, by share of the address space. Pure. Both
fleets use the Decision that serves answers; nothing is decided here.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from router.geo.sphere import distance_km
from router.geodata.census import Census, Place
from router.model import Catalog, Location
from router.routing.cache_headers import Sharing
from router.routing.decision import Decision, decide
from router.routing.dial import apply_dial, dial_position
from router.routing.fleet import Fleet, useful_edges
from router.routing.query import Query
from router.routing.ranking import Ranker, RouteKey, mix32, place_seed

# The edges of a metro share its viewers by network. A sample of made-up networks represents all:
# each place gets its share of them, at least one, and at most one per /24.
SAMPLED_NETWORKS = 200_000

_UINT32 = 0xFFFFFFFF


class Flow(NamedTuple):
    """Viewers of one country, and the edges that they get before and after; None: no edge."""

    country: str | None
    before: str | None
    after: str | None

    @property
    def is_move(self) -> bool:
        """Whether these viewers get another edge than before."""
        return self.before != self.after


@dataclass(slots=True)
class Load:
    """A number of addresses, and the sum of the changes in distance of those whose distances are
    known.
    """

    addresses: float = 0.0
    measured: float = 0.0
    extra_km: float = 0.0

    def add(self, addresses: float, extra_km: float | None) -> None:
        """Add addresses, each of which is this much farther from its edge, if known."""
        self.addresses += addresses
        if extra_km is not None:
            self.measured += addresses
            self.extra_km += addresses * extra_km


class Spot(NamedTuple):
    """A square of one degree, given by its southern and western edge."""

    south: int
    west: int


Flows = defaultdict[Flow, Load]


@dataclass(frozen=True, slots=True)
class Moves:
    """All viewers by flow; those with a position also by spot."""

    flows: Flows = field(default_factory=lambda: defaultdict(Load))
    spots: defaultdict[Spot, Flows] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Load))
    )

    def add(self, location: Location, flow: Flow, addresses: float, extra_km: float | None) -> None:
        """Add viewers of one place with one flow."""
        self.flows[flow].add(addresses, extra_km)
        if location.position is not None:
            spot = Spot(int(location.position.latitude // 1), int(location.position.longitude // 1))
            self.spots[spot][flow].add(addresses, extra_km)


class Side:
    """A fleet that answers one query: the present one or the supposed one."""

    def __init__(self, catalog: Catalog, fleet: Fleet, query: Query) -> None:
        self.ranker = Ranker(catalog)
        self.fleet = fleet
        self.query = query
        self.regions = {region.id: region for region in catalog.regions}
        self._decisions: dict[RouteKey, Decision] = {}

    def pick(self, location: Location, seed: int) -> str | None:
        """The edge that a viewer gets; None if the answer names none."""
        key = self.ranker.key(location, seed, self.query.scope)
        whole = self._decisions.get(key)
        if whole is None:
            enough = None if self.fleet.slot is not None else 1
            whole = decide(self.ranker, self.fleet, key, self.query, enough)
            self._decisions[key] = whole
        position_of = dial_position(self.fleet, key, Sharing.PRIVATE, seed)
        candidates = apply_dial(whole, key, position_of).candidates
        return candidates[0].region.id if candidates else None

    def distance_km(self, location: Location, edge: str | None) -> float | None:
        """The distance to that edge, if both positions are known."""
        origin = self.ranker.origin(location)
        if origin is None or edge is None:
            return None
        return distance_km(origin, self.regions[edge].position)

    def crosses(self, country: str | None, edge: str | None) -> bool:
        """Whether viewers of the country are sent abroad."""
        return None not in (country, edge) and self.regions[edge or ""].country != country


def compare(census: Census, before: Side, after: Side, sampled: int = SAMPLED_NETWORKS) -> Moves:
    """Compare both sides for the viewers of every place. `sampled`: the number of networks in
    total.
    """
    moves, total = Moves(), census.addresses
    for place in census.places:
        location, seeds = place.location, sample_networks(place, total, sampled)
        pairs = Counter((before.pick(location, seed), after.pick(location, seed)) for seed in seeds)
        for (old, new), count in pairs.items():
            flow = Flow(location.country, old, new)
            extra_km = _extra_km(location, flow, before, after) if flow.is_move else None
            moves.add(location, flow, place.addresses * count / len(seeds), extra_km)
    return moves


def sample_networks(place: Place, total: int, sampled: int = SAMPLED_NETWORKS) -> list[int]:
    """Seeds that represent the networks of a place, the same each time. `total`: the number of
    addresses of all places.
    """
    count = min(round(sampled * place.addresses / total), place.addresses // 256)
    first = place_seed(place.location)
    return [mix32(first + number & _UINT32) for number in range(max(1, count))]


def summary(moves: Moves, before: Side, after: Side) -> dict[str, Any]:
    """Plain data for people and programs. Shares are of all addresses, but within a country of
    that country's addresses; `extra_km` is the mean over those who move.
    """
    flows = moves.flows
    return {
        "status": {"before": before.fleet.status, "after": after.fleet.status},
        **_totals(flows, before, after),
        "countries_left": sorted(_countries(before.fleet) - _countries(after.fleet)),
        "edges": _edges(flows, before, after),
        "moves": _pairs(flows),
        "countries": _by_country(flows, before, after),
    }


def _extra_km(location: Location, flow: Flow, before: Side, after: Side) -> float | None:
    near = before.distance_km(location, flow.before)
    far = after.distance_km(location, flow.after)
    return None if near is None or far is None else far - near


def _countries(fleet: Fleet) -> set[str]:
    return {edge.region.country for edge in useful_edges(fleet)}


def _totals(flows: Flows, before: Side, after: Side) -> dict[str, Any]:
    """Totals of a set of flows."""
    return {
        "moved": _share(flows, lambda flow: flow.is_move),
        "extra_km": _extra_mean(load for flow, load in flows.items() if flow.is_move),
        "gain_ms": _gain_ms(flows, before, after),
        "abroad": {
            "before": _share(flows, lambda flow: before.crosses(flow.country, flow.before)),
            "after": _share(flows, lambda flow: after.crosses(flow.country, flow.after)),
        },
        "unanswered": {
            "before": _share(flows, lambda flow: flow.before is None),
            "after": _share(flows, lambda flow: flow.after is None),
        },
    }


def _gain_ms(flows: Flows, before: Side, after: Side) -> float | None:
    """The mean gain of those who move, in ms, if times are estimated; None if none are."""
    gain = known = 0.0
    judge = before.ranker if after.ranker.catalog.latency is None else after.ranker
    for flow, load in flows.items():
        if not flow.is_move or flow.before is None or flow.after is None:
            continue
        old, new = (judge.estimated_ms(flow.country, id) for id in (flow.before, flow.after))
        if old is not None and new is not None:
            gain += load.addresses * (old - new)
            known += load.addresses
    return round(gain / known, 1) if known else None


def _edges(flows: Flows, before: Side, after: Side) -> list[dict[str, Any]]:
    """Each edge's share, in the catalog's order; added edges come last."""
    return [
        {
            "region": region.id,
            "name": region.name,
            "country": region.country,
            "before": _share(flows, lambda flow: flow.before == region.id),  # noqa: B023 - at once
            "after": _share(flows, lambda flow: flow.after == region.id),  # noqa: B023
        }
        for region in (before.regions | after.regions).values()
    ]


def _pairs(flows: Flows) -> list[dict[str, Any]]:
    """Moves from one edge to another, the largest first."""
    total = _addresses(flows.values())
    pairs: defaultdict[tuple[str | None, str | None], list[Load]] = defaultdict(list)
    for flow, load in flows.items():
        if flow.is_move:
            pairs[flow.before, flow.after].append(load)
    rows = [
        {
            "from": old,
            "to": new,
            "share": round(_addresses(loads) / total, 6),
            "extra_km": _extra_mean(loads),
        }
        for (old, new), loads in pairs.items()
    ]
    return sorted(rows, key=lambda row: -row["share"])


def _by_country(flows: Flows, before: Side, after: Side) -> list[dict[str, Any]]:
    """Every country, the one with the most movers first."""
    total = _addresses(flows.values())
    grouped: defaultdict[str | None, Flows] = defaultdict(lambda: defaultdict(Load))
    for flow, load in flows.items():
        grouped[flow.country][flow] = load
    rows = [
        {
            "country": country,
            "share": round(_addresses(own.values()) / total, 6),
            **_totals(own, before, after),
            "moves": _pairs(own),
        }
        for country, own in grouped.items()
    ]
    return sorted(rows, key=lambda row: (-row["share"] * row["moved"], -row["share"]))


def _addresses(loads: Iterable[Load]) -> float:
    return sum(load.addresses for load in loads)


def _share(flows: Flows, is_meant: Callable[[Flow], bool]) -> float:
    part = _addresses(load for flow, load in flows.items() if is_meant(flow))
    return round(part / _addresses(flows.values()), 6)


def _extra_mean(loads: Iterable[Load]) -> float | None:
    """The mean additional distance in km; None if no distance is known."""
    moving = list(loads)
    measured = sum(load.measured for load in moving)
    return round(sum(load.extra_km for load in moving) / measured, 1) if measured else None
