"""The CDN function, written from the catalog: the route key as ECMAScript. Pure.

The programs are in router.cdn.programs; the table made here is all that they know about the fleet.
"""

from typing import Any

import msgspec

from router.errors import ConfigError
from router.geo.country_codes import COUNTRY_CODES
from router.model import Scope
from router.routing.ranking import Metro, Ranker

# Quotas on CloudFront Functions in AWS's developer guide: 10 KB.
MAX_BYTES = 10_240

_TABLE = "/*TABLE*/"
_COUNTRIES = "/*COUNTRIES*/"


def fill(ranker: Ranker, program: str) -> str:
    """The program with the table of this catalog, without comments and indentation."""
    table = msgspec.json.encode(_table(ranker)).decode()
    text = _strip_comments(program).replace(_COUNTRIES, "".join(sorted(COUNTRY_CODES)))
    return text.replace(_TABLE, table)


def render(ranker: Ranker, program: str) -> str:
    """The same for CloudFront. Raises ConfigError when it is larger than CloudFront accepts."""
    text = fill(ranker, program)
    size = len(text.encode())
    if size > MAX_BYTES:
        raise ConfigError(
            [
                f"the function for these {len(ranker.regions)} edges has {size} bytes and "
                f"CloudFront accepts {MAX_BYTES}; put its table in a KeyValueStore instead "
                "(`autorouter cdn render --kvs`), or cache by location headers "
                "(AUTOROUTER_CACHE_KEY_HEADERS)"
            ]
        )
    return text


def _table(ranker: Ranker) -> dict[str, Any]:
    return {
        "network": int(ranker.catalog.latency is not None),
        "metros": [_row(metro) for metro in ranker.metros],
        "beyond": [
            [scope, "".join(countries), list(metros)]
            for (scope, metros), countries in _next_metros(ranker).items()
        ],
    }


def _next_metros(ranker: Ranker) -> dict[tuple[str, tuple[int, ...]], list[str]]:
    """Groups countries whose viewers try the same metros after the country's own ones, if only the
    country is known. The scope is empty where it makes no difference.
    """
    places = {metro.contender.id: place for place, metro in enumerate(ranker.metros)}
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for country in sorted(COUNTRY_CODES):
        tried = {
            str(scope): tuple(
                places[metro.contender.id] for metro in ranker.without_position(country, scope)
            )
            for scope in Scope
        }
        if len(set(tried.values())) == 1:
            tried = {"": tried[Scope.COUNTRY]}
        for scope, metros in tried.items():
            groups.setdefault((scope, metros), []).append(country)
    return groups


def _row(metro: Metro) -> list[Any]:
    return [
        metro.country,
        *metro.centre,
        metro.contender.hash,
        metro.contender.weight,
        metro.contender.id,
        metro.is_even,
        metro.edges,
    ]


def _strip_comments(program: str) -> str:
    """The program without comment lines, blank lines and indentation."""
    lines = (line.strip() for line in program.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//")) + "\n"
