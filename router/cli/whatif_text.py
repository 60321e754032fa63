"""The result of `simulate`, as text for people."""

from collections.abc import Iterator
from typing import Any

from rich.text import Text

from router.cli.text import console, date, escape_argument, percent, table_of
from router.cli.words import count

MAX_COUNTRIES = 20


@escape_argument
def show_moves(document: dict[str, Any]) -> None:
    """Print which viewers move, and from which edge to which."""
    out = console()
    for line in _outcome(document):
        out.print(line, highlight=False)
    table = table_of("edge", "name", "country", "before", "after")
    for edge in document["edges"]:
        shares = percent(edge["before"]), percent(edge["after"])
        table.add_row(edge["region"], edge["name"], edge["country"], *shares)
    out.print(table)
    out.print()
    table = table_of("from", "to", "share", "farther")
    for move in document["moves"]:
        table.add_row(*_ends(move), percent(move["share"]), _farther(move["extra_km"]))
    out.print(table)
    out.print()
    table = table_of("country", "share", "of it moved", "farther", "abroad before", "abroad after")
    moving = [row for row in document["countries"] if row["moved"]]
    for row in moving[:MAX_COUNTRIES]:
        abroad = percent(row["abroad"]["before"]), percent(row["abroad"]["after"])
        shares = percent(row["share"]), percent(row["moved"])
        table.add_row(row["country"] or "unknown", *shares, _farther(row["extra_km"]), *abroad)
    out.print(table)
    if len(moving) > MAX_COUNTRIES:
        left = count(len(moving) - MAX_COUNTRIES, "more country", "more countries")
        out.print(f"and {left}; --json has all")


def _outcome(document: dict[str, Any]) -> Iterator[str | Text]:
    """The summary, as lines."""
    yield f"{document['change']}; from {document['from']}, scope {document['query']['scope']}"
    if document.get("gain_ms") is not None:
        gain = f"{document['gain_ms']:.1f} ms"
        yield f"viewers who move and whose country has no edge gain {gain} on average"
    for status in {document["status"]["before"], document["status"]["after"]} - {"ok"}:
        yield Text(f"the fleet is {status} before the change, after it, or both", "yellow")
    if document["not_in_catalog"]:
        yield Text(
            f"ignored, because not in regions.yaml: {' '.join(document['not_in_catalog'])}",
            "yellow",
        )
    if document["countries_left"]:
        yield Text(f"left without an edge: {', '.join(document['countries_left'])}", "red")
    farther = _farther(document["extra_km"])
    mean = f", {farther} farther on average" if farther else ""
    yield f"{percent(document['moved'])} of the address space gets another edge{mean}"
    for key, text in (("abroad", "sent across a border"), ("unanswered", "without an answer")):
        before, after = document[key]["before"], document[key]["after"]
        if before or after:
            yield f"{text}: {percent(before)} before, {percent(after)} after"
    census = document["census"]
    built = date(census["built_at"])
    addresses = count(census["addresses"], "IPv4 address", "IPv4 addresses")
    yield f"weighted by {addresses}, {census['database']} of {built}"
    yield f"{census['credit']}\n" if census["credit"] else ""


def _ends(move: dict[str, Any]) -> tuple[str, str]:
    return move["from"] or "no answer", move["to"] or "no answer"


def _farther(extra_km: float | None) -> str:
    return "" if extra_km is None else f"{extra_km:,.0f} km"
