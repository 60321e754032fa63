"""The lookup in ranges gives the same result as a linear search."""

import random
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.geo.ranges import build_v4_ranges, build_v6_ranges, merge_starts

V4_END, V6_END = 2**32, 2**128

near = st.integers(-3, 3)
v4_points = st.builds(
    lambda base, step: (base + step) % V4_END,
    st.sampled_from([0, 1, 2**8, 2**16, 5 * 2**16, 2**31, V4_END]) | st.integers(0, V4_END - 1),
    near,
)
v6_points = st.builds(
    lambda base, step, size: (base + step * 2**size) % V6_END,
    st.sampled_from([0, 2**32, 2**64, 2**96, 0x2001 << 112, 0x20010DB8 << 96, V6_END])
    | st.integers(0, V6_END - 1),
    near,
    st.sampled_from([0, 1, 32, 63, 64, 65, 80, 96]),
)


def table(points: list[int]) -> list[tuple[int, int]]:
    """A range starts at each point; each has a different number."""
    return [(start, number) for number, start in enumerate(sorted({0, *points}))]


def expected(starts: list[tuple[int, int]], value: int) -> int:
    return starts[bisect_right(starts, value, key=lambda start: start[0]) - 1][1]


@given(st.lists(v4_points), st.lists(v4_points, min_size=1))
def test_v4_address_is_in_its_range(points: list[int], addresses: list[int]) -> None:
    starts = table(points)
    ranges = build_v4_ranges(starts)
    for value in (*addresses, *points, 0, V4_END - 1):
        assert ranges.find(value.to_bytes(4)) == expected(starts, value)


@given(st.lists(v6_points), st.lists(v6_points, min_size=1))
def test_v6_address_is_in_its_range(points: list[int], addresses: list[int]) -> None:
    starts = table(points)
    ranges = build_v6_ranges(starts)
    around = [(point + step) % V6_END for point in points for step in (-1, 0, 1, 2**64)]
    for value in (*addresses, *around, 0, V6_END - 1):
        assert ranges.find(value.to_bytes(16)) == expected(starts, value)


def test_more_than_65536_ranges_are_found() -> None:
    ranges = build_v4_ranges((number << 15, number) for number in range(1 << 17))
    for number in (0, 1, 65_535, 65_536, 100_000, (1 << 17) - 1):
        assert ranges.find(((number << 15) + 77).to_bytes(4)) == number


def test_many_ranges_in_one_network_are_found() -> None:
    rng = random.Random(6)
    network = 0x2001_0DB8_0000_0001 << 64
    starts = table([network + rng.getrandbits(64) for _ in range(1_000)])
    ranges = build_v6_ranges(starts)
    for value in [network + rng.getrandbits(64) for _ in range(1_000)]:
        assert ranges.find(value.to_bytes(16)) == expected(starts, value)
    assert len(ranges.rests) == 3


@pytest.mark.parametrize(
    ("starts", "kept"),
    [
        ([(0, 1), (5, 1), (9, 2), (12, 2), (15, 1)], [(0, 1), (9, 2), (15, 1)]),
        ([(0, 0)], [(0, 0)]),
        ([], []),
    ],
)
def test_equal_neighbours_are_merged(
    starts: list[tuple[int, int]], kept: list[tuple[int, int]]
) -> None:
    assert list(merge_starts(starts)) == kept
