"""Whose address counts: the first hop from the right that no trusted proxy added."""

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
NOBODY = Networks()

addresses = st.ip_addresses().map(str)
proxies = st.sampled_from(["10.0.0.1", "10.1.2.3", "192.0.2.7", "2001:db8:ffff::1"])
unknown_settings = st.sampled_from(["203.0.113.9", "11.0.0.1", "2001:db8:1::9", "192.0.2.8"])
rubbish = st.sampled_from(["unknown", "_hidden", "1.2.3", "1.2.3.4.5", "::g", "-", "10.0.0.256"])


def text_of(address: Address | None) -> str | None:
    return None if address is None else address.text


def seen(*lines: str, peer: str | None = "10.0.0.1", trusted: Networks = PROXIES) -> str | None:
    return text_of(viewer_address(peer, [line.encode("latin-1") for line in lines], trusted))


# Addresses as proxies write them


@pytest.mark.parametrize(
    ("written", "meant"),
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
def test_written_addresses_are_understood(written: str, meant: str) -> None:
    address = parse_address(written)
    assert address is not None
    assert address.text == meant
    assert address.packed == ipaddress.ip_address(meant).packed


@pytest.mark.parametrize(
    "written",
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
def test_what_is_no_address_is_refused(written: str) -> None:
    assert parse_address(written) is None


# Trust: only a mapped address is the IPv4 in it

HOLDING_IPV4 = ["2002:a00:1::bad", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "64:ff9b::10.0.0.1"]


@pytest.mark.parametrize("peer", HOLDING_IPV4)
def test_peer_that_only_holds_a_trusted_address_is_not_trusted(peer: str) -> None:
    assert seen("203.0.113.9", peer=peer) == "10.0.0.1"


@pytest.mark.parametrize("hop", HOLDING_IPV4)
def test_hop_that_only_holds_a_trusted_address_ends_the_walk(hop: str) -> None:
    assert seen(f"203.0.113.9, {hop}") == "10.0.0.1"


def test_mapped_peer_is_trusted_as_the_ipv4_it_is() -> None:
    assert seen("203.0.113.9", peer="::ffff:10.0.0.1") == "203.0.113.9"


@pytest.mark.parametrize("peer", HOLDING_IPV4)
def test_network_that_names_such_peers_trusts_them(peer: str) -> None:
    network = ipaddress.ip_network(f"{peer}/32", strict=False)
    assert seen("203.0.113.9", peer=peer, trusted=Networks([network])) == "203.0.113.9"


@pytest.mark.parametrize("peer", ["127.0.0.1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("block", ["::ffff:127.0.0.0/104", "::ffff:7f00:1/128", "127.0.0.0/8"])
def test_mapped_network_is_the_ipv4_network(block: str, peer: str) -> None:
    trusted = Networks.parse([block])
    assert seen("203.0.113.9", peer=peer, trusted=trusted) == "203.0.113.9"
    assert seen("203.0.113.9", peer="128.0.0.1", trusted=trusted) == "128.0.0.1"


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_mapped_networks_hold_what_their_ipv4_networks_hold(
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
def test_every_address_is_understood_in_every_form(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    host = f"[{address}]" if address.version == 6 else str(address)
    plain = parse_address(str(address))
    assert plain is not None
    assert parse_address(f"{host}:65535") == parse_address(f' "{host}:1"') == plain


@given(st.ip_addresses(v=4))
def test_mapped_ipv4_is_that_ipv4(address: ipaddress.IPv4Address) -> None:
    assert parse_address(f"::ffff:{address}") == Address(str(address), address.packed)


@pytest.mark.parametrize(
    ("written", "meant"),
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
def test_cloudfront_address_loses_its_port(written: str, meant: str | None) -> None:
    assert text_of(parse_host_port(written)) == meant


# Networks


@pytest.mark.parametrize(
    ("written", "inside"),
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
def test_networks_hold_their_addresses(written: str, *, inside: bool) -> None:
    address = parse_address(written)
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
    told = data.draw(st.lists(st.sampled_from(blocks)))
    inside = any(address in block for block in told)
    assert (Address(str(address), address.packed) in Networks(told)) is inside


@pytest.mark.parametrize("block", ["10.0.0.1/8", "10.0.0.0/33", "proxy", ""])
def test_what_is_no_network_is_refused(block: str) -> None:
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
def test_seed_stands_for_the_network(one: str, other: str, *, is_same: bool) -> None:
    addresses = parse_address(one), parse_address(other)
    assert addresses[0] is not None
    assert addresses[1] is not None
    assert (addresses[0].seed == addresses[1].seed) is is_same


@given(st.ip_addresses())
def test_seed_is_32_bits(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert 0 <= Address(str(address), address.packed).seed <= 0xFFFFFFFF


# The walk


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
def test_walk_stops_at_the_first_stranger(lines: list[str], viewer: str) -> None:
    assert seen(*lines) == viewer


@pytest.mark.parametrize("peer", ["203.0.113.50", "2001:db8:1::1", "::ffff:203.0.113.50"])
def test_untrusted_peers_header_is_ignored(peer: str) -> None:
    assert seen("6.6.6.6", peer=peer) == text_of(parse_address(peer))


def test_without_proxies_the_peer_is_the_viewer() -> None:
    assert seen("6.6.6.6", trusted=NOBODY) == "10.0.0.1"


@pytest.mark.parametrize("peer", [None, "", "unix:", "testclient"])
def test_peer_without_address_gives_no_viewer(peer: str | None) -> None:
    assert seen("6.6.6.6", peer=peer) is None


def test_mapped_peer_is_trusted_as_its_ipv4() -> None:
    assert seen("203.0.113.9", peer="::ffff:10.0.0.1") == "203.0.113.9"


def test_walk_is_bounded() -> None:
    assert seen("203.0.113.9" + ", 10.0.0.2" * (MAX_HOPS - 1)) == "203.0.113.9"
    assert seen("203.0.113.9" + ", 10.0.0.2" * MAX_HOPS) == "10.0.0.2"


def test_empty_hops_use_up_the_bound_too() -> None:
    assert seen("203.0.113.9" + "," * 65_536) == "10.0.0.1"


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
def test_64_kib_headers_are_survived(line: str, viewer: str) -> None:
    assert seen(line) == viewer


@given(st.none() | addresses | st.text(), st.lists(st.binary()))
def test_walk_never_raises(peer: str | None, lines: list[bytes]) -> None:
    viewer = viewer_address(peer, lines, PROXIES)
    assert viewer is None or len(viewer.packed) in (4, 16)


@given(st.lists(addresses, max_size=3), unknown_settings, st.lists(proxies, max_size=6), st.data())
def test_nobody_reaches_past_the_first_stranger(
    forged: list[str], stranger: str, added: list[str], data: st.DataObject
) -> None:
    hops = [*forged, stranger, *added]
    cut = data.draw(st.integers(0, len(hops)))
    lines = [", ".join(hops[:cut]), ", ".join(hops[cut:])]
    assert seen(*lines) == stranger


@given(st.lists(addresses | proxies | rubbish, max_size=3), rubbish, st.lists(proxies, max_size=6))
def test_rubbish_ends_the_walk_at_the_last_good_hop(
    forged: list[str], junk: str, added: list[str]
) -> None:
    last_good = added[0] if added else "10.0.0.1"
    assert seen(", ".join([*forged, junk, *added])) == last_good


@given(st.lists(addresses | proxies | rubbish, max_size=8), st.lists(st.ip_addresses(), max_size=3))
def test_result_is_never_left_of_the_first_stranger(
    hops: list[str], trusted: list[ipaddress.IPv4Address | ipaddress.IPv6Address]
) -> None:
    nets = Networks.parse(["10.0.0.0/8", *(str(ipaddress.ip_network(each)) for each in trusted)])
    viewer = viewer_address("10.0.0.1", [", ".join(hops).encode()], nets)
    walked = [parse_address("10.0.0.1")]
    for hop in reversed(hops):
        walked.append(parse_address(hop))
        if walked[-1] is None or walked[-1] not in nets:
            break
    assert viewer in [address for address in walked if address is not None][-1:]
