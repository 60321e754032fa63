"""Geo databases and censuses with known numbers of addresses."""

from pathlib import Path

from router.geodata.census import Census, Place
from router.model import Catalog, Location
from router.routing.fleet import Fleet
from router.routing.query import Query
from router.whatif.moves import Side
from router.whatif.scenario import NO_CHANGE, Change, change_catalog, change_fleet
from tests.support.builders import (
    BERLIN,
    NEW_YORK,
    NOW,
    TORONTO,
    VANCOUVER,
    a_catalog,
    a_fleet,
    a_location,
)
from tests.support.databases import a_city, a_country, write_mmdb


def a_world(path: Path, type: str = "GeoLite2-City") -> Path:
    """A database with two cities and one country."""
    berlin = {"latitude": BERLIN.latitude, "longitude": BERLIN.longitude}
    records = {
        "24.48.0.0/16": a_city(),
        "2001:db8::/32": a_city(),
        "85.214.0.0/24": a_city(country={"iso_code": "DE"}, location=berlin),
        "99.224.0.0/20": a_country(),
        "10.0.0.0/8": a_country(),
    }
    return write_mmdb(path / "world.mmdb", records, type=type)


PLACES = (
    Place(a_location(TORONTO), 1_000_000),
    Place(a_location(VANCOUVER), 500_000),
    Place(a_location(NEW_YORK, "US"), 2_000_000),
    Place(a_location(BERLIN, "DE"), 1_500_000),
    Place(a_location(None, "US"), 400_000),
    Place(Location(), 100_000),
)


def a_census(*places: Place) -> Census:
    return Census(database="test", built_at=NOW, places=places or PLACES)


def sides(
    change: Change,
    query: Query = Query(),
    catalog: Catalog | None = None,
    present: Fleet | None = None,
) -> tuple[Side, Side]:
    catalog, present = catalog or a_catalog(), present or a_fleet()
    after = change_catalog(catalog, change)
    return (
        Side(catalog, change_fleet(catalog, present, NO_CHANGE, NOW), query),
        Side(after, change_fleet(after, present, change, NOW), query),
    )
