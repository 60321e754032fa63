"""Checks values from Redis or disk. Pure; the caller passes the time. A value outside its bounds
is refused as a whole, with three exceptions that keep the rest of the value: text is escaped and
shortened, an impossible inventory is dropped, and so are less important fields of an edge.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from router.model import MAX_INTENT_S, EdgeView, Event, Intent, View
from router.safe_text import escaped

MAX_VANTAGES = 64
MAX_VALUE_BYTES = 4 * 1024 * 1024
MAX_INTENT_BYTES = 16 * 1024
MAX_FAULTS = 100
MAX_FAULT_LENGTH = 300
MAX_TIME = 4_102_444_800.0  # the year 2100; milliseconds in place of seconds are far past it
MAX_SEQ = 2**63 - 1
MAX_EDGES = 5_000
MAX_NAME_LENGTH = 64
MAX_TEXT_LENGTH = 1_000
MAX_MODELS = 10_000
MAX_MODEL_LENGTH = 256
MAX_ADDRESSES = 16
MAX_RTT_MS = 3_600_000.0
MAX_STREAK = 1_000_000
AHEAD_S = 24 * 3_600.0  # how far the clock of the machine that made an intent may be ahead of ours
MODELS_AHEAD_S = 15.0


class OutOfBoundsError(ValueError):
    """The value is not one that any release writes. The text names the field and the bound."""


def bound_view(view: View) -> View:
    """The view without its edges, which `bound_edge` checks. Raises OutOfBoundsError."""
    _check_name("vantage", view.vantage)
    if not 0 <= view.seq <= MAX_SEQ:
        raise OutOfBoundsError(f"seq must be 0 to {MAX_SEQ}")
    _check_time("probed_at", view.probed_at)
    check_count("held", len(view.held))
    _check_names("held", view.held)
    return replace(
        view,
        isolated_since=_time_or_none(view.isolated_since),
        held_since=_time_or_none(view.held_since),
        held_until=_time_or_none(view.held_until),
    )


def bound_edge(id: str, edge: EdgeView, now: float) -> EdgeView:
    """One edge of a view. Raises OutOfBoundsError."""
    _check_name("id of an edge", id)
    _check_time("since", edge.since)
    if _is_plain(edge, now):
        return edge
    is_inventory = _is_inventory(edge, now)
    return replace(
        edge,
        since=min(edge.since, now),
        rtt_ms=_duration_or_none(edge.rtt_ms),
        streak=max(-MAX_STREAK, min(edge.streak, MAX_STREAK)),
        models=edge.models if is_inventory else None,
        models_at=min(edge.models_at or 0.0, now) if is_inventory else None,
        probed_at=edge.probed_at if _is_probed(edge) else None,
        bad_addresses=edge.bad_addresses if _is_short(edge.bad_addresses) else (),
        back_at=_time_or_none(edge.back_at),
        changes=max(0, min(edge.changes, MAX_STREAK)),
        calm_at=_time_or_none(edge.calm_at),
        usual_ms=_duration_or_none(edge.usual_ms),
    )


def bound_intent(intent: Intent, now: float) -> Intent:
    """The intent with safe texts. Raises OutOfBoundsError."""
    _check_name("edge", intent.edge)
    _check_time("created_at", intent.created_at)
    _check_time("expires_at", intent.expires_at)
    if intent.created_at > now + AHEAD_S:
        raise OutOfBoundsError("created_at is more than a day ahead of this machine's clock")
    if intent.expires_at > now + AHEAD_S + MAX_INTENT_S:
        raise OutOfBoundsError("expires_at is more than 72 hours and a day away")
    for name in ("share", "from_share"):
        if not 0.0 <= getattr(intent, name) <= 1.0:
            raise OutOfBoundsError(f"{name} is not a share from 0 to 1")
    if not 0.0 <= intent.over_s <= MAX_INTENT_S:
        raise OutOfBoundsError("over_s is not within 72 hours")
    return replace(intent, actor=_safe(intent.actor), reason=_safe(intent.reason))


def bound_event(event: Event) -> Event:
    """The event with safe texts. Raises OutOfBoundsError."""
    _check_time("at", event.at)
    if event.until is not None:
        _check_time("until", event.until)
    return safe_event(event)


def safe_event(event: Event) -> Event:
    """The event with texts that are safe to show anywhere: printable, and not too long."""
    texts: dict[str, Any] = {
        name: safe
        for name in ("edge", "vantage", "before", "after", "reason", "actor")
        if (text := getattr(event, name)) is not None and (safe := _safe(text)) != text
    }
    return replace(event, **texts) if texts else event


def check_count(name: str, count: int) -> None:
    """Raises OutOfBoundsError for more entries than a fleet can have edges."""
    if count > MAX_EDGES:
        raise OutOfBoundsError(f"{name} must have at most {MAX_EDGES} entries")


def _safe(text: str) -> str:
    return escaped(text[:MAX_TEXT_LENGTH])[:MAX_TEXT_LENGTH]


def _is_plain(edge: EdgeView, now: float) -> bool:
    """Whether it needs no change, which is the usual case."""
    return (
        edge.since <= now
        and (edge.rtt_ms is None or 0 <= edge.rtt_ms <= MAX_RTT_MS)
        and -MAX_STREAK <= edge.streak <= MAX_STREAK
        and edge.back_at is edge.calm_at is edge.usual_ms is None
        and edge.changes == 0
        and (edge.probed_at is None or _is_probed(edge))
        and (not edge.bad_addresses or _is_short(edge.bad_addresses))
        and (edge.models is None or ((edge.models_at or 0.0) <= now and _is_inventory(edge, now)))
    )


def _is_probed(edge: EdgeView) -> bool:
    return edge.probed_at is not None and _is_time(edge.probed_at)


def _is_time(value: float) -> bool:
    return math.isfinite(value) and 0 <= value <= MAX_TIME


def _time_or_none(value: float | None) -> float | None:
    return value if value is not None and _is_time(value) else None


def _duration_or_none(value_ms: float | None) -> float | None:
    return value_ms if value_ms is not None and 0 <= value_ms <= MAX_RTT_MS else None


def _is_short(addresses: tuple[str, ...]) -> bool:
    return len(addresses) <= MAX_ADDRESSES and all(
        0 < len(one) <= MAX_NAME_LENGTH and one.isprintable() for one in addresses
    )


def _is_inventory(edge: EdgeView, now: float) -> bool:
    """Whether the inventory is possible. One from the future would never expire."""
    models, at = edge.models, edge.models_at
    if models is None or at is None or not 0 <= at <= now + MODELS_AHEAD_S:
        return False
    return len(models) <= MAX_MODELS and max(map(len, models), default=0) <= MAX_MODEL_LENGTH


def _check_time(name: str, value: float) -> None:
    if not _is_time(value):
        raise OutOfBoundsError(f"{name} must be in seconds since 1970, before the year 2100")


def _check_names(name: str, values: Iterable[str]) -> None:
    for value in values:
        _check_name(name, value)


def _check_name(name: str, value: str) -> None:
    if not 0 < len(value) <= MAX_NAME_LENGTH or not value.isprintable():
        raise OutOfBoundsError(f"{name} must be 1 to {MAX_NAME_LENGTH} printable characters")


def check_size(length: int, limit: int) -> None:
    """Raises OutOfBoundsError for a value that is too large."""
    if length > limit:
        raise OutOfBoundsError(too_large(length, limit))


def too_large(length: int, limit: int) -> str:
    """What is wrong with a value of `length` bytes."""
    return f"{length} bytes is too large; the limit is {limit}"
