"""The viewer's address, from the peer and X-Forwarded-For. Pure.

Headers are hostile. Only hops that trusted proxies added count, and the work per request is
bounded, whatever a client sends.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

from router.routing.ranking import mix32

MAX_HOPS = 32
KNOWN_PEERS = 1_024
# "[" + the longest IPv6 text with an embedded IPv4 (45) + "%" + a zone + "]:65535"
MAX_HOP_LENGTH = 80

_MAPPED = bytes(10) + b"\xff\xff"
_6TO4 = b"\x20\x02"
_TEREDO = b"\x20\x01\x00\x00"
_NAT64 = b"\x00\x64\xff\x9b" + bytes(8)
_LOCAL_NAT64 = b"\x00\x64\xff\x9b\x00\x01"


class Address(NamedTuple):
    """An IP address: canonical text and its 4 or 16 bytes.

    `tunnel` is set if the IPv4 address was extracted from an IPv6 address that another host may
    hold (6to4, Teredo, NAT64): the 16 bytes of that IPv6 address.
    """

    text: str
    packed: bytes
    tunnel: bytes | None = None

    @property
    def seed(self) -> int:
        """32 bits that represent the viewer's network, their /24 or /48."""
        if len(self.packed) == 4:
            return int.from_bytes(self.packed[:3])
        return mix32(int.from_bytes(self.packed[:4])) ^ int.from_bytes(self.packed[4:6])


class Networks:
    """A set of CIDR blocks. `address in networks` costs one look-up per prefix length. An
    IPv4-mapped address counts as the IPv4 address (RFC 4291 section 2.5.5.2). An address that
    contains IPv4 in any other way does not: a client at 2002:a00:1::1 is not 10.0.0.1.
    """

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        blocks: dict[tuple[int, int], set[int]] = {}
        for network in map(_unmapped_network, networks):
            host_bits = network.max_prefixlen - network.prefixlen
            block = int(network.network_address) >> host_bits
            blocks.setdefault((network.max_prefixlen // 8, host_bits), set()).add(block)
        self._blocks = [(size, bits, found) for (size, bits), found in blocks.items()]
        # There are few peers, mostly proxies, and each sends many requests.
        self.peer = lru_cache(maxsize=KNOWN_PEERS)(self._peer)

    @classmethod
    def parse(cls, blocks: Iterable[str]) -> "Networks":
        """Networks from CIDR texts. Raises ValueError for text that is no network, or that
        has host bits set."""
        return cls(ip_network(block.strip()) for block in blocks)

    def _peer(self, text: str) -> tuple[Address | None, bool]:
        """The peer's address, and whether its headers are trusted."""
        address = parse_address(text)
        return address, address is not None and address in self

    def __contains__(self, address: Address) -> bool:
        packed = address.tunnel or address.packed
        value = int.from_bytes(packed)
        for size, host_bits, blocks in self._blocks:
            if size == len(packed) and value >> host_bits in blocks:
                return True
        return False


def parse_address(text: str) -> Address | None:
    """An address in any form that proxies write: plain, `ip:port`, `[v6]:port`, with a zone id.
    IPv4 inside IPv6 (mapped, 6to4, Teredo, NAT64) becomes the IPv4 address. None for other text.
    """
    try:
        return Address(text, inet_pton(AF_INET, text))
    except (OSError, ValueError):
        return _parse_unusual(text)


def parse_host_port(text: str) -> Address | None:
    """CloudFront-Viewer-Address: an address, a colon and a port, IPv6 without brackets."""
    return parse_address(text.rpartition(":")[0])


def viewer_address(
    peer: str | None, forwarded: Sequence[bytes], trusted: Networks
) -> Address | None:
    """The viewer behind `peer`, given all X-Forwarded-For lines in order. Searches from the right
    for the first hop that is not trusted. If a hop cannot be parsed, the search stops and the last
    valid address is used. None if the peer has no IP address.
    """
    viewer, is_trusted = (None, False) if peer is None else trusted.peer(peer)
    if not is_trusted:
        return viewer
    if len(forwarded) == 1 and b"," not in forwarded[0]:  # the usual case: one hop
        only = forwarded[0].strip(b" \t")[: MAX_HOP_LENGTH + 1]
        return parse_address(only.decode("latin-1")) or viewer
    for hop in _hops_from_right(forwarded):
        address = parse_address(hop)
        if address is None:
            return viewer
        viewer = address
        if viewer not in trusted:
            return viewer
    return viewer


def _hops_from_right(lines: Sequence[bytes]) -> Iterator[str]:
    """At most MAX_HOPS list elements, rightmost first. Empty elements are ignored (RFC 9110
    section 5.6.1.2).
    """
    budget = MAX_HOPS
    for line in reversed(lines):
        rest = line
        while rest and budget:
            budget -= 1
            rest, _, hop = rest.rpartition(b",")
            text = hop.strip(b" \t")
            if text:
                yield text[: MAX_HOP_LENGTH + 1].decode("latin-1")


def _parse_unusual(text: str) -> Address | None:
    if len(text) > MAX_HOP_LENGTH:
        return None
    host = _without_port(text.strip(' \t"'))
    try:
        if ":" not in host:
            return Address(host, inet_pton(AF_INET, host))
        return _unwrap(inet_pton(AF_INET6, host.partition("%")[0]))
    except (OSError, ValueError):
        return None


def _without_port(text: str) -> str:
    """`1.2.3.4:80` and `[2001:db8::1]:80` without their port; None if the port is not valid."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        return host if bracket and (not rest or _is_port(rest)) else ""
    host, colon, port = text.partition(":")
    if colon and "." in host and _is_port(colon + port):
        return host
    return text


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text[0] == ":" and len(digits) <= 5 and digits.isascii() and digits.isdigit()


def _unwrap(packed: bytes) -> Address:
    """The IPv4 address in ::ffff:a.b.c.d (RFC 4291), 6to4 (RFC 3056), Teredo (RFC 4380), NAT64."""
    if packed[:12] == _MAPPED:
        return Address(inet_ntop(AF_INET, packed[12:]), packed[12:])
    inner = _unwrap_tunnel(packed)
    if inner is None:
        return Address(inet_ntop(AF_INET6, packed), packed)
    return Address(inet_ntop(AF_INET, inner), inner, packed)


def _unwrap_tunnel(packed: bytes) -> bytes | None:
    if packed[:2] == _6TO4:
        return packed[2:6]
    if packed[:4] == _TEREDO:
        return bytes(byte ^ 0xFF for byte in packed[12:])
    if packed[:12] == _NAT64:
        return packed[12:]
    return _local_nat64(packed) if packed[:6] == _LOCAL_NAT64 else None


def _local_nat64(packed: bytes) -> bytes | None:
    """The IPv4 address in one under 64:ff9b:1::/48 (RFC 8215), where a translator may use prefixes
    of several lengths. Only the two lengths that can be distinguished are supported: /96, and /48,
    in which byte 8 and the last five bytes are zero (RFC 6052 section 2.2).
    """
    if not any(packed[8:12]):
        return packed[12:]
    if not packed[8] and not any(packed[11:]):
        return packed[6:8] + packed[9:11]
    return None


def _unmapped_network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """The IPv4 network of an IPv4-mapped one."""
    packed = network.network_address.packed
    if network.prefixlen < 96 or packed[:12] != _MAPPED:
        return network
    return IPv4Network((packed[12:], network.prefixlen - 96))
