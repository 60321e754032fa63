"""Geo databases and censuses with known numbers of addresses."""

from pathlib import Path

from mmdb_writer import MMDBWriter
from netaddr import IPSet  # type: ignore[import-untyped]

from router.geodata.census import Census, Place
from router.model import Catalog, Location
from router.routing.fleet import Fleet
from router.routing.query import Query
from router.whatif.moves import Side
from router.whatif.scenario import NO_CHANGE, Change, changed_catalog, changed_fleet
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
from tests.support.databases import a_city, a_country


def a_world(path: Path, type: str = "GeoLite2-City") -> Path:
    """A database with two cities and one country."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type=type)
    writer.insert_network(IPSet(["24.48.0.0/16", "2001:db8::/32"]), a_city())
    berlin = {"latitude": BERLIN.latitude, "longitude": BERLIN.longitude}
    writer.insert_network(
        IPSet(["85.214.0.0/24"]), a_city(country={"iso_code": "DE"}, location=berlin)
    )
    writer.insert_network(IPSet(["99.224.0.0/20", "10.0.0.0/8"]), a_country())
    file = path / "world.mmdb"
    writer.to_db_file(str(file))
    return file


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
    after = changed_catalog(catalog, change)
    return (
        Side(catalog, changed_fleet(catalog, present, NO_CHANGE, NOW), query),
        Side(after, changed_fleet(after, present, change, NOW), query),
    )
