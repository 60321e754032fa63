"""What changed between two views of a vantage, as events. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from router.model import EdgeView, Event, EventKind, Observed, Outcome, View

_REPORTED = frozenset({Outcome.TOO_LARGE, Outcome.BAD_BODY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """Whether a vantage is isolated, and whether its brake holds edges."""

    isolated: bool = False
    braked: bool = False


def doubts_of(view: View) -> Doubts:
    """The doubts that a view states."""
    return Doubts(isolated=view.isolated, braked=bool(view.held))


def events_between(view: View, before: Mapping[str, EdgeView], doubts: Doubts) -> list[Event]:
    """The events for the differences between the view published `before` and this one. The first
    `up` of an edge is not an event.
    """
    events = [*_doubts(view, doubts)]
    for id, edge in view.edges.items():
        events += _inventory(view, id, edge, before.get(id))
        events += _addresses(view, id, edge, before.get(id))
        events += _transition(view, id, edge, before.get(id))
    return events


def _transition(view: View, id: str, edge: EdgeView, before: EdgeView | None) -> Iterator[Event]:
    was = Observed.UNKNOWN if before is None else before.state
    if edge.state is was or (was, edge.state) == (Observed.UNKNOWN, Observed.UP):
        return
    yield Event(
        at=view.probed_at,
        kind=EventKind.TRANSITION,
        edge=id,
        vantage=view.vantage,
        before=was,
        after=edge.state,
        reason=edge.reason,
    )


def _inventory(view: View, id: str, edge: EdgeView, before: EdgeView | None) -> Iterator[Event]:
    """Events for an inventory that cannot be read: when that begins, and when it ends."""
    was = None if before is None else before.models_fault
    if edge.models_fault is was or _REPORTED.isdisjoint({was, edge.models_fault}):
        return
    yield Event(
        at=view.probed_at,
        kind=EventKind.MODELS,
        edge=id,
        vantage=view.vantage,
        after="unknown" if edge.models_fault in _REPORTED else "ok",
        reason=edge.models_fault,
    )


def _addresses(view: View, id: str, edge: EdgeView, before: EdgeView | None) -> Iterator[Event]:
    """An event if the addresses that fail while another one works have changed."""
    failing = edge.bad_addresses
    if failing == (() if before is None else before.bad_addresses):
        return
    yield Event(
        at=view.probed_at,
        kind=EventKind.ADDRESS,
        edge=id,
        vantage=view.vantage,
        after="failing" if failing else "ok",
        reason=", ".join(failing) or None,
    )


def _doubts(view: View, before: Doubts) -> Iterator[Event]:
    """Events for the beginning and end of the brake and of isolation."""
    now, count = doubts_of(view), len(view.held)
    if now.isolated is not before.isolated:
        yield _doubt(view, EventKind.ISOLATION, now.isolated, "most witnesses do not answer")
    if now.braked is not before.braked:
        yield _doubt(view, EventKind.BRAKE, now.braked, f"{count} edges fell at once")


def _doubt(view: View, kind: EventKind, is_on: bool, reason: str) -> Event:
    return Event(
        at=view.probed_at,
        kind=kind,
        vantage=view.vantage,
        after="on" if is_on else "off",
        reason=reason if is_on else None,
    )
