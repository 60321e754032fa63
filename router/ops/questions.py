"""Parses an operator's question: about an address, a country, a route key, or headers of a CDN.
Pure.
"""

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from router.errors import RouterError
from router.geo.sphere import valid_position
from router.model import Location, Position, Source
from router.routing.cache_headers import Sharing, parse_key
from router.routing.client_address import Address, parse_address
from router.routing.explain import country_fault, parse_country, place_in_country
from router.routing.location import PLACING, VERIFY, Locator, Placed, PlacedBy

MAX_HEADERS = 8

Params = Sequence[tuple[str, str]]


class QuestionError(RouterError):
    """The question is not valid; the text says why, and gives a valid example."""


class Subject(NamedTuple):
    """A viewer and their location. `address`: set if the question is about one. `is_many`: whether
    this stands for all viewers of a place.
    """

    placed: Placed
    address: Address | None = None
    is_many: bool = False


def subject(params: Params, locator: Locator) -> Subject:
    """The viewer that `key`, `header` (once for each header of a CDN), `ip`, or `country`
    (optionally with `latitude` and `longitude`) describes. Raises QuestionError.
    """
    asked = dict(params)
    if asked.get("key"):
        return Subject(_by_key(asked["key"]))
    if asked.get("header"):
        return Subject(_by_headers([text for name, text in params if name == "header"], locator))
    address = parse_address(asked.get("ip", ""))
    if address is not None:
        return Subject(locator.place_address(address), address)
    country = parse_country(asked.get("country", ""))
    if country is not None:
        return Subject(place_in_country(country, _position(asked)), is_many=True)
    if asked.get("country"):
        raise QuestionError(country_fault(asked["country"]))
    text = asked.get("ip", "")[:80]
    raise QuestionError(f"{text!r} is not an IP address; give one like 24.48.0.1, or a country")


def past_time(params: Params) -> float | None:
    """The time in `at`, in Unix seconds; None for now. Raises QuestionError."""
    text = dict(params).get("at")
    if not text:
        return None
    try:
        at = float(text)
    except ValueError:
        at = float("nan")
    if not isfinite(at):
        raise QuestionError("at must be Unix seconds, like 1764216000")
    return at


def _by_key(text: str) -> Placed:
    key = parse_key(text)
    if key is None:
        raise QuestionError(f"{text[:80]!r} is not a route key; give one like CA~yto-01.yul-01")
    location = Location(country=key.country, source=Source.CDN_KEY)
    return Placed(location, 0, Sharing.KEYED, key, PlacedBy.KEY)


def _by_headers(lines: Sequence[str], locator: Locator) -> Placed:
    if len(lines) > MAX_HEADERS:
        raise QuestionError(f"give at most {MAX_HEADERS} headers")
    headers = [_header(line) for line in lines]
    placed = locator.place_by_cdn(headers)
    if placed is None:
        raise QuestionError(
            "these headers do not say where the viewer is; autorouter would use their IP address"
        )
    return placed


def _header(line: str) -> tuple[bytes, bytes]:
    name, _, value = line.partition(":")
    known = {each.decode() for each in PLACING - {VERIFY}}
    if name.strip().lower() not in known:
        raise QuestionError(
            f"{name.strip()[:80]!r} is not a header that says where a viewer is; "
            f"use one of {', '.join(sorted(known))}"
        )
    return name.strip().lower().encode(), value.strip().encode("latin-1", "replace")


def _position(asked: dict[str, str]) -> Position | None:
    try:
        return valid_position(float(asked["latitude"]), float(asked["longitude"]))
    except (KeyError, ValueError):
        return None
