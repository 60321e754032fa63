"""`python -m bench.cdn`: how much a CDN saves worldwide with different kinds of cache key.

The viewers are the addresses of the geo database at their exact positions. Each viewer asks the
nearest regional cache. The figures are exact. At one request rate they are also simulated, as a
check (bench/caches.py).
"""

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from bench.caches import calculate, simulate
from bench.charts import Line, chart
from bench.figures import RESULTS, save
from router.cli.text import show_progress
from router.config.inputs import read_catalog
from router.config.settings import Settings
from router.geo.database import find_database, open_database
from router.geo.sphere import distance_km
from router.geodata.census import CELL_DECIMALS, Census, Place, count_places, round_location
from router.geodata.survey import located_blocks
from router.model import Catalog, Level, Location, Position, Region, Scope, Status
from router.routing.cache_headers import format_key
from router.routing.fleet import Fleet
from router.routing.query import Query
from router.routing.ranking import METRO_RADIUS_KM, Ranker, RouteKey
from router.whatif.moves import Side, sample_networks
from router.whatif.scenario import NO_CHANGE, change_fleet

HERE = Path(__file__).parent
RATES = (100, 1_000, 10_000, 100_000)
STARTS_A_MINUTE = (10_000, 1_000_000, 100_000_000)
CHECKED_RATE, CHECKED_S = 1_000, 1_200
GROWN, APART_KM = (100, 1_000), 2 * METRO_RADIUS_KM
# Shares of viewers without coordinates. CloudFront sends none for viewers on AWS's own network.
WITHOUT_COORDINATES = (0.0, 0.1, 0.3, 0.6)

# The regional edge caches: the Origin Shield regions in Amazon's CloudFront developer guide, and
# Northern California. A miss goes to the origin, or to the shield.
REGIONAL_CACHES = {
    "us-east-1": Position(38.95, -77.45),
    "us-east-2": Position(39.96, -83.00),
    "us-west-1": Position(37.34, -121.89),
    "us-west-2": Position(45.84, -119.70),
    "sa-east-1": Position(-23.55, -46.63),
    "eu-west-1": Position(53.35, -6.26),
    "eu-west-2": Position(51.51, -0.13),
    "eu-central-1": Position(50.11, 8.68),
    "ap-south-1": Position(19.08, 72.88),
    "ap-southeast-1": Position(1.35, 103.82),
    "ap-southeast-2": Position(-33.87, 151.21),
    "ap-northeast-1": Position(35.68, 139.69),
    "ap-northeast-2": Position(37.57, 126.98),
}

Where = Callable[[Location, RouteKey], str]


class Share(NamedTuple):
    """A group of viewers with the same cache, cache key and country.

    `city`: the city of the edge that is right for them. `city_country`: its country.
    """

    cache: str
    key: str
    country: str | None
    city: str
    city_country: str


Shares = dict[Share, float]


def by_edges(location: Location, key: RouteKey) -> str:
    """autorouter's key: country and preferred edges."""
    return format_key(key)


def by_position(location: Location, key: RouteKey) -> str:
    """The country and position of the CDN's location headers."""
    return f"{location.country} {location.position}"


def by_cell(location: Location, key: RouteKey) -> str:
    """The position rounded down to whole degrees, or the country if there is no position."""
    if location.position is None:
        return str(location.country)
    return f"{location.position.latitude // 1:.0f} {location.position.longitude // 1:.0f}"


def by_country(location: Location, key: RouteKey) -> str:
    return str(location.country)


KEYS: dict[str, Where] = {
    "ranked edges": by_edges,
    "position": by_position,
    "1° cell": by_cell,
    "country": by_country,
}


def main() -> None:
    """Simulate, print tables, and save the figures and a plot."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    settings = Settings()
    geo = open_database(*find_database(settings.geo_db))
    with show_progress() as tell:
        places = count_places(located_blocks(geo, tell), decimals=None)
    census = Census(database=geo.type, built_at=geo.built_at, places=places)
    catalog = read_catalog(settings)
    fleets = {
        "ten edges": catalog,
        "27 edges": read_catalog(Settings(regions=HERE / "worldwide.yaml")),
    }
    cells = in_cells(census)
    figures = {
        "database": census.database,
        "addresses": census.addresses,
        "places": len(places),
        "caches": len(REGIONAL_CACHES),
        "fleets": {name: measure(census, fleet) for name, fleet in fleets.items()},
        "grown": {count: grown(cells, catalog, count) for count in GROWN},
        "without_coordinates": {
            name: without_coordinates(cells, fleet) for name, fleet in fleets.items()
        },
    }
    save("cdn", figures)
    (RESULTS / "cdn.svg").write_text(plot(figures))
    show(figures)


def measure(census: Census, catalog: Catalog) -> dict[str, Any]:
    """The figures of each kind of key, with regional caches and with one cache."""
    return {
        kind: {
            layout: figures_of(shares)
            for layout, shares in (("regional", regional), ("one", in_one_cache(regional)))
        }
        for kind, regional in shares_by_kind(census, catalog, KEYS).items()
    }


def grown(census: Census, catalog: Catalog, count: int) -> dict[str, Any]:
    """The figures of autorouter's key with `count` edges, each in its own city."""
    fleet = replace(catalog, regions=tuple(islice(edges_apart(census, catalog), count)))
    return figures_of(shares_by_kind(census, fleet, {"ranked edges": by_edges})["ranked edges"])


def without_coordinates(census: Census, catalog: Catalog) -> dict[str, Any]:
    """The figures of autorouter's key when a share of each country's viewers has no coordinates.

    They are given for each share and request rate, with regional caches.
    """
    ranked = {"ranked edges": by_edges}
    located = shares_by_kind(census, catalog, ranked)["ranked edges"]
    divided = Ranker(catalog).divided
    by_country_alone = shares_by_kind(countries_alone(census, divided), catalog, ranked)
    keyed = census_share(census, lambda country: country not in divided)
    alone = {share: part * keyed for share, part in by_country_alone["ranked edges"].items()}
    return {
        f"{missing:g}": {
            rate: _with_missing(located, alone, missing, 1 - keyed, rate) for rate in RATES
        }
        for missing in WITHOUT_COORDINATES
    }


def _with_missing(
    located: Shares, alone: Shares, missing: float, divided: float, rate: int
) -> dict[str, float]:
    """`divided`: the share of viewers whose country has edges in several cities. Without
    coordinates they have no key, so all their requests reach the origin."""
    parts = sums(located, lambda share: (share.cache, share.key))
    parts = {key: part * (1 - missing) for key, part in parts.items()}
    for key, part in sums(alone, lambda share: (share.cache, share.key)).items():
        parts[key] = parts.get(key, 0.0) + part * missing
    found, unkeyed = calculate(part * rate for part in parts.values()), divided * missing
    return {
        "hit_ratio": found.hit_ratio * (1 - unkeyed),
        "origin_rps": found.origin_rps + unkeyed * rate,
    }


def countries_alone(census: Census, divided: frozenset[str]) -> Census:
    """The viewers without positions. Viewers who would have no key are left out."""
    counts: Counter[Location] = Counter()
    for place in census.places:
        country = place.location.country
        if country not in divided:
            counts[without_position(place.location)] += place.addresses
    places = tuple(Place(location, count) for location, count in counts.items())
    return Census(database=census.database, built_at=census.built_at, places=places)


def without_position(location: Location) -> Location:
    """The location that a CDN sends if it knows only the country."""
    if location.country is None:
        return Location()
    return Location(location.country, None, Level.COUNTRY, location.source)


def census_share(census: Census, counts: Callable[[str | None], bool]) -> float:
    """The share of addresses whose country satisfies `counts`."""
    counted = sum(each.addresses for each in census.places if counts(each.location.country))
    return counted / census.addresses


def edges_apart(census: Census, catalog: Catalog) -> Iterator[Region]:
    """Edges at the places with the most addresses, at most one a metro."""
    found: list[Position] = []
    for place in sorted(census.places, key=lambda place: -place.addresses):
        country, position, *_ = place.location
        if position is None or country is None or country not in catalog.countries:
            continue
        if all(distance_km(position, other) > APART_KM for other in found):
            id = f"edge-{len(found)}"
            found.append(position)
            yield Region(id=id, name=id, country=country, position=position, endpoint="")


def in_cells(census: Census) -> Census:
    """The viewers by cells of 0.1 degrees. Fewer places make the ranking of many edges faster."""
    counts: Counter[Location] = Counter()
    for place in census.places:
        counts[round_location(place.location, CELL_DECIMALS)] += place.addresses
    places = tuple(Place(location, count) for location, count in counts.items())
    return Census(database=census.database, built_at=census.built_at, places=places)


def shares_by_kind(
    census: Census, catalog: Catalog, kinds: Mapping[str, Where]
) -> dict[str, Shares]:
    """For each kind of key, the groups of viewers and their shares, which add up to 1."""
    everything_up = change_fleet(catalog, Fleet(edges=(), status=Status.OK), NO_CHANGE, 0.0)
    side = Side(catalog, everything_up, Query())
    cities = {edge.id: metro for metro in side.ranker.metros for edge in metro.edges}
    total = census.addresses
    found: dict[str, defaultdict[Share, float]] = {kind: defaultdict(float) for kind in kinds}
    for place in census.places:
        location, seeds = place.location, sample_networks(place, total)
        cache = nearest_cache(side.ranker.origin(location))
        for seed in seeds:
            key = side.ranker.key(location, seed, Scope.COUNTRY)
            city = cities[side.pick(location, seed) or ""]
            right = city.contender.id, city.country
            for kind, where in kinds.items():
                share = Share(cache, where(location, key), location.country, *right)
                found[kind][share] += place.addresses / total / len(seeds)
    return dict(found)


def nearest_cache(origin: Position | None) -> str:
    """The cache nearest to viewers at `origin`, or the first cache if that is unknown."""
    if origin is None:
        return next(iter(REGIONAL_CACHES))
    return _nearest_to_cell(Position(round(origin.latitude), round(origin.longitude)))


@cache
def _nearest_to_cell(cell: Position) -> str:
    return min(REGIONAL_CACHES, key=lambda name: distance_km(cell, REGIONAL_CACHES[name]))


def in_one_cache(shares: Shares) -> Shares:
    """The same shares with one cache in front of the origin, such as Origin Shield."""
    merged: defaultdict[Share, float] = defaultdict(float)
    for share, part in shares.items():
        merged[share._replace(cache="one")] += part
    return merged


def figures_of(shares: Shares) -> dict[str, Any]:
    """The figures of one kind of key, for each request rate."""
    objects = list(sums(shares, lambda share: (share.cache, share.key)).values())
    return {
        "keys": len({share.key for share in shares}),
        "objects": len(objects),
        "misrouted": misrouted(shares),
        "wrong_country": wrong_country(shares),
        "rates": {rate: asdict(calculate(part * rate for part in objects)) for rate in RATES},
        "starts": {
            starts: asdict(calculate(part * starts / 60 for part in objects))
            for starts in STARTS_A_MINUTE
        },
        "simulated": asdict(simulate([part * CHECKED_RATE for part in objects], CHECKED_S)),
    }


def sums(shares: Shares, by: Callable[[Share], tuple[str | None, ...]]) -> dict[Any, float]:
    """Shares summed by the group that `by` returns."""
    added: defaultdict[Any, float] = defaultdict(float)
    for share, part in shares.items():
        added[by(share)] += part
    return added


def misrouted(shares: Shares) -> float:
    """The share of answers that name an edge in the wrong city.

    A cached object has the answer of the viewer who asked first. All others get it too.
    """
    objects = sums(shares, lambda share: (share.cache, share.key))
    alike = sums(shares, lambda share: (share.cache, share.key, share.city))
    right = sum(part * part / objects[cache, key] for (cache, key, _), part in alike.items())
    return max(0.0, 1 - right)  # rounding may make it negative


def wrong_country(shares: Shares) -> float:
    """The share of answers that name an edge abroad although the right one is in the viewer's
    country."""
    objects = sums(shares, lambda share: (share.cache, share.key))
    alike = sums(shares, lambda share: (share.cache, share.key, share.city_country))
    abroad = sum(
        part * (1 - alike[share.cache, share.key, share.country] / objects[share.cache, share.key])
        for share, part in shares.items()
        if share.city_country == share.country
    )
    return max(0.0, abroad)


def plot(figures: dict[str, Any]) -> str:
    """A chart of the requests that reach the origin from regional caches, one panel a fleet."""
    panels = {
        fleet: [
            Line(kind, [(int(rate), found["origin_rps"]) for rate, found in _by_rate(layouts)])
            for kind, layouts in kinds.items()
        ]
        for fleet, kinds in figures["fleets"].items()
    }
    return chart("Requests/s that reach the origin, by requests/s worldwide and key", panels)


def _by_rate(layouts: dict[str, Any]) -> Iterable[tuple[Any, dict[str, float]]]:
    rates: dict[Any, dict[str, float]] = layouts["regional"]["rates"]
    return rates.items()


def show(figures: dict[str, Any]) -> None:
    """Print the tables as Markdown."""
    for fleet, kinds in figures["fleets"].items():
        print(f"\n{fleet}\n", *table(kinds), sep="\n")
        for kind, layouts in kinds.items():
            for layout, found in layouts.items():
                print(f"{kind}, {layout}: {_compared(found)}")
    for fleet, by_missing in figures["without_coordinates"].items():
        print(f"\n{fleet}, viewers without coordinates\n", *missing_table(by_missing), sep="\n")


def table(kinds: dict[str, Any]) -> Iterator[str]:
    """A row for each kind of key and rate, with regional caches. One cache is in brackets."""
    yield "| key | requests/s | hits | origin/s | wrong s |"
    yield "|---|--:|--:|--:|--:|"
    for kind, layouts in kinds.items():
        for rate, found in layouts["regional"]["rates"].items():
            one = layouts["one"]["rates"][rate]
            hits = f"{_percent(found['hit_ratio'])} ({_percent(one['hit_ratio'])})"
            asked = f"{found['origin_rps']:,.0f} ({one['origin_rps']:,.0f})"
            yield f"| {kind} | {int(rate):,} | {hits} | {asked} | {found['wrong_s']:.1f} |"
    yield ""
    yield "| key | keys | misrouted | wrong country |"
    yield "|---|--:|--:|--:|"
    for kind, layouts in kinds.items():
        found = layouts["regional"]
        shares = f"{found['misrouted'] * 100:.2f} % | {found['wrong_country'] * 100:.2f} %"
        yield f"| {kind} | {found['keys']:,} | {shares} |"


def missing_table(by_missing: dict[str, Any]) -> Iterator[str]:
    """A row for each share of viewers without coordinates: hits and origin requests/s."""
    yield "| without coordinates | " + " | ".join(f"{rate:,} requests/s" for rate in RATES) + " |"
    yield "|--:|" + "--:|" * len(RATES)
    for missing, by_rate in by_missing.items():
        cells = [
            f"{_percent(found['hit_ratio'])}, {found['origin_rps']:,.0f}/s"
            for found in by_rate.values()
        ]
        yield f"| {float(missing):.0%} | " + " | ".join(cells) + " |"


def _percent(share: float) -> str:
    """Rounded down, so that only 1.0 reads as 100 %."""
    return f"{math.floor(share * 10_000) / 100:.2f} %"


def _compared(found: dict[str, Any]) -> str:
    """The exact figures, with the simulated ones in brackets."""
    exact, counted = found["rates"][CHECKED_RATE], found["simulated"]
    return ", ".join(f"{name} {exact[name]:.4g} ({counted[name]:.4g})" for name in counted)


if __name__ == "__main__":
    main()
