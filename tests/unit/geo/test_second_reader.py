"""The second reader gives the same results as the first, and names of places."""

from dataclasses import replace
from pathlib import Path

import pytest

from router.errors import GeoDataError
from router.geo.database import GeoDatabase, open_database, packaged_database
from router.geo.second_reader import SecondReader, place_name
from router.geodata.sample import v4_sample, v6_sample
from router.geodata.verify import verify
from router.model import Location, Source
from tests.support.databases import flat, ipinfo, nested, write_mmdb

VIEWER = "203.0.113.7"


def a_database(path: Path, record: object, type: str = "GeoLite2-City") -> GeoDatabase:
    return open_database(write_mmdb(path / "a.mmdb", {"203.0.113.0/24": record}, type=type))


def test_both_readers_agree_on_the_packaged_database() -> None:
    verify(open_database(packaged_database()), [*v4_sample(300), *v6_sample(300)])


@pytest.mark.parametrize("layout", [nested, flat, ipinfo])
@pytest.mark.parametrize("type", ["GeoLite2-City", "GeoLite2-Country", "Somebody's places"])
def test_both_readers_agree_on_every_layout(tmp_path: Path, layout: object, type: str) -> None:
    geo = a_database(tmp_path, layout("Toronto"), type)  # type: ignore[operator]
    verify(geo, [VIEWER, "192.0.2.1", "2001:db8::1"])
    with SecondReader(geo) as second:
        assert second.country(VIEWER) == "CA"
        assert second.country("192.0.2.1") is None


def test_database_is_rejected_if_readers_disagree(tmp_path: Path) -> None:
    geo = replace(a_database(tmp_path, nested("Toronto")), look_up=lambda _: Location("FJ"))
    with pytest.raises(GeoDataError, match="is in FJ by maxminddb-rust and in CA by geoip2"):
        verify(geo, [VIEWER])


def test_file_that_only_one_reader_can_read_is_rejected(tmp_path: Path) -> None:
    geo = a_database(tmp_path, nested("Toronto"))
    geo.path.write_bytes(b"invalid")
    with pytest.raises((GeoDataError, RuntimeError)):
        verify(geo, [VIEWER])


@pytest.mark.parametrize(
    ("layout", "name"),
    [(nested, "Toronto, Ontario, CA"), (flat, "Toronto, Ontario"), (ipinfo, "Toronto, Ontario")],
)
def test_places_are_named(tmp_path: Path, layout: object, name: str) -> None:
    geo = a_database(tmp_path, layout("Toronto"))  # type: ignore[operator]
    assert place_name(geo, VIEWER, Source.DATABASE) == name
    assert place_name(geo, VIEWER, Source.OVERRIDE) is None
    assert place_name(geo, "192.0.2.1", Source.DATABASE) is None


def test_each_of_two_files_is_used_for_its_addresses(tmp_path: Path) -> None:
    v4 = write_mmdb(tmp_path / "4.mmdb", {"203.0.113.0/24": flat("Toronto")}, ip_version=4)
    v6 = write_mmdb(tmp_path / "6.mmdb", {"2001:db8::/32": flat("Berlin")})
    with SecondReader(open_database(v4, v6)) as second:
        assert second.country(VIEWER) == "CA"
        assert second.country("2001:db8::1") == "DE"
