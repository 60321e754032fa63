"""A picture has its labels, or says what is missing."""

import pytest

from router.errors import RouterError
from router.whatif.raster import png
from router.whatif.svg_map import FONTS

SQUARE = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8">{}</svg>'


def test_letters_are_drawn() -> None:
    text = f'<text y="8" font-family="{FONTS}">M</text>'

    assert png(SQUARE.format(text), FONTS) != png(SQUARE.format(""), FONTS)


def test_missing_fonts_are_named() -> None:
    with pytest.raises(RouterError, match=r"needs one of the fonts No Such Font; install one"):
        png(SQUARE.format(""), "No Such Font")
