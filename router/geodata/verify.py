"""Compares two independent readers on a new geo database."""

from collections.abc import Iterable

from router.errors import GeoDataError
from router.geo.database import GeoDatabase
from router.geo.second_reader import UNREADABLE, SecondReader


def verify(geo: GeoDatabase, addresses: Iterable[str]) -> None:
    """Look addresses up with both readers. Raises GeoDataError where they disagree."""
    with SecondReader(geo) as second:
        for address in addresses:
            found = geo.locate(address).country
            try:
                expected = second.country(address)
            except UNREADABLE as error:
                raise GeoDataError(
                    f"{geo.type}: geoip2 cannot read {address} ({error}); the file is damaged. "
                    "Nothing is changed; fetch it again"
                ) from error
            if found != expected:
                raise GeoDataError(
                    f"{geo.type}: {address} is in {found} by maxminddb-rust and in {expected} by "
                    "geoip2; the file is damaged. Nothing is changed; fetch it again"
                )
