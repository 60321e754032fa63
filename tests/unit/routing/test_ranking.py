"""Which edges a viewer prefers: the nearest city, then one edge per network by weight."""

import gc
import random
import weakref
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from router.geo.sphere import distance_km
from router.model import Catalog, Location, Position, Region, Scope
from router.routing import ranking
from router.routing.ranking import (
    Contender,
    Ranker,
    RouteKey,
    even_rendezvous,
    fnv1a32,
    mix32,
    place_seed,
    rendezvous,
)
from tests.support.builders import (
    BERLIN,
    CITIES,
    MONTREAL,
    NEW_YORK,
    TORONTO,
    VANCOUVER,
    a_catalog,
    a_key,
    a_location,
    a_ranker,
    a_region,
)
from tests.support.samples import samples
from tests.support.strategies import catalogs, codes, locations, positions, regions, seeds

SCOPES = st.sampled_from(Scope)

MANY = samples(50_000)
TOLERANCE = 0.02


def shares(firsts: list[str]) -> dict[str, float]:
    return {id: count / len(firsts) for id, count in Counter(firsts).items()}


def random_seeds(count: int = MANY) -> list[int]:
    rng = random.Random(7)
    return [rng.getrandbits(32) for _ in range(count)]


def ids_of(ranked: tuple[Region, ...]) -> list[str]:
    return [region.id for region in ranked]


def a_metro(id: str, country: str, position: Position) -> Region:
    return a_region(id, country=country, position=position)


# Hashing


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)],
)
def test_fnv_matches_its_published_vectors(text: str, expected: int) -> None:
    assert fnv1a32(text) == expected


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (1, 0x514E28B7), (0xFFFFFFFF, 0x81F16F39)])
def test_mixer_matches_its_published_vectors(value: int, expected: int) -> None:
    assert mix32(value) == expected


def test_mixer_has_no_collisions() -> None:
    assert len({mix32(value) for value in range(MANY)}) == MANY


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 3.0), (3.0, 1.0), (0.1, 0.9), (1.0, 7.0)])
def test_twin_edges_share_viewers_by_weight(weights: tuple[float, float]) -> None:
    ids = ("yto-01", "yto-02")
    twins = [Contender(id, fnv1a32(id), w) for id, w in zip(ids, weights, strict=True)]
    got = shares([rendezvous(twins, seed)[0] for seed in random_seeds()])
    assert got["yto-01"] == pytest.approx(weights[0] / sum(weights), abs=TOLERANCE)


def test_neighbouring_networks_spread_by_weight() -> None:
    edges = [Contender(id, fnv1a32(id), w) for id, w in (("yto-01", 1.0), ("yto-02", 3.0))]
    got = shares([rendezvous(edges, 0x0A0000 + network)[0] for network in range(MANY)])
    assert got["yto-01"] == pytest.approx(0.25, abs=TOLERANCE)


def test_many_edges_share_viewers_by_weight() -> None:
    weights = {f"yto-{number:02}": float(number) for number in range(1, 6)}
    edges = [Contender(id, fnv1a32(id), weight) for id, weight in weights.items()]
    got = shares([rendezvous(edges, seed)[0] for seed in random_seeds()])
    assert got == pytest.approx({id: w / 15 for id, w in weights.items()}, abs=TOLERANCE)


@given(st.lists(st.text(min_size=1), unique_by=fnv1a32, min_size=1, max_size=6), seeds)
def test_equal_weights_give_the_same_order_in_both_functions(ids: list[str], seed: int) -> None:
    edges = [Contender(id, fnv1a32(id), 2.0) for id in ids]
    assert even_rendezvous(edges, seed) == rendezvous(edges, seed)


def test_equal_weights_give_the_same_order_for_many_seeds() -> None:
    edges = [Contender(id, fnv1a32(id), 1.0) for id in list(CITIES)[:6]]
    seeds = random_seeds()
    assert [even_rendezvous(edges, s) for s in seeds] == [rendezvous(edges, s) for s in seeds]


@given(st.lists(st.text(min_size=1), unique_by=fnv1a32, min_size=2, max_size=6), seeds)
def test_removing_an_edge_moves_only_its_viewers(ids: list[str], seed: int) -> None:
    edges = [Contender(id, fnv1a32(id), 1.0 + index) for index, id in enumerate(ids)]
    without_last = [id for id in rendezvous(edges, seed) if id != ids[-1]]
    assert rendezvous(edges[:-1], seed) == without_last


# The route key


@pytest.mark.parametrize(
    ("position", "country", "nearest"),
    [
        (TORONTO, "CA", {"yto-01", "yto-02"}),
        (MONTREAL, "CA", {"yul-01", "yul-02"}),
        (VANCOUVER, "CA", {"yvr-02"}),
        (NEW_YORK, "US", {"nyc-01", "nyc-02"}),
        (Position(47.6, -122.3), "US", {"sfo-01"}),  # Seattle: Vancouver is nearer but abroad
        (BERLIN, "DE", {"yul-01", "yul-02"}),
    ],
)
def test_viewers_prefer_the_nearest_metro(
    position: Position, country: str, nearest: set[str]
) -> None:
    key = a_ranker().key(a_location(position, country), 1, Scope.COUNTRY)
    assert key.country == country
    assert key.preferred[0] in nearest


def test_global_scope_ignores_the_border() -> None:
    seattle = a_location(Position(47.6, -122.3), "US")
    assert a_ranker().key(seattle, 1, Scope.GLOBAL).preferred[0] == "yvr-02"


def test_second_choice_is_the_other_edge_of_the_metro() -> None:
    key = a_ranker().key(a_location(), 1, Scope.COUNTRY)
    assert set(key.preferred[:2]) == {"yto-01", "yto-02"}
    assert key.preferred[2] in {"yul-01", "yul-02"}


def test_unknown_viewers_prefer_nothing() -> None:
    assert a_ranker().key(Location(), 1, Scope.COUNTRY) == RouteKey(None, ())


def test_country_without_edges_ranks_from_its_centre() -> None:
    key = a_ranker().key(a_location(None, "JP"), 1, Scope.COUNTRY)
    assert key.preferred[:2] == ("yvr-02", "sfo-01")


@pytest.mark.parametrize("country", ["AQ", "XX"])
def test_country_without_a_centre_prefers_nothing(country: str) -> None:
    assert a_ranker().key(a_location(None, country), 1, Scope.COUNTRY) == RouteKey(country, ())


def test_country_is_covered_by_routable_edges_only() -> None:
    ranker = a_ranker(a_region("yto-01"), a_region("nyc-01", routable=False))
    assert ranker.covered == {"CA"}


def test_viewers_at_a_pole_have_a_nearest_edge() -> None:
    north, south = a_region("e-1", position=Position(80, 10)), a_region("e-2", position=TORONTO)
    key = a_ranker(north, south).key(a_location(Position(90, -170), None), 1, Scope.GLOBAL)
    assert key.preferred == ("e-1", "e-2")


def test_nearest_edge_may_lie_across_the_antimeridian() -> None:
    east = a_region("east", position=Position(-17, 179.5))
    west = a_region("west", position=Position(-17, 170))
    key = a_ranker(west, east).key(a_location(Position(-17, -179.5), None), 1, Scope.GLOBAL)
    assert key.preferred == ("east", "west")


def test_metro_may_span_the_antimeridian() -> None:
    one = a_region("one", position=Position(-17, 179.95))
    two = a_region("two", position=Position(-17, -179.95))
    location = a_location(Position(-17, 179), "CA")
    firsts = {a_ranker(one, two).key(location, s, Scope.COUNTRY).preferred[0] for s in range(64)}
    assert firsts == {"one", "two"}


def test_metros_link_edges_transitively() -> None:
    chain = [a_region(f"e-{n}", position=Position(45.0 + n * 0.2, -75.0)) for n in range(4)]
    south = a_location(Position(44.0, -75.0))
    firsts = {a_ranker(*chain).key(south, s, Scope.COUNTRY).preferred[0] for s in range(200)}
    assert firsts == {"e-0", "e-1", "e-2", "e-3"}


@pytest.mark.parametrize(
    ("apart_km", "firsts"), [(24.9, {"near", "far"}), (25.1, {"near"}), (25.9, {"near"})]
)
def test_edges_more_than_25_km_apart_are_two_metros(apart_km: float, firsts: set[str]) -> None:
    north = Position(TORONTO.latitude + apart_km / 111.19508, TORONTO.longitude)
    ranker = a_ranker(a_region("near"), a_region("far", position=north))
    south = a_location(Position(43.0, -79.4))
    got = {ranker.key(south, seed, Scope.COUNTRY).preferred[0] for seed in range(64)}
    assert got == firsts


def test_border_splits_a_metro() -> None:
    detroit = a_metro("dtw-01", "US", Position(42.33, -83.05))
    windsor = a_metro("yqg-01", "CA", Position(42.31, -83.03))
    ranker = a_ranker(detroit, windsor)
    viewer = a_location(Position(42.32, -83.04), "US")
    firsts = {ranker.key(viewer, seed, Scope.COUNTRY).preferred[0] for seed in range(64)}
    assert firsts == {"dtw-01"}


@given(catalogs(), positions, codes, seeds, SCOPES)
def test_three_are_preferred_unless_fewer_exist(
    catalog: Catalog, position: Position, country: str, seed: int, scope: Scope
) -> None:
    key = Ranker(catalog).key(a_location(position, country), seed, scope)
    routable = sum(region.routable for region in catalog.regions)
    assert len(key.preferred) == min(3, routable)


@given(catalogs(), locations, seeds, SCOPES)
def test_preferred_edges_are_distinct_and_routable(
    catalog: Catalog, location: Location, seed: int, scope: Scope
) -> None:
    ranker = Ranker(catalog)
    key = ranker.key(location, seed, scope)
    assert len(set(key.preferred)) == len(key.preferred)
    assert set(key.preferred) <= ranker.regions.keys()
    assert ranker.known(key) == key


@given(catalogs(), locations, seeds)
def test_home_edges_are_preferred_first(catalog: Catalog, location: Location, seed: int) -> None:
    ranker = Ranker(catalog)
    preferred = ranker.key(location, seed, Scope.COUNTRY).preferred
    abroad = [ranker.regions[id].country != location.country for id in preferred]
    assert location.country is None or abroad == sorted(abroad)


@given(catalogs(), positions, seeds)
def test_no_metro_is_nearer_than_the_preferred(
    catalog: Catalog, position: Position, seed: int
) -> None:
    ranker = Ranker(catalog)
    first = ranker.key(a_location(position, None), seed, Scope.GLOBAL).preferred[0]
    nearest_km = min(distance_km(position, each.position) for each in ranker.regions.values())
    # Distance is measured to the middle of a metro: at most a chain of 8 edges 25 km apart.
    assert distance_km(position, ranker.regions[first].position) <= nearest_km + 2 * 7 * 25


@given(regions(), st.randoms(use_true_random=False), locations, seeds, SCOPES)
def test_catalog_order_does_not_change_the_key(
    listed: list[Region], rng: random.Random, location: Location, seed: int, scope: Scope
) -> None:
    shuffled = rng.sample(listed, len(listed))
    key = a_ranker(*listed).key(location, seed, scope)
    assert a_ranker(*shuffled).key(location, seed, scope) == key
    if key.preferred:
        orders = [ids_of(a_ranker(*each).order(key, scope)) for each in (listed, shuffled)]
        assert orders[0] == orders[1]


@given(regions(max_size=6), st.integers(1, 3), st.floats(-1, 1), seeds, SCOPES)
def test_distant_edges_do_not_change_the_preferred(
    listed: list[Region], count: int, north: float, seed: int, scope: Scope
) -> None:
    # Every other edge is nearer to the viewer than the antipodes.
    viewer, antipodes = Position(10.0 + north, 20.0), Position(-10.0 - north, -160.0)
    nearby = [each for each in listed if distance_km(each.position, antipodes) > 100]
    assume(nearby)
    far = [a_metro(f"far-{number}", "NZ", antipodes) for number in range(count)]
    location = a_location(viewer, "CA")
    before, after = a_ranker(*nearby), a_ranker(*nearby, *far)
    old, new = (ranker.key(location, seed, scope).preferred for ranker in (before, after))
    assert new[: len(old)] == old


@given(regions(max_size=6), positions, seeds)
def test_distant_edges_do_not_change_the_order(
    listed: list[Region], position: Position, seed: int
) -> None:
    before = a_ranker(*listed)
    key = before.key(a_location(position), seed, Scope.GLOBAL)
    opposite = before.regions[key.preferred[0]].position
    antipodes = Position(-opposite.latitude, (opposite.longitude + 360) % 360 - 180)
    after = a_ranker(*listed, a_metro("far", "NZ", antipodes))
    kept = [id for id in ids_of(after.order(key, Scope.GLOBAL)) if id != "far"]
    assert kept == ids_of(before.order(key, Scope.GLOBAL))


def test_networks_of_a_city_are_split_between_its_edges() -> None:
    ranker = a_ranker(a_region("yto-01"), a_region("yto-02", weight=3.0))
    toronto = a_location()
    got = shares([ranker.key(toronto, s, Scope.COUNTRY).preferred[0] for s in range(MANY)])
    assert got["yto-01"] == pytest.approx(0.25, abs=TOLERANCE)


# Viewers known by country only


def test_country_level_viewers_spread_over_edges() -> None:
    ranker, somewhere = a_ranker(), a_location(None, "US")
    got = shares([ranker.key(somewhere, s, Scope.COUNTRY).preferred[0] for s in range(MANY)])
    even = dict.fromkeys(("nyc-01", "nyc-02", "dal-01", "dal-02", "sfo-01"), 0.2)
    assert got == pytest.approx(even, abs=TOLERANCE)


def test_metro_weight_is_that_of_its_edges() -> None:
    ranker = a_ranker(a_region("nyc-01", weight=3.0), a_region("sfo-01"))
    somewhere = a_location(None, "US")
    got = shares([ranker.key(somewhere, s, Scope.COUNTRY).preferred[0] for s in range(MANY)])
    assert got["nyc-01"] == pytest.approx(0.75, abs=TOLERANCE)


def test_country_with_few_edges_also_prefers_neighbours() -> None:
    ranker = a_ranker(a_region("yto-01"), a_region("nyc-01"), a_region("sfo-01"))
    key = ranker.key(a_location(None, "CA"), 1, Scope.COUNTRY)
    assert key.preferred == ("yto-01", "nyc-01", "sfo-01")


# The full order


def test_order_without_preferred_is_that_of_the_catalog() -> None:
    reverse = [a_region(id) for id in reversed(CITIES)]
    order = a_ranker(*reverse).order(RouteKey(None, ()), Scope.COUNTRY)
    assert ids_of(order) == list(reversed(CITIES))


def test_order_follows_distance_from_the_first_preferred() -> None:
    order = ids_of(a_ranker().order(a_key("yvr-02", country="CA"), Scope.COUNTRY))
    assert order[0] == "yvr-02"
    assert set(order[1:3]) == {"yto-01", "yto-02"}
    assert set(order[3:5]) == {"yul-01", "yul-02"}
    assert order[5] == "sfo-01"


def test_edges_after_the_preferred_vary_by_key() -> None:
    seconds = ("yto-01", "yto-02", "yul-01", "yul-02")
    keys = [RouteKey("US", ("nyc-01", second)) for second in seconds]
    orders = [ids_of(a_ranker().order(key, Scope.COUNTRY)) for key in keys]
    assert {order[3] for order in orders} == {"dal-01", "dal-02"}


@given(catalogs(), locations, seeds, SCOPES)
def test_order_contains_every_routable_edge_once(
    catalog: Catalog, location: Location, seed: int, scope: Scope
) -> None:
    ranker = Ranker(catalog)
    key = ranker.key(location, seed, scope)
    order = ids_of(ranker.order(key, scope))
    assert sorted(order) == sorted(ranker.regions)
    assert order[: len(key.preferred)] == list(key.preferred)


@given(catalogs(), locations, seeds)
def test_home_comes_first_after_the_preferred(
    catalog: Catalog, location: Location, seed: int
) -> None:
    ranker = Ranker(catalog)
    key = ranker.key(location, seed, Scope.COUNTRY)
    order = ranker.order(key, Scope.COUNTRY)[len(key.preferred) :]
    abroad = [region.country != key.country for region in order]
    assert not key.preferred or key.country is None or abroad == sorted(abroad)


# Keys from outside


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        (("yto-09", "yul-01"), ("yul-01",)),
        (("nope", "nada"), ()),
        (("yul-01", "yto-01"), ("yul-01", "yto-01")),
    ],
)
def test_ids_outside_the_catalog_are_dropped(ids: tuple[str, ...], kept: tuple[str, ...]) -> None:
    assert a_ranker().known(RouteKey("CA", ids)) == RouteKey("CA", kept)


def test_unroutable_ids_are_dropped_from_a_key() -> None:
    ranker = Ranker(a_catalog(a_region("yto-01", routable=False), a_region("yul-01")))
    assert ranker.known(a_key("yto-01", "yul-01")) == a_key("yul-01")


def test_different_places_have_different_seeds() -> None:
    places = [a_location(), a_location(MONTREAL), a_location(None, "CA"), a_location(None, "US")]
    assert len({place_seed(place) for place in places}) == len(places)


@given(locations)
def test_place_seed_is_32_bits(location: Location) -> None:
    assert 0 <= place_seed(location) <= 0xFFFFFFFF


# The cache of places


def test_cache_of_places_stays_bounded_and_correct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "KNOWN_PLACES", 10)
    ranker, rng = a_ranker(), random.Random(3)
    for _ in range(100):
        place = Position(rng.uniform(-90, 90), rng.uniform(-180, 180))
        for country in ("CA", "US", None):
            metros = ranker.around(country, place, Scope.COUNTRY)
            assert metros == a_ranker().around(country, place, Scope.COUNTRY)
            assert ranker.around(country, place, Scope.COUNTRY) == metros
        assert 0 < sum(map(len, ranker._known.values())) <= 10


def test_unused_ranker_is_freed_without_garbage_collection() -> None:
    ranker = a_ranker()
    ranker.order(ranker.key(a_location(), 1, Scope.COUNTRY), Scope.COUNTRY)
    reference = weakref.ref(ranker)
    gc.disable()
    try:
        del ranker
        assert reference() is None
    finally:
        gc.enable()
