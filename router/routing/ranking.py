"""Which edges a viewer prefers, and in what order, without regard to health. Pure.

The CDN function computes the same from the same table, so every step is one that
ECMAScript 5.1 can repeat exactly (docs/adr/0003-rendezvous-hash.md).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from router.geo.sphere import Vector, distance_km, mean_vector, unit_vector
from router.model import Catalog, Location, Position, Region, Scope
from router.routing.latency import City, Estimator

METRO_RADIUS_KM = 25.0
PREFERRED_COUNT = 3
KNOWN_PLACES = 32_768

# Slightly more degrees of latitude than METRO_RADIUS_KM: one degree is at least 110.5 km.
_METRO_SPAN_DEG = METRO_RADIUS_KM / 110.5
_UINT32 = 0xFFFFFFFF


class RouteKey(NamedTuple):
    """Everything about the viewer that an answer may depend on.

    `country`: ISO 3166-1 alpha-2 code or None; `preferred`: up to three edge ids,
    best first, empty if the viewer's location is unknown.
    """

    country: str | None
    preferred: tuple[str, ...]


class Contender(NamedTuple):
    """An edge, or a whole metro, that competes for a share of the viewers."""

    id: str
    hash: int
    weight: float


# Contenders and a seed → ids, best first.
Rank = Callable[[Sequence[Contender], int], list[str]]


class Metro(NamedTuple):
    """The routable edges of one country within 25 km of each other, linked transitively."""

    country: str
    centre: Vector
    contender: Contender
    edges: tuple[Contender, ...]
    rank: Rank

    @property
    def is_even(self) -> bool:
        """Whether all its edges have one weight."""
        return len({edge.weight for edge in self.edges}) == 1


def fnv1a32(text: str) -> int:
    """The 32-bit FNV-1a hash of UTF-8 text (Fowler, Noll, Vo; RFC 9923)."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & _UINT32
    return value


def mix32(value: int) -> int:
    """Mix the bits so that each input bit affects each output bit (MurmurHash3's 32-bit finalizer,
    Appleby).
    """
    value ^= value >> 16
    value = value * 0x85EBCA6B & _UINT32
    value ^= value >> 13
    value = value * 0xC2B2AE35 & _UINT32
    return value ^ value >> 16


def rendezvous(contenders: Iterable[Contender], seed: int) -> list[str]:
    """Ids, best first, always the same for a 32-bit seed. Over many seeds, each contender comes
    first in proportion to its weight.

    Weighted rendezvous hashing: Thaler & Ravishankar 1998, logarithmic weights
    from Schindelhauer & Schomaker 2005. Score = -weight / ln(u), u in (0, 1).
    """
    scored = [
        (weight / math.log((mix32(seed ^ hash) + 0.5) / 4294967296.0), id)
        for id, hash, weight in contenders
    ]
    scored.sort()
    return [id for _, id in scored]


def even_rendezvous(contenders: Iterable[Contender], seed: int) -> list[str]:
    """The same for equal weights. The score grows with u, so sorting by u is enough."""
    scored = []
    for id, hash, _ in contenders:
        # mix32 inlined, because this is most of the cost of ranking.
        u = hash ^ seed
        u = (u ^ u >> 16) * 0x85EBCA6B & _UINT32
        u = (u ^ u >> 13) * 0xC2B2AE35 & _UINT32
        scored.append((u ^ u >> 16, id))
    scored.sort(reverse=True)
    return [id for _, id in scored]


class Ranker:
    """The order of preference over one catalog. Immutable, except for bounded caches.

    `divided`: the countries with edges in more than one city.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        routable = [region for region in catalog.regions if region.routable]
        self.regions = {region.id: region for region in routable}
        self.covered = frozenset(region.country for region in routable)
        self._default = tuple(region.id for region in routable)
        self.metros = tuple(_metros(routable))
        homes: defaultdict[str | None, list[Metro]] = defaultdict(list)
        for metro in self.metros:
            homes[metro.country].append(metro)
        self._homes = {code: tuple(metros) for code, metros in homes.items()}
        self.divided = frozenset(
            metro.country for metro in self.metros if len(homes[metro.country]) > 1
        )
        self._estimator = (
            None if catalog.latency is None else Estimator(catalog.latency, catalog.countries)
        )
        self._by_network: dict[str, tuple[Metro, ...]] = {}
        self._known: dict[tuple[str | None, Scope], dict[Position, tuple[Metro, ...]]] = {}
        self._known_count = 0
        self._alike: dict[tuple[str, ...], tuple[Metro, ...]] = {}

    def key(self, location: Location, seed: int, scope: Scope) -> RouteKey:
        """The key with the edges that this viewer prefers. `seed`: 32 bits that represent their
        network.
        """
        country, position = location.country, location.position
        if position is not None:
            metros = self.around(country, position, scope)
        elif country is not None:
            metros = self._spread_metros(country, seed, scope)
        else:
            metros = ()
        preferred: list[str] = []
        for metro in metros:
            preferred += metro.rank(metro.edges, seed)
        return RouteKey(country, tuple(preferred[:PREFERRED_COUNT]))

    def known(self, key: RouteKey) -> RouteKey:
        """The key without ids that are unknown or not routable in this catalog."""
        if all(map(self.regions.__contains__, key.preferred)):
            return key
        return RouteKey(key.country, tuple(id for id in key.preferred if id in self.regions))

    def order(self, key: RouteKey, scope: Scope) -> tuple[Region, ...]:
        """Every routable region, best first."""
        return tuple(self.in_order(key, scope))

    def in_order(self, key: RouteKey, scope: Scope) -> Iterator[Region]:
        """The same, one by one: the preferred ones, then the others as seen from the first
        preferred one. With scope=country, those of the country come before all others.
        """
        home = key.country if scope is Scope.COUNTRY else None

        preferred = [self.regions[id] for id in key.preferred or self._default]
        yield from (region for region in preferred if region.country == home)
        abroad = [region for region in preferred if region.country != home]
        for region in self._past_preferred(key, scope) if key.preferred else ():
            if abroad and region.country != home:
                yield from abroad
                abroad = []
            yield region
        yield from abroad

    def _past_preferred(self, key: RouteKey, scope: Scope) -> Iterator[Region]:
        first = self.regions[key.preferred[0]].position
        regions, preferred = self.regions, key.preferred
        seed = fnv1a32(".".join(preferred))
        for metro in self._by_distance(key.country, first, scope):
            for id in metro.rank(metro.edges, seed):
                if id not in preferred:
                    yield regions[id]

    def around(self, country: str | None, position: Position, scope: Scope) -> tuple[Metro, ...]:
        """The metros with a viewer's preferred edges. Cached, because positions repeat."""
        known = self._known.get((country, scope))
        metros = None if known is None else known.get(position)
        if metros is None:
            metros = _enough(self._by_distance(country, position, scope))
            self._keep(country, position, scope, metros)
        return metros

    def _keep(
        self, country: str | None, position: Position, scope: Scope, metros: tuple[Metro, ...]
    ) -> None:
        """Cache a value; clear the cache at its bound. Equal values share one object."""
        if self._known_count >= KNOWN_PLACES:
            self._known.clear()
            self._alike.clear()
            self._known_count = 0
        self._known_count += 1
        alike = self._alike.setdefault(tuple(metro.contender.id for metro in metros), metros)
        self._known.setdefault((country, scope), {})[position] = alike

    def origin(self, location: Location) -> Position | None:
        """Where distances are measured from: the viewer, or where their country's people
        live."""
        if location.position is not None or location.country is None:
            return location.position
        country = self.catalog.countries.get(location.country)
        return None if country is None else country.centre

    def at_home(self, country: str) -> tuple[Metro, ...]:
        """A country's own metros, by id."""
        return self._homes.get(country, ())

    def without_position(self, country: str, scope: Scope) -> tuple[Metro, ...]:
        """The order after the country's own metros, for a viewer whose country only is known: as
        seen from where its people live.
        """
        if sum(len(metro.edges) for metro in self.at_home(country)) >= PREFERRED_COUNT:
            return ()
        known = self.catalog.countries.get(country)
        if known is None or known.centre is None:
            return ()
        return self.around(country, known.centre, scope)

    def _spread_metros(self, country: str, seed: int, scope: Scope) -> tuple[Metro, ...]:
        """The order of a country's metros for a viewer whose country only is known: spread by
        network.
        """
        inside = {metro.contender.id: metro for metro in self.at_home(country)}
        chosen = [inside[id] for id in rendezvous((m.contender for m in inside.values()), seed)]
        return tuple(dict.fromkeys((*_enough(chosen), *self.without_position(country, scope))))

    def by_network(self, country: str | None) -> tuple[Metro, ...] | None:
        """Every metro by estimated round-trip time from a country that has no edge; None if
        distance decides.
        """
        if self._estimator is None or country is None or country in self.covered:
            return None
        if country not in self._by_network:
            order = self._estimator.order(country, [self._city(metro) for metro in self.metros])
            self._by_network[country] = tuple(self.metros[place] for place in order)
        return self._by_network[country] or None

    def estimated_ms(self, country: str | None, id: str) -> float | None:
        """The estimated round-trip time to an edge in ms, if it decides the order; else None."""
        if self._estimator is None or country is None or self.by_network(country) is None:
            return None
        cities = (self._city(metro) for metro in self.metros)
        city = next((one for one in cities if id in one.ids), None)
        return None if city is None else self._estimator.country_ms(country, city)

    def _city(self, metro: Metro) -> City:
        ids = tuple(edge.id for edge in metro.edges)
        return City(ids, self.regions[ids[0]].position)

    def _by_distance(
        self, country: str | None, position: Position, scope: Scope
    ) -> Iterator[Metro]:
        """Every metro, nearest first; with scope=country, those of the country before all others.
        For a country without an edge, by round-trip time if the catalog says so.
        """
        by_network = self.by_network(country)
        if by_network is not None:
            yield from by_network
            return
        home = country if scope is Scope.COUNTRY else None
        inside = self._homes.get(home, ())
        yield from _nearest_first(inside, position)
        for metro in _nearest_first(self.metros, position):
            if metro.country != home:
                yield metro


def _nearest_first(metros: Sequence[Metro], position: Position) -> list[Metro]:
    """Sorted by distance; metros at equal distance keep their order. The key is minus the dot
    product, which grows with distance. It is always summed in the same order, so that equal
    distances give equal numbers.
    """
    x, y, z = unit_vector(position)
    far = [-(a * x + b * y + c * z) for a, b, c in [metro.centre for metro in metros]]
    return [metros[place] for place in sorted(range(len(metros)), key=far.__getitem__)]


def place_seed(location: Location) -> int:
    """A seed for a viewer whose network is not known: the same for all viewers at that place."""
    position = location.position
    place = "" if position is None else f"{position.latitude},{position.longitude}"
    return mix32(fnv1a32(f"{location.country or ''} {place}"))


def _enough(metros: Iterable[Metro]) -> tuple[Metro, ...]:
    """The first metros that together hold three edges."""
    chosen: list[Metro] = []
    count = 0
    for metro in metros:
        chosen.append(metro)
        count += len(metro.edges)
        if count >= PREFERRED_COUNT:
            break
    return tuple(chosen)


def _metros(regions: Sequence[Region]) -> list[Metro]:
    """Group regions into metros, by id, whatever order they come in."""
    groups: dict[str, list[Region]] = {}
    for region, root in zip(regions, _linked(regions), strict=True):
        groups.setdefault(regions[root].id, []).append(region)
    metros = [_metro(sorted(group, key=lambda region: region.id)) for group in groups.values()]
    return sorted(metros, key=lambda metro: metro.contender.id)


def _rank_for(edges: Sequence[Contender]) -> Rank:
    if len(edges) == 1:
        return _only
    return even_rendezvous if len({edge.weight for edge in edges}) == 1 else rendezvous


def _only(contenders: Sequence[Contender], _seed: int) -> list[str]:
    return [contenders[0].id]


def _metro(regions: list[Region]) -> Metro:
    edges = tuple(Contender(region.id, fnv1a32(region.id), region.weight) for region in regions)
    name = f"metro {regions[0].id}"
    return Metro(
        country=regions[0].country,
        centre=mean_vector([unit_vector(region.position) for region in regions]),
        contender=Contender(name, fnv1a32(name), sum(region.weight for region in regions)),
        edges=edges,
        rank=_rank_for(edges),
    )


def _linked(regions: Sequence[Region]) -> list[int]:
    """For each region, the index that identifies its metro: union-find over a sweep by latitude,
    which avoids computing all pairs of distances.
    """
    roots = list(range(len(regions)))

    def root(index: int) -> int:
        while roots[index] != index:
            roots[index] = roots[roots[index]]
            index = roots[index]
        return index

    northward = sorted(roots, key=lambda index: regions[index].position.latitude)
    window: list[int] = []
    for index in northward:
        here = regions[index]
        south = here.position.latitude - _METRO_SPAN_DEG
        window = [other for other in window if regions[other].position.latitude >= south]
        for other in window:
            there = regions[other]
            if here.country == there.country and (
                distance_km(here.position, there.position) <= METRO_RADIUS_KM
            ):
                roots[root(index)] = root(other)
        window.append(index)
    return [root(index) for index in range(len(regions))]
