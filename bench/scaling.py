"""`python -m bench.scaling`: the tables of docs/scaling.md, out of what the others measured.

It measures nothing. It writes the tables between their markers; `--check` writes nothing
and exits 1 when they are out of date.
"""

import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
KINDS = {
    "seen again ÷ bare uvicorn": "a viewer met before",
    "never seen again ÷ bare uvicorn": "a viewer never met, placed by the geo database",
}

Figures = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Rewrite the page, or only compare. Returns the exit code."""
    before = PAGE.read_text(encoding="utf-8")
    after = rewritten(before, {path.stem: _read(path) for path in RESULTS.glob("*.json")})
    if "--check" not in arguments:
        PAGE.write_text(after, encoding="utf-8")
    elif before != after:
        print(f"{PAGE}: out of date; run `python -m bench.scaling`", file=sys.stderr)
        return 1
    return 0


def rewritten(text: str, figures: Figures) -> str:
    """The page with fresh tables."""
    for name, table in (("core", core), ("starts", starts), ("redis", redis), ("grown", grown)):
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        head, _, rest = text.partition(start)
        _, _, tail = rest.partition(end)
        text = "".join([head, start, *(f"{line}\n" for line in table(figures)), end, tail])
    return text


def core(figures: Figures) -> Iterator[str]:
    """What a request costs one core of the server."""
    yield "| request | CPU | a core answers | the bare server's CPU |"
    yield "|---|--:|--:|--:|"
    for kind, words in KINDS.items():
        cpu_us, bare_us = _cpu_us(figures, kind, "ours"), _cpu_us(figures, kind, "theirs")
        yield f"| {words} | {cpu_us:.0f} µs | {1e6 / cpu_us:,.0f}/s | {bare_us:.0f} µs |"


def starts(figures: Figures) -> Iterator[str]:
    """What SDK starts come to, with a CDN and without."""
    yield "| SDK starts a minute | requests/s | reach us | hits | cores | cores without a CDN |"
    yield "|--:|--:|--:|--:|--:|--:|"
    cpu_us = _cpu_us(figures, "never seen again ÷ bare uvicorn", "ours")
    for count, told in _ours(figures)["regional"]["starts"].items():
        rate, reach = int(count) / 60, told["origin_rps"]
        yield (
            f"| {int(count):,} | {rate:,.0f} | {reach:,.0f}/s | {_percent(told['hit_ratio'])} "
            f"| {reach * cpu_us / 1e6:.2g} | {rate * cpu_us / 1e6:.2g} |"
        )


def redis(figures: Figures) -> Iterator[str]:
    """What one server's read costs Redis, three vantages publishing."""
    yield "| edges | Redis CPU a read | bytes a read | servers by one core | servers by 1 Gbit/s |"
    yield "|--:|--:|--:|--:|--:|"
    for edges, told in figures["store"].items():
        by_cpu = 1e6 / told["read_cpu_us"] / READS_S
        by_bytes = 125e6 / told["read_bytes"] / READS_S
        yield (
            f"| {int(edges):,} | {told['read_cpu_us']:.0f} µs | {told['read_bytes'] / 1e3:,.0f} kB "
            f"| {by_cpu:,.0f} | {by_bytes:,.0f} |"
        )


def grown(figures: Figures) -> Iterator[str]:
    """What more edges do to the cache."""
    yield "| edges | keys | hits at 1,000/s | reach us | hits at 100,000/s | reach us |"
    yield "|--:|--:|--:|--:|--:|--:|"
    rows = {"10": _ours(figures)["regional"], **figures["cdn"]["grown"]}
    for edges, told in rows.items():
        less, more = told["rates"]["1000"], told["rates"]["100000"]
        yield (
            f"| {int(edges):,} | {told['keys']:,} | {_percent(less['hit_ratio'])} "
            f"| {less['origin_rps']:,.0f}/s | {_percent(more['hit_ratio'])} "
            f"| {more['origin_rps']:,.0f}/s |"
        )


# A server reads once a second, and at every hint: each of three vantages gives one in 3 s.
READS_S = 2


def _read(path: Path) -> Figures:
    told: Figures = json.loads(path.read_text(encoding="utf-8"))
    return told


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
