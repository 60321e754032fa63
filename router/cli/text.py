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

MAX_COUNTRIES = 20

_STATE_STYLES = {"up": "green", "degraded": "yellow", "down": "red", "unknown": "dim"}


def _safe(show: Callable[[Any], None]) -> Callable[[Any], None]:
    """Escape what is not printable in a document before it is shown: model ids, reasons and
    actors come from edges, Redis and people."""

    @wraps(show)
    def shown(told: Any) -> None:
        show(escaped_values(told))

    return shown


@_safe
def findings(found: dict[str, Any]) -> None:
    """What `check` found."""
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


@_safe
def events(told: list[dict[str, Any]]) -> None:
    """What happened, one line an event."""
    out = console()
    for event in told:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(event["at"]))
        what = f"{event['before'] or ''} → {event['after']}" if event["before"] else event["after"]
        told_of = [event["kind"], event["edge"] or event["vantage"] or "", what or ""]
        why = f"({event['reason']})" if event["reason"] else ""
        who = f"by {event['actor']}" if event["actor"] else ""
        until = ""
        if event["until"] is not None:
            until = time.strftime("until %Y-%m-%d %H:%M:%SZ", time.gmtime(event["until"]))
        line = " ".join(filter(None, [f"{at}Z", *told_of, why, who, until]))
        out.print(line, highlight=False, markup=False)


@_safe
def explanation(told: dict[str, Any]) -> None:
    """Why a viewer gets an edge."""
    out = console()
    out.print(_verdict(told), highlight=False)
    for name, text in _circumstances(told):
        out.print(f"  {name:8}{text}", highlight=False)
    table = _table("edge", "name", "country", "distance", "state", "for", "verdict")
    for edge in told["candidates"]:
        new = ", never seen working" if edge.get("never_worked") else ""
        _add(table, edge, f"{edge['role']}{_kept(edge.get('kept'))}{new}")
    for edge in told["rejected"]:
        since = f" for {age(edge['why_since'])}" if edge["why_since"] is not None else ""
        about = f": {edge['intent_reason']}" if edge["intent_reason"] else ""
        _add(table, edge, f"out: {edge['why']}{since}{about}")
    out.print(table)


def _circumstances(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What led to the answer, and how long caches keep it."""
    place = told["location"]
    yield "place", f"{_where(place)} ({place['level']} level, by {place['source']})"
    if place.get("feed"):
        yield "feed", f"{place['feed']}, line {place['line']}"
    yield "key", told["key"]
    if told.get("dial") is not None:
        yield "dial", _dial_verdict(told["dial"])
    if told["residency"] is not None:
        yield "stays", f"in {' or '.join(told['residency'])}, by residency"
    if told.get("fleet") is not None:
        yield "fleet", f"{told['fleet']}{_when(told['at'])}"
    yield "health", f"{told['status']}, from {told['from']}"
    for name in ("cache-control", "vary", "cache-tag"):
        if name in told["headers"]:
            yield "caches", f"{name}: {told['headers'][name]}"
    if len(told.get("spread", ())) > 1:
        shares = [f"{one['region'] or 'no edge'} {one['share']:.0%}" for one in told["spread"]]
        yield "all", ", ".join(shares)


def _where(place: dict[str, Any]) -> str:
    where = place["country_name"] or place["country"] or "an unknown country"
    where = str(place.get("place") or where)
    if place["latitude"] is None:
        return where
    return f"{where} at {place['latitude']:.4f}, {place['longitude']:.4f}"


@contextmanager
def working() -> Iterator[Callable[[str, int, int | None], None]]:
    """Shows progress bars on standard error. Yields a function to call with the name of the step,
    the amount done, and the total. Shows nothing if standard error is no terminal.
    """
    out = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)

        yield tell


def database(told: dict[str, Any]) -> None:
    """What `geodata info` found."""
    out = console()
    built = _date(told["built_at"])
    rows = [
        ("file", f"{told['path']} ({told['bytes'] / 1e6:.1f} MB)"),
        ("type", f"{told['type']}, {count(told['networks'], 'network')}"),
        ("built", f"{built}, {count(told['age_days'], 'day')} ago"),
        ("licence", told["licence"] or "unknown"),
        ("show", told["attribution"] or "no attribution known to be asked"),
    ]
    if told["origin"] is not None:
        fetched = _date(told["origin"]["fetched_at"])
        version = told["origin"]["version"][:40]
        rows.append(("from", f"{told['origin']['origin']} {version}, fetched {fetched}"))
    for family in ("ipv4", "ipv6"):
        shares = told[family]
        known = f"city of {shares['city']:.1%}, country only of {shares['country']:.1%}"
        rows.append((family, f"{known}, of sampled addresses"))
    rows += [("feed", _feed(one)) for one in told["feeds"]]
    rows += [("sample", _sampled(one)) for one in told["samples"]]
    for name, text in rows:
        out.print(f"{name:8}{text}", highlight=False, markup=False)
    for line in told["missing"]:
        out.print(Text.assemble(("missing ", "yellow"), line))


def _date(at: float) -> str:
    """A date, or a note that the time is not possible: a file can contain any number."""
    try:
        return time.strftime("%Y-%m-%d", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return "at no possible time"


def _feed(one: dict[str, Any]) -> str:
    failed = f"; last fetch failed: {one['error']}" if one["error"] else ""
    networks, days = count(one["networks"], "network"), count(one["age_days"], "day")
    return f"{one['name']}, {networks}, {days} old{failed}"


def _sampled(one: dict[str, Any]) -> str:
    if one["latitude"] is None:
        return f"{one['ip']}: {one['country'] or 'unknown'}"
    name = f" ({one['place']})" if one["place"] else ""
    return f"{one['ip']}: {one['country']} at {one['latitude']:.2f}, {one['longitude']:.2f}{name}"


@_safe
def collected(told: dict[str, Any]) -> None:
    """What `geodata feeds` wrote."""
    table = _table("feed", "dated", "networks", "skipped", "unknown regions")
    for one in told["sources"]:
        table.add_row(
            one["name"],
            one["dated"],
            f"{one['networks']:,}",
            f"{one['skipped']:,}",
            ", ".join(f"{name} ({count})" for name, count in one["unknown_regions"].items()),
        )
    console().print(table)
    for one in told["sources"]:
        if one["error"] is not None:
            _plain(f"error: {one['name']}: {one['error']}")
        for example in one["examples"][:5]:
            _plain(f"skipped: {one['name']} {example}")
    again = f", {told['repeated']:,} named by two feeds" if told["repeated"] else ""
    _plain(f"{told['output']}: {count(told['networks'], 'network')}{again}")


@_safe
def update_found(told: dict[str, Any]) -> None:
    """What `geodata update --check` found."""
    news = {True: "is newer than", False: "is the same as", None: "may be newer than"}
    version, had = told["version"] or "its file", told["had"] or "what is here"
    _plain(f"{told['origin']}: {version} {news[told['is_newer']]} {had}")


@_safe
def updated(told: dict[str, Any]) -> None:
    """What `geodata update` did."""
    built = _date(told["built_at"])
    done = "replaced by" if told["is_new"] else "is already"
    size = f"{told['bytes'] / 1e6:.1f} MB"
    _plain(f"{told['output']}: {done} {told['origin']}, built {built}, {size}")


@_safe
def comparison(told: dict[str, Any]) -> None:
    """How far two databases agree."""
    out = console()
    out.print(f"1: {told['first']}\n2: {told['second']}", highlight=False, markup=False)
    table = _table(f"of {count(told['sampled'], 'address', 'addresses')} each", "ipv4", "ipv6")
    families = [told["ipv4"], told["ipv6"]]
    for number, which in enumerate(("first", "second"), 1):
        for level in ("city", "country", "unknown"):
            shares = [_percent(family[which][level], 1) for family in families]
            table.add_row(f"{level} level in {number}", *shares)
    for name in ("both", "same_country", "same_pick", "same_pick_country"):
        table.add_row(name.replace("_", " "), *[_percent(family[name], 1) for family in families])
    for name in ("p50", "p90", "p99"):
        far = [family["distance_km"].get(name) for family in families]
        table.add_row(f"distance {name}", *["" if one is None else f"{one:,.0f} km" for one in far])
    out.print(table)
    for number, which in enumerate(("first", "second"), 1):
        for country, shares in families[0]["spread"][which].items():
            parts = ", ".join(f"{edge} {_percent(share, 1)}" for edge, share in shares.items())
            out.print(f"country level in {number}, {country}: {parts}", highlight=False)


def _plain(line: str) -> None:
    console().print(line, highlight=False, markup=False)


@_safe
def moves(told: dict[str, Any]) -> None:
    """What moves where."""
    out = console()
    for line in _outcome(told):
        out.print(line, highlight=False)
    table = _table("edge", "name", "country", "before", "after")
    for edge in told["edges"]:
        shares = _percent(edge["before"]), _percent(edge["after"])
        table.add_row(edge["region"], edge["name"], edge["country"], *shares)
    out.print(table)
    out.print()
    table = _table("from", "to", "share", "farther")
    for move in told["moves"]:
        table.add_row(*_ends(move), _percent(move["share"]), _farther(move["extra_km"]))
    out.print(table)
    out.print()
    table = _table("country", "share", "of it moved", "farther", "abroad before", "abroad after")
    moving = [row for row in told["countries"] if row["moved"]]
    for row in moving[:MAX_COUNTRIES]:
        abroad = _percent(row["abroad"]["before"]), _percent(row["abroad"]["after"])
        shares = _percent(row["share"]), _percent(row["moved"])
        table.add_row(row["country"] or "unknown", *shares, _farther(row["extra_km"]), *abroad)
    out.print(table)
    if len(moving) > MAX_COUNTRIES:
        left = count(len(moving) - MAX_COUNTRIES, "more country", "more countries")
        out.print(f"and {left}; --json has all")


def _outcome(told: dict[str, Any]) -> Iterator[str | Text]:
    """The moves in words."""
    yield f"{told['change']}; from {told['from']}, scope {told['query']['scope']}"
    if told.get("gain_ms") is not None:
        yield f"movers whose country has no edge gain {told['gain_ms']:.1f} ms in the mean"
    for status in {told["status"]["before"], told["status"]["after"]} - {"ok"}:
        yield Text(f"the fleet is {status} on one side or both", "yellow")
    if told["not_in_catalog"]:
        yield Text(
            f"left out, as regions.yaml lacks them: {' '.join(told['not_in_catalog'])}", "yellow"
        )
    if told["countries_left"]:
        yield Text(f"left without an edge: {', '.join(told['countries_left'])}", "red")
    farther = _farther(told["extra_km"])
    mean = f", {farther} farther on average" if farther else ""
    yield f"{_percent(told['moved'])} of the address space gets another edge{mean}"
    for key, text in (("abroad", "sent across a border"), ("unanswered", "without an answer")):
        before, after = told[key]["before"], told[key]["after"]
        if before or after:
            yield f"{text}: {_percent(before)} before, {_percent(after)} after"
    census = told["census"]
    built = _date(census["built_at"])
    addresses = count(census["addresses"], "IPv4 address", "IPv4 addresses")
    yield f"weighed by {addresses}, {census['database']} of {built}"
    yield f"{census['credit']}\n" if census["credit"] else ""


def _ends(move: dict[str, Any]) -> tuple[str, str]:
    return move["from"] or "no answer", move["to"] or "no answer"


def _percent(share: float | None, digits: int = 2) -> str:
    return "" if share is None else f"{share:.{digits}%}"


def _farther(extra_km: float | None) -> str:
    return "" if extra_km is None else f"{extra_km:,.0f} km"


def _when(at: float | None) -> str:
    return "" if at is None else time.strftime(", as of %Y-%m-%d %H:%M:%SZ", time.gmtime(at))


def _verdict(told: dict[str, Any]) -> str:
    who = told["ip"] or _viewer(told)
    if told["problem"] is not None:
        return f"{who} gets no edge: {told['problem']}"
    crossed = ", across the border" if told["crossed_border"] else ""
    return f"{who} gets {told['region']}: {told['reason']}{crossed}"


def _viewer(told: dict[str, Any]) -> str:
    if told["location"]["source"] == "cdn_key":
        return f"a viewer with the key {told['key']}"
    country = told["location"]["country"]
    return f"a viewer in {country}" if country else "a viewer in an unknown country"


def _dial_verdict(dial: dict[str, Any]) -> str:
    kept = "kept here" if dial["kept"] else "dialled away"
    return f"{dial['region']} {dial['share']:.0%}: {kept}"


def _kept(kept: bool | None) -> str:
    """What the dial of a candidate does to this viewer."""
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
    """A distance, and the estimated time where it decides."""
    told = [] if km is None else [f"{km:,} km"]
    return ", ".join([*told, *([] if ms is None else [f"{ms:.0f} ms"])])


def console() -> Console:
    """A console for standard output. If that is no terminal, columns are plain and of full width,
    so that lines can be filtered.
    """
    out = Console(soft_wrap=True, markup=False, emoji=False)
    return out if out.is_terminal else Console(width=200, soft_wrap=True, markup=False, emoji=False)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def state_text(state: str) -> Text:
    """An observed state in its colour."""
    return Text(state, style=_STATE_STYLES.get(state, ""))


def age(since: float | None) -> str:
    """How long ago that was, in words; nothing when it is unknown."""
    return "" if since is None else duration(time.time() - since)


def duration(seconds_long: float) -> str:
    """`90 s`, `4 m`, `3 h`, `2 d`."""
    seconds = max(0, round(seconds_long))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
