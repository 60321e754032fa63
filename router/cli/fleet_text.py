"""The fleet as text: one line per edge that fits the terminal, or all details of one edge.

The id, the state, the reason and the intent are never shortened or left out.
"""

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from router.cli.text import age, console, duration, state_text
from router.ops.edge_conditions import clock_time
from router.safe_text import escaped_values

# All columns from left to right. Those not in NEEDED are shown if there is room, in the order of
# OPTIONAL.
COLUMNS = ("edge", "name", "country", "state", "for", "reason", "rtt", "votes", "intent", "models")
NEEDED = ("edge", "state", "reason", "intent")
OPTIONAL = ("for", "votes", "country", "rtt", "name", "models")

GAP = 2

Row = dict[str, str]


def show_edges(document: dict[str, Any], *, wide: bool = False, out: Console | None = None) -> None:
    """Print the fleet, one line per edge."""
    document, out = escaped_values(document), out or console()
    for line in fleet_lines(document, None if wide or not out.is_terminal else out.width):
        out.print(line, highlight=False)


def show_edge(document: dict[str, Any], edge: dict[str, Any], out: Console | None = None) -> None:
    """Print all details of one edge, and the findings about it."""
    document, edge, out = escaped_values(document), escaped_values(edge), out or console()
    for name, text in _facts(edge):
        out.print(Text.assemble((f"{name:10}", "bold"), text), highlight=False)
    for finding in document.get("findings", ()):
        if edge["id"] in finding["edges"]:
            out.print(f"{'now':10}{finding['title']}", highlight=False)
            out.print(f"{'do':10}{finding['action']}", highlight=False)
    out.print(f"{'from':10}{document['from']}", highlight=False)


def fleet_lines(document: dict[str, Any], width: int | None) -> list[Text]:
    """A summary, a line of headings, and a line for each edge. `width`: the characters in a line of
    the terminal; None shows everything.
    """
    rows = [_row(edge) for edge in document["edges"]]
    sizes = {name: max([len(name), *(len(row[name]) for row in rows)]) for name in COLUMNS}
    names = columns_that_fit(sizes, width)
    heading = Text.assemble(*((name.ljust(sizes[name] + GAP), "bold") for name in names))
    heading.rstrip()
    summary = f"fleet {document['status']}, from {document['from']}"
    if "headline" in document:
        summary += f"; {document['headline']}"
    return [Text(summary), heading, *(_line(row, names, sizes) for row in rows)]


def columns_that_fit(sizes: dict[str, int], width: int | None) -> list[str]:
    """The columns to show, from left to right."""
    chosen = set(NEEDED)
    room = None if width is None else width - sum(sizes[name] + GAP for name in NEEDED) + GAP
    for name in OPTIONAL:
        if room is None:
            chosen.add(name)
        elif sizes[name] + GAP <= room:
            chosen.add(name)
            room -= sizes[name] + GAP
    return [name for name in COLUMNS if name in chosen]


def _line(row: Row, names: Sequence[str], sizes: dict[str, int]) -> Text:
    line = Text()
    for name in names:
        cell = row[name]
        line.append_text(state_text(cell) if name == "state" else Text(cell))
        line.append(" " * (sizes[name] + GAP - len(cell)))
    line.rstrip()
    return line


def _row(edge: dict[str, Any]) -> Row:
    return {
        "edge": edge["id"],
        "name": edge["name"],
        "country": edge["country"],
        "state": edge["state"],
        "for": age(edge["since"]),
        "reason": edge["reason"] or "",
        "rtt": "" if edge["rtt_ms"] is None else f"{edge['rtt_ms']:.0f} ms",
        "votes": _votes(edge),
        "intent": intent_text(edge),
        "models": "unknown" if edge["models"] is None else " ".join(edge["models"]),
    }


def _votes(edge: dict[str, Any]) -> str:
    return " ".join(f"{vantage}={vote}" for vantage, vote in sorted(edge["votes"].items()))


def intent_text(edge: dict[str, Any]) -> str:
    """`draining, 4 m left` while earlier answers can be in use, then `drained`."""
    if not edge["routable"]:
        return "not routable"
    detail = edge["intent_detail"]
    if edge.get("dial") is not None:
        return _dial_text(edge["dial"])
    if detail is None:
        return str(edge["intent"])
    if detail["drained"]:
        return "drained" if edge["intent"] == "draining" else "disabled, drained"
    return f"{edge['intent']}, {duration(detail['drained_at'] - time.time())} left"


def _facts(edge: dict[str, Any]) -> list[tuple[str, str]]:
    row = _row(edge)
    since = f" for {row['for']}" if row["for"] else ""
    why = f" ({row['reason']})" if row["reason"] else ""
    facts = [
        ("edge", f"{edge['id']}, {edge['name']}, {edge['country']}"),
        ("endpoint", edge["endpoint"]),
        ("state", f"{edge['state']}{why}{since}"),
        ("votes", row["votes"] or "none"),
        ("rtt", row["rtt"] or "unknown"),
        ("intent", row["intent"]),
    ]
    facts += _times(edge)
    detail = edge["intent_detail"]
    if detail is not None:
        facts.append(("", f"by {detail['actor']}: {detail['reason']}"))
    if edge.get("share") is not None:
        facts.append(("share", f"{edge['share']:.1%} of the answers of the last 5 minutes"))
    return [*facts, ("models", row["models"] or "none")]


def _times(edge: dict[str, Any]) -> list[tuple[str, str]]:
    """When the edge is back, when it stops flapping, and its usual round trip, if known. Older
    servers do not send these.
    """
    back, calm, usual = (edge.get(name) for name in ("back_at", "calm_at", "usual_ms"))
    texts = [
        ("back", "" if back is None else f"at {clock_time(back)}, if its probes keep passing"),
        ("steady", "" if calm is None else f"at {clock_time(calm)}, if its state does not change"),
        ("usually", "" if usual is None else f"{usual:,.0f} ms"),
    ]
    return [(name, text) for name, text in texts if text]


def _dial_text(dial: dict[str, Any]) -> str:
    """`dial 70%, 1 h left`; under --over `dial 62% to 0%, 1 h left`."""
    to = "" if dial["to"] == dial["share"] else f" to {dial['to']:.0%}"
    return f"dial {dial['share']:.0%}{to}, {duration(dial['until'] - time.time())} left"
