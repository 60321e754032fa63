"""Reads the programs that CDNs run from the package."""

from enum import StrEnum
from pathlib import Path

_FOLDER = Path(__file__).parent


class Target(StrEnum):
    """Where a program runs. CLOUDFRONT_KVS reads its table from a KeyValueStore."""

    CLOUDFRONT = "cloudfront"
    CLOUDFRONT_KVS = "cloudfront-kvs"
    CLOUDFLARE = "cloudflare"
    FASTLY = "fastly"


_PARTS = {
    Target.CLOUDFRONT: ("route_key", "whole_table", "cloudfront", "cloudfront_inline"),
    Target.CLOUDFRONT_KVS: ("cloudfront_import", "route_key", "cloudfront", "cloudfront_kvs"),
    Target.CLOUDFLARE: ("route_key", "whole_table", "canonical_url", "cloudflare"),
    Target.FASTLY: ("route_key", "whole_table", "canonical_url", "fastly"),
}


def read_program(target: Target = Target.CLOUDFRONT) -> str:
    """The program for a CDN, without its table; see router.cdn.edge_function."""
    parts = (_FOLDER / f"{part}.js" for part in _PARTS[target])
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)
