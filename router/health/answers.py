"""Parses an edge's answers: health in three formats, models in two. Pure.

Formats and examples: docs/edges.md.
"""

import json
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from router.model import HealthFormat, Outcome
from router.text_files import printable

MAX_MODELS = 5_000
MAX_MODEL_LENGTH = 128
MAX_LENIENT_BYTES = 64 * 1_024  # larger bodies must be strict JSON: the lenient parser is slow

# polargrid edges; IETF draft-inadarei-api-health-check; Spring Boot and others.
_STATES = {
    "healthy": Outcome.OK,
    "ok": Outcome.OK,
    "pass": Outcome.OK,
    "up": Outcome.OK,
    "degraded": Outcome.DEGRADED,
    "warn": Outcome.DEGRADED,
    "unhealthy": Outcome.UNHEALTHY,
    "fail": Outcome.UNHEALTHY,
    "error": Outcome.UNHEALTHY,
    "down": Outcome.UNHEALTHY,
}


class _Card(msgspec.Struct):
    id: Any = None


class _Listed(msgspec.Struct):
    """The fields of an inventory that are used; decoding only these is four times as fast."""

    loaded: list[Any] | None = None
    data: list[_Card] | None = None


class Judged(NamedTuple):
    """An outcome, and its detail in words if it is not a pass."""

    outcome: Outcome
    detail: str | None = None


class Inventory(NamedTuple):
    """The ids of the loaded models, sorted; or why they are not known."""

    models: tuple[str, ...] | None = None
    fault: Outcome | None = None
    detail: str | None = None


def judge_health(status: int, body: bytes, format: HealthFormat = HealthFormat.JSON) -> Judged:
    """What a health answer says (contract, "What an edge answers")."""
    if format is HealthFormat.STATUS:
        is_good = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
        return Judged(Outcome.OK) if is_good else Judged(Outcome.STATUS, f"HTTP {status}")
    if status != HTTPStatus.OK:
        return Judged(Outcome.STATUS, f"HTTP {status}")
    return _judge_body(body)


def read_models(body: bytes) -> Inventory:
    """Model ids from either inventory shape."""
    ids = _read_list(body)
    if ids is None:
        return Inventory(None, Outcome.BAD_BODY, f"no list of models: {_shown(body)}")
    named = {id for id in ids if _is_model(id)}
    if len(named) > MAX_MODELS:
        return Inventory(None, Outcome.TOO_LARGE, f"more than {MAX_MODELS:,} models")
    return Inventory(tuple(sorted(named)))


def _is_model(id: Any) -> bool:
    """Whether this is a model id that a viewer can ask for."""
    return isinstance(id, str) and 0 < len(id) <= MAX_MODEL_LENGTH and id.isprintable()


def _read_list(body: bytes) -> list[Any] | None:
    """What a body lists as models, unchecked; None if it has no such list."""
    try:
        parsed = msgspec.json.decode(body, type=_Listed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_list_leniently(body)
    if parsed.loaded is not None:
        return parsed.loaded
    return None if parsed.data is None else [card.id for card in parsed.data]


def _read_list_leniently(body: bytes) -> list[Any] | None:
    """The same for lenient JSON, or for a list whose entries are not all objects."""
    parsed = _decode(body)
    if not isinstance(parsed, dict):
        return None
    loaded, listed = parsed.get("loaded"), parsed.get("data")
    if isinstance(loaded, list):
        return loaded
    if isinstance(listed, list):
        return [item.get("id") for item in listed if isinstance(item, dict)]
    return None


def _judge_body(body: bytes) -> Judged:
    parsed = _decode(body)
    if not isinstance(parsed, dict):
        return Judged(Outcome.BAD_BODY, f"no JSON object: {_shown(body)}")
    backend = parsed.get("backend")
    if isinstance(backend, dict) and backend.get("healthy") is False:
        return Judged(Outcome.UNHEALTHY, "backend.healthy is false")
    state = parsed.get("status")
    if not isinstance(state, str):
        return Judged(Outcome.BAD_BODY, f"JSON without a text `status`: {_quote(body)}")
    outcome = _STATES.get(state.strip().lower(), Outcome.BAD_BODY)
    return Judged(outcome, None if outcome is Outcome.OK else f"status {printable(state)!r}")


def _shown(body: bytes) -> str:
    if not body.strip():
        return "an empty body"
    return f"a body of {_quote(body)}"


def _quote(body: bytes) -> str:
    return printable(body[:400].decode("utf-8", "replace"))


def _decode(body: bytes) -> Any:
    """The JSON in a body, read as leniently as HTTPX does (NaN, a byte order mark, UTF-16); None
    if there is none.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    if len(body) > MAX_LENIENT_BYTES:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
