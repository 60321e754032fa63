"""SVG charts: lines in panels with logarithmic axes, and pairs of bars."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 320, 220, 64, 64, 32
COLOURS = ("#1665c1", "#c1440e", "#2e7d32", "#7b1fa2", "#8a8f98")
LEGEND_STEP = 120
BAR_WIDTH, BAR_HEIGHT, GROUP_HEIGHT = 420, 15, 42

_INK, _PALE = "#20242b", "#e3e6ea"


class Line(NamedTuple):
    """A named series of points with positive x and y."""

    name: str
    points: Sequence[tuple[float, float]]


class Scale(NamedTuple):
    """A logarithmic axis from 10^low to 10^high, `length` pixels long."""

    low: int
    high: int
    length: float

    def at(self, value: float) -> float:
        """The distance from the low end in pixels."""
        return self.length * (math.log10(value) - self.low) / (self.high - self.low)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """The position and label of each power of ten."""
        for power in range(self.low, self.high + 1):
            yield self.at(10**power), f"{10**power:,}"


def chart(title: str, panels: Mapping[str, Sequence[Line]]) -> str:
    """Panels side by side with the same scales, one title and one legend."""
    width, height = len(panels) * (LEFT + WIDTH) + 40, TOP + HEIGHT + BOTTOM
    lines = [line for panel in panels.values() for line in panel]
    across = _scale([x for line in lines for x, _ in line.points], WIDTH)
    up = _scale([y for line in lines for _, y in line.points], HEIGHT)
    parts = [*_opening(title, width, height), *_legend(next(iter(panels.values())))]
    for number, (name, series) in enumerate(panels.items()):
        left = number * (LEFT + WIDTH) + LEFT
        parts.append(f'<g transform="translate({left} {TOP})">')
        parts += [*_grid(name, across, up), *_lines(series, across, up), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _opening(title: str, width: int, height: int) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="Arial, Liberation Sans, DejaVu Sans, sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="12" y="20" font-size="14" fill="{_INK}">{escape(title)}</text>',
    ]


def _scale(values: Sequence[float], length: float) -> Scale:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return Scale(low, max(high, low + 1), length)


def _legend(series: Sequence[Line]) -> Iterator[str]:
    for number, line in enumerate(series):
        x = 12 + number * LEGEND_STEP
        yield f'<rect x="{x}" y="31" width="14" height="4" fill="{COLOURS[number]}"/>'
        yield f'<text x="{x + 20}" y="38" fill="{_INK}">{escape(line.name)}</text>'


def _grid(name: str, across: Scale, up: Scale) -> Iterator[str]:
    for y, text in up.ticks():
        yield f'<path d="M0 {HEIGHT - y:g}h{WIDTH}" stroke="{_PALE}"/>'
        yield f'<text x="-6" y="{HEIGHT - y + 4:g}" text-anchor="end" fill="{_INK}">{text}</text>'
    for x, text in across.ticks():
        yield f'<text x="{x:g}" y="{HEIGHT + 18}" text-anchor="middle" fill="{_INK}">{text}</text>'
    yield f'<text x="8" y="14" font-weight="bold" fill="{_INK}">{escape(name)}</text>'


def _lines(series: Sequence[Line], across: Scale, up: Scale) -> Iterator[str]:
    for line, colour in zip(series, COLOURS, strict=False):
        points = " ".join(f"{across.at(x):.1f},{HEIGHT - up.at(y):.1f}" for x, y in line.points)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>'


def bars(title: str, names: tuple[str, str], pairs: Mapping[str, tuple[float, float]]) -> str:
    """Two labelled bars for each name in `pairs`. All bars have the same scale."""
    most, label = max(max(pair) for pair in pairs.values()), 300
    width, height = label + BAR_WIDTH + 100, TOP + len(pairs) * GROUP_HEIGHT + 12
    legend = _legend([Line(name, ()) for name in names])
    parts = [*_opening(title, width, height), *legend]
    for number, (name, pair) in enumerate(pairs.items()):
        top = TOP + number * GROUP_HEIGHT
        parts.append(f'<text x="12" y="{top + 20}" fill="{_INK}">{escape(name)}</text>')
        for place, (value, colour) in enumerate(zip(pair, COLOURS, strict=False)):
            y, length = top + place * BAR_HEIGHT, value / most * BAR_WIDTH
            parts.append(
                f'<rect x="{label}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT - 2}" '
                f'fill="{colour}"/>'
                f'<text x="{label + length + 6:.1f}" y="{y + 11}" fill="{_INK}">{value:,.0f}</text>'
            )
    return "\n".join([*parts, "</svg>", ""])
