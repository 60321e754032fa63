"""Reads cloud_regions.csv: provider and region → city."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from router.errors import ConfigError
from router.geo.sphere import valid_position
from router.model import Position
from router.text_files import plain_number, read_text

COLUMNS = ("provider", "region", "country", "city", "latitude", "longitude", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudRegion:
    """Where a region is."""

    country: str
    city: str
    position: Position


CloudRegions = dict[tuple[str, str], CloudRegion]


def load_cloud_regions(path: Path) -> CloudRegions:
    """(Provider, region) → CloudRegion. Raises ConfigError if the file cannot be read, or with a
    line for every row that cannot be used: `cloud_regions.csv:12: …`.
    """
    rows = csv.DictReader(io.StringIO(read_text(path, "restore it"), newline=""), restval="")
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise ConfigError([f"{path}:1: the columns must be {','.join(COLUMNS)}"])
    regions: CloudRegions = {}
    faults = []
    for row in rows:
        key = row["provider"], row["region"]
        position = valid_position(plain_number(row["latitude"]), plain_number(row["longitude"]))
        if position is None or not row["country"] or not row["city"] or key in regions:
            faults.append(f"{path}:{rows.line_num}: must be a new region with city and position")
            continue
        regions[key] = CloudRegion(country=row["country"], city=row["city"], position=position)
    if faults:
        raise ConfigError(faults)
    return regions
