"""Positions are validated, and distances are those on a sphere."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.geo.sphere import EARTH_RADIUS_KM, distance_km, mean_vector, unit_vector, valid_position
from router.model import Position
from tests.support.builders import DALLAS, MONTREAL, NEW_YORK, SAN_FRANCISCO, TORONTO, VANCOUVER
from tests.support.strategies import positions

NORTH_POLE = Position(90.0, 0.0)
SOUTH_POLE = Position(-90.0, 0.0)
HALF_CIRCUMFERENCE_KM = math.pi * EARTH_RADIUS_KM


@pytest.mark.parametrize(
    ("here", "there", "expected_km"),
    [
        (TORONTO, MONTREAL, 504),
        (TORONTO, VANCOUVER, 3359),
        (TORONTO, NEW_YORK, 550),
        (NEW_YORK, SAN_FRANCISCO, 4129),
        (DALLAS, Position(37.751, -97.822), 561),
        (Position(48.8566, 2.3522), Position(51.5074, -0.1278), 344),
        (Position(-36.8485, 174.7633), Position(-33.4489, -70.6693), 9666),
    ],
)
def test_known_distances_are_reproduced(
    here: Position, there: Position, expected_km: float
) -> None:
    assert distance_km(here, there) == pytest.approx(expected_km, rel=0.005)


def test_degree_of_latitude_is_111_km() -> None:
    assert distance_km(Position(43.0, -79.0), Position(44.0, -79.0)) == pytest.approx(111.19508)


def test_poles_are_half_the_circumference_apart() -> None:
    assert distance_km(NORTH_POLE, SOUTH_POLE) == pytest.approx(HALF_CIRCUMFERENCE_KM)


def test_longitude_is_ignored_at_a_pole() -> None:
    assert distance_km(NORTH_POLE, Position(90.0, 123.0)) == pytest.approx(0, abs=1e-6)


def test_distance_across_the_antimeridian_is_short() -> None:
    across = distance_km(Position(-17.0, 179.9), Position(-17.0, -179.9))
    assert across == pytest.approx(distance_km(Position(-17.0, 10.0), Position(-17.0, 10.2)))


def test_180_degrees_east_and_west_are_one_place() -> None:
    assert distance_km(Position(10.0, 180.0), Position(10.0, -180.0)) == pytest.approx(0, abs=1e-6)


@given(positions, positions)
def test_distance_is_the_same_both_ways(here: Position, there: Position) -> None:
    assert distance_km(here, there) == distance_km(there, here)


@given(positions)
def test_distance_to_the_same_place_is_zero(here: Position) -> None:
    assert distance_km(here, here) == 0.0


@given(positions, positions)
def test_distance_is_at_most_half_the_circumference(here: Position, there: Position) -> None:
    assert 0.0 <= distance_km(here, there) <= HALF_CIRCUMFERENCE_KM


@given(positions, positions, positions)
def test_detour_is_never_shorter(here: Position, via: Position, there: Position) -> None:
    assert distance_km(here, there) <= distance_km(here, via) + distance_km(via, there) + 1e-3


@given(positions, positions)
def test_vectors_agree_with_the_distance(here: Position, there: Position) -> None:
    chord = math.dist(unit_vector(here), unit_vector(there))
    straight_km = 2 * EARTH_RADIUS_KM * math.asin(min(1.0, chord / 2))
    assert distance_km(here, there) == pytest.approx(straight_km, abs=1)


@given(positions)
def test_unit_vectors_lie_on_the_sphere(here: Position) -> None:
    assert math.hypot(*unit_vector(here)) == pytest.approx(1.0)


def test_mean_of_two_points_is_between_them() -> None:
    middle = mean_vector([unit_vector(Position(0.0, 179.0)), unit_vector(Position(0.0, -179.0))])
    assert middle == pytest.approx((-1.0, 0.0, 0.0))


@given(positions, st.floats(-1, 1), st.floats(-1, 1))
def test_mean_lies_on_the_sphere(here: Position, north: float, east: float) -> None:
    nearby = Position(max(-90.0, min(90.0, here.latitude + north)), here.longitude + east)
    middle = mean_vector([unit_vector(here), unit_vector(nearby)])
    assert math.hypot(*middle) == pytest.approx(1.0)
    assert math.dist(middle, unit_vector(here)) == pytest.approx(
        math.dist(middle, unit_vector(nearby)), abs=1e-9
    )


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_every_position_except_null_island_is_valid(latitude: float, longitude: float) -> None:
    position = valid_position(latitude, longitude)
    assert (position is None) == (latitude == longitude == 0.0)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        (0.0, 0.0),
        (0, 0),
        (-0.0, 0.0),
        (90.001, 0.0),
        (-91.0, 10.0),
        (10.0, 180.5),
        (10.0, -181.0),
        (math.nan, 10.0),
        (10.0, math.inf),
        (None, 10.0),
        ("43.6", "-79.3"),
        ([], {}),
    ],
)
def test_invalid_coordinates_give_no_position(latitude: object, longitude: object) -> None:
    assert valid_position(latitude, longitude) is None


@pytest.mark.parametrize(
    ("latitude", "longitude"), [(0.0, 9.5), (51.5, 0.0), (90, -180), (-90, 180)]
)
def test_one_zero_or_a_limit_is_valid(latitude: float, longitude: float) -> None:
    assert valid_position(latitude, longitude) == Position(float(latitude), float(longitude))
