"""Where a viewer is: the first source that applies. Pure but for the look-up it is given.

1. The CDN's route key. 2. The CDN's location headers. 3. By address: the operator's
overrides, then the geo database. CDN headers count only beside the right X-Origin-Verify.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hmac import compare_digest
from typing import NamedTuple

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

MAX_REMEMBERED = 64

# All headers that say where a viewer is.
PLACING = frozenset({FORWARDED, VERIFY, KEY, COUNTRY, LATITUDE, LONGITUDE, ADDRESS})
_TOLD = frozenset({COUNTRY, LATITUDE, LONGITUDE})

_DEGREES = re.compile(r"-?\d{1,3}(\.\d{1,20})?", re.ASCII)

Found = Mapping[bytes, Sequence[bytes]]


class Placed(NamedTuple):
    """A viewer, placed. `key` is set when the CDN named it; then the rest is unused.

    `seed`: 32 bits that stand for the viewer's network. `by_peer`: no header said anything.
    """

    location: Location
    seed: int
    sharing: Sharing
    key: RouteKey | None = None
    by_peer: bool = False


class Locator:
    """Places viewers by their request's headers and peer."""

    def __init__(
        self,
        locate: Callable[[str], Location],
        *,
        trusted: Networks,
        secrets: Iterable[str] = (),
        key_headers: Iterable[str] = (),
    ) -> None:
        self._locate = locate
        self._trusted = trusted
        self._secrets = tuple(secret.encode() for secret in secrets)
        listed = {name.lower().encode() for name in key_headers}
        self._sharing = Sharing.BY_HEADERS if listed >= _TOLD else Sharing.PRIVATE

    def viewer(
        self, peer: str | None, headers: Sequence[tuple[bytes, bytes]]
    ) -> bytes | str | None:
        """What alone decides where this viewer is, short enough to remember them by: the
        peer, or the one X-Forwarded-For, unless they turn out to be placed by peer. None
        where more than that is to be weighed."""
        if peer is None:
            return None
        is_trusted = self._trusted.peer(peer)[1]
        if len(headers) == 1 and is_trusted:
            name, value = headers[0]
            return value if name == FORWARDED and len(value) <= MAX_REMEMBERED else None
        weighed = [header for header in headers if header[0] in PLACING]
        if not is_trusted and VERIFY not in dict(weighed):
            return peer
        return self.viewer(peer, weighed) if is_trusted and len(weighed) == 1 else None

    def place(self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> Placed:
        """Place the viewer of one request; header names in lower case."""
        if not self._secrets:
            forwarded = [value for name, value in headers if name == FORWARDED]
            return self._place_forwarded(peer, forwarded)
        found: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            if name in PLACING:
                found.setdefault(name, []).append(value)
        if VERIFY in found and self._is_cdn(found[VERIFY]):
            placed = self._by_cdn(found)
            if placed is not None:
                return placed
            address = parse_host_port(_only(found, ADDRESS))
            if address is not None:
                return self.place_address(address)
        return self._place_forwarded(peer, found.get(FORWARDED, ()))

    def place_address(self, address: Address | None) -> Placed:
        """Place a viewer by address alone."""
        if address is None:
            return Placed(Location(), place_seed(Location()), Sharing.PRIVATE)
        return Placed(self._locate(address.text), address.seed, Sharing.PRIVATE)

    def _place_forwarded(self, peer: str | None, forwarded: Sequence[bytes]) -> Placed:
        address = viewer_address(peer, forwarded, self._trusted)
        if address is None:
            return self.place_address(None)
        by_peer = address is self._trusted.peer(peer or "")[0]
        return Placed(self._locate(address.text), address.seed, Sharing.PRIVATE, by_peer=by_peer)

    def _is_cdn(self, told: Sequence[bytes]) -> bool:
        matches = [compare_digest(secret, told[0]) for secret in self._secrets]
        return len(told) == 1 and any(matches)

    def _by_cdn(self, found: Found) -> Placed | None:
        key = parse_key(_only(found, KEY))
        if key is not None:
            location = Location(country=key.country, source=Source.CDN_KEY)
            return Placed(location, 0, Sharing.KEYED, key)
        location_told = _told(found)
        if location_told is None:
            return None
        address = parse_host_port(_only(found, ADDRESS))
        if self._sharing is Sharing.BY_HEADERS or address is None:
            return Placed(location_told, place_seed(location_told), self._sharing)
        return Placed(location_told, address.seed, Sharing.PRIVATE)


def _told(found: Found) -> Location | None:
    """The location in CloudFront's headers; it sends no coordinates for some networks."""
    country = _only(found, COUNTRY)
    if len(country) != 2 or not country.isascii() or not country.isalpha():
        return None
    position = valid_position(_degrees(_only(found, LATITUDE)), _degrees(_only(found, LONGITUDE)))
    return Location(
        country=country.upper(),
        position=position,
        level=Level.COUNTRY if position is None else Level.CITY,
        source=Source.CDN_HEADERS,
    )


def _degrees(text: str) -> float | None:
    """Plain decimal degrees and nothing else, as the CDN function reads them."""
    return float(text) if _DEGREES.fullmatch(text) else None


def _only(found: Found, name: bytes) -> str:
    """The header's value, or nothing unless it came exactly once."""
    values = found.get(name, ())
    return values[0].decode("latin-1").strip() if len(values) == 1 else ""
