"""Each command's function accepts the options that the command declares."""

import inspect
from collections.abc import Iterator

import click
import pytest

from router.cli.main import main


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield from commands(command)
        else:
            yield command


@pytest.mark.parametrize("command", [*commands(main)], ids=lambda command: command.name)
def test_function_accepts_the_declared_options(command: click.Command) -> None:
    assert command.callback is not None
    declared = {each.name: None for each in command.params if each.expose_value}
    inspect.signature(command.callback).bind(**declared)
