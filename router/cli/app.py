"""What all commands share: how help is written, and how an error becomes an exit code."""

from typing import Any

import click

from router.config.settings import SettingDescription, describe_settings
from router.errors import ConfigError, RouterError
from router.safe_text import escaped_lines

INTERRUPTED = 130  # as shells report a command that SIGINT ended

_EXIT_CODES = [
    ("0", "done"),
    ("1", "an error, or refused"),
    ("2", "wrong usage"),
    ("130", "ended by Ctrl-C"),
]
_COMPLETION = [
    ("bash", 'eval "$(_AUTOROUTER_COMPLETE=bash_source autorouter)"'),
    ("zsh", 'eval "$(_AUTOROUTER_COMPLETE=zsh_source autorouter)"'),
    ("fish", "_AUTOROUTER_COMPLETE=fish_source autorouter | source"),
]


class Command(click.Command):
    """Its epilog is an example."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The example, and what the exit codes mean."""
        with formatter.section("Example"):
            formatter.write_text(self.epilog or "")
        with formatter.section("Exit codes"):
            formatter.write_dl(_EXIT_CODES)


class Group(click.Group):
    command_class = Command


class Commands(Group):
    """Commands in the order written, with the settings after them in --help."""

    group_class = Group

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of their definition."""
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The environment, the exit codes, and how to enable completion."""
        with formatter.section("Settings (environment)"):
            formatter.write_dl([(each.variable, _described(each)) for each in describe_settings()])
        with formatter.section("Exit codes"):
            formatter.write_dl(_EXIT_CODES)
        with formatter.section("Completion, in the shell's start file"):
            formatter.write_dl(_COMPLETION)

    def invoke(self, ctx: click.Context) -> Any:
        """Print our errors for people, one line per fault, and exit with 1."""
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


def _described(setting: SettingDescription) -> str:
    accepts = " ".join(filter(None, [setting.accepts, setting.unit]))
    default = f" [default: {setting.default}]" if setting.default else ""
    file = f" Or {setting.variable}_FILE: a file that holds it." if setting.is_secret else ""
    return f"{setting.about} ({accepts}){default}{file}"
