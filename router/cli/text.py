"""Formats the results of commands as text for people."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from router.cli.words import count
from router.safe_text import escaped_values

_STATE_STYLES = {"up": "green", "degraded": "yellow", "down": "red", "unknown": "dim"}


def escape_argument(show: Callable[[Any], None]) -> Callable[[Any], None]:
    """A decorator that escapes unprintable characters in the document. Its texts come from edges,
    Redis and people.
    """

    @wraps(show)
    def shown(document: Any) -> None:
        show(escaped_values(document))

    return shown


@escape_argument
def show_findings(found: dict[str, Any]) -> None:
    """Print the result of `check`."""
    out = console()
    for kind, style in (("facts", "green"), ("warnings", "yellow"), ("faults", "red")):
        label = {"facts": "ok", "warnings": "warning", "faults": "fault"}[kind]
        for line in found[kind]:
            out.print(Text.assemble((f"{label:8}", style), line))
    for row in found.get("probes", ()):
        out.print(_probe(row), soft_wrap=True)


def _probe(row: dict[str, Any]) -> Text:
    """One edge: outcome, detail, and what to change."""
    style = "red" if not row["ok"] else "yellow" if row["models_change"] else "green"
    parts = [row["id"], row["outcome"]]
    if row["rtt_ms"] is not None:
        parts.append(f"{row['rtt_ms']:.0f} ms")
    parts += filter(None, [row["met"], row["change"] and f"to change: {row['change']}"])
    if row["models"] is not None:
        parts.append(count(row["models"], "model"))
    elif row["models_change"]:
        parts += [f"models unknown: {row['models_met']}", f"to change: {row['models_change']}"]
    return Text.assemble((f"{'probe':8}", style), "; ".join(parts))


@escape_argument
def show_events(document: list[dict[str, Any]]) -> None:
    """Print events, one line each."""
    out = console()
    for event in document:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(event["at"]))
        what = f"{event['before'] or ''} → {event['after']}" if event["before"] else event["after"]
        facts = [event["kind"], event["edge"] or event["vantage"] or "", what or ""]
        why = f"({event['reason']})" if event["reason"] else ""
        who = f"by {event['actor']}" if event["actor"] else ""
        until = ""
        if event["until"] is not None:
            until = time.strftime("until %Y-%m-%d %H:%M:%SZ", time.gmtime(event["until"]))
        line = " ".join(filter(None, [f"{at}Z", *facts, why, who, until]))
        out.print(line, highlight=False, markup=False)


@escape_argument
def show_explanation(document: dict[str, Any]) -> None:
    """Print why a viewer gets an edge."""
    out = console()
    out.print(_verdict(document), highlight=False)
    for name, text in _circumstances(document):
        out.print(f"  {name:8}{text}", highlight=False)
    table = table_of("edge", "name", "country", "distance", "state", "for", "verdict")
    for edge in document["candidates"]:
        new = ", never seen working" if edge.get("never_worked") else ""
        _add(table, edge, f"{edge['role']}{_kept(edge.get('kept'))}{new}")
    for edge in document["rejected"]:
        since = f" for {age(edge['why_since'])}" if edge["why_since"] is not None else ""
        about = f": {edge['intent_reason']}" if edge["intent_reason"] else ""
        _add(table, edge, f"out: {edge['why']}{since}{about}")
    out.print(table)


def _circumstances(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The location, the rules and the caching that led to the answer, as rows."""
    place = document["location"]
    yield "place", f"{_where(place)} ({place['level']} level, by {place['source']})"
    if place.get("feed"):
        yield "feed", f"{place['feed']}, line {place['line']}"
    yield "key", document["key"]
    if document.get("dial") is not None:
        yield "dial", _dial_verdict(document["dial"])
    if document["residency"] is not None:
        yield "stays", f"in {' or '.join(document['residency'])}, by residency"
    if document.get("fleet") is not None:
        yield "fleet", f"{document['fleet']}{_when(document['at'])}"
    yield "health", f"{document['status']}, from {document['from']}"
    for name in ("cache-control", "vary", "cache-tag"):
        if name in document["headers"]:
            yield "caches", f"{name}: {document['headers'][name]}"
    if len(document.get("spread", ())) > 1:
        shares = [f"{one['region'] or 'no edge'} {one['share']:.0%}" for one in document["spread"]]
        yield "all", ", ".join(shares)


def _where(place: dict[str, Any]) -> str:
    where = place["country_name"] or place["country"] or "an unknown country"
    where = str(place.get("place") or where)
    if place["latitude"] is None:
        return where
    return f"{where} at {place['latitude']:.4f}, {place['longitude']:.4f}"


@contextmanager
def show_progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """Shows progress bars on standard error, if that is a terminal. Yields a function to call with
    the name of the step, the amount done, and the total.
    """
    out = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)

        yield progress


def _when(at: float | None) -> str:
    return "" if at is None else time.strftime(", as of %Y-%m-%d %H:%M:%SZ", time.gmtime(at))


def _verdict(document: dict[str, Any]) -> str:
    who = document["ip"] or _viewer(document)
    if document["problem"] is not None:
        return f"{who} gets no edge: {document['problem']}"
    crossed = ", across the border" if document["crossed_border"] else ""
    return f"{who} gets {document['region']}: {document['reason']}{crossed}"


def _viewer(document: dict[str, Any]) -> str:
    if document["location"]["source"] == "cdn_key":
        return f"a viewer with the key {document['key']}"
    country = document["location"]["country"]
    return f"a viewer in {country}" if country else "a viewer in an unknown country"


def _dial_verdict(dial: dict[str, Any]) -> str:
    kept = "kept here" if dial["kept"] else "dialled away"
    return f"{dial['region']} {dial['share']:.0%}: {kept}"


def _kept(kept: bool | None) -> str:
    """Whether the dial of a candidate keeps this viewer."""
    if kept is None:
        return ""
    return ", dialled: keeps this viewer" if kept else ", dialled: leaves this viewer to others"


def _add(table: Table, edge: dict[str, Any], verdict: str) -> None:
    far = edge["distance_km"]
    table.add_row(
        edge["region"],
        edge["name"],
        edge["country"],
        _far(far, edge.get("estimated_ms")),
        state_text(edge["state"]),
        age(edge["since"]),
        verdict,
    )


def _far(km: float | None, ms: float | None) -> str:
    """A distance, and the estimated time if edges are ordered by it."""
    texts = [None if km is None else f"{km:,} km", None if ms is None else f"{ms:.0f} ms"]
    return ", ".join(filter(None, texts))


def console() -> Console:
    """A console for standard output. If that is not a terminal, lines are wide and not wrapped, so
    that other programs can filter them.
    """
    out = Console(soft_wrap=True, markup=False, emoji=False)
    return out if out.is_terminal else Console(width=200, soft_wrap=True, markup=False, emoji=False)


def table_of(*columns: str) -> Table:
    """A table without lines, with these headings."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def state_text(state: str) -> Text:
    """An observed state in its colour."""
    return Text(state, style=_STATE_STYLES.get(state, ""))


def age(since: float | None) -> str:
    """How long ago that was, as text; empty if it is unknown."""
    return "" if since is None else duration(time.time() - since)


def duration(seconds_long: float) -> str:
    """`90 s`, `4 m`, `3 h`, `2 d`."""
    seconds = max(0, round(seconds_long))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def date(at: float) -> str:
    """A date. A file can contain any number, so a time that is out of range gets a note."""
    try:
        return time.strftime("%Y-%m-%d", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return "at no possible time"


def percent(share: float | None, digits: int = 2) -> str:
    """A share in percent; empty if it is unknown."""
    return "" if share is None else f"{share:.{digits}%}"
