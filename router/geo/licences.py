"""What the makers of geo databases ask of those who use them. Pure.

Told from a database's type; what `autorouter geodata update` fetched from a known place
has its terms written beside it instead.
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
# By how a type begins, in lower case. Paid databases have contracts of their own.
_BY_TYPE = {
    "dbip": DB_IP,
    "geolite": GEOLITE,
    "geoip2": Terms("MaxMind End User License Agreement"),
}


def terms_of(type: str) -> Terms:
    """The terms of a database of this type, as far as they can be told from it."""
    for beginning, terms in _BY_TYPE.items():
        if type.lower().startswith(beginning):
            return terms
    return Terms()
