"""Maps every address to a small number, by bisection over sorted ranges. Pure. A range is stored
by its first address and ends where the next begins. Ranges are grouped by the first 16 bits of an
IPv4 address or the first 32 bits of an IPv6 address, so that only the next 16 or 32 bits are
stored for each range.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import groupby
from socket import AF_INET, AF_INET6, inet_pton
from typing import NamedTuple, TypeAlias

Numbers: TypeAlias = "array[int]"
# (Start of a range as a number of 32 or 128 bits, the number that it maps to).
Starts = Iterable[tuple[int, int]]

_BLOCKS = 1 << 16
_MAX_UINT32 = (1 << 32) - 1
_MAX_UINT64 = (1 << 64) - 1
# Marks an IPv6 /64 that contains several ranges.
_SPLIT = _MAX_UINT32


def merge_starts(starts: Starts) -> Iterator[tuple[int, int]]:
    """The ranges without those that map to the same number as the range before them."""
    before = None
    for start, meaning in starts:
        if meaning != before:
            yield start, meaning
            before = meaning


class V4Ranges(NamedTuple):
    """IPv4 ranges. `firsts`: for each value of the first 16 bits, the index of the first range.
    `rests`: the last 16 bits of each range's start.
    """

    firsts: Numbers
    rests: Numbers
    meanings: Numbers

    def find(self, address: bytes) -> int:
        """The number for the four bytes of an address."""
        value = int.from_bytes(address)
        block, firsts = value >> 16, self.firsts
        place = bisect_right(self.rests, value & 0xFFFF, firsts[block], firsts[block + 1])
        return self.meanings[place - 1]


class V6Ranges(NamedTuple):
    """IPv6 ranges. `blocks`: the values of the first 32 bits that occur; `firsts`: the index of
    the first range of each; `rests`: the next 32 bits of each range's start. The last three fields
    hold whole addresses, for the few ranges that share a /64 with others.
    """

    blocks: Numbers
    firsts: Numbers
    rests: Numbers
    meanings: Numbers
    highs: Numbers
    lows: Numbers
    deep_meanings: Numbers

    def find(self, address: bytes) -> int:
        """The number for the sixteen bytes of an address."""
        value = int.from_bytes(address)
        head, firsts = value >> 96, self.firsts
        block = bisect_right(self.blocks, head) - 1
        place = end = firsts[block + 1]
        if self.blocks[block] == head:
            place = bisect_right(self.rests, value >> 64 & _MAX_UINT32, firsts[block], end)
        meaning = self.meanings[place - 1]
        return meaning if meaning != _SPLIT else self._find_deep(value)

    def _find_deep(self, value: int) -> int:
        def start(place: int) -> int:
            return self.highs[place] << 64 | self.lows[place]

        return self.deep_meanings[bisect_right(range(len(self.highs)), value, key=start) - 1]


class Ranges(NamedTuple):
    """Ranges of IPv4 and IPv6."""

    v4: V4Ranges
    v6: V6Ranges

    def find(self, address: str) -> int:
        """The number for an address. Raises OSError or ValueError if the text is no address."""
        if ":" in address:
            return self.v6.find(inet_pton(AF_INET6, address))
        return self.v4.find(inet_pton(AF_INET, address))


def build_v4_ranges(starts: Starts) -> V4Ranges:
    """From ranges in order, the first of them at 0."""
    firsts, rests, meanings = array("I"), array("H"), array("I")
    for start, meaning in starts:
        _fill(firsts, start >> 16, len(rests))
        rests.append(start & 0xFFFF)
        meanings.append(meaning)
    _fill(firsts, _BLOCKS, len(rests))
    return V4Ranges(firsts, rests, meanings)


def _fill(firsts: Numbers, last: int, count: int) -> None:
    """Fill in blocks up to `last` in which no range begins."""
    firsts.extend([count] * (last + 1 - len(firsts)))


def build_v6_ranges(starts: Starts) -> V6Ranges:
    """From ranges in order, the first of them at 0."""
    deep = [array("Q"), array("Q"), array("I")]
    blocks, firsts, rests, meanings = array("I"), array("I"), array("I"), array("I")
    for network, meaning in _whole_networks(starts, *deep):
        if not blocks or blocks[-1] != network >> 32:
            blocks.append(network >> 32)
            firsts.append(len(rests))
        rests.append(network & _MAX_UINT32)
        meanings.append(meaning)
    firsts.append(len(rests))
    return V6Ranges(blocks, firsts, rests, meanings, *deep)


def _whole_networks(
    starts: Starts, highs: Numbers, lows: Numbers, meanings: Numbers
) -> Iterator[tuple[int, int]]:
    """The ranges by /64. A /64 with several ranges gets _SPLIT, and its ranges go to the arrays."""
    split, before = None, 0
    for network, group in groupby(starts, key=_network):
        inside = [(start & _MAX_UINT64, meaning) for start, meaning in group]
        if split is not None and network != split + 1:
            yield split + 1, before
        is_split = len(inside) > 1 or inside[0][0] != 0
        if is_split:
            parts = inside if inside[0][0] == 0 else [(0, before), *inside]
            highs.extend([network] * len(parts))
            lows.extend(low for low, _ in parts)
            meanings.extend(meaning for _, meaning in parts)
        yield network, _SPLIT if is_split else inside[0][1]
        split, before = (network if is_split else None), inside[-1][1]
    if split is not None and split != _MAX_UINT64:
        yield split + 1, before


def _network(start: tuple[int, int]) -> int:
    return start[0] >> 64
