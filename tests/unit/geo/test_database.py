"""Any .mmdb file gives a Location or a helpful GeoDataError, and no other exception."""

import random
import shutil
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import geoip2.database
import maxminddb
import pytest
from mmdb_writer import MMDBWriter

from router.errors import GeoDataError
from router.geo.database import GeoDatabase, open_database, packaged_database
from router.geo.overrides import Rules, parse_overrides
from router.model import Level, Location, Position, Source
from tests.support.builders import COUNTRIES
from tests.support.databases import (
    TORONTO,
    VIEWER,
    a_city,
    a_country,
    a_file,
    flat,
    survives,
    write_mmdb,
)
from tests.support.samples import samples

DB_IP = packaged_database()
KANSAS = {"latitude": 37.751, "longitude": -97.822}


@pytest.fixture(scope="module")
def db_ip() -> GeoDatabase:
    return open_database(DB_IP)


def located(path: Path, record: Any, address: str = VIEWER, known: Any = None) -> Location:
    return open_database(a_file(path, record, known=known)).locate(address)


def in_country(code: str) -> Location:
    return Location(country=code, level=Level.COUNTRY, source=Source.DATABASE)


def in_city(code: str, latitude: float, longitude: float) -> Location:
    return Location(
        country=code,
        position=Position(latitude, longitude),
        level=Level.CITY,
        source=Source.DATABASE,
    )


@pytest.mark.parametrize(
    ("address", "country", "latitude", "longitude"),
    [
        ("24.48.0.1", "CA", 45.5, -73.6),
        ("99.224.0.1", "CA", 43.6, -79.5),
        ("85.214.132.117", "DE", 52.5, 13.3),
        ("17.0.0.1", "US", 37.3, -122.0),
        ("2607:fea8::1", "CA", 43.6, -79.4),
        ("2a02:8109::1", "DE", 52.5, 13.4),
    ],
)
def test_known_addresses_are_located(
    db_ip: GeoDatabase, address: str, country: str, latitude: float, longitude: float
) -> None:
    found = db_ip.locate(address)
    assert (found.country, found.level, found.source) == (country, Level.CITY, Source.DATABASE)
    assert found.position is not None
    assert (found.position.latitude, found.position.longitude) == pytest.approx(
        (latitude, longitude), abs=0.15
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "fe80::1"])
def test_private_addresses_have_no_location(db_ip: GeoDatabase, address: str) -> None:
    assert db_ip.locate(address) == Location()


@pytest.mark.parametrize(
    "text", ["", "nonsense", "1.2.3.4.5", "::1%eth0", "1.2.3.4\x00", "9" * 9_999]
)
def test_invalid_address_has_no_location(db_ip: GeoDatabase, text: str) -> None:
    assert db_ip.locate(text) == Location()


def test_type_and_age_are_reported(db_ip: GeoDatabase) -> None:
    assert db_ip.type == "DBIP-City-Lite"
    assert db_ip.networks > 1_000_000
    assert db_ip.age_days(db_ip.built_at + 86_400) == 1


def some_addresses(count: int) -> list[str]:
    rng = random.Random(20_26)
    v4 = [str(IPv4Address(rng.getrandbits(32))) for _ in range(count // 2)]
    v6 = [str(IPv6Address(0x2 << 124 | rng.getrandbits(124))) for _ in range(count // 4)]
    dense = [str(IPv6Address(0x2A02 << 112 | rng.getrandbits(112))) for _ in range(count // 4)]
    return v4 + v6 + dense


def test_agrees_with_geoip2_on_2000_addresses(db_ip: GeoDatabase) -> None:
    disagreed, compared = [], 0
    expected: tuple[str | None, float | None]
    with geoip2.database.Reader(DB_IP) as independent:
        for address in some_addresses(2_000):
            found = db_ip.locate(address)
            try:
                record = independent.city(address)
            except geoip2.errors.AddressNotFoundError:
                expected = (None, None)
            else:
                compared += 1
                expected = (record.country.iso_code, record.location.latitude)
            latitude = None if found.position is None else found.position.latitude
            if (found.country, latitude) != expected:
                disagreed.append((address, found, expected))
    assert compared > 1_000
    assert disagreed == []


def test_city_record_gives_its_position(tmp_path: Path) -> None:
    assert located(tmp_path, a_city()) == in_city("CA", 43.65, -79.38)


def test_ipv6_address_is_found_in_the_same_file(tmp_path: Path) -> None:
    assert located(tmp_path, a_city(), "2001:db8::1") == in_city("CA", 43.65, -79.38)


def test_address_outside_the_database_has_no_location(tmp_path: Path) -> None:
    assert located(tmp_path, a_city(), "192.0.2.1") == Location()


@pytest.mark.parametrize("radius", [500, 1000, 65535])
def test_centre_of_the_us_means_only_the_country(tmp_path: Path, radius: int) -> None:
    usa = a_city(
        city=None,
        subdivisions=None,
        country={"iso_code": "US"},
        location={**KANSAS, "accuracy_radius": radius},
    )
    assert located(tmp_path, usa) == in_country("US")


def test_point_without_city_or_subdivision_means_the_country(tmp_path: Path) -> None:
    usa = a_city(city=None, subdivisions=None, country={"iso_code": "US"}, location=KANSAS)
    assert located(tmp_path, usa) == in_country("US")


def test_large_radius_means_only_the_country(tmp_path: Path) -> None:
    wide = a_city(location={**TORONTO, "accuracy_radius": 1000})
    assert located(tmp_path, wide) == in_country("CA")


@pytest.mark.parametrize("missing", ["city", "subdivisions"])
def test_city_or_subdivision_alone_gives_city_level(tmp_path: Path, missing: str) -> None:
    assert located(tmp_path, a_city(**{missing: None})).level is Level.CITY


def test_city_with_only_a_geoname_id_gives_city_level(tmp_path: Path) -> None:
    record = a_city(city={"geoname_id": 6167865}, subdivisions=None)
    assert located(tmp_path, record).level is Level.CITY


def test_country_database_gives_countries(tmp_path: Path) -> None:
    geo = open_database(a_file(tmp_path, a_country(), type="GeoLite2-Country"))
    assert geo.locate(VIEWER) == in_country("CA")


@pytest.mark.parametrize(
    "place",
    [
        {"latitude": 0.0, "longitude": 0.0},
        {"latitude": 90.5, "longitude": 10.0},
        {"latitude": 10.0, "longitude": -180.5},
        {"latitude": 1e308, "longitude": 10.0},
        {"latitude": float("nan"), "longitude": 10.0},
        {"latitude": float("inf"), "longitude": 10.0},
        {"latitude": 43.65},
        {"latitude": "43.65", "longitude": "-79.38"},
        {},
    ],
)
def test_impossible_position_means_only_the_country(tmp_path: Path, place: dict[str, Any]) -> None:
    assert located(tmp_path, a_city(location=place)) == in_country("CA")


FLAT = {"city": "Toronto", "state1": "Ontario", "postcode": "", "timezone": "", **TORONTO}


def test_flat_ip_location_db_is_read(tmp_path: Path) -> None:
    assert located(tmp_path, {"country_code": "CA", **FLAT}) == in_city("CA", 43.65, -79.38)


def test_flat_country_database_is_read(tmp_path: Path) -> None:
    assert located(tmp_path, {"country_code": "DE"}) == in_country("DE")


@pytest.mark.parametrize("names", [("lat", "lng"), ("latitude", "longitude")])
def test_flat_ipinfo_with_numbers_as_text_is_read(tmp_path: Path, names: tuple[str, str]) -> None:
    place = dict(zip(names, ("43.65", "-79.38"), strict=True))
    record = {"city": "Toronto", "region": "Ontario", "country": "CA", "timezone": "", **place}
    assert located(tmp_path, record) == in_city("CA", 43.65, -79.38)


@pytest.mark.parametrize("latitude", ["", "north", "nan", "inf", "1e999", "9" * 400])
def test_flat_invalid_number_means_only_the_country(tmp_path: Path, latitude: str) -> None:
    record = {"city": "Toronto", "country": "CA", "lat": latitude, "lng": "-79.38"}
    assert located(tmp_path, record) == in_country("CA")


@pytest.mark.parametrize("empty", ["", None])
def test_flat_point_without_a_city_means_the_country(tmp_path: Path, empty: str | None) -> None:
    record = {"country": "US", "lat": "37.751", "lng": "-97.822"}
    named = record if empty is None else {**record, "city": empty, "region": empty}
    assert located(tmp_path, named) == in_country("US")


@pytest.mark.parametrize("code", ["", "C", "CAN", "C1", "--", "Ä", 42, True, ["CA"], {"a": "CA"}])
@pytest.mark.parametrize("field", ["nested", "country_code", "country"])
def test_invalid_country_code_has_no_location(tmp_path: Path, field: str, code: Any) -> None:
    if field == "nested":
        record, known = a_city(country={"iso_code": code}, location=None), a_country()
    else:
        record, known = {field: code}, {field: "CA"}
    assert located(tmp_path, record, known=known) == Location()


def test_country_code_is_converted_to_capitals(tmp_path: Path) -> None:
    assert located(tmp_path, {"country_code": "ca"}).country == "CA"


WRONG_TYPES: list[Any] = ["text", 7, -7, 2**100, 1.5, True, b"\xff\x00", [], ["x"], {}, {"x": []}]


@pytest.mark.parametrize("wrong_type", WRONG_TYPES, ids=repr)
@pytest.mark.parametrize("known", [a_country(), {"country_code": "CA"}, {"country": "CA"}])
def test_records_of_wrong_types_never_raise(tmp_path: Path, wrong_type: Any, known: Any) -> None:
    fields = ["city", "country", "country_code", "lat", "latitude", "location", "subdivisions"]
    geo = open_database(a_file(tmp_path, wrong_type, known=known))
    assert isinstance(geo.locate(VIEWER), Location)
    geo = open_database(a_file(tmp_path, dict.fromkeys(fields, wrong_type), known=known))
    assert isinstance(geo.locate(VIEWER), Location)


@pytest.mark.parametrize("wrong_type", WRONG_TYPES, ids=repr)
def test_nested_values_of_wrong_types_never_raise(tmp_path: Path, wrong_type: Any) -> None:
    record = a_city(
        city={"names": wrong_type},
        country={"iso_code": wrong_type},
        location={"latitude": wrong_type, "longitude": wrong_type, "accuracy_radius": wrong_type},
        subdivisions=wrong_type,
    )
    assert isinstance(located(tmp_path, record, known=a_country()), Location)


@pytest.mark.parametrize("wrong_type", ["Canada", 7, True, 1.5, [], ["CA"], {"x": []}], ids=repr)
def test_country_of_a_wrong_type_keeps_the_position(tmp_path: Path, wrong_type: Any) -> None:
    found = located(tmp_path, a_city(country=wrong_type), known=a_country())
    assert found == Location(None, Position(43.65, -79.38), Level.CITY, Source.DATABASE)


@pytest.mark.parametrize("wrong_type", WRONG_TYPES, ids=repr)
@pytest.mark.parametrize("field", ["city", "subdivisions", "location"])
def test_field_of_a_wrong_type_keeps_the_country(
    tmp_path: Path, field: str, wrong_type: Any
) -> None:
    assert located(tmp_path, a_city(**{field: wrong_type}), known=a_country()).country == "CA"


@pytest.mark.parametrize("wrong_type", WRONG_TYPES, ids=repr)
@pytest.mark.parametrize("field", ["city", "subdivisions"])
def test_city_or_subdivision_of_a_wrong_type_keeps_the_other(
    tmp_path: Path, field: str, wrong_type: Any
) -> None:
    assert located(tmp_path, a_city(**{field: wrong_type}), known=a_country()).level is Level.CITY


@pytest.mark.parametrize(
    "nameless", [{}, {"names": {}}, {"names": {"en": ""}}, "", "-", []], ids=repr
)
@pytest.mark.parametrize("layout", ["nested", "flat"])
def test_place_without_a_name_means_only_the_country(
    tmp_path: Path, layout: str, nameless: Any
) -> None:
    if layout == "nested":
        record = a_city(city=nameless, subdivisions=[nameless])
    else:
        record = {"country": "CA", "city": nameless, "region": nameless, **TORONTO}
    assert located(tmp_path, record, known={**record, "city": "x"}) == in_country("CA")


def test_city_name_in_another_language_gives_city_level(tmp_path: Path) -> None:
    record = a_city(city={"names": {"de": "Neu York"}}, subdivisions=None)
    assert located(tmp_path, record).level is Level.CITY


@pytest.mark.parametrize(("radius", "level"), [("5", Level.CITY), (500, Level.COUNTRY)])
def test_radius_of_ipinfo_is_used(tmp_path: Path, radius: object, level: Level) -> None:
    record = {"city": "Toronto", "country": "CA", "lat": "43.65", "lng": "-79.38"}
    assert located(tmp_path, {**record, "radius": radius}).level is level


@pytest.mark.parametrize(
    ("radius", "is_used"), [(5, True), (499, True), (500, False), (None, False), ("near", False)]
)
@pytest.mark.parametrize("country", [None, {"iso_code": "EU"}])
def test_point_without_a_country_is_used_if_its_radius_is_small(
    tmp_path: Path, country: Any, radius: Any, is_used: bool
) -> None:
    place = TORONTO if radius is None else {**TORONTO, "accuracy_radius": radius}
    record = a_city(country=country, city=None, subdivisions=None, location=place)
    found = located(tmp_path, record, known=a_country())
    assert (found.country, found.position is not None) == (None, is_used)


def error_of(path: Path) -> str:
    with pytest.raises(GeoDataError) as caught:
        open_database(path)
    return str(caught.value)


def assert_helpful(text: str, path: Path) -> None:
    assert text.startswith(f"{path}: ")
    assert "set AUTOROUTER_GEO_DB" in text
    assert "\n" not in text


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "no.mmdb"
    assert "no such file" in error_of(path)
    assert_helpful(error_of(path), path)


def test_directory_is_rejected(tmp_path: Path) -> None:
    assert_helpful(error_of(tmp_path), tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\0" * 4096, b"\xab\xcd\xefMaxMind.com"])
def test_file_that_is_not_a_database_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.mmdb"
    path.write_bytes(content)
    assert_helpful(error_of(path), path)


def test_asn_database_is_rejected_with_its_type(tmp_path: Path) -> None:
    asn = {"autonomous_system_number": 64512, "autonomous_system_organization": "Example"}
    path = a_file(tmp_path, asn, type="GeoLite2-ASN")
    keys = "autonomous_system_number, autonomous_system_organization"
    assert f"'GeoLite2-ASN' holds no countries: its records have the keys {keys}" in error_of(path)
    assert_helpful(error_of(path), path)


@pytest.mark.parametrize("country", [None, "", {}, {"names": {"en": "Canada"}}, ["CA"]], ids=repr)
def test_database_without_countries_is_rejected_with_its_keys(tmp_path: Path, country: Any) -> None:
    path = a_file(tmp_path, {"city": "Toronto", "country": country or {}, "lat": 1.0})
    assert "holds no countries: its records have the keys city, country, lat" in error_of(path)
    assert_helpful(error_of(path), path)


def test_error_shows_few_keys_on_one_line(tmp_path: Path) -> None:
    path = a_file(tmp_path, {f"a\nkey {number:03} {'x' * 200}": 1 for number in range(100)})
    assert_helpful(error_of(path), path)
    assert len(error_of(path)) < 2_000


def test_database_of_plain_values_is_rejected(tmp_path: Path) -> None:
    assert "it has no records with fields" in error_of(a_file(tmp_path, "CA"))


def test_database_without_records_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "none.mmdb"
    MMDBWriter(ip_version=4, languages=["en"]).to_db_file(str(path))
    assert_helpful(error_of(path), path)


@pytest.mark.parametrize("size", [1_000, 1_000_000])
def test_incomplete_download_is_rejected(tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.mmdb"
    with DB_IP.open("rb") as complete, path.open("wb") as cut:
        cut.write(complete.read(size))
    assert_helpful(error_of(path), path)


def test_damaged_search_tree_never_raises(tmp_path: Path) -> None:
    path = a_file(tmp_path, a_city(), known=a_country())
    complete = path.read_bytes()
    rng = random.Random(7)
    for _ in range(samples(300)):
        damaged = bytearray(complete)
        for _ in range(8):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        survives(path)


def test_replaced_file_does_not_affect_an_open_database(tmp_path: Path) -> None:
    path = a_file(tmp_path, a_city())
    geo = open_database(path)
    other = tmp_path / "new"
    other.mkdir()
    shutil.move(a_file(other, {"country_code": "DE"}), path)
    assert geo.locate(VIEWER).country == "CA"
    assert open_database(path).locate(VIEWER).country == "DE"


def test_small_file_is_read_by_maxminddb(tmp_path: Path) -> None:
    with maxminddb.open_database(a_file(tmp_path, a_city())) as reader:
        assert reader.get(VIEWER) == a_city()


def test_key_that_is_not_text_does_not_crash(tmp_path: Path) -> None:
    """The C extension of maxminddb 3.2 crashes because it uses such a key as a pointer."""
    path = a_file(tmp_path, a_city())
    damaged = path.read_bytes().replace(b"Icontinent", b"hcontinent")
    path.write_bytes(damaged)
    survives(path)


def two_files(path: Path) -> tuple[Path, Path]:
    """One file of IPv4 and one of IPv6, as in ip-location-db."""
    v4 = write_mmdb(path / "4.mmdb", {"203.0.113.0/24": flat("Toronto")}, ip_version=4)
    v6 = write_mmdb(path / "6.mmdb", {"2001:db8::/32": flat("Berlin")})
    return v4, v6


def test_two_files_are_read_as_one_database(tmp_path: Path) -> None:
    v4, v6 = two_files(tmp_path)
    for geo in (open_database(v4, v6), open_database(v6, v4)):
        assert geo.locate(VIEWER).country == "CA"
        assert geo.locate("2001:db8::1").country == "DE"
        assert geo.locate("2002:cb00:7107::1") == Location()
        assert geo.locate("nonsense") == geo.locate(":") == Location()
        assert geo.paths == (v4, v6)


def test_two_files_have_the_age_of_the_older_one(tmp_path: Path) -> None:
    v4, v6 = two_files(tmp_path)
    one, other = open_database(v4), open_database(v6)
    geo = open_database(v4, v6)
    assert geo.built_at == min(one.built_at, other.built_at)
    assert geo.bytes == one.bytes + other.bytes
    assert geo.networks == one.networks + other.networks


def test_two_files_of_ipv4_are_rejected(tmp_path: Path) -> None:
    v4, _ = two_files(tmp_path)
    with pytest.raises(GeoDataError, match="give one of IPv6 instead"):
        open_database(v4, v4)


def test_overrides_have_priority_over_two_files(tmp_path: Path) -> None:
    overrides = parse_overrides(
        "203.0.113.0/24,US\n2001:db8::/32,US", Rules(countries=COUNTRIES, find_city=lambda *_: None)
    )
    geo = open_database(*two_files(tmp_path)).after(overrides)
    assert geo.locate(VIEWER).country == geo.locate("2001:db8::1").country == "US"
