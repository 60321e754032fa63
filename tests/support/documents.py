"""The pages of this project, and the shell commands in them."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from markdown_it import MarkdownIt

from tests.support.servers import ROOT

DOCS = ROOT / "docs"
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *(page for name in ("clients", "geodata", "infra") for page in (ROOT / name).rglob("*.md")),
    ]
)
SHELL = ("", "sh", "console", "bash", "shell")  # an indented block has the language ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A code block. `line`: its first line. `language` is empty if no fence names one."""

    line: int
    language: str
    text: str


def opening_of(text: str) -> tuple[str, str]:
    """The title of a page and the paragraph below it. Both are empty if the page differs."""
    tokens = MarkdownIt("commonmark").parse(text)
    kinds = [one.type for one in tokens[:5]]
    is_usual = kinds[0] == "heading_open" and kinds[3:] == ["paragraph_open", "inline"]
    return (tokens[1].content, tokens[4].content) if is_usual else ("", "")


def blocks_of(text: str) -> Iterator[Block]:
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type in {"code_block", "fence"} and token.map:
            yield Block(line=token.map[0] + 1, language=token.info.strip(), text=token.content)


def commands_of(text: str) -> list[str]:
    """Each command in the shell blocks of a page, in order."""
    blocks = [one.text for one in blocks_of(text) if one.language in SHELL]
    return [command for block in blocks for command in split(block)]


def split(script: str) -> Iterator[str]:
    """The commands of a script. A command may have several lines."""
    lines: list[str] = []
    for line in script.splitlines():
        lines.append(line)
        command = "\n".join(lines)
        if not line.endswith("\\") and _is_complete(command):
            lines.clear()
            if command.strip() and not command.lstrip().startswith("#"):
                yield command
    if lines:
        yield "\n".join(lines)


def _is_complete(command: str) -> bool:
    done = subprocess.run(["bash", "-nc", command], capture_output=True, check=False)
    return done.returncode == 0
