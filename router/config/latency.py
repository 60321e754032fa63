"""Reads latency.csv and an operator's own measurements as LatencyFacts. Reports every bad row at
once.
"""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from router.errors import ConfigError
from router.geo.sphere import valid_position
from router.model import Country, LatencyFacts, Position, Region
from router.routing.territory import Cell
from router.text_files import plain_number, printable, read_text

MAX_MS = 10_000.0
MAX_PLACES = 1_000
MOST_HOMES = 12  # of a country: its cells with the most people

_FIXED = ["place", "latitude", "longitude"]
_OWN = ["country", "region", "ms"]

Table = tuple[tuple[Position, ...], tuple[tuple[float | None, ...], ...]]
Homes = dict[str, tuple[tuple[Position, float], ...]]


def load_table(path: Path) -> Table:
    """Places, and the round-trip times between them in ms. Raises ConfigError if the file cannot
    be used.
    """
    header, *rows = csv.reader(io.StringIO(read_text(path, "restore it"), newline=""))
    names = header[len(_FIXED) :]
    if header[: len(_FIXED)] != _FIXED or [row[0] for row in rows if row] != names:
        raise ConfigError([f"{path}:1: must be place,latitude,longitude and then the places"])
    if len(names) > MAX_PLACES:
        raise ConfigError([f"{path}: has more than {MAX_PLACES} places"])
    places, times, faults = [], [], []
    for line, row in enumerate(rows, 2):
        position = valid_position(plain_number(row[1]), plain_number(row[2]))
        cells = row[len(_FIXED) :]
        if position is None or len(cells) != len(names):
            faults.append(f"{path}:{line}: must have a position and {len(names)} times")
            continue
        places.append(position)
        times.append(tuple(_ms(cell) for cell in cells))
    if faults:
        raise ConfigError(faults)
    return tuple(places), tuple(times)


def load_measured(
    path: Path, countries: Mapping[str, Country], regions: tuple[Region, ...]
) -> dict[str, dict[str, float]]:
    """Country → edge id → ms, as an operator measured. Raises ConfigError if the file cannot be
    read, or with a line for every row that cannot be used.
    """
    text = read_text(path, "create it, or unset AUTOROUTER_LATENCY")
    rows = csv.reader(io.StringIO(text, newline=""))
    ids = {region.id for region in regions}
    found: dict[str, dict[str, float]] = {}
    faults = []
    for row in rows:
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#") or cells == _OWN:
            continue
        fault = _fault(cells, countries, ids)
        if fault is not None:
            faults.append(f"{path}:{rows.line_num}: {fault}")
            continue
        country, region, ms = cells
        found.setdefault(country, {})[region] = float(ms)
    if faults:
        raise ConfigError(faults)
    return found


def homes_of(cells: Mapping[Cell, int]) -> Homes:
    """Country → where most of its people live."""
    countries: dict[str, list[tuple[float, Position]]] = {}
    for cell, people in cells.items():
        if people:
            countries.setdefault(cell.country, []).append((float(people), cell.centre))
    return {
        code: tuple((place, people) for people, place in sorted(some, reverse=True)[:MOST_HOMES])
        for code, some in countries.items()
    }


def latency_facts(
    table: Table, homes: Homes, measured: dict[str, dict[str, float]]
) -> LatencyFacts:
    """Reads all latency facts. Raises ConfigError."""
    places, times = table
    return LatencyFacts(places=places, rtt_ms=times, homes=homes, measured_ms=measured)


def _fault(cells: list[str], countries: Mapping[str, Country], ids: set[str]) -> str | None:
    if len(cells) != len(_OWN):
        return "must be country,region,ms"
    country, region, ms = cells
    if country not in countries:
        return f"country: {printable(country)} is no country; use its ISO 3166-1 code"
    if region not in ids:
        return f"region: {printable(region)} is not in regions.yaml"
    if _ms(ms) is None:
        return f"ms: {printable(ms)} is no time; give milliseconds between 0 and {MAX_MS:,.0f}"
    return None


def _ms(text: str) -> float | None:
    number = plain_number(text)
    is_time = isinstance(number, float) and math.isfinite(number) and 0.0 <= number <= MAX_MS
    return number if is_time and isinstance(number, float) else None
