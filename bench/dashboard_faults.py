"""What the dashboard shows for each fault, in a real Chromium and with a real Prometheus.

The benchmark injects each fault into a running site and measures the time until the page names it.
Then it follows the advice of the page, and the finding must disappear. Every row is saved at once
in bench/results/dashboard.json. `make bench-dashboard` writes the table of docs/dashboard.md.
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

# Findings of the first stage last for minutes. The second stage runs in that time.
STAGES: Sequence[Stage[Any]] = (VIEWERS, EDGES, FLEET)
NAMES = tuple(fault.name for stage in (EDGES, VIEWERS, FLEET) for fault in stage.faults)


def chosen(is_wanted: Callable[[str], bool]) -> list[Stage[Any]]:
    """The stages with only the wanted faults."""
    return [
        replace(stage, faults=tuple(one for one in stage.faults if is_wanted(one.name)))
        for stage in STAGES
    ]


def main(words: Sequence[str]) -> int:
    """Exit code 1 if a fault was not named, its advice does not work, or its alert does not
    fire."""
    parser = argparse.ArgumentParser(prog="python -m bench.dashboard_faults", description=__doc__)
    parser.add_argument(
        "--only", metavar="REGEX", default="", help="only faults whose name matches"
    )
    parser.add_argument("--resume", action="store_true", help="skip faults that passed before")
    parser.add_argument("--write", action="store_true", help="update docs/dashboard.md")
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
