"""Runs every command in docs/operations.md against a real fleet, Redis, poller and server."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.geo.database import packaged_database
from tests.support.running import Running, Site
from tests.support.servers import AUTOROUTER, HOST, clean_env

pytestmark = pytest.mark.anyio

PROGRAMS = ("autorouter", "curl", "redis-cli")
# These run until they are stopped, or need the internet, or have tests elsewhere.
ELSEWHERE = (
    "autorouter serve",
    "autorouter poll",
    "autorouter geodata feeds",
    "autorouter geodata update",
    "autorouter simulate",  # reads the whole geo database; test_simulate.py runs it
    " --at ",  # a new server has no history; test_cli.py replays one
    "polargrid.ai",
    "curl -sI",
)


def commands_in(text: str) -> list[str]:
    """The commands in indented blocks and between backticks, in order."""
    found = re.findall(r"^ {4,}(\S.*)$|`([^`]+)`", text, re.MULTILINE)
    spans = [" ".join((block or span).split()) for block, span in found]
    return [span for span in spans if is_command(span) and not any(e in span for e in ELSEWHERE)]


def is_command(span: str) -> bool:
    words = [word for word in span.split() if "=" not in word]
    return len(words) > 1 and words[0] in PROGRAMS


COMMANDS = commands_in((Path(__file__).parents[2] / "docs" / "operations.md").read_text())


@pytest.fixture
async def server(joined: Site) -> AsyncIterator[Running]:
    poller = joined.poll()
    running = await joined.serve_until_ready()
    yield running
    running.process.stop()
    poller.stop()


def run(command: str, folder: Path, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", "-euc", command],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_commands_are_extracted_from_the_page() -> None:
    text = "1. Do:\n\n       A=1 autorouter check\n\nor `autorouter\nedges` or `autorouter serve`"
    assert commands_in(text) == ["A=1 autorouter check", "autorouter edges"]
    assert len(COMMANDS) > 30


async def test_every_command_works(server: Running, joined: Site, tmp_path: Path) -> None:
    settings = joined.settings | {"OPS_LISTEN": f"{HOST}:{server.ops_port}"}
    env = clean_env(**settings) | {
        "PATH": f"{AUTOROUTER.parent}:{os.environ['PATH']}",
        "OPS": f"http://{HOST}:{server.ops_port}",
        "ROUTER": f"http://{HOST}:{server.port}",
    }
    (tmp_path / "new.mmdb").symlink_to(packaged_database())
    done = {}
    for command in dict.fromkeys(COMMANDS):
        done[command] = await asyncio.to_thread(run, command, tmp_path, env)
    failed = {command: one.stderr for command, one in done.items() if one.returncode != 0}
    assert not failed, "\n".join(f"{each}: {failed[each]}" for each in failed)
    assert '"status":"ok"' in done["curl --silent $ROUTER/v1/route"].stdout
    assert done['redis-cli -u "$AUTOROUTER_REDIS_URL" ping'].stdout == "PONG\n"
    assert (tmp_path / "function.js").stat().st_size > 1_000
