"""The index meets all points in the order that sorting them gives."""

import random

from hypothesis import given
from hypothesis import strategies as st

from router.geo.sphere import unit_vector
from router.model import Position
from router.routing.nearest import LEAF_SIZE, Nearest, Point
from tests.support import strategies


def sorted_around(points: list[Point[str]], position: Position) -> list[str]:
    """By looking at every one."""
    x, y, z = unit_vector(position)

    def farness(point: Point[str]) -> tuple[float, str]:
        a, b, c = point.vector
        return -(a * x + b * y + c * z), point.name

    return [point.item for point in sorted(points, key=farness)]


def points_at(positions: list[Position]) -> list[Point[str]]:
    names = [f"p{number:05}" for number in range(len(positions))]
    random.Random(len(names)).shuffle(names)
    return [
        Point(unit_vector(position), name, name)
        for position, name in zip(positions, names, strict=True)
    ]


@given(st.lists(strategies.positions | strategies.towns(), max_size=120), strategies.positions)
def test_order_is_that_of_sorting(positions: list[Position], position: Position) -> None:
    points = points_at(positions)
    assert list(Nearest(points).around(unit_vector(position))) == sorted_around(points, position)


@given(st.integers(LEAF_SIZE + 1, 100), strategies.positions)
def test_points_at_one_place_come_by_name(count: int, position: Position) -> None:
    points = points_at([Position(43.6532, -79.3832)] * count)
    found = list(Nearest(points).around(unit_vector(position)))
    assert found == sorted(point.name for point in points)


def test_ten_thousand_points_all_over_the_world() -> None:
    rng = random.Random(7)
    places = [Position(rng.uniform(-90, 90), rng.uniform(-180, 180)) for _ in range(10_000)]
    points = points_at(places)
    index = Nearest(points)
    for position in places[:20]:
        assert list(index.around(unit_vector(position))) == sorted_around(points, position)


def test_first_few_cost_no_look_at_the_others() -> None:
    class Counting(tuple[float, float, float]):
        __slots__ = ()
        seen = 0

        def __iter__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204
            Counting.seen += 1
            return super().__iter__()

    rng = random.Random(7)
    places = [Position(rng.uniform(-90, 90), rng.uniform(-180, 180)) for _ in range(10_000)]
    index = Nearest(
        [Point(Counting(point.vector), point.name, point.item) for point in points_at(places)]
    )
    Counting.seen = 0
    found = index.around(unit_vector(places[0]))
    for _ in range(4):
        next(found)
    assert 4 <= Counting.seen < 500
