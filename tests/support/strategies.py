"""Random catalogs, fleets, viewers and queries for property tests."""

from dataclasses import replace

from hypothesis import strategies as st

from router.geo.sphere import valid_position
from router.model import Catalog, Intended, Observed, Position, Region, Scope
from router.routing.fleet import Fleet, combine
from router.routing.query import Query
from router.routing.ranking import RouteKey
from tests.support.builders import (
    BERLIN,
    COUNTRIES,
    MONTREAL,
    NEW_YORK,
    NOW,
    TORONTO,
    a_catalog,
    a_location,
    a_region,
    a_view,
    an_edge_view,
    an_intent,
)

MODELS = ("kokoro-82m", "llama-3", "whisper")

seeds = st.integers(0, 0xFFFFFFFF)
latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 180)
positions = st.builds(Position, latitudes, longitudes).filter(
    lambda position: valid_position(position.latitude, position.longitude) is not None
)
codes = st.sampled_from([*COUNTRIES, "MX"])
locations = st.builds(a_location, st.none() | positions, st.none() | codes)


@st.composite
def towns(draw: st.DrawFn) -> Position:
    """A position near one of a few cities, so that metros form."""
    centre = draw(st.sampled_from([TORONTO, MONTREAL, NEW_YORK, BERLIN, Position(-17.0, 179.95)]))
    north, east = draw(st.floats(-0.2, 0.2)), draw(st.floats(-0.2, 0.2))
    longitude = (centre.longitude + east + 180) % 360 - 180
    return Position(centre.latitude + north, longitude)


@st.composite
def regions(draw: st.DrawFn, max_size: int = 8) -> list[Region]:
    """Regions with distinct ids. At least one is routable."""
    count = draw(st.integers(1, max_size))
    drawn = [
        a_region(
            f"e-{index:02}",
            country=draw(st.sampled_from(["CA", "US", "DE"])),
            position=draw(towns() | positions),
            weight=draw(st.sampled_from([0.5, 1.0, 3.0])),
            routable=index == 0 or draw(st.booleans()),
        )
        for index in range(count)
    ]
    return draw(st.permutations(drawn))


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    return a_catalog(*draw(regions()))


@st.composite
def bounded_catalogs(draw: st.DrawFn) -> Catalog:
    """Catalogs with a residency policy, which may name countries without an edge."""
    allowed = st.frozensets(st.sampled_from(["CA", "US", "DE", "JP"]), min_size=1)
    policy = draw(st.dictionaries(codes, allowed, min_size=1, max_size=4))
    return replace(draw(catalogs()), residency=policy)


@st.composite
def fleets(draw: st.DrawFn, catalog: Catalog) -> Fleet:
    """Fleets combined from views of any age and intents of any kind."""
    inventories = st.none() | st.sets(st.sampled_from(MODELS))
    states = st.sampled_from(Observed)
    ids = [region.id for region in catalog.regions]
    views = [
        a_view(
            vantage,
            {id: an_edge_view(draw(states), models=draw(inventories)) for id in ids},
            probed_at=NOW - draw(st.sampled_from([0.0, 0.0, 0.0, 60.0, 500.0])),
        )
        for vantage in draw(st.sampled_from([(), ("a",), ("a",), ("a", "b"), ("a", "b", "c")]))
    ]
    wishes = draw(st.dictionaries(st.sampled_from(ids), st.sampled_from(Intended), max_size=3))
    intents = [an_intent(id, state) for id, state in wishes.items()]
    return combine(catalog, views, intents, NOW)


@st.composite
def keys(draw: st.DrawFn, catalog: Catalog) -> RouteKey:
    """Any key that is valid for the catalog, even if no viewer can have it."""
    ids = [region.id for region in catalog.regions if region.routable]
    preferred = draw(st.lists(st.sampled_from(ids), unique=True, max_size=3))
    return RouteKey(draw(st.none() | codes), tuple(preferred))


queries = st.builds(
    Query,
    scope=st.sampled_from(Scope),
    model=st.none() | st.sampled_from([*MODELS, "KOKORO", "Whisper", "nobody-has-it"]),
    strict=st.booleans(),
    all=st.booleans(),
)

Question = tuple[Catalog, Fleet, RouteKey, Query]


@st.composite
def questions(draw: st.DrawFn, kinds: st.SearchStrategy[Catalog] = catalogs()) -> Question:
    """A catalog of one of the `kinds`, with a fleet, a key and a query."""
    catalog = draw(kinds)
    return catalog, draw(fleets(catalog)), draw(keys(catalog)), draw(queries)
