"""What all commands share: the format of help, and the exit codes of errors."""

from typing import Any

import click

from router.config.settings import SettingDescription, describe_settings
from router.errors import ConfigError, RouterError
from router.safe_text import escaped_lines

INTERRUPTED = 130  # the code with which shells report that SIGINT ended a command

_EXIT_CODES = [
    ("0", "done"),
    ("1", "an error, or a rejected change"),
    ("2", "wrong usage"),
    ("130", "ended by Ctrl-C"),
]
_COMPLETION = [
    ("bash", 'eval "$(_AUTOROUTER_COMPLETE=bash_source autorouter)"'),
    ("zsh", 'eval "$(_AUTOROUTER_COMPLETE=zsh_source autorouter)"'),
    ("fish", "_AUTOROUTER_COMPLETE=fish_source autorouter | source"),
]


class Command(click.Command):
    """A command whose epilog is an example."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example and the exit codes."""
        with formatter.section("Example"):
            formatter.write_text(self.epilog or "")
        with formatter.section("Exit codes"):
            formatter.write_dl(_EXIT_CODES)


class Group(click.Group):
    command_class = Command


class Commands(Group):
    """The top-level group. Its --help also lists the settings."""

    group_class = Group

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they were added."""
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the settings, the exit codes, and how to enable completion."""
        with formatter.section("Settings (environment)"):
            formatter.write_dl([(each.variable, _describe(each)) for each in describe_settings()])
        with formatter.section("Exit codes"):
            formatter.write_dl(_EXIT_CODES)
        with formatter.section("Shell completion (add the line to the shell's start file)"):
            formatter.write_dl(_COMPLETION)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Print a RouterError, one line per fault, and exit with 1."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for fault in error.faults:
                click.echo(f"error: {escaped_lines(fault)}", err=True)
        except KeyboardInterrupt:
            return ctx.exit(INTERRUPTED)
        except RouterError as error:
            click.echo(f"error: {escaped_lines(str(error))}", err=True)
        return ctx.exit(1)


def _describe(setting: SettingDescription) -> str:
    accepts = " ".join(filter(None, [setting.accepts, setting.unit]))
    default = f" [default: {setting.default}]" if setting.default else ""
    file = f" Or {setting.variable}_FILE: a file that contains it." if setting.is_secret else ""
    return f"{setting.about} ({accepts}){default}{file}"
