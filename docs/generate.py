"""`make docs`: write what of docs/ is made from the code and the locks.

The table of settings in docs/configuration.md, that of licences in docs/licences.md, the
dashboard's copy of the runbook's alerts, which findings link to, and the version of
router/__init__.py wherever files of other tools repeat it.
`--check` writes nothing and exits 1 when a file on disk is out of date.
"""
# ruff: noqa: INP001 - a script beside the documents, not a package

import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from router import __version__
from router.config.settings import SettingDescription, describe_settings

HERE = Path(__file__).parent
ROOT = HERE.parent
RUNBOOK = ROOT / "router" / "ops" / "dashboard" / "static" / "runbook.html"
LOCKS = [ROOT / "requirements" / f"{name}.lock" for name in ("cloudfront", "geodata")]

RUNBOOK_PAGE = """<!doctype html>
<!-- Written by `make docs` from docs/operations.md; do not edit. -->
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Runbook - autorouter</title>
  <link rel="icon" href="icon.svg">
  <link rel="stylesheet" href="base.css">
  <link rel="stylesheet" href="runbook.css">
</head>
<body>
<main>
<h1>Runbook</h1>
{body}</main>
</body>
</html>
"""

# What packages write, as SPDX writes it.
SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "Dual License": "Apache-2.0 OR BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
# Locked for other Pythons than this one may be.
ELSEWHERE = {"async-timeout": "Apache-2.0"}
# Files that repeat the version, and what stands before it there.
VERSIONED = {
    "Dockerfile": r'image\.version="',
    "docs/openapi.yaml": r"^  version: ",
    "docs/openapi-ops.yaml": r"^  version: ",
    "docs/releasing.md": r"tag `v|autorouter:",
    "docs/running.md": r"edge_autorouter-",
    "infra/k8s/kustomization.yaml": r"newTag: ",
}


def main(arguments: list[str]) -> int:
    """Rewrite the files, or only compare. Returns the exit code."""
    stale = [path for path, before, after in _documents() if before != after]
    if "--check" not in arguments:
        for path, _, after in _documents():
            path.write_text(after, encoding="utf-8")
        return 0
    for path in stale:
        print(f"{path}: out of date; run `make docs`", file=sys.stderr)
    return 1 if stale else 0


def _documents() -> Iterator[tuple[Path, str, str]]:
    """Each document, as it is and as it should be."""
    tables: dict[str, tuple[str, Callable[[], str]]] = {
        "configuration.md": ("settings", settings_table),
        "licences.md": ("licences", licences_table),
    }
    for name, (part, table) in tables.items():
        before = (HERE / name).read_text(encoding="utf-8")
        yield HERE / name, before, rewritten(before, part, table())
    for name, before_it in VERSIONED.items():
        before = (ROOT / name).read_text(encoding="utf-8")
        yield ROOT / name, before, versioned(before, before_it)
    yield RUNBOOK, RUNBOOK.read_text(encoding="utf-8") if RUNBOOK.exists() else "", runbook()


def versioned(text: str, before_it: str) -> str:
    """The text with our version after each match of the pattern."""
    return re.sub(rf"({before_it})\d+\.\d+\.\d+", rf"\g<1>{__version__}", text, flags=re.MULTILINE)


def rewritten(text: str, part: str, table: str) -> str:
    """The document with a fresh table between its markers."""
    start = f"<!-- {part}: written by `make docs`, do not edit -->\n"
    end = f"<!-- end of {part} -->\n"
    head, _, rest = text.partition(start)
    _, _, tail = rest.partition(end)
    return f"{head}{start}{table}{end}{tail}"


def runbook() -> str:
    """The alerts of operations.md as a page, so that they can be read during an outage."""
    text = (HERE / "operations.md").read_text(encoding="utf-8")
    alerts = re.findall(r"^## Alerts:.*?(?=^## )", text, re.MULTILINE | re.DOTALL)
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse("".join(alerts))
    body = markdown.renderer.render(_anchored(tokens), markdown.options, {})
    return RUNBOOK_PAGE.replace("{body}", body)


def _anchored(tokens: list[Token]) -> list[Token]:
    """Headings with the anchors that findings and alerts name; links only within the page."""
    tag = "a"
    for token, following in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        if token.type == "heading_open":
            token.attrSet("id", re.sub(r"[^a-z0-9]+", "-", following.content.lower()).strip("-"))
        for child in token.children or []:
            if child.type == "link_open":
                is_here = str(child.attrGet("href")).startswith("#autorouter")
                child.tag, child.attrs = ("a", child.attrs) if is_here else ("span", {})
                tag = child.tag
            elif child.type == "link_close":
                child.tag = tag
    return tokens


def settings_table() -> str:
    """Every setting as a row, in the order of router/config/settings.py."""
    rows = [_row(each) for each in describe_settings()]
    return "\n".join(["| variable | accepts | default | meaning |", "|---|---|---|---|", *rows, ""])


def _row(setting: SettingDescription) -> str:
    accepts = " ".join(filter(None, [setting.accepts, setting.unit]))
    default = f"`{setting.default}`" if setting.default else ""
    secret = f" Secret; `{setting.variable}_FILE` works too." if setting.is_secret else ""
    cells = [f"`{setting.variable}`", accepts, default, setting.about + secret]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def licences_table() -> str:
    """Every package that we run on, with its release and its licence."""
    rows = [f"| {name} | {version} | {licence(name)} |" for name, version in _locked()]
    return "\n".join(["| package | release | licence |", "|---|---|---|", *rows, ""])


def licence(package: str) -> str:
    """The licence that an installed package declares, by its SPDX name."""
    try:
        told = metadata(package)
    except PackageNotFoundError:
        return ELSEWHERE[package]
    classifiers = [each.rpartition(" :: ")[2] for each in told.get_all("Classifier", [])]
    named = [
        told.get("License-Expression"),
        told.get("License"),
        *(each for each in classifiers if each in SPDX),
    ]
    first = next((each for each in named if each), None)
    if first is None:
        raise LookupError(f"{package} declares no licence; read its text and add it here")
    return SPDX.get(first, first)


def _locked() -> list[tuple[str, str]]:
    """Names and versions in the locks of what we run on."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in LOCKS)
    return sorted(set(re.findall(r"^([a-z0-9-]+)==([^ ]+)", text, re.MULTILINE)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
