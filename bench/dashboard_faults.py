"""What the dashboard says of each fault, in a real Chromium with a real Prometheus beside it.

Each fault is done to a running site. Measured are the seconds until the page names it. Then
the advice is followed, and the page must forget it. `make bench-dashboard` writes the table of
docs/dashboard.md. Every row is kept in bench/results/dashboard.json as soon as it is known.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bench.page_faults.edges import EDGES
from bench.page_faults.fleet import FLEET
from bench.page_faults.measure import Row, run
from bench.page_faults.site import Stage
from bench.page_faults.table import keep, kept, table, write
from bench.page_faults.viewers import VIEWERS

# Findings of the first last for minutes, in which the second is done.
STAGES: Sequence[Stage[Any]] = (VIEWERS, EDGES, FLEET)
NAMES = tuple(fault.name for stage in (EDGES, VIEWERS, FLEET) for fault in stage.faults)


def chosen(is_wanted: Callable[[str], bool]) -> list[Stage[Any]]:
    """The stages with those faults whose names are wanted."""
    return [
        replace(stage, faults=tuple(one for one in stage.faults if is_wanted(one.name)))
        for stage in STAGES
    ]


def main(words: Sequence[str]) -> int:
    """Exit code 1 when a fault was not named, its advice does not work or no alert fires."""
    parser = argparse.ArgumentParser(prog="python -m bench.dashboard_faults", description=__doc__)
    parser.add_argument("--only", metavar="REGEX", default="", help="faults whose name matches")
    parser.add_argument("--resume", action="store_true", help="not those that were right before")
    parser.add_argument("--write", action="store_true", help="write docs/dashboard.md")
    asked = parser.parse_args(words)
    done = {row.fault for row in kept() if row.is_right} if asked.resume else set()
    stages = chosen(lambda name: name not in done and bool(re.search(asked.only, name)))
    run(stages, lambda row: keep(row, NAMES))
    wanted = {fault.name for stage in stages for fault in stage.faults}
    rows: list[Row] = [row for row in kept() if row.fault in wanted]
    print(table(rows), end="")
    if asked.write:
        write(kept())
    return int(not all(row.is_right for row in rows) or len(rows) < len(wanted))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
