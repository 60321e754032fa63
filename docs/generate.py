"""`make docs`: write the table of settings in docs/configuration.md from the code.

`--check` writes nothing and exits 1 when the file on disk is out of date.
"""
# ruff: noqa: INP001 - a script beside the documents, not a package

import sys
from pathlib import Path

from router.settings import Described, describe_settings

CONFIGURATION = Path(__file__).parent / "configuration.md"
START = "<!-- settings: written by `make docs`, do not edit -->\n"
END = "<!-- end of settings -->\n"


def main(arguments: list[str]) -> int:
    """Rewrite the file, or only compare. Returns the exit code."""
    before = CONFIGURATION.read_text(encoding="utf-8")
    after = rewritten(before)
    if "--check" not in arguments:
        CONFIGURATION.write_text(after, encoding="utf-8")
    elif before != after:
        print(f"{CONFIGURATION}: out of date; run `make docs`", file=sys.stderr)
        return 1
    return 0


def rewritten(text: str) -> str:
    """The document with a fresh table between its markers."""
    head, _, rest = text.partition(START)
    _, _, tail = rest.partition(END)
    return f"{head}{START}{settings_table()}{END}{tail}"


def settings_table() -> str:
    """Every setting as a row, in the order of router/settings.py."""
    rows = [_row(each) for each in describe_settings()]
    return "\n".join(["| variable | accepts | default | meaning |", "|---|---|---|---|", *rows, ""])


def _row(setting: Described) -> str:
    accepts = " ".join(filter(None, [setting.accepts, setting.unit]))
    default = f"`{setting.default}`" if setting.default else ""
    secret = f" Secret; `{setting.variable}_FILE` works too." if setting.is_secret else ""
    cells = [f"`{setting.variable}`", accepts, default, setting.about + secret]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
