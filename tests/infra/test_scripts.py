"""shellcheck finds no errors in shell scripts."""

import subprocess
from pathlib import Path

import pytest

from tests.support.servers import AUTOROUTER, ROOT

FOLDERS = [ROOT / ".ci", ROOT / "infra", ROOT / "infra" / "cloudfront", ROOT / "requirements"]
SCRIPTS = [
    path
    for folder in FOLDERS
    for path in sorted(folder.iterdir())
    if path.is_file() and path.read_bytes().startswith(b"#!/bin/sh\n")
]


def lint(script: str) -> str:
    """The errors that shellcheck finds."""
    command = [str(AUTOROUTER.with_name("shellcheck")), "--norc", "-"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    return done.stdout


def test_known_scripts_are_found() -> None:
    assert {"run", "build", "install-debian", "compile"} <= {path.name for path in SCRIPTS}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_linter_finds_nothing(path: Path) -> None:
    assert lint(path.read_text()) == ""


def test_linter_finds_errors() -> None:
    assert "SC2086" in lint("#!/bin/sh\nrm -r $1\n")
