"""Parses times and formats counts for people. Pure; the caller passes the time."""

import re
from datetime import UTC, datetime

_AGO = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_CLOCK = re.compile(r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d)?", re.ASCII)

MOMENTS = "write 20m or 2h ago, 14:30 (UTC), 2026-11-27T14:30Z, or Unix seconds"


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 edge`, `5 edges`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def parse_moment(text: str, now: float) -> float | None:
    """A time in the past in Unix seconds. The text is `20m` (ago), `14:30` (UTC), an ISO 8601 time
    (UTC unless it has a zone), or Unix seconds. None for any other text.
    """
    text = text.strip()
    if ago := _AGO.fullmatch(text):
        return now - int(ago[1]) * _UNITS_S[ago[2]]
    if _CLOCK.fullmatch(text):
        return _last(text, now)
    try:
        at = float(text) if text.isascii() and text.replace(".", "", 1).isdigit() else _iso(text)
    except ValueError:
        return None
    return at if 0 < at <= now + 60 else None


def _last(clock: str, now: float) -> float:
    hour, minute, *second = map(int, clock.split(":"))
    today = datetime.fromtimestamp(now, UTC)
    at = today.replace(hour=hour, minute=minute, second=sum(second), microsecond=0).timestamp()
    return at if at <= now else at - 86_400


def _iso(text: str) -> float:
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
