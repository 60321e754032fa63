"""The address space by where its viewers are placed: each place and its weight. Pure.

A stand-in for where viewers are, until they can be counted. It weighs IPv4 addresses
only: an IPv6 block says how a provider was served, not how many people are behind it, and
nearly all viewers who have IPv6 have IPv4 too. See docs/simulate.md for what that hides.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import NamedTuple

import msgspec

from router.model import Level, Location, Position

# A tenth of a degree is 11 km: far less than from one metro to the next.
CELL_DECIMALS = 1

# Addresses of no viewer: what IANA's registry of special-purpose addresses says is not
# globally reachable, multicast, and what is reserved above it.
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
    """IPv4 addresses one after the other that are placed alike: the first, as a number,
    and how many."""

    first: int
    size: int
    location: Location


class Place(NamedTuple):
    """Where some viewers are placed, and how many public IPv4 addresses are placed there."""

    location: Location
    addresses: int


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """All places of one geo database. `database`, `built_at`: which one."""

    database: str
    built_at: float
    places: tuple[Place, ...]

    @property
    def addresses(self) -> int:
        """The weight of all places together."""
        return sum(place.addresses for place in self.places)


def count_places(
    blocks: Iterable[Block], decimals: int | None = CELL_DECIMALS
) -> tuple[Place, ...]:
    """Public addresses by place, positions rounded to so many decimals of a degree; None
    leaves them as they are. Addresses that are not placed do not count. Memory grows with
    the places, not with the blocks."""
    counts: dict[Location, int] = {}
    for block in blocks:
        count = public_addresses(block)
        if count and block.location.level is not Level.UNKNOWN:
            place = block.location if decimals is None else rounded(block.location, decimals)
            counts[place] = counts.get(place, 0) + count
    return tuple(Place(location, count) for location, count in counts.items())


def public_addresses(block: Block) -> int:
    """How many of a block viewers can have on the public Internet."""
    first, end = block.first, block.first + block.size
    octet = first >> 24
    if octet == end - 1 >> 24 and octet not in _SPECIAL_OCTETS:
        return block.size
    special = (max(0, min(end, last) - max(first, start)) for start, last in _SPECIAL)
    return block.size - sum(special)


def rounded(location: Location, decimals: int) -> Location:
    """The same place, its position cut to so many decimals of a degree."""
    position = location.position
    if position is None:
        return location
    cell = Position(round(position.latitude, decimals), round(position.longitude, decimals))
    return location._replace(position=cell)
