"""Estimated round-trip times from a country's people to cities. Pure.

The network does not follow great circles: West Africa reaches Europe before its neighbours. The
estimate takes measured times between the places nearest to both ends, weighted by how near
these are. It adds 0.016 ms for each km between the people and the places near them, and as much
for each km that the city is farther from them than the places near it: light in fibre, there and
back, on a path 1.6 times the great circle. Beyond 2,000 km from any measured place it fades into
distance. The constants are those with the least regret on the table that ships, each caller left
out (docs/geodata.md).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from router.geo.sphere import distance_km
from router.model import Country, LatencyFacts, Position

MS_PER_KM = 0.016
MIN_GAIN_MS = 5.0
NEAR_KM = 2_000.0
FAR_KM = 10_000.0


Homes = Sequence[tuple[Position, float]]


class City(NamedTuple):
    """The edges of one city."""

    ids: tuple[str, ...]
    position: Position


class Blend(NamedTuple):
    """How measured places near a position are averaged: at most this many. `blur_km` is added to
    distances before they become weights: the greater it is, the more equal are the weights.
    """

    most: int
    blur_km: float


# People use many networks, so many places are averaged for them; a city's edge is at one point.
_PEOPLE, _CITY = Blend(12, 300.0), Blend(3, 50.0)


class NearbyPlaces(NamedTuple):
    """The measured places near a position. `weights`: index → weight, with a sum of 1. `way_km`:
    the mean distance to them. `distances`: to every place. `trust`: 1 up to NEAR_KM from the
    nearest, 0 from FAR_KM on.
    """

    weights: tuple[tuple[int, float], ...]
    way_km: float
    distances: tuple[float, ...]
    trust: float


class Estimator:
    """Estimates from one table. Caches one entry for each city."""

    def __init__(self, facts: LatencyFacts, countries: Mapping[str, Country]) -> None:
        self._facts = facts
        self._countries = countries
        self._cities: dict[Position, tuple[NearbyPlaces, list[float | None]]] = {}

    def order(self, country: str, cities: Sequence[City]) -> list[int]:
        """The cities that a country's people should use, best first, by index. Empty if it is not
        known where they live.
        """
        homes = self.homes(country)
        if not homes:
            return []
        return in_network_order(
            range(len(cities)),
            km=[_mean(homes, partial(distance_km, city.position)) for city in cities],
            ms=[self.country_ms(country, city) for city in cities],
        )

    def country_ms(self, country: str, city: City) -> float:
        """The mean time in ms to a city for a country's people: as an operator measured it (the
        lowest of the city's edges), or else as estimated.
        """
        own = self._facts.measured_ms.get(country, {})
        measured = [own[id] for id in city.ids if id in own]
        if measured:
            return min(measured)
        return _mean(self.homes(country), lambda home: self.ms(home, city.position))

    def homes(self, country: str) -> Homes:
        """Where a country's people live; its centre if that is not known."""
        known = self._countries.get(country)
        if known is None or known.centre is None:
            return ()
        return self._facts.homes.get(country, ((known.centre, 1.0),))

    def ms(self, here: Position, city: Position) -> float:
        """The estimated time in ms between a position and a city."""
        far_km = distance_km(here, city)
        if city not in self._cities:
            near = _near(city, self._facts.places, _CITY)
            self._cities[city] = near, [_mean_rtt(row, near) for row in self._facts.rtt_ms]
        there, times = self._cities[city]
        one = _near(here, self._facts.places, _PEOPLE)
        trust = one.trust * there.trust
        known = [(w, rtt) for i, w in one.weights if (rtt := times[i]) is not None]
        if trust == 0.0 or not known:
            return MS_PER_KM * far_km
        rtt_ms = sum(w * rtt for w, rtt in known) / sum(w for w, _ in known)
        farther_km = far_km - sum(w * one.distances[j] for j, w in there.weights)
        measured = rtt_ms + MS_PER_KM * (one.way_km + farther_km)
        return trust * measured + (1.0 - trust) * MS_PER_KM * far_km


def in_network_order(cities: Iterable[int], km: Sequence[float], ms: Sequence[float]) -> list[int]:
    """Cities, best first. The nearest comes first, unless another is at least MIN_GAIN_MS faster
    than every nearer one; the rest follows by the same rule.
    """
    left = sorted(cities, key=km.__getitem__)
    ordered = []
    while left:
        best = left[0]
        fastest = ms[best]
        for city in left[1:]:
            if ms[city] <= fastest - MIN_GAIN_MS:
                best = city
            fastest = min(fastest, ms[city])
        ordered.append(best)
        left.remove(best)
    return ordered


def _mean(homes: Homes, of: Callable[[Position], float]) -> float:
    """The mean, weighted by people."""
    return sum(people * of(home) for home, people in homes) / sum(people for _, people in homes)


def _mean_rtt(row: Sequence[float | None], near: NearbyPlaces) -> float | None:
    """The mean time in ms from one measured place to the places near a city."""
    known = [(w, rtt) for j, w in near.weights if (rtt := row[j]) is not None]
    return sum(w * rtt for w, rtt in known) / sum(w for w, _ in known) if known else None


@lru_cache(maxsize=8_192)
def _near(position: Position, places: tuple[Position, ...], blend: Blend) -> NearbyPlaces:
    distances = tuple(distance_km(position, place) for place in places)
    nearest = sorted(range(len(places)), key=distances.__getitem__)[: blend.most]
    if not nearest:
        return NearbyPlaces((), 0.0, (), 0.0)
    closeness = [(distances[i] + blend.blur_km) ** -2.0 for i in nearest]
    weights = tuple((i, one / sum(closeness)) for i, one in zip(nearest, closeness, strict=True))
    return NearbyPlaces(
        weights=weights,
        way_km=sum(weight * distances[i] for i, weight in weights),
        distances=distances,
        trust=min(1.0, max(0.0, (FAR_KM - distances[nearest[0]]) / (FAR_KM - NEAR_KM))),
    )
