"""Draws the world as SVG: a dot for each square degree, in the colour of the edge that its viewers
get. Pure.

Plate carrée: a degree is as wide as it is high, so the drawing needs no projection.
"""

import colorsys
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, NamedTuple

from router.model import Position, Region
from router.whatif.moves import Flows, Moves

SCALE = 4  # pixels a degree
NORTH, SOUTH = 84, -58  # hardly anybody lives outside
WIDTH, MAP_HEIGHT = 360 * SCALE, (NORTH - SOUTH) * SCALE
LEGEND_COLUMNS, LEGEND_ROW, TITLE_HEIGHT = 5, 22, 34

_GREY, _INK, _PALE = "#8a8f98", "#20242b", "#e3e6ea"
_GOLDEN_RATIO = 0.618034  # successive hues this far apart are never similar
_WIDTHS = (1.6, 2.6, 3.6)  # of dots in pixels, by the magnitude of the number of addresses
_STEP_DEG = 30
# For drawing programs that do not support sans-serif.
FONTS = "Arial, Liberation Sans, DejaVu Sans, Noto Sans"
# Regions nearer to each other than this share a label and a hue.
_LABEL_DEG = 1.0
_LABEL_WIDTH, _LABEL_HEIGHT = 100, 14


class _Kind(NamedTuple):
    """The properties that dots of one look share."""

    edge: str | None
    is_moved: bool
    size: int


def draw(
    moves: Moves,
    regions: Mapping[str, Region],
    document: Mapping[str, Any],
    title: str,
    credit: str,
) -> str:
    """The map after the moves. Spots where most viewers get another edge than before have the full
    colour, the others a pale one. `regions`: of both sides; `document`: the summary of the moves.
    """
    groups = _group_near(regions.values())
    colours = _colours(groups)
    height = TITLE_HEIGHT + MAP_HEIGHT + math.ceil(len(regions) / LEGEND_COLUMNS) * LEGEND_ROW + 16
    gone = {row["region"] for row in document["edges"] if row["after"] == 0}
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'font-family="{FONTS}, sans-serif" font-size="13">',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="12" y="22" font-size="16" fill="{_INK}">{escape(title)}</text>',
            f'<text x="{WIDTH - 12}" y="22" font-size="11" fill="{_GREY}" '
            f'text-anchor="end">{escape(credit)}</text>',
            f'<g transform="translate(0 {TITLE_HEIGHT})">',
            _graticule(),
            *_dots(moves, colours),
            *_marks(groups, colours, gone),
            *_legend(document["edges"], colours),
            "</g>",
            "</svg>",
            "",
        ]
    )


def _graticule() -> str:
    meridians = (f"M{_x(degree)} 0v{MAP_HEIGHT}" for degree in range(-180, 181, _STEP_DEG))
    parallels = (f"M0 {_y(degree)}h{WIDTH}" for degree in range(-30, NORTH, _STEP_DEG))
    return f'<path d="{"".join((*meridians, *parallels))}" stroke="{_PALE}" fill="none"/>'


def _dots(moves: Moves, colours: Mapping[str, str]) -> Iterable[str]:
    """One path per look, so that thousands of dots take a few hundred kilobytes."""
    paths: defaultdict[_Kind, list[str]] = defaultdict(list)
    for spot, flows in moves.spots.items():
        if SOUTH <= spot.south < NORTH:
            paths[_kind(flows)].append(f"M{_x(spot.west + 0.5)} {_y(spot.south + 0.5)}h0")
    for kind, path in sorted(paths.items(), key=lambda item: item[0].is_moved):
        colour = _GREY if kind.edge is None else colours[kind.edge]
        yield (
            f'<path d="{"".join(path)}" stroke="{colour}" stroke-width="{_WIDTHS[kind.size]}" '
            f'stroke-opacity="{1 if kind.is_moved else 0.4}" stroke-linecap="round"/>'
        )


def _kind(flows: Flows) -> _Kind:
    """How a spot looks: by the edge that most of its viewers get, and whether it is new to
    most of them."""
    shares: defaultdict[str | None, float] = defaultdict(float)
    for flow, load in flows.items():
        shares[flow.after] += load.addresses
    total = sum(shares.values())
    moved = sum(load.addresses for flow, load in flows.items() if flow.is_move)
    size = min(len(_WIDTHS) - 1, max(0, int(math.log10(total)) - 3)) if total else 0
    return _Kind(max(shares, key=lambda edge: shares[edge]), 2 * moved > total, size)


def _marks(
    groups: Iterable[list[Region]], colours: Mapping[str, str], gone: set[str]
) -> Iterable[str]:
    """A mark for each city with edges, and their ids beside it; hollow if they get no viewers."""
    labels: list[tuple[float, float]] = []
    for group in sorted(groups, key=lambda group: -group[0].position.latitude):
        x, y = _x(group[0].position.longitude), _y(group[0].position.latitude)
        serving = [region.id for region in group if region.id not in gone]
        fill = colours[serving[0]] if serving else "#fff"
        yield f'<circle cx="{x}" cy="{y}" r="5" fill="{fill}" stroke="{_INK}" stroke-width="1.5"/>'
        labels.append(_free(x + 8, y + 4, labels))
        ids = escape(", ".join(region.id for region in group))
        yield (
            f'<text x="{labels[-1][0]:.1f}" y="{labels[-1][1]:.1f}" fill="{_INK}" stroke="#fff" '
            f'stroke-width="3" paint-order="stroke">{ids}</text>'
        )


def _free(x: float, y: float, labels: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The next line below on which no label is nearby."""
    for other_x, other_y in sorted(labels, key=lambda label: label[1]):
        if abs(x - other_x) < _LABEL_WIDTH and abs(y - other_y) < _LABEL_HEIGHT:
            y = other_y + _LABEL_HEIGHT
    return x, y


def _group_near(regions: Iterable[Region]) -> list[list[Region]]:
    groups: list[list[Region]] = []
    for region in regions:
        near = (group for group in groups if _are_near(group[0].position, region.position))
        group = next(near, None)
        if group is None:
            groups.append([region])
        else:
            group.append(region)
    return groups


def _are_near(one: Position, other: Position) -> bool:
    return (
        max(abs(one.latitude - other.latitude), abs(one.longitude - other.longitude)) < _LABEL_DEG
    )


def _legend(edges: Iterable[Mapping[str, Any]], colours: Mapping[str, str]) -> Iterable[str]:
    for number, edge in enumerate(edges):
        row, column = divmod(number, LEGEND_COLUMNS)
        x, y = 12 + column * WIDTH // LEGEND_COLUMNS, MAP_HEIGHT + 18 + row * LEGEND_ROW
        yield f'<circle cx="{x + 5}" cy="{y - 4}" r="5" fill="{colours[edge["region"]]}"/>'
        label = f"{edge['region']}  {edge['before']:.1%} → {edge['after']:.1%}"
        yield f'<text x="{x + 16}" y="{y}" fill="{_INK}">{escape(label)}</text>'


def _colours(groups: Iterable[list[Region]]) -> dict[str, str]:
    """A hue for each city, a shade for each of its regions."""
    return {
        region.id: _colour(hue * _GOLDEN_RATIO % 1, 0.38 + 0.2 * shade / len(group))
        for hue, group in enumerate(groups)
        for shade, region in enumerate(group)
    }


def _colour(hue: float, lightness: float) -> str:
    parts = colorsys.hls_to_rgb(hue, lightness, 0.8)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def _x(longitude: float) -> float:
    return round((longitude + 180) * SCALE, 1)


def _y(latitude: float) -> float:
    return round((NORTH - latitude) * SCALE, 1)
