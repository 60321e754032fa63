"""`autorouter geodata info`: describes a geo database, and what is missing from it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from router.geo.database import GeoDatabase
from router.geo.feeds import OLD_DAYS as FEEDS_OLD_DAYS
from router.geo.feeds import FeedNote
from router.geo.second_reader import place_name
from router.geodata.notes import read_note
from router.geodata.sample import v4_sample, v6_sample
from router.model import Level

OLD_DAYS = 45
SAMPLED = 20_000

# Addresses in large networks that have not moved for long.
_KNOWN = ("24.48.0.1", "8.8.8.8", "85.214.132.117", "133.11.1.1", "2607:fea8::1", "2a02:8109::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Shares of sampled addresses whose city is known, and whose country only is known."""

    city: float
    country: float

    @property
    def placed(self) -> float:
        """The share whose country, at least, is known."""
        return self.city + self.country


def coverage(database: GeoDatabase, addresses: Sequence[str]) -> Coverage:
    """How much a database knows of some addresses."""
    levels = [database.locate(address).level for address in addresses]
    return Coverage(
        city=levels.count(Level.CITY) / len(levels),
        country=levels.count(Level.COUNTRY) / len(levels),
    )


def describe(database: GeoDatabase, now: float, feeds: Sequence[FeedNote] = ()) -> dict[str, Any]:
    """Everything known about a database and its feeds, as plain data."""
    note = read_note(database.path)
    v4 = coverage(database, v4_sample(SAMPLED))
    v6 = coverage(database, v6_sample(SAMPLED))
    document = {
        "path": ",".join(map(str, database.paths)),
        "type": database.type,
        "built_at": database.built_at,
        "age_days": round(database.age_days(now)),
        "networks": database.networks,
        "bytes": database.bytes,
        "licence": database.terms.licence if note is None else note.licence,
        "attribution": database.terms.attribution if note is None else note.attribution,
        "origin": None if note is None else msgspec.to_builtins(note),
        "ipv4": asdict(v4),
        "ipv6": asdict(v6),
        "samples": [_sample(address, database) for address in _KNOWN],
    }
    document["feeds"] = [
        {**msgspec.to_builtins(one), "age_days": round(one.age_days(now))} for one in feeds
    ]
    return {**document, "missing": _list_gaps(document, v4, v6)}


def _sample(address: str, database: GeoDatabase) -> dict[str, Any]:
    location = database.locate(address)
    position = location.position
    return {
        "ip": address,
        "country": location.country,
        "latitude": None if position is None else position.latitude,
        "longitude": None if position is None else position.longitude,
        "level": location.level,
        "place": place_name(database, address, location.source),
    }


def _list_gaps(document: dict[str, Any], v4: Coverage, v6: Coverage) -> list[str]:
    """A line for each thing that makes answers worse than they could be."""
    lines = []
    if document["age_days"] < -1:
        lines.append("says that it was built in the future: its age is unknown")
    if document["age_days"] > OLD_DAYS:
        lines.append(
            f"{document['age_days']} days old: get a newer one with `autorouter geodata update`"
        )
    lines += [
        f"feed {one['name']} is {one['age_days']} days old: run `autorouter geodata feeds`"
        for one in document["feeds"]
        if one["age_days"] > FEEDS_OLD_DAYS
    ]
    for name, found in (("IPv4", v4), ("IPv6", v6)):
        if found.placed == 0.0:
            lines.append(f"knows nothing of {name}: those viewers get the catalog's default order")
        elif found.city == 0.0:
            lines.append(f"knows no cities for {name}: viewers are spread over their country")
    if not document["licence"]:
        lines.append("its type does not show its licence")
    return lines
