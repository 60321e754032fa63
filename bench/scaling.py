"""`python -m bench.scaling`: the tables of docs/scaling.md and docs/performance.md.

It makes them from the results of the other benchmarks and writes them between their markers.
`--check` writes nothing and exits 1 if a table is out of date.
"""

import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.figures import RESULTS

DOCS = Path(__file__).parent.parent / "docs"
KINDS = {
    "keyed by the CDN ÷ bare uvicorn": "with a key from the CDN",
    "never seen ÷ bare uvicorn": "of a new viewer, located by the geo database",
}

Figures = dict[str, Any]
Table = Callable[[Figures], Iterator[str]]


def main(arguments: list[str]) -> int:
    """Rewrite or check the pages. Returns the exit code."""
    figures = {path.stem: _read(path) for path in RESULTS.glob("*.json")}
    is_stale = False
    for name, tables in PAGES.items():
        page = DOCS / name
        before = page.read_text(encoding="utf-8")
        after = rewritten(before, tables, figures)
        if "--check" not in arguments:
            page.write_text(after, encoding="utf-8")
        elif before != after:
            print(f"{page}: out of date; run `python -m bench.scaling`", file=sys.stderr)
            is_stale = True
    return int(is_stale)


def rewritten(text: str, tables: Sequence[Table], figures: Figures) -> str:
    """A page with new tables. The markers of a table have the name of its function."""
    for table in tables:
        start, end = f"<!-- {table.__name__} -->\n", f"<!-- end of {table.__name__} -->\n"
        head, _, rest = text.partition(start)
        _, _, tail = rest.partition(end)
        text = "".join([head, start, *(f"{line}\n" for line in table(figures)), end, tail])
    return text


def core(figures: Figures) -> Iterator[str]:
    """The cost of a request on one core of the server."""
    yield "| request | CPU | requests/s per core | CPU of the bare server |"
    yield "|---|--:|--:|--:|"
    for kind, words in KINDS.items():
        cpu_us, bare_us = _cpu_us(figures, kind, "ours"), _cpu_us(figures, kind, "theirs")
        yield f"| {words} | {cpu_us:.0f} µs | {1e6 / cpu_us:,.0f}/s | {bare_us:.0f} µs |"


def starts(figures: Figures) -> Iterator[str]:
    """Requests and cores for a number of SDK starts, with and without a CDN."""
    yield "| SDK starts/min | requests/s | at the origin | hits | cores | cores without a CDN |"
    yield "|--:|--:|--:|--:|--:|--:|"
    cpu_us = _cpu_us(figures, "never seen ÷ bare uvicorn", "ours")
    for count, found in _ours(figures)["regional"]["starts"].items():
        rate, reach = int(count) / 60, found["origin_rps"]
        yield (
            f"| {int(count):,} | {rate:,.0f} | {reach:,.0f}/s | {_percent(found['hit_ratio'])} "
            f"| {reach * cpu_us / 1e6:.2g} | {rate * cpu_us / 1e6:.2g} |"
        )


def redis(figures: Figures) -> Iterator[str]:
    """The cost of one server's read in Redis, with three vantages."""
    yield "| edges | Redis CPU a read | bytes a read | servers per core | servers per Gbit/s |"
    yield "|--:|--:|--:|--:|--:|"
    for edges, found in figures["store"].items():
        by_cpu = 1e6 / found["read_cpu_us"] / READS_S
        by_bytes = 125e6 / found["read_bytes"] / READS_S
        yield (
            f"| {int(edges):,} | {found['read_cpu_us']:,.0f} µs "
            f"| {found['read_bytes'] / 1e3:,.0f} kB | {by_cpu:,.0f} | {by_bytes:,.0f} |"
        )


def grown(figures: Figures) -> Iterator[str]:
    """The hits of the cache with more edges."""
    yield "| edges | keys | hits at 1,000/s | at the origin | hits at 100,000/s | at the origin |"
    yield "|--:|--:|--:|--:|--:|--:|"
    rows = {"10": _ours(figures)["regional"], **figures["cdn"]["grown"]}
    for edges, found in rows.items():
        less, more = found["rates"]["1000"], found["rates"]["100000"]
        yield (
            f"| {int(edges):,} | {found['keys']:,} | {_percent(less['hit_ratio'])} "
            f"| {less['origin_rps']:,.0f}/s | {_percent(more['hit_ratio'])} "
            f"| {more['origin_rps']:,.0f}/s |"
        )


def duels(figures: Figures) -> Iterator[str]:
    """autorouter compared with servers that send the same bytes."""
    yield "| medians | requests/s | other server | ratio | CPU a request | other server |"
    yield "|---|--:|--:|--:|--:|--:|"
    for name, found in figures["route"]["duels"].items():
        rps, other_rps, cpu_us, other_us = (
            statistics.median(one[who][what] for one in found["rounds"])
            for what in ("rps", "cpu_us")
            for who in ("ours", "theirs")
        )
        yield (
            f"| {name} | {rps:,.0f} | {other_rps:,.0f} | {found['ratio']:.2f} "
            f"| {cpu_us:.1f} µs | {other_us:.1f} µs |"
        )


def decisions(figures: Figures) -> Iterator[str]:
    """The cost of a request in process, without HTTP."""
    yield "| in process | CPU |"
    yield "|---|--:|"
    for name, cost in figures["route"]["decision"].items():
        unit = " µs" if name.endswith(", µs") else ""
        yield f"| {name.removesuffix(', µs')} | {cost:.2f}{unit} |"


PAGES: dict[str, Sequence[Table]] = {
    "scaling.md": (core, starts, redis, grown),
    "performance.md": (duels, decisions),
}

# A server reads once a second and at every hint. Each of three vantages sends a hint every 3 s.
READS_S = 2


def _read(path: Path) -> Figures:
    figures: Figures = json.loads(path.read_text(encoding="utf-8"))
    return figures


def _cpu_us(figures: Figures, kind: str, server: str) -> float:
    rounds = figures["route"]["duels"][kind]["rounds"]
    return statistics.median(float(one[server]["cpu_us"]) for one in rounds)


def _ours(figures: Figures) -> Figures:
    ours: Figures = figures["cdn"]["fleets"]["ten edges"]["ranked edges"]
    return ours


def _percent(share: float) -> str:
    """Rounded down, as in bench.cdn."""
    return f"{int(share * 100_000) / 1_000:.3f} %"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
