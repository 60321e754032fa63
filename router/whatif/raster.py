"""The one door to a renderer: an SVG as a PNG. It reads the machine's fonts."""

import resvg_py

from router.errors import RouterError

_LETTER = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">{}</svg>'
_TEXT = '<text y="9" font-family="{}">M</text>'


def png(svg: str, fonts: str) -> bytes:
    """The picture at twice its size. `fonts`: the families in it.

    RouterError where none of them is installed: it would have no labels.
    """
    if _rendered(_LETTER.format(_TEXT.format(fonts))) == _rendered(_LETTER.format("")):
        raise RouterError(
            f"a PNG needs one of the fonts {fonts}; install one (on Debian: fonts-dejavu-core), "
            "or take --svg, which needs none here"
        )
    return _rendered(svg, zoom=2)


def _rendered(svg: str, zoom: float = 1) -> bytes:
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=zoom))
