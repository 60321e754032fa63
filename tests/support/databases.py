"""Small geo databases in the layouts of their vendors, written by mmdb-writer."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet  # type: ignore[import-untyped]

from router.errors import GeoDataError
from router.geo.database import open_database

CITIES = {
    "Toronto": ("CA", "Ontario", 43.6532, -79.3832),
    "Montreal": ("CA", "Quebec", 45.5019, -73.5674),
    "Berlin": ("DE", "Berlin", 52.52, 13.405),
    "Suva": ("FJ", "Central", -18.1416, 178.4419),
}


def write_mmdb(
    path: Path, records: Mapping[str, Any], *, type: str = "GeoLite2-City", ip_version: int = 6
) -> Path:
    """A database with a record for each network. With IP version 6 it holds IPv4 too."""
    writer = MMDBWriter(
        ip_version=ip_version,
        ipv4_compatible=ip_version == 6,
        database_type=type,
        languages=["en"],
        description="test",
    )
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return path


WHOLE_WORLD = {"0.0.0.0/1": "Toronto", "128.0.0.0/1": "Toronto", "2000::/3": "Montreal"}


def a_world_file(path: Path, *, days_old: float = 0, type: str = "GeoLite2-City") -> Path:
    """A database that locates every address in one of two cities."""
    write_mmdb(path, {net: nested(city) for net, city in WHOLE_WORLD.items()}, type=type)
    return set_built_at(path, int(time.time() - days_old * 86_400))


def set_built_at(path: Path, seconds: int) -> Path:
    """Change the build time in the database file."""
    content = path.read_bytes()
    at = content.rindex(b"build_epoch") + len(b"build_epoch")
    size = content[at] & 0x1F  # a uint64 is stored as its size, its extended type, its bytes
    value = seconds.to_bytes(size)
    path.write_bytes(content[: at + 2] + value + content[at + 2 + size :])
    return path


def nested(city: str) -> dict[str, Any]:
    """A record in the layout of GeoIP2, GeoLite2 and DB-IP."""
    country, subdivision, latitude, longitude = CITIES[city]
    return {
        "city": {"names": {"en": city}},
        "country": {"iso_code": country, "names": {"en": country}},
        "location": {"latitude": latitude, "longitude": longitude},
        "subdivisions": [{"names": {"en": subdivision}}],
    }


def country_only(code: str) -> dict[str, Any]:
    """A GeoLite2 record that knows only the country. Its position is the country's centre."""
    return {
        "country": {"iso_code": code},
        "location": {"latitude": 37.751, "longitude": -97.822, "accuracy_radius": 1000},
    }


def flat(city: str) -> dict[str, Any]:
    """A record in the layout of ip-location-db."""
    country, subdivision, latitude, longitude = CITIES[city]
    return {
        "city": city,
        "country_code": country,
        "latitude": latitude,
        "longitude": longitude,
        "postcode": "",
        "state1": subdivision,
        "state2": "",
        "timezone": "",
    }


def ipinfo(city: str) -> dict[str, Any]:
    """A record in the layout of IPinfo, which stores numbers as text."""
    country, subdivision, latitude, longitude = CITIES[city]
    place = {"lat": str(latitude), "lng": str(longitude)}
    return {"city": city, "country": country, "region": subdivision, **place}


VIEWER = "203.0.113.7"


ELSEWHERE = "198.51.100.7"


TORONTO = {"latitude": 43.65, "longitude": -79.38}


def a_file(path: Path, record: Any, *, type: str = "GeoLite2-City", known: Any = None) -> Path:
    """A database with `record` for VIEWER's /24 and `known` for ELSEWHERE's /24."""
    records = {} if known is None else {f"{ELSEWHERE}/24": known}
    records |= {f"{VIEWER}/24": record, "2001:db8::/32": record}
    return write_mmdb(path / "small.mmdb", records, type=type)


def a_city(**changes: Any) -> dict[str, Any]:
    """A GeoLite2-City record with changes. A change to None removes the key."""
    record = {
        "city": {"geoname_id": 6167865, "names": {"en": "Toronto"}},
        "continent": {"code": "NA"},
        "country": {"geoname_id": 6251999, "iso_code": "CA", "names": {"en": "Canada"}},
        "location": {**TORONTO, "accuracy_radius": 20, "time_zone": "America/Toronto"},
        "registered_country": {"iso_code": "US"},
        "subdivisions": [{"iso_code": "ON", "names": {"en": "Ontario"}}],
    }
    return {key: value for key, value in {**record, **changes}.items() if value is not None}


def a_country() -> dict[str, Any]:
    return a_city(city=None, location=None, subdivisions=None)


def survives(path: Path) -> None:
    """Open the file and look up addresses. Only GeoDataError is allowed."""
    try:
        geo = open_database(path)
    except GeoDataError:
        return
    for address in (VIEWER, ELSEWHERE, "192.0.2.1", "2001:db8::1", "::", "255.255.255.255"):
        geo.locate(address)
