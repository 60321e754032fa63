"""Options, arguments and helpers that several commands use."""

import getpass
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from router.cli.completion import edge_ids
from router.cli.words import MOMENTS, parse_moment
from router.config.settings import Settings, load_settings
from router.config.settings import read_settings as parse_settings
from router.errors import ConfigError
from router.safe_text import escaped_json

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
REGIONS = click.option(
    "--regions",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The catalog file, instead of AUTOROUTER_REGIONS.",
)
PORT = click.IntRange(0, 65535)
SCOPE = click.option(
    "--scope",
    type=click.Choice(["country", "global"]),
    default="country",
    help="Prefer edges in the viewer's country, or use the nearest of all.",
)
EDGES = click.argument("edges", nargs=-1, required=True, metavar="ID...", shell_complete=edge_ids)
ACTOR = click.option("--actor", help="Who makes the change.  [default: your user and host name]")

_TO_REACH = ("OPS_LISTEN", "REDIS_URL", "STORE_TIMEOUT_S")


class Ids(click.ParamType[tuple[str, ...]]):
    """Ids separated by commas."""

    name = "ID,.."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        """Split them into a tuple."""
        return (
            value if isinstance(value, tuple) else tuple(filter(None, re.split(r"[,\s]+", value)))
        )


def whoami() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


class Moment(click.ParamType[float]):
    """A time in the past."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Parse it as Unix seconds."""
        at = value if isinstance(value, float) else parse_moment(value, time.time())
        if at is None:
            self.fail(f"{value!r} is not a time in the past; {MOMENTS}", param, ctx)
        return at


def server_settings(*also: str) -> Settings:
    """The settings that are needed to reach a server or Redis, and `also`. Errors in other settings
    are ignored. Raises ConfigError.
    """
    settings, faults = parse_settings(os.environ)
    needed = tuple(f"AUTOROUTER_{name}:" for name in (*_TO_REACH, *also))
    if found := [fault for fault in faults if fault.startswith(needed)]:
        raise ConfigError(found)
    return settings


def read_settings(regions: Path | None) -> Settings:
    settings = load_settings(os.environ)
    return msgspec.structs.replace(settings, regions=regions) if regions else settings


def print_json(document: Any) -> None:
    text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
    click.echo(escaped_json(text))
