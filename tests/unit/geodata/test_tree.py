"""The walk through a search tree finds every network that an independent reader finds."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import maxminddb
import pytest

from router.errors import GeoDataError
from router.geodata.tree import children, networks
from tests.support.databases import write_mmdb

RECORDS = {
    "192.0.2.0/24": {"country": {"iso_code": "CA"}},
    "198.51.100.128/25": {"country": {"iso_code": "DE"}},
    "203.0.113.7/32": {"country": {"iso_code": "FJ"}},
    "2001:db8::/32": {"country": {"iso_code": "FR"}},
    "2a00::1/128": {"country": {"iso_code": "US"}},
}
V4_ONLY = {network: record for network, record in RECORDS.items() if "." in network}


def found(path: Path) -> list[tuple[int, int]]:
    """The networks with a record: 4 or 6, and the first address."""
    return [(version, start) for version, start, record in networks(path) if record is not None]


def expected(path: Path) -> Iterator[tuple[int, int]]:
    """The same by an independent reader."""
    with maxminddb.open_database(path) as reader:
        for network, _ in reader:
            yield network.version, int(network.network_address)


def test_every_network_with_a_record_is_found(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "six.mmdb", RECORDS)
    assert found(path) == list(expected(path))
    assert len(found(path)) == len(RECORDS)


def test_tree_of_ipv4_alone_is_walked(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "four.mmdb", V4_ONLY, ip_version=4)
    assert found(path) == list(expected(path))
    assert {version for version, _ in found(path)} == {4}


def test_networks_come_in_order_from_the_first_address_on(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "six.mmdb", RECORDS)
    told = [(version, start) for version, start, _ in networks(path)]
    assert told == sorted(told)
    assert told[0] == (4, 0)


def test_networks_of_one_record_share_its_number(tmp_path: Path) -> None:
    same = {"country": {"iso_code": "CA"}}
    other = {"country": {"iso_code": "DE"}}
    records = {"192.0.2.0/24": same, "2001:db8::/32": other, "203.0.113.0/24": same}
    path = write_mmdb(tmp_path / "six.mmdb", records)
    numbers = [record for _, _, record in networks(path) if record is not None]
    assert numbers[0] == numbers[1] != numbers[2]


def test_network_around_all_of_ipv4_is_of_both(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "six.mmdb", {"::/8": {"country": {"iso_code": "CA"}}})
    assert found(path) == [(4, 0), (6, 0)]


@pytest.mark.parametrize("alias", ["::ffff:0:0/96", "2002::/16", "2001::/32"])
def test_ipv4_inside_ipv6_is_not_walked_again(tmp_path: Path, alias: str) -> None:
    records = {alias: {"country": {"iso_code": "CA"}}, "2003::/16": {"country": {"iso_code": "DE"}}}
    path = write_mmdb(tmp_path / "six.mmdb", records)
    assert found(path) == [(6, int(IPv6Address("2003::")))]


def test_single_address_is_found_at_its_place(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "six.mmdb", RECORDS)
    assert (4, int(IPv4Address("203.0.113.7"))) in found(path)
    assert (6, int(IPv6Address("2a00::1"))) in found(path)


@pytest.mark.parametrize(
    ("size", "node"),
    [
        (24, "123456 abcdef"),
        (28, "234567 1a bcdef0"),
        (32, "12345678 abcdef01"),
    ],
)
def test_both_children_of_a_node_are_read(size: int, node: str) -> None:
    wanted = {
        24: (0x123456, 0xABCDEF),
        28: (0x1234567, 0xABCDEF0),
        32: (0x12345678, 0xABCDEF01),
    }
    tree = bytes(size // 4) + bytes.fromhex(node)
    assert children(tree, 1, size) == wanted[size]


def damaged(path: Path, place: int, content: bytes) -> Path:
    whole = bytearray(path.read_bytes())
    whole[place : place + len(content)] = content
    path.write_bytes(whole)
    return path


def test_tree_that_goes_round_in_circles_is_refused(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "four.mmdb", V4_ONLY, ip_version=4)
    damaged(path, 0, bytes(6))
    with pytest.raises(GeoDataError, match="circles"):
        list(networks(path))


def test_tree_longer_than_its_file_is_refused(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "four.mmdb", V4_ONLY, ip_version=4)
    count = path.read_bytes().index(b"node_count") + len("node_count")
    damaged(path, count + 1, b"\xff")
    with pytest.raises(GeoDataError, match="cannot be walked"):
        list(networks(path))
