"""The map shows each place once, the places that move and the cities without viewers."""

import re
import xml.etree.ElementTree as ET

from router.geodata.census import Census, Place
from router.model import Position
from router.whatif.moves import compare, summary
from router.whatif.scenario import Change
from router.whatif.svg_map import MAP_HEIGHT, SCALE, WIDTH, draw
from tests.support.builders import BERLIN, NEW_YORK, TORONTO, VANCOUVER, a_location, a_region
from tests.support.worlds import a_census, sides

CREDIT = "Data by <someone> & others"
SVG = "{http://www.w3.org/2000/svg}"


def a_map(change: Change = Change(drained=["yto-01"]), census: Census | None = None) -> str:
    before, after = sides(change)
    moves = compare(census or a_census(), before, after, 600)
    regions = before.regions | after.regions
    return draw(moves, regions, summary(moves, before, after), change.text, CREDIT)


def paths(svg: str) -> list[dict[str, str]]:
    found = ET.fromstring(svg).iter(f"{SVG}path")
    return [path.attrib for path in found if "stroke-linecap" in path.attrib]


def dots(svg: str, opacity: str) -> int:
    return sum(path["d"].count("M") for path in paths(svg) if path["stroke-opacity"] == opacity)


def texts(svg: str) -> list[str]:
    return [text.text or "" for text in ET.fromstring(svg).iter(f"{SVG}text")]


def circles(svg: str) -> list[dict[str, str]]:
    return [circle.attrib for circle in ET.fromstring(svg).iter(f"{SVG}circle")]


def test_every_place_is_a_dot() -> None:
    svg = a_map()

    assert dots(svg, "1") + dots(svg, "0.4") == len({TORONTO, VANCOUVER, NEW_YORK, BERLIN})


def test_places_that_move_are_opaque() -> None:
    assert dots(a_map(Change(down=["yvr-02"])), "1") == 1
    assert dots(a_map(Change(down=["yto-01", "yto-02"])), "1") == 1


def test_dot_is_at_the_position_of_its_place() -> None:
    (path,) = paths(a_map(census=a_census(Place(a_location(BERLIN, "DE"), 1))))

    assert path["d"] == f"M{(13.5 + 180) * SCALE} {(84 - 52.5) * SCALE}h0"


def test_larger_places_are_larger_dots() -> None:
    widths = [
        float(paths(a_map(census=a_census(Place(a_location(TORONTO), count))))[0]["stroke-width"])
        for count in (1, 10_000, 10_000_000)
    ]

    assert widths == sorted(set(widths))


def test_poles_and_date_line_stay_inside() -> None:
    ends = (Position(90.0, 180.0), Position(-90.0, -180.0), Position(83.9, 180.0))
    svg = a_map(census=a_census(*(Place(a_location(end), 256) for end in ends)))

    points = re.findall(r"M([\d.-]+) ([\d.-]+)h0", "".join(path["d"] for path in paths(svg)))
    assert len(points) == 1
    assert all(float(x) <= WIDTH + SCALE and 0 <= float(y) <= MAP_HEIGHT for x, y in points)


def test_city_without_viewers_is_hollow() -> None:
    assert sum(one["fill"] == "#fff" for one in circles(a_map())) == 0
    assert sum(one["fill"] == "#fff" for one in circles(a_map(Change(down=["yvr-02"])))) == 1


def test_legend_has_each_edge_before_and_after() -> None:
    legend = texts(a_map(Change(down=["yvr-02"]), a_census(Place(a_location(VANCOUVER), 256))))

    assert "yvr-02  100.0% → 0.0%" in legend
    assert sum(" → " in text for text in legend) == 10


def test_edges_of_a_city_share_one_label() -> None:
    assert {"yto-01, yto-02", "yvr-02"} <= set(texts(a_map()))


def test_labels_do_not_overlap() -> None:
    labels = [
        (float(text.attrib["x"]), float(text.attrib["y"]))
        for text in ET.fromstring(a_map()).iter(f"{SVG}text")
        if "paint-order" in text.attrib
    ]
    near = [
        (one, other)
        for one in labels
        for other in labels
        if one != other and abs(one[0] - other[0]) < 100 and abs(one[1] - other[1]) < 14
    ]

    assert len(labels) == 6
    assert near == []


def test_texts_are_escaped() -> None:
    hostile = a_region("<b>&'\"", country="DE", position=BERLIN)
    svg = a_map(Change(added=(hostile,)))

    assert {"added <b>&'\"", CREDIT} <= set(texts(svg))


def test_edges_have_different_colours() -> None:
    fills = [one["fill"] for one in circles(a_map()) if "stroke" not in one]

    assert len(set(fills)) == len(fills) == 10
