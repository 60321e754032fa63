"""The search tree of an .mmdb file, walked once from end to end.

maxminddb-rust reads the records, and looks up single addresses; to go through all
networks it decodes every record on the way, which takes four times as long as this
(docs/adr/0020-compact-database.md). The format: MaxMind DB File Format Specification 2.0.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

import maxminddb_rust

from router.errors import GeoDataError

_V4_BITS, _V6_BITS = 32, 128
# Where IPv6 holds IPv4: mapped, 6to4, Teredo. client_address takes the IPv4 out of such an
# address before it is looked up, and trees hold all of IPv4 once more there.
_ALIASES = {(0xFFFF << 32, 32), (0x2002 << 112, 112), (0x2001 << 112, 96)}
# How often a sound tree may have a node walked: once, and again where others alias it.
_MOST_VISITS = 4


def networks(path: Path) -> Iterator[tuple[int, int, int | None]]:
    """Every network in order, IPv4 first: 4 or 6, its first address, and a number that
    stands for its record, None without one. Raises GeoDataError for a damaged tree."""
    try:
        metadata = maxminddb_rust.open_database(str(path)).metadata()
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tree:
            yield from _walk(tree, metadata)
    except (OSError, ValueError, RuntimeError) as error:
        raise GeoDataError(f"{path}: its search tree cannot be walked: {error}") from error


def _walk(
    tree: mmap.mmap, metadata: maxminddb_rust.Metadata
) -> Iterator[tuple[int, int, int | None]]:
    count, size = metadata.node_count, metadata.record_size
    if size not in (24, 28, 32) or count * size // 4 > len(tree):
        raise ValueError("it is longer than the file")
    whole = _V4_BITS if metadata.ip_version == 4 else _V6_BITS
    inner = 0
    waiting = [(0, 0, whole)]
    while waiting:
        node, start, bits = waiting.pop()
        if (start, bits) in _ALIASES:
            yield 6, start, None
        elif node >= count:
            yield from _leaf(start, bits, whole, None if node == count else node)
        elif bits == 0 or inner > _MOST_VISITS * count:
            raise ValueError("it goes round in circles")
        else:
            inner += 1
            left, right = children(tree, node, size)
            middle = start | 1 << bits - 1
            waiting.append((right, middle, bits - 1))
            waiting.append((left, start, bits - 1))


def _leaf(
    start: int, bits: int, whole: int, record: int | None
) -> Iterator[tuple[int, int, int | None]]:
    """IPv4 is what IPv6 has in ::/96; a larger network there is of both."""
    if whole == _V4_BITS or start >> _V4_BITS == 0:
        yield 4, start, record
    if whole == _V6_BITS and (start >> _V4_BITS or bits > _V4_BITS):
        yield 6, start, record


def children(tree: bytes | mmap.mmap, node: int, size: int) -> tuple[int, int]:
    """The two records of a node, most significant byte first; of 28 bits, the byte in the
    middle holds the first four of both."""
    width = size // 4
    both = int.from_bytes(tree[node * width : (node + 1) * width])
    if size == 28:
        return both >> 32 | (both >> 28 & 0xF) << 24, both & 0xFFFFFFF
    return both >> size, both & (1 << size) - 1
