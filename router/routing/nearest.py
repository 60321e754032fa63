"""Points on the globe, met one after the other by their distance from any place. Pure.

A k-d tree searched best first (Bentley 1975; Hjaltason and Samet 1999), so that the first
few of 10,000 points cost no look at the others.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, Generic, NamedTuple, TypeVar

from router.geo.sphere import Vector

LEAF_SIZE = 16

# More than a bound and a point's farness may be off by.
_ROUNDING = 1e-12

T = TypeVar("T")


class Point(NamedTuple, Generic[T]):
    """Something at a unit vector. Of two equally far, the lesser `name` is met first."""

    vector: Vector
    name: str
    item: T


class _Box(NamedTuple):
    """Points within bounds, split in two unless they are few."""

    low: Vector
    high: Vector
    points: tuple[Point[Any], ...]
    halves: tuple["_Box", ...]


class Nearest(Generic[T]):
    """An index over points that never change."""

    def __init__(self, points: Sequence[Point[T]]) -> None:
        self._root = _boxed(tuple(points))

    def around(self, vector: Vector) -> Iterator[T]:
        """Every item, nearest first. Farness is minus the dot product of unit vectors,
        summed in one order everywhere, so that equal distances are equal numbers."""
        if not self._root.halves:
            farness = _farness_from(vector)
            points = sorted(self._root.points, key=lambda point: (farness(point), point.name))
            yield from (point.item for point in points)
            return
        yield from self._search(vector)

    def _search(self, vector: Vector) -> Iterator[T]:
        """A box comes before a point as far away: it may hold one of a lesser name."""
        farness, number = _farness_from(vector), count()
        heap: list[Any] = [(0.0, False, "", next(number), self._root)]
        while heap:
            _, is_point, _, _, found = heapq.heappop(heap)
            if is_point:
                yield found.item
                continue
            for half in found.halves:
                bound = _bound(half, vector)
                heapq.heappush(heap, (bound, False, "", next(number), half))
            for point in found.points:
                entry = (farness(point), True, point.name, next(number), point)
                heapq.heappush(heap, entry)


def _farness_from(vector: Vector) -> Callable[[Point[Any]], float]:
    x, y, z = vector

    def farness(point: Point[Any]) -> float:
        a, b, c = point.vector
        return -(a * x + b * y + c * z)

    return farness


def _bound(box: _Box, vector: Vector) -> float:
    """No point of the box is nearer: of unit vectors d apart, the dot product is 1 - d * d / 2."""
    (x, y, z), (low_x, low_y, low_z), (high_x, high_y, high_z) = vector, box.low, box.high
    dx = low_x - x if x < low_x else max(x - high_x, 0.0)
    dy = low_y - y if y < low_y else max(y - high_y, 0.0)
    dz = low_z - z if z < low_z else max(z - high_z, 0.0)
    return (dx * dx + dy * dy + dz * dz) / 2 - 1 - _ROUNDING


def _boxed(points: tuple[Point[Any], ...]) -> _Box:
    axes = list(zip(*(point.vector for point in points), strict=True)) or [(0.0,)] * 3
    low, high = _vector(map(min, axes)), _vector(map(max, axes))
    if len(points) <= LEAF_SIZE:
        return _Box(low, high, points, ())
    widths = [top - bottom for bottom, top in zip(low, high, strict=True)]
    widest = widths.index(max(widths))
    ordered = sorted(points, key=lambda point: point.vector[widest])
    middle = len(ordered) // 2
    halves = (_boxed(tuple(ordered[:middle])), _boxed(tuple(ordered[middle:])))
    return _Box(low, high, (), halves)


def _vector(values: Any) -> Vector:
    x, y, z = values
    return x, y, z
