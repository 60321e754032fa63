"""Operator intents: validation, refusals, and how intents are stored."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from router.errors import RouterError
from router.model import MAX_INTENT_S, Event, EventKind, Intended, Intent
from router.routing.fleet import Edge, Fleet, useful_edges
from router.routing.unknown_edges import unknown_edges
from router.store import Change, Store

MAX_TEXT = 200
AT_ONCE_S = 600  # longer than any poller needs to read it

_AT_ONCE = "enabled now: ends hold-down and flapping"

_DURATION = re.compile(r"(\d{1,6})([smhd])")
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)(%?)", re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Dial(NamedTuple):
    """The share of its viewers that an edge keeps, and in how many seconds it reaches that."""

    share: float
    over_s: int


class RefusedError(RouterError):
    """The change is refused; the text says why."""


class UnforcedError(RefusedError):
    """An intent that is accepted only with force."""


def check_all(*checks: Callable[[], None]) -> None:
    """Run all checks. Raise one RefusedError with the texts of all that fail."""
    faults = []
    for check in checks:
        try:
            check()
        except RefusedError as error:
            faults.append(str(error))
    if faults:
        raise RefusedError("; ".join(faults))


def parse_duration(text: str) -> int | None:
    """The seconds in `90s`, `30m`, `2h` or `1d`. None for other text, or above 72 hours."""
    match = _DURATION.fullmatch(text.strip())
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    return seconds if 0 < seconds <= MAX_INTENT_S else None


def new_intent(
    edge: str,
    state: Intended,
    *,
    life_s: int,
    reason: str,
    actor: str,
    now: float,
    dial: Dial | None = None,
    from_share: float = 1.0,
) -> Intent:
    """A new intent that begins now. Raises RefusedError if its duration, dial or texts are not
    valid.
    """
    share, over_s = dial or Dial(1.0, 0)
    check_all(
        lambda: _check_life(life_s),
        lambda: check_text("reason", reason),
        lambda: check_text("actor", actor),
        lambda: _check_dial(share, over_s, life_s),
    )
    return Intent(
        edge=edge,
        state=state,
        actor=actor.strip(),
        reason=reason.strip(),
        created_at=now,
        expires_at=now + life_s,
        share=share,
        from_share=from_share if over_s else share,
        over_s=over_s,
    )


def _check_life(life_s: int) -> None:
    if not 0 < life_s <= MAX_INTENT_S:
        raise RefusedError("an intent lasts at most 72 hours; give a duration like 2h")


def _check_dial(share: float, over_s: int, life_s: int) -> None:
    if not 0.0 <= share <= 1.0:
        raise RefusedError("a dial is a share from 0 to 1")
    if over_s > life_s:
        raise RefusedError(
            "the dial would end before it reaches its share; make over shorter than for"
        )


def parse_share(text: str) -> float | None:
    """0.7 for `70%` or `0.7`. None for anything that is not a share from 0 to 1."""
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        return None
    share = float(match[1]) / (100 if match[2] else 1)
    return share if share <= 1.0 else None


def requested_dial(state: str | None, share: float | None, over: str | None) -> Dial | None:
    """The requested dial, or None for a drain or disable. Raises RefusedError."""
    if (state is None) is (share is None):
        raise RefusedError("give either state (draining or disabled) or dial (a share from 0 to 1)")
    if share is None:
        return None
    over_s = 0 if over is None else parse_duration(over)
    if over_s is None:
        raise RefusedError("over must be a duration like 90s, 15m or 2h")
    return Dial(share, over_s)


def check_text(name: str, text: str) -> None:
    """Raise RefusedError for text that events cannot show in one line."""
    if not text.strip() or len(text) > MAX_TEXT or not text.isprintable():
        raise RefusedError(
            f"the {name} must be 1 to {MAX_TEXT} printable characters, without line ends or "
            "characters that change the direction of text"
        )


def check_known(fleet: Fleet, edges: Iterable[str]) -> None:
    """Raise RefusedError, with all their ids, for edges that are not in the catalog."""
    fault = unknown_edges(edges, fleet.by_id)
    if fault is not None:
        raise RefusedError(fault)


def check_leaving(fleet: Fleet, edges: Iterable[str]) -> None:
    """Raise UnforcedError if a country or the whole fleet would have no edge left without these.
    Countries do not count in a fleet with one edge per country: every change would need force
    there, so force would become a habit.
    """
    if leaves_no_edge(fleet, edges):
        raise UnforcedError(
            "this would leave no edge at all: every viewer would get 503; use force to do it anyway"
        )
    left = [] if has_one_edge_per_country(fleet) else countries_without_edge(fleet, edges)
    if left:
        raise UnforcedError(
            f"this would leave {', '.join(left)} without an edge; use force to do it anyway"
        )


def has_one_edge_per_country(fleet: Fleet) -> bool:
    """Whether no country has a second routable edge."""
    countries = [edge.region.country for edge in fleet.edges if edge.region.routable]
    return len(countries) == len(set(countries))


def leaves_no_edge(fleet: Fleet, edges: Iterable[str]) -> bool:
    """Whether an edge is enabled now, but none would be without these."""
    leaving = set(edges)
    enabled = {edge.region.id for edge in fleet.edges if edge.enabled}
    return bool(enabled) and enabled <= leaving


def countries_without_edge(fleet: Fleet, edges: Iterable[str]) -> list[str]:
    """The countries that have offered edges now, but would have none without these."""
    leaving = set(edges)
    staying = {edge.region.country for edge in useful_edges(fleet) if edge.region.id not in leaving}
    touched = {edge.region.country for edge in useful_edges(fleet) if edge.region.id in leaving}
    return sorted(touched - staying)


def intent_event(edge: str, intent: Intent | None, before: str, actor: str, at: float) -> Event:
    """The event of a change: what, who, why and until when. `intent`: None if it was removed."""
    return Event(
        at=at,
        kind=EventKind.INTENT,
        edge=edge,
        before=before,
        after=Intended.ENABLED if intent is None else _name_of(intent),
        reason=None if intent is None else intent.reason,
        actor=actor,
        until=None if intent is None else intent.expires_at,
    )


async def set_intents(
    store: Store,
    fleet: Fleet,
    edges: Sequence[str],
    state: Intended,
    *,
    life_s: int,
    reason: str,
    actor: str,
    force: bool,
    now: float,
    dial: Dial | None = None,
) -> list[Event]:
    """Drain, disable or dial edges for `life_s` seconds. To dial, pass ENABLED and a `dial`. If it
    raises RefusedError, nothing was changed. If it raises StoreError, the text says whether
    anything was changed.
    """
    ids = list(dict.fromkeys(edges))
    one = partial(
        new_intent, state=state, life_s=life_s, reason=reason, actor=actor, now=now, dial=dial
    )
    check_all(lambda: check_known(fleet, ids), lambda: _try(one))
    intents = [one(id, from_share=_share_now(fleet.by_id[id])) for id in ids]
    if not force and dial is None:
        check_leaving(fleet, ids)
    before = _state_names(fleet)
    changes = [
        Change(one.edge, one, intent_event(one.edge, one, before[one.edge], one.actor, now))
        for one in intents
    ]
    return await _carry_out(store, changes)


def _try(make: Callable[[str], Intent]) -> None:
    """Raise RefusedError if the intent is not valid for any edge."""
    make("")


async def drop_intents(
    store: Store, fleet: Fleet, edges: Sequence[str], *, actor: str, now: float
) -> list[Event]:
    """Enable edges again. Raises as `set_intents`."""
    ids = list(dict.fromkeys(edges))
    check_all(lambda: check_known(fleet, ids), lambda: check_text("actor", actor))
    before = _state_names(fleet)
    changes = [Change(id, None, intent_event(id, None, before[id], actor, now)) for id in ids]
    return await _carry_out(store, changes)


async def enable_at_once(
    store: Store, fleet: Fleet, edges: Sequence[str], *, actor: str, now: float
) -> list[Event]:
    """Enable edges, and make pollers end their hold-down and flapping. Older releases read the
    intent as enabled. Raises as `set_intents`.
    """
    ids = list(dict.fromkeys(edges))
    check_all(lambda: check_known(fleet, ids), lambda: check_text("actor", actor))
    before = _state_names(fleet)
    changes = []
    for id in ids:
        intent = new_intent(
            id, Intended.ENABLED, life_s=AT_ONCE_S, reason=_AT_ONCE, actor=actor, now=now
        )
        intent = replace(intent, at_once=True)
        event = intent_event(id, intent, before[id], intent.actor, now)
        changes.append(Change(id, intent, replace(event, until=None)))
    return await _carry_out(store, changes)


async def _carry_out(store: Store, changes: Sequence[Change]) -> list[Event]:
    await store.change_intents(changes)
    return [change.event for change in changes if change.event is not None]


def _state_names(fleet: Fleet) -> dict[str, str]:
    return {
        edge.region.id: edge.intended if edge.intent is None else _name_of(edge.intent)
        for edge in fleet.edges
    }


def _name_of(intent: Intent) -> str:
    """`draining`, `dial 70%`, `dial 0% over 15m`."""
    if intent.state is not Intended.ENABLED or intent.at_once:
        return intent.state
    over = f" over {intent.over_s / 60:g}m" if intent.over_s else ""
    return f"dial {intent.share * 100:g}%{over}"


def _share_now(edge: Edge) -> float:
    """The share at which a dial starts: 0 for an edge that an operator took out."""
    return edge.share if edge.intended is Intended.ENABLED else 0.0
