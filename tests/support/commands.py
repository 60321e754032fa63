"""Runs commands in a terminal, and reads the JSON of commands."""

import json
import os
import pty
import subprocess
from contextlib import suppress
from typing import Any

from tests.support.servers import (
    AUTOROUTER,
    clean_env,
)

ESCAPE = "\x1b"


Done = subprocess.CompletedProcess[str]


def in_json(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def on_terminal(*words: str, **environ: str) -> str:
    """The output of a command in a terminal of 200 columns."""
    ours, theirs = pty.openpty()
    env = clean_env() | {"TERM": "xterm-256color", "COLUMNS": "200"} | environ
    with subprocess.Popen([str(AUTOROUTER), *words], env=env, stdout=theirs, stderr=theirs) as one:
        os.close(theirs)
        written = bytearray()
        with suppress(OSError):  # raised when the command closes its end
            while piece := os.read(ours, 65_536):
                written += piece
        os.close(ours)
        assert one.wait(20) == 0
    return written.decode()
