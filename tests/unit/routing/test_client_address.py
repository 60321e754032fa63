"""The viewer is the first hop from the right that is not a trusted proxy."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.routing.client_address import (
    Address,
    Networks,
    parse_address,
    parse_host_port,
    viewer_address,
)

MAX_HOPS = 32
PROXIES = Networks.parse(["10.0.0.0/8", "192.0.2.7/32", "2001:db8:ffff::/48"])
NO_PROXIES = Networks()

addresses = st.ip_addresses().map(str)
proxies = st.sampled_from(["10.0.0.1", "10.1.2.3", "192.0.2.7", "2001:db8:ffff::1"])
viewers = st.sampled_from(["203.0.113.9", "11.0.0.1", "2001:db8:1::9", "192.0.2.8"])
invalid_hops = st.sampled_from(
    ["unknown", "_hidden", "1.2.3", "1.2.3.4.5", "::g", "-", "10.0.0.256"]
)


def text_of(address: Address | None) -> str | None:
    return None if address is None else address.text


def viewer_of(
    *lines: str, peer: str | None = "10.0.0.1", trusted: Networks = PROXIES
) -> str | None:
    return text_of(viewer_address(peer, [line.encode("latin-1") for line in lines], trusted))


# Address formats


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("203.0.113.9", "203.0.113.9"),
        (" 203.0.113.9\t", "203.0.113.9"),
        ("203.0.113.9:443", "203.0.113.9"),
        ('"203.0.113.9:443"', "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0::0001", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::ffff:cb00:7109", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:443", "203.0.113.9"),
        ("2002:cb00:7109::1", "203.0.113.9"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45"),
        ("2001:1::1", "2001:1::1"),
        ("64:ff9b::203.0.113.9", "203.0.113.9"),
        ("64:ff9b::1:203.0.113.9", "64:ff9b::1:cb00:7109"),
        ("64:ff9b:1::203.0.113.9", "203.0.113.9"),
        ("64:ff9b:1:fffe::203.0.113.9", "203.0.113.9"),
        ("64:ff9b:1:cb00:71:900::", "203.0.113.9"),
        ("64:ff9b:1:cb00:171:900::", "64:ff9b:1:cb00:171:900::"),
        ("64:ff9b:2::203.0.113.9", "64:ff9b:2::cb00:7109"),
    ],
)
def test_address_formats_are_parsed(text: str, expected: str) -> None:
    address = parse_address(text)
    assert address is not None
    assert address.text == expected
    assert address.packed == ipaddress.ip_address(expected).packed


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ",",
        "unknown",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4",
        "0x7f.1",
        "2130706433",
        "1.2.3.256",
        "1.2.3.4:",
        "1.2.3.4:http",
        "1.2.3.4:123456",
        "1.2.3.4:-1",
        "1.2.3.4/32",
        "[1.2.3.4",
        "[2001:db8::1",
        "[2001:db8::1]443",
        "[2001:db8::1]:",
        "2001:db8::1]:443",
        "2001:db8:::1",
        "::ffff:1.2.3.4:80",
        "1.2.3.4\x00",
        "\u0661.2.3.4",
        "1.2.3.4:\u0664\u0664",
        "\udcff",
        "1" * 100_000,
        ":" * 100_000,
    ],
)
def test_invalid_address_is_rejected(text: str) -> None:
    assert parse_address(text) is None


# Trust: only a mapped IPv6 address is treated as the IPv4 address that it contains

WITH_IPV4 = ["2002:a00:1::bad", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "64:ff9b::10.0.0.1"]


@pytest.mark.parametrize("peer", WITH_IPV4)
def test_peer_that_only_contains_a_trusted_address_is_untrusted(peer: str) -> None:
    assert viewer_of("203.0.113.9", peer=peer) == "10.0.0.1"


@pytest.mark.parametrize("hop", WITH_IPV4)
def test_hop_that_only_contains_a_trusted_address_is_untrusted(hop: str) -> None:
    assert viewer_of(f"203.0.113.9, {hop}") == "10.0.0.1"


@pytest.mark.parametrize("peer", WITH_IPV4)
def test_network_of_such_peers_trusts_them(peer: str) -> None:
    network = ipaddress.ip_network(f"{peer}/32", strict=False)
    assert viewer_of("203.0.113.9", peer=peer, trusted=Networks([network])) == "203.0.113.9"


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_mapped_network_equals_its_ipv4_network(
    address: ipaddress.IPv4Address, length: int, peer: ipaddress.IPv4Address
) -> None:
    plain = ipaddress.ip_network(f"{address}/{length}", strict=False)
    mapped = f"::ffff:{plain.network_address}/{96 + length}"
    parsed = parse_address(str(peer))
    assert parsed is not None
    assert (parsed in Networks.parse([mapped])) is (peer in plain)


@given(st.text())
def test_parsing_never_raises(text: str) -> None:
    address = parse_address(text)
    assert address is None or len(address.packed) in (4, 16)


@given(st.ip_addresses())
def test_every_address_is_parsed_in_every_form(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    host = f"[{address}]" if address.version == 6 else str(address)
    plain = parse_address(str(address))
    assert plain is not None
    assert parse_address(f"{host}:65535") == parse_address(f' "{host}:1"') == plain


@given(st.ip_addresses(v=4))
def test_mapped_address_equals_its_ipv4_address(address: ipaddress.IPv4Address) -> None:
    assert parse_address(f"::ffff:{address}") == Address(str(address), address.packed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("198.51.100.10:46532", "198.51.100.10"),
        ("2001:db8::1:46532", "2001:db8::1"),
        ("2600:1:2:3:4:5:6:7:46532", "2600:1:2:3:4:5:6:7"),
        ("[2001:db8::1]:46532", "2001:db8::1"),
        ("198.51.100.10", None),
        ("", None),
        (":", None),
    ],
)
def test_port_of_a_cloudfront_address_is_removed(text: str, expected: str | None) -> None:
    assert text_of(parse_host_port(text)) == expected


# Networks


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("10.255.255.255", True),
        ("11.0.0.0", False),
        ("192.0.2.7", True),
        ("192.0.2.6", False),
        ("2001:db8:ffff:1::1", True),
        ("2001:db8:fffe::1", False),
        ("::a00:1", False),
        ("::ffff:10.0.0.1", True),
    ],
)
def test_networks_contain_their_addresses(text: str, *, inside: bool) -> None:
    address = parse_address(text)
    assert address is not None
    assert (address in PROXIES) is inside


@given(st.ip_addresses(), st.lists(st.ip_addresses(), max_size=5), st.data())
def test_networks_agree_with_the_library(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    others: list[ipaddress.IPv4Address | ipaddress.IPv6Address],
    data: st.DataObject,
) -> None:
    blocks = [
        ipaddress.ip_network((each, data.draw(st.integers(0, each.max_prefixlen))), strict=False)
        for each in [*others, address]
    ]
    sample = data.draw(st.lists(st.sampled_from(blocks)))
    inside = any(address in block for block in sample)
    assert (Address(str(address), address.packed) in Networks(sample)) is inside


@pytest.mark.parametrize("block", ["10.0.0.1/8", "10.0.0.0/33", "proxy", ""])
def test_invalid_network_is_rejected(block: str) -> None:
    with pytest.raises(ValueError, match=r"network|block|address|host bits"):
        Networks.parse([block])


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("203.0.113.9", "203.0.113.200", True),
        ("203.0.113.9", "203.0.114.9", False),
        ("2001:db8:1::9", "2001:db8:1:ffff::1", True),
        ("2001:db8:1::9", "2001:db8:2::9", False),
        ("2001:db8:1::9", "2001:db8:101::9", False),
        ("2001:db8:1::9", "2001:db9:1::9", False),
        ("203.0.113.9", "::ffff:203.0.113.1", True),
    ],
)
def test_seed_is_that_of_the_network(one: str, other: str, *, is_same: bool) -> None:
    addresses = parse_address(one), parse_address(other)
    assert addresses[0] is not None
    assert addresses[1] is not None
    assert (addresses[0].seed == addresses[1].seed) is is_same


@given(st.ip_addresses())
def test_seed_is_32_bits(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert 0 <= Address(str(address), address.packed).seed <= 0xFFFFFFFF


# X-Forwarded-For


@pytest.mark.parametrize(
    ("lines", "viewer"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, 10.0.0.2, 192.0.2.7"], "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        (["203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        (["6.6.6.6", "203.0.113.9, 10.0.0.2", "10.0.0.3"], "203.0.113.9"),
        (["203.0.113.9:5000, [2001:db8:ffff::1]:443"], "203.0.113.9"),
        (["203.0.113.9,10.0.0.2"], "203.0.113.9"),
        (["203.0.113.9, ,, 10.0.0.2,"], "203.0.113.9"),
        (["203.0.113.9", "", " "], "203.0.113.9"),
        (["::ffff:203.0.113.9, ::ffff:10.0.0.2"], "203.0.113.9"),
        (["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        (["203.0.113.9, unknown"], "10.0.0.1"),
        (["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
        (["203.0.113.9, 10.0.0.2/8, 10.0.0.3"], "10.0.0.3"),
        ([""], "10.0.0.1"),
        ([",,,"], "10.0.0.1"),
        ([], "10.0.0.1"),
    ],
)
def test_viewer_is_the_first_untrusted_hop(lines: list[str], viewer: str) -> None:
    assert viewer_of(*lines) == viewer


@pytest.mark.parametrize("peer", ["203.0.113.50", "2001:db8:1::1", "::ffff:203.0.113.50"])
def test_header_of_an_untrusted_peer_is_ignored(peer: str) -> None:
    assert viewer_of("6.6.6.6", peer=peer) == text_of(parse_address(peer))


def test_without_proxies_the_peer_is_the_viewer() -> None:
    assert viewer_of("6.6.6.6", trusted=NO_PROXIES) == "10.0.0.1"


@pytest.mark.parametrize("peer", [None, "", "unix:", "testclient"])
def test_peer_without_address_gives_no_viewer(peer: str | None) -> None:
    assert viewer_of("6.6.6.6", peer=peer) is None


def test_mapped_peer_is_trusted_as_its_ipv4() -> None:
    assert viewer_of("203.0.113.9", peer="::ffff:10.0.0.1") == "203.0.113.9"


def test_number_of_hops_is_limited() -> None:
    assert viewer_of("203.0.113.9" + ", 10.0.0.2" * (MAX_HOPS - 1)) == "203.0.113.9"
    assert viewer_of("203.0.113.9" + ", 10.0.0.2" * MAX_HOPS) == "10.0.0.2"


def test_empty_hops_count_towards_the_limit() -> None:
    assert viewer_of("203.0.113.9" + "," * 65_536) == "10.0.0.1"


@pytest.mark.parametrize(
    ("line", "viewer"),
    [
        ("x" * 65_536, "10.0.0.1"),
        ("6.6.6.6," * 8_000 + "203.0.113.9", "203.0.113.9"),
        ("203.0.113.9," + " " * 65_536 + "10.0.0.2", "203.0.113.9"),
        ("[" * 65_536 + ",10.0.0.2", "10.0.0.2"),
        ("10.0.0.2" + "0" * 65_536, "10.0.0.1"),
    ],
)
def test_64_kib_headers_are_accepted(line: str, viewer: str) -> None:
    assert viewer_of(line) == viewer


@given(st.none() | addresses | st.text(), st.lists(st.binary()))
def test_arbitrary_headers_never_raise(peer: str | None, lines: list[bytes]) -> None:
    viewer = viewer_address(peer, lines, PROXIES)
    assert viewer is None or len(viewer.packed) in (4, 16)


@given(st.lists(addresses, max_size=3), viewers, st.lists(proxies, max_size=6), st.data())
def test_forged_hops_left_of_the_viewer_are_ignored(
    forged: list[str], viewer: str, added: list[str], data: st.DataObject
) -> None:
    hops = [*forged, viewer, *added]
    cut = data.draw(st.integers(0, len(hops)))
    lines = [", ".join(hops[:cut]), ", ".join(hops[cut:])]
    assert viewer_of(*lines) == viewer


@given(
    st.lists(addresses | proxies | invalid_hops, max_size=3),
    invalid_hops,
    st.lists(proxies, max_size=6),
)
def test_invalid_hop_ends_the_search_at_the_last_valid_one(
    forged: list[str], invalid: str, added: list[str]
) -> None:
    last_good = added[0] if added else "10.0.0.1"
    assert viewer_of(", ".join([*forged, invalid, *added])) == last_good


@given(
    st.lists(addresses | proxies | invalid_hops, max_size=8),
    st.lists(st.ip_addresses(), max_size=3),
)
def test_viewer_is_never_left_of_the_first_untrusted_hop(
    hops: list[str], trusted: list[ipaddress.IPv4Address | ipaddress.IPv6Address]
) -> None:
    nets = Networks.parse(["10.0.0.0/8", *(str(ipaddress.ip_network(each)) for each in trusted)])
    viewer = viewer_address("10.0.0.1", [", ".join(hops).encode()], nets)
    visited = [parse_address("10.0.0.1")]
    for hop in reversed(hops):
        visited.append(parse_address(hop))
        if visited[-1] is None or visited[-1] not in nets:
            break
    assert viewer in [address for address in visited if address is not None][-1:]
