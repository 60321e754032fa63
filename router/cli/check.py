"""`autorouter check`: finds everything that would prevent a start, without starting."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from router.cli.words import count
from router.config.inputs import geo_folder, read_catalog, read_geo, read_overrides, regions_path
from router.config.settings import Settings, read_settings, secret_paths, unknown_settings
from router.errors import ConfigError
from router.geo.database import GeoDatabase, describe_files
from router.geo.feeds import OLD_DAYS, feeds_path, read_notes
from router.geo.geofeed import MAX_BYTES, unnamed_coordinates
from router.model import Catalog
from router.ops.service_findings import GEO_OLD_DAYS
from router.routing.ranking import Ranker
from router.text_files import read_text


def check(environ: Mapping[str, str], regions: Path | None) -> dict[str, Any]:
    """The document `{"ok", "faults", "warnings", "facts"}`. The last three are lists of lines;
    facts describe what is valid.
    """
    facts: list[str] = []
    settings, faults = read_settings(environ)
    if not faults:
        facts.append("settings: all good")
    if regions is not None:
        settings = msgspec.structs.replace(settings, regions=regions)
    warnings = [*unknown_settings(environ), *_geofeed_warnings(settings), *_feed_warnings(settings)]
    _check_catalog(settings, faults, facts, warnings)
    _check_geo(settings, faults, facts, warnings)
    facts += _other_paths(settings, environ)
    return {"ok": not faults, "faults": faults, "warnings": warnings, "facts": facts}


def _check_catalog(
    settings: Settings, faults: list[str], facts: list[str], warnings: list[str]
) -> None:
    try:
        catalog = read_catalog(settings)
    except ConfigError as error:
        faults += error.faults
        return
    routable = sum(region.routable for region in catalog.regions)
    countries = sorted({region.country for region in catalog.regions})
    facts.append(
        f"catalog: {count(len(catalog.regions), 'region')}, {routable} routable, "
        f"in {', '.join(countries)} ({regions_path(settings)})"
    )
    warnings += _idle_weights(catalog)
    for country, allowed in catalog.residency.items():
        facts.append(f"residency: viewers in {country} stay in {' or '.join(sorted(allowed))}")


def _other_paths(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """The other files and folders in use."""
    if settings.latency is not None:
        yield f"round-trip times, for `nearness: network`: {settings.latency}"
    if settings.state_dir is not None:
        yield f"last good health: {settings.state_dir}"
    for path in secret_paths(environ):
        yield f"secret: {path}"


def _idle_weights(catalog: Catalog) -> Iterator[str]:
    """Warnings about weights without effect. Weights divide viewers between the edges of one city.
    The weight of a city's only edge affects only viewers whose city is unknown, in a country with
    several cities.
    """
    weights = {region.id: region.weight for region in catalog.regions}
    ranker = Ranker(catalog)
    for metro in ranker.metros:
        id = metro.edges[0].id
        if len(metro.edges) > 1 or weights[id] == 1.0:
            continue
        is_divided = metro.country in ranker.divided
        but = ", except on viewers whose city is unknown" if is_divided else ""
        yield (
            f"{id}: its weight of {weights[id]:g} has no effect{but}, because it is the only edge "
            f"in its city; remove the weight, or use `autorouter dial {id} 70% …` to shed viewers"
        )


def _check_geo(
    settings: Settings, faults: list[str], facts: list[str], warnings: list[str]
) -> None:
    try:
        geo = read_geo(settings)
        overrides = read_overrides(settings)
    except ConfigError as error:
        faults += error.faults
        return
    now = time.time()
    age = round(geo.age_days(now))
    facts.append(f"geo data: {geo.type}, {count(age, 'day')} old ({describe_files(geo)})")
    warnings += _database_warnings(geo, now)
    facts += [
        f"feed {one.name}: {count(one.networks, 'network')}, "
        f"{count(round(one.age_days(time.time())), 'day')} old ({feeds_path(geo_folder(settings))})"
        for one in geo.feeds
    ]
    if overrides is not None:
        facts.append(
            f"geo overrides: {count(overrides.count, 'network')} ({settings.geo_overrides})"
        )


def _database_warnings(geo: GeoDatabase, now: float) -> Iterator[str]:
    if not geo.files:
        yield (
            "there is no geo database: viewers without a CDN key or CDN location get the default "
            "order; run `autorouter geodata update`"
        )
    elif geo.is_from_future(now):
        yield (
            f"{describe_files(geo)}: its build date is in the future, so its age is "
            "unknown; run `autorouter geodata update --force`"
        )
    elif geo.age_days(now) > GEO_OLD_DAYS:
        age = count(round(geo.age_days(now)), "day")
        yield f"the geo database is {age} old; run `autorouter geodata update`"


def _geofeed_warnings(settings: Settings) -> Iterator[str]:
    """Warnings about coordinates that are ignored because no header names their columns."""
    path = settings.geo_overrides
    if path is None:
        return
    with suppress(ConfigError):
        line = unnamed_coordinates(read_text(path, "create it", MAX_BYTES))
        if line is not None:
            yield (
                f"{path}:{line}: coordinates without a header are ignored; put this line first: "
                "prefix,country,region,city,postal,latitude,longitude"
            )


def _feed_warnings(settings: Settings) -> Iterator[str]:
    for note in read_notes(geo_folder(settings)):
        age = note.age_days(time.time())
        if age > OLD_DAYS:
            old = count(round(age), "day")
            yield f"feed {note.name}: {old} old; run `autorouter geodata feeds`"
