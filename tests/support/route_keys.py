"""Route keys that the origin computes, to compare CDN programs with it.

data/route-keys.json has test vectors for programs in any language: viewers, and the key of each
with the shipped catalog. After a change of the catalog or of the viewers, rewrite it with:

    python -m tests.support.route_keys
"""

import csv
import json
import random
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from router.config.inputs import read_catalog
from router.config.settings import Settings
from router.geo.country_codes import COUNTRY_CODES
from router.model import Location
from router.routing.cache_headers import format_key
from router.routing.client_address import Networks, parse_address
from router.routing.location import Locator
from router.routing.query import parse_query
from router.routing.ranking import Ranker
from tests.support.servers import ROOT

VECTORS = Path(__file__).parent / "data" / "route-keys.json"
SECRET = "0123456789abcdef"
OF_CITIES, MADE_UP = 300, 300


class Viewer(NamedTuple):
    """What the function sees of a viewer: three headers, an address and the scope."""

    country: str
    latitude: str
    longitude: str
    ip: str
    scope: str = "country"


@cache
def packaged_path() -> Ranker:
    return Ranker(read_catalog(Settings()))


def by_python(ranker: Ranker, viewer: Viewer) -> str | None:
    """The key that the origin computes from the same headers, or None if there is no key."""
    if parse_address(viewer.ip) is None:
        return None
    divided = ranker.divided
    locator = Locator(lambda _: Location(), trusted=Networks(), secrets=[SECRET], divided=divided)
    sent = {
        b"x-origin-verify": SECRET,
        b"cloudfront-viewer-country": viewer.country,
        b"cloudfront-viewer-latitude": viewer.latitude,
        b"cloudfront-viewer-longitude": viewer.longitude,
        b"cloudfront-viewer-address": f"{viewer.ip}:50000",
    }
    headers = [(name, value.encode()) for name, value in sent.items() if value]
    placed = locator.place(None, headers)
    if placed.location.position is None and placed.location.country in {None, *divided}:
        return None
    query = parse_query(f"scope={viewer.scope}".encode())
    assert query is not None
    return format_key(ranker.key(placed.location, placed.seed, query.scope))


def made_up_viewers(count: int) -> list[Viewer]:
    """Viewers with unusual countries, coordinates, addresses and scopes."""
    rng = random.Random(2)
    countries = [*sorted(COUNTRY_CODES), *("US", "CA", "us", "", "U", "U1", "XYZ", "ß", "CADE")]
    countries += [*("EU", "AP", "XX", "ZZ", "UK", "AN", "T1", "A1", "A2")] * 3
    latitudes = ["", "90", "-90", "0", "-0.0", "91", "1e1", "nan", "0x10", "12.", "43.6532"]
    longitudes = ["", "180", "-180", "0", "179.9999", "181", "1_0", ".5", "-79.3832"]
    return [
        Viewer(
            rng.choice(countries),
            rng.choice([*latitudes, str(rng.uniform(-90, 90))]),
            rng.choice([*longitudes, str(rng.uniform(-180, 180))]),
            an_address(rng),
            rng.choice(["country", "global", "+GLOBAL%20", "glob%61l", "%zz", "else"]),
        )
        for _ in range(count)
    ]


def an_address(rng: random.Random) -> str:
    group = [f"{rng.randrange(65_536):x}" for _ in range(8)]
    return rng.choice(
        [
            ".".join(str(rng.randrange(256)) for _ in range(4)),
            ":".join(group),
            f"2001:db8::{group[0]}",
            f"{group[0]}::{group[1]}:{group[2]}",
            f"::ffff:1.2.3.{rng.randrange(256)}",
            f"2002:{group[0]}:{group[1]}::1",
            f"2001:0:1:2:3:4:{group[0]}:{group[1]}",
            f"64:ff9b::{group[0]}:{group[1]}",
            f"64:ff9b:{rng.randrange(3)}:{group[0]}::{group[1]}:{group[2]}",
            f"64:ff9b:1:{group[0]}:{rng.randrange(256):x}:{rng.randrange(256):02x}00::",
            f"64:ff9b:1:{group[0]}:{group[1]}:{group[2]}::",
            *("::", "1::2::3", "1.2.3", "01.2.3.4", "1.2.3.4.5", "rubbish", ":1:2:3:4:5:6:7"),
        ]
    )


def city_viewers(count: int) -> list[Viewer]:
    """Viewers in cities of the world, with the headers that a CDN adds."""
    rng = random.Random(3)
    with (ROOT / "geodata" / "cities.csv").open(encoding="utf-8") as file:
        cities = list(csv.DictReader(file))
    at_home = [city for city in cities if city["country"] in {"CA", "US"}]
    drawn = [rng.choice(rng.choice([cities, at_home])) for _ in range(count)]
    return [
        Viewer(
            city["country"],
            f"{float(city['latitude']):.4f}",
            f"{float(city['longitude']):.4f}",
            ".".join(str(rng.randrange(1, 224)) for _ in range(4)),
            rng.choice(["country", "global"]),
        )
        for city in drawn
    ]


def golden() -> list[dict[str, Any]]:
    """Viewers and their keys. A viewer without a key has null."""
    made_up = (
        viewer._replace(scope="global" if "lob" in viewer.scope.lower() else "country")
        for viewer in made_up_viewers(MADE_UP)
    )
    return [
        {**viewer._asdict(), "key": by_python(packaged_path(), viewer)}
        for viewer in (*city_viewers(OF_CITIES), *made_up)
    ]


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in golden())
    VECTORS.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
