"""The results of the `geodata` commands, as text for people."""

from typing import Any

from rich.text import Text

from router.cli.text import console, date, escape_argument, percent, table_of
from router.cli.words import count


def show_database(document: dict[str, Any]) -> None:
    """Print the result of `geodata info`."""
    out = console()
    built = date(document["built_at"])
    rows = [
        ("file", f"{document['path']} ({document['bytes'] / 1e6:.1f} MB)"),
        ("type", f"{document['type']}, {count(document['networks'], 'network')}"),
        ("built", f"{built}, {count(document['age_days'], 'day')} ago"),
        ("licence", document["licence"] or "unknown"),
        ("show", document["attribution"] or "no attribution is known to be required"),
    ]
    if document["origin"] is not None:
        fetched = date(document["origin"]["fetched_at"])
        version = document["origin"]["version"][:40]
        rows.append(("from", f"{document['origin']['origin']} {version}, fetched {fetched}"))
    for family in ("ipv4", "ipv6"):
        shares = document[family]
        known = f"city for {shares['city']:.1%}, only country for {shares['country']:.1%}"
        rows.append((family, f"{known} of sampled addresses"))
    rows += [("feed", _feed(one)) for one in document["feeds"]]
    rows += [("sample", _sample_line(one)) for one in document["samples"]]
    for name, text in rows:
        out.print(f"{name:8}{text}", highlight=False, markup=False)
    for line in document["missing"]:
        out.print(Text.assemble(("missing ", "yellow"), line))


def _feed(one: dict[str, Any]) -> str:
    failed = f"; last fetch failed: {one['error']}" if one["error"] else ""
    networks, days = count(one["networks"], "network"), count(one["age_days"], "day")
    return f"{one['name']}, {networks}, {days} old{failed}"


def _sample_line(one: dict[str, Any]) -> str:
    if one["latitude"] is None:
        return f"{one['ip']}: {one['country'] or 'unknown'}"
    name = f" ({one['place']})" if one["place"] else ""
    return f"{one['ip']}: {one['country']} at {one['latitude']:.2f}, {one['longitude']:.2f}{name}"


@escape_argument
def show_feeds(document: dict[str, Any]) -> None:
    """Print the result of `geodata feeds`."""
    table = table_of("feed", "dated", "networks", "skipped", "unknown regions")
    for one in document["sources"]:
        table.add_row(
            one["name"],
            one["dated"],
            f"{one['networks']:,}",
            f"{one['skipped']:,}",
            ", ".join(f"{name} ({count})" for name, count in one["unknown_regions"].items()),
        )
    console().print(table)
    for one in document["sources"]:
        if one["error"] is not None:
            _plain(f"error: {one['name']}: {one['error']}")
        for example in one["examples"][:5]:
            _plain(f"skipped: {one['name']} {example}")
    again = f", {document['repeated']:,} in two feeds" if document["repeated"] else ""
    _plain(f"{document['output']}: {count(document['networks'], 'network')}{again}")


@escape_argument
def show_found_update(document: dict[str, Any]) -> None:
    """Print the result of `geodata update --check`."""
    news = {True: "is newer than", False: "is the same as", None: "may be newer than"}
    version, had = document["version"] or "its file", document["had"] or "the one here"
    _plain(f"{document['origin']}: {version} {news[document['is_newer']]} {had}")


@escape_argument
def show_update(document: dict[str, Any]) -> None:
    """Print the result of `geodata update`."""
    built = date(document["built_at"])
    done = "replaced by" if document["is_new"] else "is already"
    size = f"{document['bytes'] / 1e6:.1f} MB"
    _plain(f"{document['output']}: {done} {document['origin']}, built {built}, {size}")


@escape_argument
def show_comparison(document: dict[str, Any]) -> None:
    """Print the result of `geodata compare`."""
    out = console()
    out.print(f"1: {document['first']}\n2: {document['second']}", highlight=False, markup=False)
    table = table_of(
        f"of {count(document['sampled'], 'address', 'addresses')} each", "ipv4", "ipv6"
    )
    families = [document["ipv4"], document["ipv6"]]
    for number, which in enumerate(("first", "second"), 1):
        for level in ("city", "country", "unknown"):
            shares = [percent(family[which][level], 1) for family in families]
            table.add_row(f"{level} level in {number}", *shares)
    for name in ("both", "same_country", "same_pick", "same_pick_country"):
        table.add_row(name.replace("_", " "), *[percent(family[name], 1) for family in families])
    for name in ("p50", "p90", "p99"):
        far = [family["distance_km"].get(name) for family in families]
        table.add_row(f"distance {name}", *["" if one is None else f"{one:,.0f} km" for one in far])
    out.print(table)
    for number, which in enumerate(("first", "second"), 1):
        for country, shares in families[0]["spread"][which].items():
            parts = ", ".join(f"{edge} {percent(share, 1)}" for edge, share in shares.items())
            out.print(f"country level in {number}, {country}: {parts}", highlight=False)


def _plain(line: str) -> None:
    console().print(line, highlight=False, markup=False)
