"""The census counts the public addresses at each place."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import islice, pairwise
from pathlib import Path

import maxminddb_rust
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet  # type: ignore[import-untyped]

from router.errors import GeoDataError
from router.geo.database import open_database, packaged_database
from router.geodata.census import Block, Census, Place, count_places, public_addresses
from router.geodata.survey import CENSUS_FILE, located_blocks, read_census
from router.model import Level, Location
from tests.support.builders import NOW, TORONTO, a_location
from tests.support.databases import a_city, a_country, write_mmdb
from tests.support.strategies import locations
from tests.support.worlds import a_world

firsts = st.integers(0, 2**32 - 1)
blocks = st.builds(
    lambda first, size, location: Block(first, min(size, 2**32 - first), location),
    firsts,
    st.integers(1, 2**24),
    locations,
)


def a_block(text: str = "24.48.0.0/16", location: Location | None = None) -> Block:
    network = IPv4Network(text)
    place = a_location() if location is None else location
    return Block(int(network.network_address), network.num_addresses, place)


def counted(places: tuple[Place, ...]) -> dict[Location, int]:
    return {place.location: place.addresses for place in places}


@given(found=st.lists(blocks), decimals=st.none() | st.integers(0, 3))
def test_every_public_address_is_counted_once(found: list[Block], decimals: int | None) -> None:
    places = count_places(found, decimals)

    placed = [block for block in found if block.location.level is not Level.UNKNOWN]
    assert sum(place.addresses for place in places) == sum(map(public_addresses, placed))
    assert len(counted(places)) == len(places)


def test_near_positions_share_a_cell() -> None:
    near, far = a_location(TORONTO), a_location(TORONTO._replace(latitude=43.81))
    found = [a_block("24.48.0.0/24", near), a_block("24.48.1.0/24", far)]

    assert [place.addresses for place in count_places(found)] == [256, 256]
    assert [place.addresses for place in count_places(found, 0)] == [512]


def test_positions_are_exact_without_rounding() -> None:
    (place,) = count_places([a_block()], None)

    assert place == Place(a_location(TORONTO), 65_536)


def test_cell_has_one_country_and_one_level() -> None:
    found = [
        a_block("24.48.0.0/24", a_location(TORONTO, "CA")),
        a_block("24.48.1.0/24", a_location(TORONTO, "US")),
        a_block("24.48.2.0/24", a_location(None, "CA")),
    ]

    assert len(count_places(found, 0)) == 3


def test_addresses_without_a_location_are_not_counted() -> None:
    assert count_places([a_block(location=Location())]) == ()


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.7.0/24"),
        *("172.16.0.0/12", "192.168.1.0/24", "198.18.0.0/15", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
    ],
)
def test_private_addresses_are_not_counted(text: str) -> None:
    assert count_places([a_block(text)]) == ()


@given(first=st.sampled_from([0x0A000000, 0x64400000, 0xAC100000, 0xC0A80000, 0xC6120000]))
def test_block_with_some_private_addresses_counts_the_others(first: int) -> None:
    block = Block(first - 100, 200, a_location())
    public = sum(IPv4Address(one).is_global for one in range(first - 100, first + 100))

    assert public_addresses(block) == public == 100


@given(block=blocks)
def test_block_counts_as_the_sum_of_its_halves(block: Block) -> None:
    half = block.size // 2
    halves = (
        block._replace(size=half),
        block._replace(first=block.first + half, size=block.size - half),
    )

    assert public_addresses(block) == sum(map(public_addresses, halves))
    assert 0 <= public_addresses(block) <= block.size


def test_number_of_public_ipv4_addresses_is_plausible() -> None:
    assert 3.6e9 < public_addresses(Block(0, 2**32, a_location())) < 3.75e9


# From a database


def test_census_of_a_database_has_its_places(tmp_path: Path) -> None:
    census = read_census(open_database(a_world(tmp_path)), None)

    addresses = {(one.location.country, one.location.level): one.addresses for one in census.places}
    assert addresses == {
        ("CA", Level.CITY): 65_536,
        ("DE", Level.CITY): 256,
        ("CA", Level.COUNTRY): 4_096,
    }
    assert census.addresses == 65_536 + 256 + 4_096


def test_blocks_have_the_locations_of_the_database() -> None:
    geo = open_database(packaged_database())
    found = list(islice(located_blocks(geo), 20_000))

    assert found[0].first == 0
    assert all(one.first + one.size == other.first for one, other in pairwise(found))
    for block in found[::97]:
        for address in (block.first, block.first + block.size - 1):
            assert geo.locate(str(IPv4Address(address))) == block.location


@pytest.mark.parametrize("ip_version", [4, 6])
def test_blocks_cover_all_of_ipv4(tmp_path: Path, ip_version: int) -> None:
    records = {"24.48.0.0/16": a_city(), "203.0.113.7/32": a_country()}
    path = write_mmdb(tmp_path / "a.mmdb", records, ip_version=ip_version)
    found = list(located_blocks(open_database(path)))

    assert sum(block.size for block in found) == 2**32
    assert all(one.first + one.size == other.first for one, other in pairwise(found))
    assert [block.size for block in found if block.location.country] == [2**16, 1]


def test_network_that_contains_all_of_ipv4_is_counted(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "a.mmdb", {"::/8": a_city()})
    found = list(located_blocks(open_database(path)))

    assert sum(block.size for block in found if block.location.country) == 2**32


def test_census_of_two_files_counts_the_ipv4_file(tmp_path: Path) -> None:
    v4 = write_mmdb(tmp_path / "4.mmdb", {"24.48.0.0/16": a_city()}, ip_version=4)
    v6 = write_mmdb(tmp_path / "6.mmdb", {"2001:db8::/32": a_country()})

    assert read_census(open_database(v4, v6), None).addresses == 65_536


def test_search_tree_with_a_cycle_is_rejected(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "four.mmdb", {"24.48.0.0/16": a_city()}, ip_version=4)
    geo = open_database(path)
    content = path.read_bytes()
    damaged = tmp_path / "damaged.mmdb"
    damaged.write_bytes(bytes(len(content) // 8) + content[len(content) // 8 :])
    # Opening the damaged file normally would already fail: the cycle is in the first networks.
    file = replace(geo.files[0], reader=maxminddb_rust.open_database(str(damaged)))

    with pytest.raises(GeoDataError, match=r"four\.mmdb: cannot be read to its end"):
        read_census(replace(geo, files=(file,)), None)


def test_database_without_public_addresses_is_rejected(tmp_path: Path) -> None:
    writer = MMDBWriter(ip_version=6, database_type="GeoLite2-City")
    writer.insert_network(IPSet(["2001:db8::/32"]), a_city())
    writer.to_db_file(str(tmp_path / "six.mmdb"))

    with pytest.raises(GeoDataError, match="places no public IPv4 addresses"):
        read_census(open_database(tmp_path / "six.mmdb"), tmp_path)
    assert not (tmp_path / CENSUS_FILE).exists()


# On disk


def fail_on_read(what: str, done: int, total: int | None) -> None:
    raise AssertionError("the database was read again")


def test_saved_census_is_reused(tmp_path: Path) -> None:
    geo = open_database(a_world(tmp_path))
    first = read_census(geo, tmp_path / "state")

    assert read_census(geo, tmp_path / "state", fail_on_read) == first


def test_census_of_another_database_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    world, other = a_world(tmp_path), a_world(tmp_path / "other", "DBIP-City")
    before = read_census(open_database(world), tmp_path)
    after = read_census(open_database(other), tmp_path)

    assert before.database != after.database
    assert read_census(open_database(other), tmp_path, fail_on_read) == after


@pytest.mark.parametrize("content", [b"", b"\xc1", b"nonsense", b"\x93" * 100_000])
def test_damaged_census_is_made_again(tmp_path: Path, content: bytes) -> None:
    geo = open_database(a_world(tmp_path))
    census = read_census(geo, tmp_path)
    (tmp_path / CENSUS_FILE).write_bytes(content)

    assert read_census(geo, tmp_path) == census
    assert (tmp_path / CENSUS_FILE).read_bytes() != content


def test_folder_that_cannot_be_created_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    assert read_census(open_database(a_world(tmp_path)), tmp_path / "file" / "x").addresses > 0


def test_census_leaves_no_other_file(tmp_path: Path) -> None:
    read_census(open_database(a_world(tmp_path)), tmp_path / "state")

    assert [path.name for path in (tmp_path / "state").iterdir()] == [CENSUS_FILE]


def test_census_sums_its_places() -> None:
    places = (Place(a_location(), 3), Place(Location(), 4))

    assert Census(database="x", built_at=NOW, places=places).addresses == 7
