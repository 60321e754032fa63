"""Filters events, and writes events as CSV for a spreadsheet. Pure."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from math import isfinite

from router.errors import RouterError
from router.model import Event, EventKind
from router.store import Logged

COLUMNS = ("id", *(one.name for one in fields(Event)))

# A spreadsheet treats text that begins with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class FilterError(RouterError):
    """The filter is not valid; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """A filter; None in a field means any. `since`: Unix seconds."""

    edge: str | None = None
    kind: EventKind | None = None
    since: float | None = None

    def fits(self, event: Event) -> bool:
        """Whether the event passes the filter."""
        return (
            self.edge in (None, event.edge)
            and self.kind in (None, event.kind)
            and (self.since is None or event.at >= self.since)
        )


def parse_filter(asked: Mapping[str, str]) -> EventFilter:
    """The filter from the parameters `edge`, `kind` and `since`. Raises FilterError."""
    kind, since = asked.get("kind"), asked.get("since")
    if kind and kind not in list(EventKind):
        raise FilterError(f"kind must be one of {', '.join(EventKind)}")
    try:
        at = float(since) if since else None
    except ValueError:
        at = float("nan")
    if at is not None and not isfinite(at):
        raise FilterError("since must be Unix seconds, like 1764216000")
    return EventFilter(
        edge=asked.get("edge") or None, kind=EventKind(kind) if kind else None, since=at
    )


def as_csv(events: Iterable[Logged]) -> str:
    """CSV with a line of headings and a line for each event."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for one in events:
        values = [getattr(one.event, name) for name in COLUMNS[1:]]
        writer.writerow([one.id, *map(_cell, values)])
    return out.getvalue()


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    is_text = isinstance(value, str)
    return f"'{text}" if is_text and text.startswith(_FORMULA) else text
