"""The entry point: the top-level command with all its subcommands."""

import platform

import click

from router import __version__
from router.cli import cdn, fleet, geodata, intents, servers, whatif
from router.cli.app import Command, Commands


@click.command(cls=Command, epilog="autorouter version")
def version() -> None:
    """Print the versions of autorouter and Python."""
    click.echo(f"autorouter {__version__}, Python {platform.python_version()}")


@click.group(
    cls=Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "max_content_width": 120,
    },
)
@click.version_option(__version__, prog_name="autorouter")
def main() -> None:
    """Tells every SDK which inference edge is nearest and healthy.

    Start with `autorouter dev`. Each command has its own --help, with an example.
    """


for _command in (
    servers.dev,
    servers.serve,
    servers.poll,
    servers.check,
    fleet.edges,
    fleet.explain,
    whatif.simulate,
    intents.drain,
    intents.disable,
    intents.dial,
    intents.enable,
    fleet.events,
    version,
    cdn.cdn,
    geodata.geodata,
):
    main.add_command(_command)
