"""Geometry on the sphere: positions checked, distances, unit vectors."""

import math

from router.model import Position

# Mean radius of the WGS 84 ellipsoid, IUGG 1980 (R1).
EARTH_RADIUS_KM = 6371.0088

Vector = tuple[float, float, float]


def valid_position(latitude: object, longitude: object) -> Position | None:
    """A Position, or None if the values are not numbers, out of range, or 0,0.

    0,0 lies in the Gulf of Guinea; databases write it for "unknown".
    """
    if not isinstance(latitude, (int, float)) or not isinstance(longitude, (int, float)):
        return None
    if not (-90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 180.0):
        return None
    if latitude == longitude == 0.0:
        return None
    return Position(float(latitude), float(longitude))


def unit_vector(position: Position) -> Vector:
    """The point on the unit sphere. Nearer by dot product is nearer by great circle."""
    latitude, longitude = math.radians(position.latitude), math.radians(position.longitude)
    across = math.cos(latitude)
    return across * math.cos(longitude), across * math.sin(longitude), math.sin(latitude)


def mean_vector(vectors: list[Vector]) -> Vector:
    """The mean of nearby points, projected back onto the sphere."""
    x, y, z = (sum(axis) for axis in zip(*vectors, strict=True))
    length = math.hypot(x, y, z)
    return x / length, y / length, z / length


def distance_km(a: Position, b: Position) -> float:
    """Great-circle distance in km by the haversine formula, accurate at any distance."""
    south, north = math.radians(a.latitude), math.radians(b.latitude)
    half_rise = math.sin((north - south) / 2) ** 2
    half_turn = math.sin(math.radians(b.longitude - a.longitude) / 2) ** 2
    chord = half_rise + math.cos(south) * math.cos(north) * half_turn
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))
