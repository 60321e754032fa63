"""The table of the CloudFront function as values of a KeyValueStore. Pure.

`cloudfront_kvs.js` reads it. A value may have 1 KB, so a request reads only what it needs: its
country, and the smallest cell of the globe around its viewer with the few metros that can be
nearest from anywhere in that cell (docs/adr/0039-a-table-in-a-key-value-store.md).

Names begin with a version, which is a digest of all values, so the values of a version never
change.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from router.errors import ConfigError
from router.geo.country_codes import COUNTRY_CODES
from router.geo.sphere import Vector, unit_vector
from router.model import Position, Scope
from router.routing.ranking import PREFERRED_COUNT, Metro, Ranker

# Quotas on key value stores in AWS's developer guide: 1 KB a pair, 5 MB a store. A store holds two
# tables: the current one, and either the previous one or the one that is being published.
MAX_PAIR_BYTES = 1_000
MAX_TABLE_BYTES = 2_400_000

_VERSION_LENGTH = 10
_INLINE_BYTES = 60
_SIDE = 2
_MAX_DEPTH = 18
_MARGIN = 1e-6  # radians: more than rounding can move a viewer


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A published table. `values`: name, beginning with the version → JSON text."""

    version: str
    values: Mapping[str, str]

    @property
    def size_bytes(self) -> int:
        """Bytes of all names and values."""
        return sum(len(name) + len(value) for name, value in self.values.items())


class _Cell(NamedTuple):
    """A part of the globe. `name` is its path of digits 0 to 3. The other fields are fractions:
    eastwards from 180° W, and northwards from the south pole.
    """

    name: str = ""
    west: float = 0.0
    south: float = 0.0
    size: float = 1.0

    @property
    def circle(self) -> tuple[Vector, float]:
        """A circle around the cell: its centre, and its radius in radians."""
        half = self.size / 2
        centre = _vector(self.west + half, self.south + half)
        if self.size == 1:
            return centre, math.pi
        # Within 90° of the centre the corners are farthest.
        corners = [
            _vector(self.west + across, self.south + up)
            for across in (0, self.size)
            for up in (0, self.size)
        ]
        return centre, max(_angle(centre, corner) for corner in corners) + _MARGIN

    def parts(self) -> Iterator["_Cell"]:
        """The four cells into which it is divided."""
        size = self.size / _SIDE
        for row in range(_SIDE):
            for column in range(_SIDE):
                name = f"{self.name}{row * _SIDE + column}"
                yield _Cell(name, self.west + column * size, self.south + row * size, size)


def make_table(ranker: Ranker) -> Table:
    """The table for a catalog. Raises ConfigError when it is larger than a store may be."""
    bare = _within_quota(ranker)
    digest = hashlib.sha256(msgspec.json.encode(sorted(bare.items())))
    version = digest.hexdigest()[:_VERSION_LENGTH]
    return Table(version=version, values={f"{version}.{name}": bare[name] for name in bare})


def _within_quota(ranker: Ranker) -> dict[str, str]:
    """All values. Stops at the quota, because metros at almost the same position could fill any
    store.
    """
    bare: dict[str, str] = {}
    size_bytes = 0
    for name, text in _values(ranker):
        bare[name] = text
        size_bytes += _VERSION_LENGTH + 1 + len(name) + len(text)
        if size_bytes > MAX_TABLE_BYTES:
            raise ConfigError(
                [
                    f"the table for these {len(ranker.regions)} edges has more than the "
                    f"{MAX_TABLE_BYTES} bytes that a KeyValueStore has room for; cache by "
                    "location headers instead (AUTOROUTER_CACHE_KEY_HEADERS)"
                ]
            )
    return bare


def _values(ranker: Ranker) -> Iterator[tuple[str, str]]:
    for country in sorted(COUNTRY_CODES):
        yield country, _json(_country(ranker, country))
    for metro in ranker.metros:
        yield from _further_edges(metro)
    yield from _tree("all", _Cell(), (), ranker.metros)
    for country in sorted(ranker.covered):
        own = ranker.at_home(country)
        others = [metro for metro in ranker.metros if metro.country != country]
        yield from _tree(f"{country}.in", _Cell(), own, others)


def _country(ranker: Ranker, country: str) -> list[Any]:
    """See `metrosFor` of cloudfront_kvs.js."""
    own = ranker.at_home(country)
    by_network = ranker.catalog.latency is not None
    listed = [
        [_row(metro) for metro in _first(_alone(ranker, country, scope))]
        for scope in (Scope.COUNTRY, Scope.GLOBAL)
    ]
    return [len(own), int(by_network), *listed]


def _alone(ranker: Ranker, country: str, scope: Scope) -> Iterable[Metro]:
    """What viewers prefer if only their country is known, and the country has at most one city."""
    own = ranker.at_home(country)
    if len(own) > 1:
        return ()
    return dict.fromkeys((*own, *ranker.without_position(country, scope)))


def _tree(name: str, cell: _Cell, own: Sequence[Metro], others: Sequence[Metro]) -> Iterator[Any]:
    """The values of a cell and of its parts: the metros that can be nearest from somewhere in the
    cell, those of `own` before all `others`; 0 if they are too many for one value.
    """
    centre, radius = cell.circle
    own = _near(own, centre, radius, PREFERRED_COUNT)
    missing = PREFERRED_COUNT - sum(len(metro.edges) for metro in own)
    others = _near(others, centre, radius, missing) if missing > 0 else ()
    key = f"{name}.{cell.name}"
    text = _json([_row(metro) for metro in (*own, *others)])
    if _fits(key, text):
        yield key, text
        return
    yield key, "0"
    if len(cell.name) < _MAX_DEPTH:
        for part in cell.parts():
            yield from _tree(name, part, own, others)


def _near(metros: Sequence[Metro], centre: Vector, radius: float, count: int) -> tuple[Metro, ...]:
    """The metros that can be among the nearest with `count` edges, from somewhere in a circle."""
    ordered = sorted((_angle(centre, metro.centre), at) for at, metro in enumerate(metros))
    seen = [metros[at] for _, at in ordered]
    if radius > math.pi / 2:
        return tuple(seen)
    return tuple(metro for metro in seen if _beaten_by(metro, seen, centre, radius, count) < count)


def _beaten_by(
    metro: Metro, others: Sequence[Metro], centre: Vector, radius: float, enough: int
) -> int:
    """How many edges are nearer than a metro from everywhere in a circle; counts up to `enough`.
    The points that are nearer to one metro than to another form a hemisphere. A circle lies in it
    if the angle from its centre to the middle of the hemisphere, plus its radius, is below 90°.
    Metros at the same position are equally near to everybody; they keep their order.
    """
    x, y, z = metro.centre
    u, v, w = centre
    limit = math.sin(radius + _MARGIN)
    edges = 0
    is_earlier = True
    for other in others:
        is_earlier = is_earlier and other is not metro
        a, b, c = other.centre[0] - x, other.centre[1] - y, other.centre[2] - z
        length = math.sqrt(a * a + b * b + c * c)
        is_nearer = length > _MARGIN and a * u + b * v + c * w > limit * length
        if is_nearer or (is_earlier and other.centre == metro.centre):
            edges += len(other.edges)
            if edges >= enough:
                break
    return edges


def _first(metros: Iterable[Metro]) -> Iterator[Metro]:
    """The first metros that together hold three edges."""
    count = 0
    for metro in metros:
        if count >= PREFERRED_COUNT:
            return
        count += len(metro.edges)
        yield metro


def _row(metro: Metro) -> list[Any]:
    parts = _edge_parts(metro)
    return [metro.country, *metro.centre, int(metro.is_even), parts[0], len(parts) - 1]


def _further_edges(metro: Metro) -> Iterator[tuple[str, str]]:
    for part, edges in enumerate(_edge_parts(metro)[1:], start=1):
        yield f"more.{metro.edges[0].id}.{part}", _json(edges)


def _edge_parts(metro: Metro) -> list[list[Any]]:
    """The edges of a metro: one list if it is short, otherwise the first edge alone and then lists
    that each fit a value.
    """
    edges: list[Any] = [
        edge.id if metro.is_even else (edge.id, edge.weight) for edge in metro.edges
    ]
    if len(_json(edges)) <= _INLINE_BYTES:
        return [edges]
    parts: list[list[Any]] = [edges[:1]]
    part: list[Any] = []
    for edge in edges[1:]:
        if len(_json([*part, edge])) > MAX_PAIR_BYTES - 100:
            parts.append(part)
            part = []
        part.append(edge)
    return [*parts, part] if part else parts


def _fits(key: str, text: str) -> bool:
    return len(key) + len(text) + _VERSION_LENGTH + 1 <= MAX_PAIR_BYTES


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _angle(one: Vector, other: Vector) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return math.acos(max(-1.0, min(1.0, dot)))


def _vector(across: float, up: float) -> Vector:
    return unit_vector(Position(up * 180 - 90, across * 360 - 180))
