"""Saves the measured rows as JSON and as the table of docs/dashboard.md."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from bench.page_faults.measure import Row
from tests.support.servers import ROOT

PAGE = ROOT / "docs" / "dashboard.md"
RESULTS = ROOT / "bench" / "results" / "dashboard.json"
BEGIN, END = "<!-- faults: written by `make bench-dashboard` -->", "<!-- end of faults -->"
_HEAD = (
    "| fault | named after | headline | advice | it works | alert |\n|---|---:|---|---|---|---|\n"
)


def kept() -> list[Row]:
    """The rows of earlier runs."""
    if not RESULTS.exists():
        return []
    return [Row(**one) for one in json.loads(RESULTS.read_text())]


def keep(row: Row, order: Sequence[str]) -> None:
    """Replace the earlier row of the same fault. `order`: the names of all faults."""
    rows = {one.fault: one for one in kept()} | {row.fault: row}
    listed = [asdict(rows[name]) for name in order if name in rows]
    RESULTS.write_text(json.dumps(listed, indent=1) + "\n")


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    return _HEAD + "".join(map(_line, rows))


def _line(row: Row) -> str:
    named = "never" if row.named_s is None else f"{row.named_s:.1f} s"
    works = {True: "yes", False: "no", None: "not tried"}[row.works]
    fires = "" if row.fires else ": does not fire"
    alert = "none" if row.alert is None else f"`{row.alert}`{fires}"
    texts = (text.replace("|", "/") for text in (row.headline, row.advice))
    return f"| {' | '.join((row.fault, named, *texts, works, alert))} |\n"


def write(rows: Sequence[Row]) -> None:
    """Replace the table in docs/dashboard.md."""
    text = PAGE.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(rows)}\n{END}{after}")
