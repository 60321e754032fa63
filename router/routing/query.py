"""The query string of GET /v1/route, parsed leniently: only an invalid model is refused."""

import unicodedata
from typing import NamedTuple
from urllib.parse import unquote_plus

from router.model import Scope

MAX_MODEL_LENGTH = 128
MAX_FIELDS = 64

_NAMES = {b"scope", b"model", b"strict", b"all"}


class Query(NamedTuple):
    """What a viewer asks for. `model`: trimmed as sent, or None."""

    scope: Scope = Scope.COUNTRY
    model: str | None = None
    strict: bool = False
    all: bool = False


def parse_query(raw: bytes) -> Query | None:
    """The Query in a raw query string, or None if its `model` is longer than 128 characters or has
    control characters. If a name repeats, the first value is used. Unknown names, and fields after
    the 64th, are ignored.
    """
    values: dict[bytes, str] = {}
    for field in raw.split(b"&", MAX_FIELDS)[:MAX_FIELDS]:
        name, _, value = field.partition(b"=")
        if name in _NAMES and name not in values:
            values[name] = unquote_plus(value.decode("latin-1")).strip()
    model = values.get(b"model") or None
    if model is not None and not _is_acceptable(model):
        return None
    return Query(
        scope=Scope.GLOBAL if values.get(b"scope", "").lower() == "global" else Scope.COUNTRY,
        model=model,
        strict=values.get(b"strict", "").lower() == "true",
        all=values.get(b"all", "").lower() == "true",
    )


def _is_acceptable(model: str) -> bool:
    return len(model) <= MAX_MODEL_LENGTH and not any(
        unicodedata.category(character) in ("Cc", "Cs") for character in model
    )
