"""Runs the previous release. Its source is an archive in the tests' data folder, so that a
shallow clone can run it too."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import Process, Start, clean_env

COMMIT = "946330f"
ARCHIVED = ("router", "regions.yaml", "geodata")
ARCHIVE = Path(__file__).with_name("data") / f"release-{COMMIT}.tar.xz"


def unpacked(folder: Path) -> Path:
    """Unpack the source of the previous release into the folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@contextmanager
def starting_in(checkout: Path, output: Path) -> Iterator[Start]:
    """Starts `autorouter WORDS` from the checkout, with the packages of this environment."""
    python = [sys.executable, "-P"]  # -P: do not import from the current folder
    path = {"PYTHONPATH": str(checkout)}
    where = "import router; print(router.__file__)"
    found = subprocess.check_output([*python, "-c", where], env=os.environ | path, text=True)
    assert Path(found).is_relative_to(checkout), found
    started: list[Process] = []

    def run(*words: str, **settings: str) -> Process:
        log = output / f"before-{len(started)}.log"
        command = [*python, "-m", "router", *words]
        started.append(Process(command, log, clean_env(**settings) | path))
        return started[-1]

    yield run
    for process in started:
        if process.is_alive():
            process.kill()
