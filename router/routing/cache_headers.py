"""Caching headers: what a shared cache may keep, and which tags purge it. Pure.

The one rule (docs/adr/0004-cache-only-what-the-key-says.md): a shared cache holds an
answer only if everything that the answer depends on is in its cache key.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from itertools import islice

from router.geo.country_codes import country_code
from router.model import Status
from router.routing.ranking import PREFERRED_COUNT, RouteKey

KEY_HEADER = "X-Autorouter-Key"
STALE_WHILE_REVALIDATE_S = 10
STALE_IF_ERROR_S = 300
UNSURE_MAX_AGE_S = 2
MAX_TAGS = 50  # CloudFront's limit for an object
EVERY_TAG = "route"
MAX_KEY_CHARS = 194  # a country, "~", and three edge ids
KNOWN_KEYS = 4_096

Headers = list[tuple[bytes, bytes]]

# "ZZ" is unknown territory in CLDR (UTS 35); ISO 3166-1 leaves it to users.
_NOWHERE = "ZZ"
_KEY = re.compile(r"([A-Z]{2})~([a-z0-9.-]*)")
_ETAG = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class Sharing(Enum):
    """Whether a shared cache may keep an answer, and why."""

    KEYED = "keyed"  # the CDN's route key contains everything that the answer depends on
    BY_HEADERS = "by_headers"  # CDN location headers do, and the cache key contains all of them
    PRIVATE = "private"  # the viewer's address decided

    # As in router.model.Scope. Identity hashing is safe: members are equal only to themselves.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """Lifetimes in seconds. `ttl_s`: how long an SDK may keep a pick; `max_age_s`: how long a
    shared cache may keep an answer. `key_headers`: the location headers in the CDN's cache key.
    """

    ttl_s: int = 300
    degraded_ttl_s: int = 30
    max_age_s: int = 10
    key_headers: tuple[str, ...] = ()

    @property
    def forgotten_after_s(self) -> int:
        """The time after which no client uses an earlier answer: it has expired at the CDN, and at
        every SDK that got it from there just before.
        """
        return max(self.ttl_s, self.degraded_ttl_s) + self.max_age_s + STALE_WHILE_REVALIDATE_S

    def ttl(self, status: Status) -> int:
        """Seconds that an SDK may keep a pick made under this status."""
        return self.ttl_s if status is Status.OK else self.degraded_ttl_s

    def max_age(self, status: Status) -> int:
        """Seconds that a shared cache may keep an answer given under this status."""
        return self.max_age_s if status is Status.OK else min(UNSURE_MAX_AGE_S, self.max_age_s)


def format_key(key: RouteKey) -> str:
    """`CA~yto-01.yul-01.yto-02`: the country, then the preferred edges, best first."""
    return f"{key.country or _NOWHERE}~{'.'.join(key.preferred)}"


def parse_key(text: str) -> RouteKey | None:
    """The RouteKey in the CDN's header, or None if it is malformed; then the header is ignored."""
    return _parse_key(text) if len(text) <= MAX_KEY_CHARS else None


@lru_cache(maxsize=KNOWN_KEYS)  # a CDN sends few keys, each many times
def _parse_key(text: str) -> RouteKey | None:
    match = _KEY.fullmatch(text)
    if match is None:
        return None
    country, joined = match.groups()
    preferred = tuple(joined.split(".")) if joined else ()
    if len(preferred) > PREFERRED_COUNT or len({*preferred, ""}) <= len(preferred):
        return None
    return RouteKey(country_code(country), preferred)


def success_headers(
    sharing: Sharing, status: Status, tagged: Iterable[str], tag: bytes, policy: CachePolicy
) -> Headers:
    """Caching headers of a 200 or 304 (RFC 9110 section 15.4.5). `tagged`: the edges whose change
    may change the answer, the most likely first. `tag`: the entity tag of the body.
    """
    headers = [(b"etag", tag)]
    if sharing is Sharing.PRIVATE:
        return [*headers, (b"cache-control", f"private, max-age={policy.ttl(status)}".encode())]
    directives = (
        f"public, max-age={policy.max_age(status)}, "
        f"stale-while-revalidate={STALE_WHILE_REVALIDATE_S}, stale-if-error={STALE_IF_ERROR_S}"
    )
    return [
        *headers,
        (b"cache-control", directives.encode()),
        *_shared_headers(sharing, tagged, policy),
    ]


def not_found_headers(
    sharing: Sharing, status: Status, tagged: Iterable[str], policy: CachePolicy
) -> Headers:
    """Caching headers of a 404 that depends on the route key only."""
    if sharing is Sharing.PRIVATE:
        return [(b"cache-control", b"no-store")]
    max_age = (b"cache-control", f"public, max-age={policy.max_age(status)}".encode())
    return [max_age, *_shared_headers(sharing, tagged, policy)]


def _shared_headers(sharing: Sharing, tagged: Iterable[str], policy: CachePolicy) -> Headers:
    """The Vary header of a shared answer, and the tags that purge it."""
    tags = [EVERY_TAG, *map(edge_tag, islice(tagged, MAX_TAGS - 1))]
    return [
        (b"vary", vary(sharing, policy)),
        (b"cache-tag", ",".join(tags).encode()),
        (b"xkey", " ".join(tags).encode()),
    ]


def edge_tag(id: str) -> str:
    """The tag of all shared answers that a change of this edge may change."""
    return f"edge:{id}"


def vary(sharing: Sharing, policy: CachePolicy) -> bytes:
    """The request headers that a shared answer depends on."""
    names: Iterable[str] = [KEY_HEADER] if sharing is Sharing.KEYED else policy.key_headers
    return ", ".join(names).encode()


def etag(body: bytes) -> bytes:
    """A strong entity tag: equal tags, equal bytes."""
    return b'"' + blake2b(body, digest_size=12).hexdigest().encode() + b'"'


def is_match(if_none_match: bytes, tag: bytes) -> bool:
    """Whether the client's If-None-Match names `tag` (RFC 9110 section 13.1.2)."""
    return if_none_match.strip() == b"*" or tag in _ETAG.findall(if_none_match)
