"""Licence terms of geo databases. Pure. They are derived from the type of a database. For a
database that `autorouter geodata update` fetched, the terms are in a note beside it instead.
"""

from typing import NamedTuple


class Terms(NamedTuple):
    """`attribution`: the line to show where results are shown; empty if none is asked."""

    licence: str = ""
    attribution: str = ""


DB_IP = Terms("CC BY 4.0", "IP Geolocation by DB-IP (https://db-ip.com)")
GEOLITE = Terms(
    "GeoLite End User License Agreement",
    "This product includes GeoLite Data created by MaxMind, available from https://www.maxmind.com.",
)
# By the beginning of the type, in lower case. Paid databases have contracts of their own.
_BY_TYPE = {
    "dbip": DB_IP,
    "geolite": GEOLITE,
    "geoip2": Terms("MaxMind End User License Agreement"),
}


def terms_of(type: str) -> Terms:
    """The terms of a database of this type, as far as the type tells."""
    for beginning, terms in _BY_TYPE.items():
        if type.lower().startswith(beginning):
            return terms
    return Terms()
