"""`autorouter geodata compare`: how far two geo databases agree, and what that changes."""

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from router.geo.database import GeoDatabase
from router.geo.sphere import distance_km
from router.geodata import Progress, no_progress
from router.geodata.sample import v4_sample, v6_sample
from router.model import Level, Location, Region, Scope
from router.routing.client_address import parse_address
from router.routing.ranking import Ranker

_PROGRESS_EVERY = 1_000
_QUANTILES = (50, 90, 99)


class Pair(NamedTuple):
    """One address in both databases. `seed`: of its network."""

    seed: int
    first: Location
    second: Location

    @property
    def is_known(self) -> bool:
        """Both know at least the country."""
        return Level.UNKNOWN not in (self.first.level, self.second.level)


def compare(
    first: GeoDatabase,
    second: GeoDatabase,
    ranker: Ranker,
    count: int,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Compare two databases by `count` public IPv4 addresses and as many IPv6 addresses: how many
    each knows, and how often country and pick agree for those that both know.
    """
    samples = {"ipv4": v4_sample(count), "ipv6": v6_sample(count)}
    document = {
        family: _compare_pairs([*_pairs(first, second, addresses, progress, family)], ranker)
        for family, addresses in samples.items()
    }
    return {"first": str(first.path), "second": str(second.path), "sampled": count, **document}


def _pairs(
    first: GeoDatabase,
    second: GeoDatabase,
    addresses: Sequence[str],
    progress: Progress,
    family: str,
) -> Iterator[Pair]:
    for number, text in enumerate(addresses):
        if number % _PROGRESS_EVERY == 0:
            progress(f"comparing {family}", number, len(addresses))
        address = parse_address(text)
        if address is not None:
            yield Pair(address.seed, first.locate(address.text), second.locate(address.text))


def _compare_pairs(pairs: Sequence[Pair], ranker: Ranker) -> dict[str, Any]:
    known = [pair for pair in pairs if pair.is_known]
    at_country = [pair for pair in known if Level.COUNTRY in (pair.first.level, pair.second.level)]
    return {
        "first": _levels([pair.first for pair in pairs]),
        "second": _levels([pair.second for pair in pairs]),
        "both": len(known) / len(pairs),
        "same_country": _share(pair.first.country == pair.second.country for pair in known),
        "same_pick": _share(_is_same_pick(pair, ranker) for pair in known),
        "same_pick_at_country_level": _share(_is_same_pick(pair, ranker) for pair in at_country),
        "same_pick_country": _share(_is_same_pick_country(pair, ranker) for pair in known),
        "distance_km": _quantiles(known),
        "spread": {
            "first": _spread([(pair.first, pair.seed) for pair in pairs], ranker),
            "second": _spread([(pair.second, pair.seed) for pair in pairs], ranker),
        },
    }


def _levels(locations: Sequence[Location]) -> dict[str, float]:
    count = Counter(location.level for location in locations)
    return {str(level): count[level] / len(locations) for level in Level}


def _share(outcomes: Iterable[bool]) -> float | None:
    """A share; None if the total is 0."""
    document = list(outcomes)
    return sum(document) / len(document) if document else None


def _pick(location: Location, seed: int, ranker: Ranker) -> Region:
    """The pick without regard to health."""
    return next(ranker.in_order(ranker.key(location, seed, Scope.COUNTRY), Scope.COUNTRY))


def _is_same_pick(pair: Pair, ranker: Ranker) -> bool:
    return _pick(pair.first, pair.seed, ranker) == _pick(pair.second, pair.seed, ranker)


def _is_same_pick_country(pair: Pair, ranker: Ranker) -> bool:
    first, second = (_pick(one, pair.seed, ranker) for one in (pair.first, pair.second))
    return first.country == second.country


def _quantiles(pairs: Sequence[Pair]) -> dict[str, float]:
    """Quantiles of the distance between the two positions, where both databases have one."""
    distances = [
        distance_km(pair.first.position, pair.second.position)
        for pair in pairs
        if pair.first.position is not None and pair.second.position is not None
    ]
    if len(distances) < 2:
        return {}
    cuts = statistics.quantiles(distances, n=100)
    return {f"p{percent}": cuts[percent - 1] for percent in _QUANTILES}


def _spread(located: Sequence[tuple[Location, int]], ranker: Ranker) -> dict[str, dict[str, float]]:
    """How the viewers known by country only are shared out: country → edge → share. If they were
    located at the middle of their country, all would get one edge.
    """
    picks: dict[str, Counter[str]] = {}
    for location, seed in located:
        country = location.country
        if location.level is Level.COUNTRY and country is not None and country in ranker.covered:
            picks.setdefault(country, Counter())[_pick(location, seed, ranker).id] += 1
    return {
        country: {edge: count / found.total() for edge, count in sorted(found.items())}
        for country, found in sorted(picks.items())
    }
