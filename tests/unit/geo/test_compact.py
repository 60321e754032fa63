"""A compact file gives back what was put in, rounded; a damaged one is refused, or harmless."""

import random
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest

from router.errors import GeoDataError
from router.geo.compact import Origin, Places, is_compact, read_compact, write_compact
from router.geo.database import open_database
from router.geo.ranges import v4_ranges, v6_ranges
from router.model import Level, Location, Position, Source
from tests.support.builders import TORONTO, a_location

ORIGIN = Origin(type="Test-City", built_at=1_700_000_000.0, licence="CC0", attribution="By us")
IN_TORONTO = a_location(TORONTO, "CA")
IN_BERLIN = a_location(Position(52.52, 13.4), "DE")
IN_FRANCE = a_location(None, "FR")
AT_SEA = a_location(Position(-17.0, 179.95), None)


def a_compact(path: Path) -> Path:
    """203.0.113.0/24 in Toronto, 198.51.100.0/24 in France, 2001:db8::/32 in Berlin but for
    its first address, at sea."""
    places = Places()
    nowhere, france, toronto, berlin, sea = map(
        places.number, [Location(), IN_FRANCE, IN_TORONTO, IN_BERLIN, AT_SEA]
    )
    v4 = [
        (0, nowhere),
        (0xC6336400, france),
        (0xC6336500, nowhere),
        (0xCB007100, toronto),
        (0xCB007200, nowhere),
    ]
    network = 0x20010DB8 << 96
    v6 = [(0, nowhere), (network, sea), (network + 1, berlin), (0x20010DB9 << 96, nowhere)]
    written = BytesIO()
    write_compact(written, ORIGIN, 1.0, (*v4_ranges(v4), *v6_ranges(v6)), places)
    file = path / "small.geo"
    file.write_bytes(written.getvalue())
    return file


@pytest.mark.parametrize(
    ("address", "location"),
    [
        ("198.51.99.255", Location()),
        ("198.51.100.0", IN_FRANCE),
        ("198.51.100.255", IN_FRANCE),
        ("198.51.101.0", Location()),
        ("203.0.113.7", a_location(Position(43.65, -79.38), "CA")),
        ("2001:db8::", AT_SEA),
        ("2001:db8::1", IN_BERLIN),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", IN_BERLIN),
        ("2001:db9::", Location()),
        ("::", Location()),
        ("ffff::", Location()),
        ("0.0.0.0", Location()),
        ("255.255.255.255", Location()),
    ],
)
def test_address_is_where_it_was_put(tmp_path: Path, address: str, location: Location) -> None:
    assert open_database(a_compact(tmp_path)).locate(address) == location


@pytest.mark.parametrize("text", ["", "nonsense", "1.2.3", "::1%eth0", "1.2.3.4\x00", "9" * 9_999])
def test_text_that_is_no_address_is_nowhere(tmp_path: Path, text: str) -> None:
    assert open_database(a_compact(tmp_path)).locate(text) == Location()


def test_file_says_where_it_comes_from(tmp_path: Path) -> None:
    geo = open_database(a_compact(tmp_path))
    assert (geo.type, geo.built_at, geo.is_compact) == ("Test-City", 1_700_000_000.0, True)
    assert geo.terms == ("CC0", "By us")


def test_place_is_kept_once_at_its_precision() -> None:
    places = Places()
    numbers = [
        places.number(a_location(Position(latitude, 10.0), "DE"))
        for latitude in (52.001, 52.004, 52.006, 52.0)
    ]
    assert numbers == [0, 0, 1, 0]


@pytest.mark.parametrize(
    "position",
    [Position(90.0, 180.0), Position(-90.0, -180.0), Position(89.999, -179.999)],
)
def test_ends_of_the_earth_can_be_written_and_read(tmp_path: Path, position: Position) -> None:
    places = Places()
    nowhere = places.number(Location())
    there = places.number(a_location(position, "AQ"))
    ranges = (*v4_ranges([(0, there)]), *v6_ranges([(0, nowhere)]))
    file = tmp_path / "far.geo"
    with file.open("wb") as written:
        write_compact(written, ORIGIN, 1.0, ranges, places)
    found = read_compact(file).locate("192.0.2.1")
    assert found.position == pytest.approx(position, abs=0.005)
    assert (found.country, found.level, found.source) == ("AQ", Level.CITY, Source.DATABASE)


def test_other_files_are_not_compact(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"autogeo")
    assert not is_compact(other)
    assert is_compact(a_compact(tmp_path))


def refusal(path: Path) -> str:
    with pytest.raises(GeoDataError) as caught:
        open_database(path)
    return str(caught.value)


def test_every_cut_file_is_refused(tmp_path: Path) -> None:
    path = a_compact(tmp_path)
    whole = path.read_bytes()
    for size in (*range(8, 64), 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert str(path) in refusal(path)


def test_longer_file_is_refused(tmp_path: Path) -> None:
    path = a_compact(tmp_path)
    path.write_bytes(path.read_bytes() + b"\0")
    assert "bytes long" in refusal(path)


def test_any_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = a_compact(tmp_path)
    whole = path.read_bytes()
    rng = random.Random(11)
    for place in [*range(400), *(rng.randrange(len(whole)) for _ in range(200))]:
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        assert str(path) in refusal(path)


def test_file_of_a_machine_with_another_byte_order_is_refused(tmp_path: Path) -> None:
    path = a_compact(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[8:10] = whole[9:7:-1]
    path.write_bytes(whole)
    assert "another byte order" in refusal(path)
    assert "autorouter geodata build" in refusal(path)


def test_hostile_file_with_a_right_checksum_never_raises(tmp_path: Path) -> None:
    path = a_compact(tmp_path)
    whole = path.read_bytes()[:-32]
    rng = random.Random(13)
    opened = 0
    for _ in range(400):
        changed = bytearray(whole)
        for _ in range(8):
            # Mostly in the tables: the long one of IPv4's blocks is not the interesting one.
            place = rng.choice([rng.randrange(len(whole)), rng.randrange(1, 300)])
            changed[-place] = rng.randrange(256)
        path.write_bytes(bytes(changed) + sha256(changed).digest())
        try:
            geo = open_database(path)
        except GeoDataError:
            continue
        opened += 1
        for address in ("203.0.113.7", "198.51.100.0", "2001:db8::", "2001:db8::1", "::", "ff::"):
            assert isinstance(geo.locate(address), Location)
    assert opened > 50
