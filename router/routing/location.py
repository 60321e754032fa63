"""Locates a viewer by the first source that applies. Pure, except for the look-up that is passed
in.

1. The CDN's route key. 2. The CDN's location headers. 3. By address: the operator's
overrides, then the geo database. CDN headers are used only with the correct X-Origin-Verify. If
they give only a country with edges in several cities, the address decides which of these is near.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from hmac import compare_digest
from typing import NamedTuple

from router.geo.country_codes import country_code
from router.geo.sphere import valid_position
from router.model import Level, Location, Source
from router.routing.cache_headers import KEY_HEADER, Sharing, parse_key
from router.routing.client_address import Address, Networks, parse_host_port, viewer_address
from router.routing.ranking import RouteKey, place_seed

FORWARDED = b"x-forwarded-for"
VERIFY = b"x-origin-verify"
KEY = KEY_HEADER.lower().encode()
COUNTRY = b"cloudfront-viewer-country"
LATITUDE = b"cloudfront-viewer-latitude"
LONGITUDE = b"cloudfront-viewer-longitude"
ADDRESS = b"cloudfront-viewer-address"

# All headers that say where a viewer is.
PLACING = frozenset({FORWARDED, VERIFY, KEY, COUNTRY, LATITUDE, LONGITUDE, ADDRESS})
_CDN_LOCATION = frozenset({COUNTRY, LATITUDE, LONGITUDE})

_DEGREES = re.compile(r"-?\d{1,3}(\.\d{1,20})?", re.ASCII)

Found = Mapping[bytes, Sequence[bytes]]


class PlacedBy(StrEnum):
    """Which part of the request located its viewer."""

    KEY = "key"  # X-Autorouter-Key
    CDN_HEADERS = "cdn_headers"  # CloudFront-Viewer-Country, -Latitude, -Longitude
    CDN_ADDRESS = "cdn_address"  # CloudFront-Viewer-Address: the others were not enough
    FORWARDED = "forwarded"  # X-Forwarded-For of a trusted proxy
    PEER = "peer"  # no header: who connected

    __hash__ = str.__hash__  # as in router.model.Scope


# Looked up once, because access to members of an enum is slow.
_PRIVATE = Sharing.PRIVATE
_BY_PEER, _BY_FORWARDED = PlacedBy.PEER, PlacedBy.FORWARDED


class Placed(NamedTuple):
    """A viewer and their location. If the CDN sent a `key`, the rest is unused. `seed`: 32 bits
    that represent the viewer's network.
    """

    location: Location
    seed: int
    sharing: Sharing
    key: RouteKey | None = None
    placed_by: PlacedBy = PlacedBy.PEER


class Locator:
    """Locates viewers by their request's headers and peer.

    `divided`: the countries with edges in more than one city.
    """

    def __init__(
        self,
        locate: Callable[[str], Location],
        *,
        trusted: Networks,
        secrets: Iterable[str] = (),
        key_headers: Iterable[str] = (),
        divided: Collection[str] = (),
    ) -> None:
        self._locate = locate
        self._divided = divided
        self._trusted = trusted
        self._secrets = tuple(secret.encode() for secret in secrets)
        listed = {name.lower().encode() for name in key_headers}
        self._sharing = Sharing.BY_HEADERS if listed >= _CDN_LOCATION else Sharing.PRIVATE

    def place(self, peer: str | None, headers: Sequence[tuple[bytes, bytes]]) -> Placed:
        """Locate the viewer of one request. Header names are in lower case."""
        if self._secrets and VERIFY in dict(headers):
            found: dict[bytes, list[bytes]] = {}
            for name, value in headers:
                if name in PLACING:
                    found.setdefault(name, []).append(value)
            placed = self._place_by_fields(peer, found) if self._is_cdn(found[VERIFY]) else None
            if placed is not None:
                return placed
        return self._place_forwarded(peer, [value for name, value in headers if name == FORWARDED])

    def place_address(self, address: Address | None, placed_by: PlacedBy = PlacedBy.PEER) -> Placed:
        """Locate a viewer by address alone."""
        if address is None:
            return Placed(Location(), place_seed(Location()), Sharing.PRIVATE)
        location = self._locate(address.text)
        return Placed(location, address.seed, _PRIVATE, None, placed_by)

    def place_by_cdn(self, headers: Iterable[tuple[bytes, bytes]]) -> Placed | None:
        """Locate a viewer by the headers of the CDN; None if they are not enough."""
        found: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            found.setdefault(name, []).append(value)
        return self._place_by_fields(None, found)

    def _place_forwarded(self, peer: str | None, forwarded: Sequence[bytes]) -> Placed:
        address = viewer_address(peer, forwarded, self._trusted)
        is_peer = address is self._trusted.peer(peer or "")[0]
        return self.place_address(address, _BY_PEER if is_peer else _BY_FORWARDED)

    def _is_cdn(self, values: Sequence[bytes]) -> bool:
        matches = [compare_digest(secret, values[0]) for secret in self._secrets]
        return len(values) == 1 and any(matches)

    def _place_by_fields(self, peer: str | None, found: Found) -> Placed | None:
        key = parse_key(_single(found, KEY))
        if key is not None:
            location = Location(country=key.country, source=Source.CDN_KEY)
            return Placed(location, 0, Sharing.KEYED, key, PlacedBy.KEY)
        located, address = _read_location(found), parse_host_port(_single(found, ADDRESS))
        if located.level is Level.UNKNOWN:
            return None if address is None else self.place_address(address, PlacedBy.CDN_ADDRESS)
        if located.position is None and located.country in self._divided:
            return self._place_in_divided(located, address or self._forwarded_address(peer, found))
        if self._sharing is Sharing.BY_HEADERS or address is None:
            return Placed(located, place_seed(located), self._sharing, None, PlacedBy.CDN_HEADERS)
        return Placed(located, address.seed, Sharing.PRIVATE, None, PlacedBy.CDN_HEADERS)

    def _place_in_divided(self, located: Location, address: Address | None) -> Placed:
        """A viewer whose country only is known to the CDN, and has edges in several cities. The
        answer is never shared. The address decides the city, unless the database locates it in
        another country; the operator's overrides are always used.
        """
        if address is None:
            return Placed(located, place_seed(located), Sharing.PRIVATE, None, PlacedBy.CDN_HEADERS)
        here = self._locate(address.text)
        is_believed = here.country in (located.country, None) or here.source is not Source.DATABASE
        if here.position is None or not is_believed:
            return Placed(located, address.seed, Sharing.PRIVATE, None, PlacedBy.CDN_HEADERS)
        here = here._replace(country=here.country or located.country)
        return Placed(here, address.seed, Sharing.PRIVATE, None, PlacedBy.CDN_ADDRESS)

    def _forwarded_address(self, peer: str | None, found: Found) -> Address | None:
        """The address that trusted proxies forwarded. The peer is not used, because it may be the
        CDN.
        """
        address = viewer_address(peer, found.get(FORWARDED, ()), self._trusted)
        return None if address is self._trusted.peer(peer or "")[0] else address


def _read_location(found: Found) -> Location:
    """The location in CloudFront's headers, which have no coordinates for some networks. A
    position without a country is used too.
    """
    country = country_code(_single(found, COUNTRY))
    position = valid_position(
        _degrees(_single(found, LATITUDE)), _degrees(_single(found, LONGITUDE))
    )
    if position is not None:
        return Location(country, position, Level.CITY, Source.CDN_HEADERS)
    if country is not None:
        return Location(country, None, Level.COUNTRY, Source.CDN_HEADERS)
    return Location()


def _degrees(text: str) -> float | None:
    """Accepts only plain decimal degrees, as the CDN function does."""
    return float(text) if _DEGREES.fullmatch(text) else None


def _single(found: Found, name: bytes) -> str:
    """The header's value; empty unless the header came exactly once."""
    values = found.get(name, ())
    return values[0].decode("latin-1").strip() if len(values) == 1 else ""
