"""Commands that set operators' intents for edges: `drain`, `disable`, `dial`, `enable`."""

import asyncio
from collections.abc import Callable
from typing import Any

import click

from router.cli.app import Command
from router.cli.options import ACTOR, EDGES, JSON, print_json, server_settings, whoami

_FOR = "How long: 30m, 2h, at most 3d."
_REASON = "The reason, for the events."


def _intent_command(
    state: str, about: str, example: str
) -> Callable[[Callable[..., None]], click.Command]:
    """A decorator that makes `drain` or `disable`, with the options of both."""

    def decorate(run: Callable[..., None]) -> click.Command:
        for option in reversed(
            [
                EDGES,
                click.option("--for", "for_", required=True, help=_FOR),
                click.option("--reason", required=True, help=_REASON),
                ACTOR,
                click.option("--force", is_flag=True, help="Allow a country to have no edge left."),
                JSON,
            ]
        ):
            run = option(run)
        return click.command(state, cls=Command, help=about, epilog=example)(run)

    return decorate


def _put_intent(state: str, options: dict[str, Any]) -> None:
    body = {
        "state": state,
        "for": options["for_"],
        "reason": options["reason"],
        "actor": options["actor"] or whoami(),
        "force": options["force"],
    }
    _change(options["edges"], body, options["as_json"])


def _change(edges: tuple[str, ...], body: dict[str, Any], as_json: bool) -> None:
    from router.cli import text as render
    from router.ops import client as inquire
    from router.ops.intents import parse_duration

    for name, text in (("--for", body["for"]), ("--over", body.get("over"))):
        if text is not None and parse_duration(text) is None:
            raise click.BadParameter("write 90s, 30m, 2h or 3d; 72h at most", param_hint=name)
    done = asyncio.run(inquire.put_intent(server_settings("OPS_TOKEN", "REGIONS"), edges, body))
    print_json({"events": done}) if as_json else render.show_events(done)


@_intent_command(
    "drain",
    "Leave edges out of new answers for some time; clients that use them may continue.\n\n"
    "Rejected without --force if a country would have no edge left. `autorouter edges` shows "
    "how long older answers may be in use.",
    'autorouter drain yto-01 --for 2h --reason "new kernel"',
)
def drain(**options: Any) -> None:
    """The command's help is above."""
    _put_intent("draining", options)


@_intent_command(
    "disable",
    "Leave edges out of all answers for some time, because they do not work.\n\n"
    "Rejected without --force if a country would have no edge left.",
    'autorouter disable yul-02 --for 8h --reason "disk, ticket 4711"',
)
def disable(**options: Any) -> None:
    """The command's help is above."""
    _put_intent("disabled", options)


class Share(click.ParamType[float]):
    """`70%` or `0.7`."""

    name = "share"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Parse a share from 0 to 1."""
        from router.ops.intents import parse_share

        share = value if isinstance(value, float) else parse_share(value)
        if share is None:
            self.fail("write a share like 70% or 0.7, from 0% to 100%", param, ctx)
        return share


@click.command(cls=Command, epilog='autorouter dial yto-01 70% --for 2h --reason "GPUs hot"')
@EDGES
@click.argument("share", type=Share())
@click.option("--for", "for_", required=True, help=_FOR)
@click.option("--reason", required=True, help=_REASON)
@click.option("--over", help="Change gradually from the present share, in this time: 15m.")
@ACTOR
@JSON
def dial(
    edges: tuple[str, ...],
    share: float,
    for_: str,
    reason: str,
    over: str | None,
    actor: str | None,
    as_json: bool,
) -> None:
    """Limit edges to a share of their viewers for some time: 70% or 0.7.

    The other viewers get their next edge in the same country, and this one as first alternate.
    Viewers without another edge there keep this one. `autorouter enable` ends the dial.
    """
    body = {
        "dial": share,
        "for": for_,
        "over": over,
        "reason": reason,
        "actor": actor or whoami(),
    }
    _change(edges, body, as_json)


@click.command(cls=Command, epilog="autorouter enable yto-01 yul-02")
@EDGES
@ACTOR
@click.option("--now", "at_once", is_flag=True, help="Also end their hold-down and flapping.")
@JSON
def enable(edges: tuple[str, ...], actor: str | None, at_once: bool, as_json: bool) -> None:
    """End the drain, disable or dial of edges before its time is over.

    If an edge was down, it waits for the end of its hold-down. If it is flapping, it waits until
    its state stops changing. With --now it is up after two passed probes.
    """
    from router.cli import text as render
    from router.ops import client as inquire

    by, settings = actor or whoami(), server_settings("OPS_TOKEN", "REGIONS")
    done = asyncio.run(inquire.enable_edges(settings, edges, by, at_once=at_once))
    print_json({"events": done}) if as_json else render.show_events(done)
