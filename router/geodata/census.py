"""Counts the address space by location: each place and its weight. Pure.

An estimate of where viewers are. It weighs IPv4 addresses only: the size of an IPv6 block does not
show how many people use it, and nearly all viewers with IPv6 have IPv4 too. See docs/simulate.md
for the limits of this.
"""

from collections import defaultdict
from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import NamedTuple

import msgspec

from router.model import Level, Location, Position

# A tenth of a degree is 11 km, far less than the distance between metros.
CELL_DECIMALS = 1

# Addresses that no viewer can have: those that IANA's registry of special-purpose addresses lists
# as not globally reachable, multicast, and the reserved ones above it.
_SPECIAL = [
    (int(network.network_address), int(network.broadcast_address) + 1)
    for network in map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16"),
            *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
        ),
    )
]
_SPECIAL_OCTETS = frozenset(
    octet for first, end in _SPECIAL for octet in range(first >> 24, (end - 1 >> 24) + 1)
)


class Block(NamedTuple):
    """Consecutive IPv4 addresses with the same location: the first as a number, and their count."""

    first: int
    size: int
    location: Location


class Place(NamedTuple):
    """One location, and the number of public IPv4 addresses there."""

    location: Location
    addresses: int


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """All places of one geo database, which `database` and `built_at` identify."""

    database: str
    built_at: float
    places: tuple[Place, ...]

    @property
    def addresses(self) -> int:
        """The number of addresses of all places together."""
        return sum(place.addresses for place in self.places)


def count_places(
    blocks: Iterable[Block], decimals: int | None = CELL_DECIMALS
) -> tuple[Place, ...]:
    """Public addresses by place. Positions are rounded to `decimals` of a degree; None keeps them
    exact. Addresses of unknown location are not counted. Memory grows with the number of places,
    not of blocks.
    """
    exact: defaultdict[Location, int] = defaultdict(int)
    for block in blocks:
        exact[block.location] += public_addresses(block)
    counts: defaultdict[Location, int] = defaultdict(int)
    for location, count in exact.items():
        if count and location.level is not Level.UNKNOWN:
            counts[location if decimals is None else round_location(location, decimals)] += count
    return tuple(Place(location, count) for location, count in counts.items())


def public_addresses(block: Block) -> int:
    """How many addresses of a block are public."""
    first, end = block.first, block.first + block.size
    octet = first >> 24
    if octet == end - 1 >> 24 and octet not in _SPECIAL_OCTETS:
        return block.size
    special = (max(0, min(end, last) - max(first, start)) for start, last in _SPECIAL)
    return block.size - sum(special)


def round_location(location: Location, decimals: int) -> Location:
    """The same place, with its position rounded to this many decimals of a degree."""
    position = location.position
    if position is None:
        return location
    cell = Position(round(position.latitude, decimals), round(position.longitude, decimals))
    return location._replace(position=cell)
