"""Operator intents: what may be asked of an edge, when to reject it, and how it is stored."""

import re
from collections.abc import Iterable, Sequence

from router.errors import RouterError
from router.model import MAX_INTENT_S, Event, EventKind, Intended, Intent
from router.routing.fleet import Fleet, useful
from router.store import Change, Store

MAX_TEXT = 200
MAX_NAMED = 50

_DURATION = re.compile(r"(\d{1,6})([smhd])")
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class RefusedError(RouterError):
    """An operator's wish that must not be granted as it stands; the text says why."""


def parse_duration(text: str) -> int | None:
    """Seconds in `90s`, `30m`, `2h` or `1d`; None when it is no duration within 72 hours."""
    match = _DURATION.fullmatch(text.strip())
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    return seconds if 0 < seconds <= MAX_INTENT_S else None


def new_intent(
    edge: str, state: Intended, *, life_s: int, reason: str, actor: str, now: float
) -> Intent:
    """An intent from now on. Raises RefusedError for a life or texts out of bounds."""
    if not 0 < life_s <= MAX_INTENT_S:
        raise RefusedError("an intent lasts at most 72 hours; say for how long, like 2h")
    check_text("reason", reason)
    check_text("actor", actor)
    return Intent(
        edge=edge,
        state=state,
        actor=actor.strip(),
        reason=reason.strip(),
        created_at=now,
        expires_at=now + life_s,
    )


def check_text(name: str, text: str) -> None:
    """Raise RefusedError for what cannot be shown in a line of an audit."""
    if not text.strip() or len(text) > MAX_TEXT or not text.isprintable():
        raise RefusedError(
            f"the {name} must be 1 to {MAX_TEXT} printable characters, without line ends or "
            "characters that change the direction of text"
        )


def check_known(fleet: Fleet, edges: Iterable[str]) -> None:
    """Raise RefusedError for edges that are not in the catalog."""
    known = {edge.region.id for edge in fleet.edges}
    unknown = sorted(set(edges) - known)
    if unknown:
        there = ", ".join(sorted(known)[:MAX_NAMED])
        raise RefusedError(f"no such edge: {', '.join(unknown)}; there are {there}")


def check_leaving(fleet: Fleet, edges: Iterable[str]) -> None:
    """Raise RefusedError if taking these edges out would leave a country that has edges
    with none to offer."""
    if takes_the_last(fleet, edges):
        raise RefusedError(
            "this would leave no edge at all: every viewer would get 503; force it if that is "
            "what you want"
        )
    left = countries_left(fleet, edges)
    if left:
        raise RefusedError(
            f"this would leave {', '.join(left)} without an edge; force it if that is what you want"
        )


def takes_the_last(fleet: Fleet, edges: Iterable[str]) -> bool:
    """Whether some edge is enabled now and none would be without these."""
    leaving = set(edges)
    enabled = {edge.region.id for edge in fleet.edges if edge.enabled}
    return bool(enabled) and enabled <= leaving


def countries_left(fleet: Fleet, edges: Iterable[str]) -> list[str]:
    """The countries that have edges to offer now, and none without these."""
    leaving = set(edges)
    staying = {edge.region.country for edge in useful(fleet) if edge.region.id not in leaving}
    touched = {edge.region.country for edge in useful(fleet) if edge.region.id in leaving}
    return sorted(touched - staying)


def intent_event(
    edge: str, intent: Intent | None, before: Intended, actor: str, at: float
) -> Event:
    """The audit of a change: who wants what, why and until when; None: the wish is gone."""
    return Event(
        at=at,
        kind=EventKind.INTENT,
        edge=edge,
        before=before,
        after=Intended.ENABLED if intent is None else intent.state,
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
) -> list[Event]:
    """Drain or disable edges until `life_s` from now. Raises RefusedError, which changes
    nothing, or StoreError, whose text says what holds."""
    ids = list(dict.fromkeys(edges))
    intents = [
        new_intent(id, state, life_s=life_s, reason=reason, actor=actor, now=now) for id in ids
    ]
    check_known(fleet, ids)
    if not force:
        check_leaving(fleet, ids)
    before = _intended(fleet)
    changes = [
        Change(one.edge, one, intent_event(one.edge, one, before[one.edge], one.actor, now))
        for one in intents
    ]
    return await _carry_out(store, changes)


async def drop_intents(
    store: Store, fleet: Fleet, edges: Sequence[str], *, actor: str, now: float
) -> list[Event]:
    """Enable edges again. Raises RefusedError, which changes nothing, or StoreError, whose
    text says what holds."""
    ids = list(dict.fromkeys(edges))
    check_known(fleet, ids)
    check_text("actor", actor)
    before = _intended(fleet)
    changes = [Change(id, None, intent_event(id, None, before[id], actor, now)) for id in ids]
    return await _carry_out(store, changes)


async def _carry_out(store: Store, changes: Sequence[Change]) -> list[Event]:
    await store.act(changes)
    return [change.event for change in changes if change.event is not None]


def _intended(fleet: Fleet) -> dict[str, Intended]:
    return {edge.region.id: edge.intended for edge in fleet.edges}
