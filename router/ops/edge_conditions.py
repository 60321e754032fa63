"""Names the condition of an edge, from what the vantages published. Pure."""

import time
from collections.abc import Iterable
from enum import StrEnum

from router.model import EdgeView, Observed, Outcome
from router.routing.fleet import Edge

_MET = {
    Outcome.UNHEALTHY: "it says that it is unhealthy",
    Outcome.REFUSED: "connection refused, or name not resolved",
    Outcome.CONNECT_TIMEOUT: "no connection in time",
    Outcome.TIMEOUT: "no answer in time",
    Outcome.RESET: "the connection breaks",
    Outcome.TLS: "TLS fails",
    Outcome.STATUS: "an HTTP status other than 200",
    Outcome.BAD_BODY: "an answer that is no health document",
    Outcome.TOO_LARGE: "an answer that is too large",
    Outcome.LOCAL: "a fault of the poller itself",
    Outcome.DEGRADED: "it says that it is degraded",
}


class Condition(StrEnum):
    """Why an edge that passes its probes is not up."""

    HOLD_DOWN = "hold_down"
    SPLIT = "split"
    FLAPPING = "flapping"
    SLOW = "slow"
    RECOVERING = "recovering"  # up after another good probe
    UNSTEADY = "unsteady"  # slow or flapping; older releases do not publish which


def condition(edge: Edge) -> Condition | None:
    """The condition of an edge that is not up although its last probe passed; else None."""
    if edge.observed is Observed.DEGRADED and Observed.DOWN in edge.votes.values():
        return Condition.SPLIT
    if edge.reason is not Outcome.OK:
        return None
    if edge.observed is Observed.DOWN:
        return Condition.HOLD_DOWN
    return _degraded(edge) if edge.observed is Observed.DEGRADED else None


def _degraded(edge: Edge) -> Condition:
    seen = _witnesses(edge)
    if any(one.calm_at is not None for one in seen):
        return Condition.FLAPPING
    if any(one.usual_ms is not None for one in seen):
        return Condition.SLOW
    says = any(one.worked is not None for one in seen)
    return Condition.RECOVERING if says else Condition.UNSTEADY


def reason(edge: Edge) -> str | None:
    """The reason of the edge's state, in one word. It is never `ok` for an edge that is not up."""
    named = condition(edge)
    return edge.reason if named is None else named


def why(edge: Edge) -> str:
    """The reason in words, to be shown after the state."""
    match condition(edge):
        case Condition.HOLD_DOWN:
            return _held_down(edge)
        case Condition.SPLIT:
            return _split(edge)
        case Condition.FLAPPING:
            return _flapping(edge)
        case Condition.SLOW:
            return _slow(edge)
        case Condition.RECOVERING:
            return "it passes again, and is up after another good probe"
        case Condition.UNSTEADY:
            return "slow, or up and down too often"
    return "" if edge.reason is None else _MET.get(edge.reason, "")


def back_at(edge: Edge) -> float | None:
    """When the last of its hold-downs ends; None if no vantage publishes that."""
    return _latest(one.back_at for one in _witnesses(edge))


def calm_at(edge: Edge) -> float | None:
    """When it stops flapping, if its state does not change; None if it is not flapping."""
    return _latest(one.calm_at for one in edge.seen.values())


def changes(edge: Edge) -> int:
    """How often its state has changed recently, while it is flapping."""
    return max((one.changes for one in edge.seen.values()), default=0)


def usual_ms(edge: Edge) -> float | None:
    """The usual time of a probe in ms, while the edge is slow."""
    return _latest(one.usual_ms for one in edge.seen.values())


def clock_time(at: float) -> str:
    """`02:12:30 UTC`."""
    return time.strftime("%H:%M:%S UTC", time.gmtime(at))


def _held_down(edge: Edge) -> str:
    at = back_at(edge)
    if at is None:
        return "it passes again, and is held down for a while"
    return f"it passes again, back at {clock_time(at)}"


def _split(edge: Edge) -> str:
    down = sorted(name for name, vote in edge.votes.items() if vote is Observed.DOWN)
    sees = "sees" if len(down) == 1 else "see"
    return f"only {' and '.join(down)} {sees} it down"


def _flapping(edge: Edge) -> str:
    at = calm_at(edge) or 0.0
    return f"its state changed {changes(edge)} times; up at {clock_time(at)} if it stays steady"


def _slow(edge: Edge) -> str:
    slow = [one for one in _witnesses(edge) if one.usual_ms is not None]
    worst = max(slow, key=lambda one: one.rtt_ms or 0.0)
    return f"{worst.rtt_ms or 0.0:,.0f} ms, usually {worst.usual_ms or 0.0:,.0f} ms"


def _witnesses(edge: Edge) -> list[EdgeView]:
    """What the vantages that see the edge in this state published about it."""
    return [one for one in edge.seen.values() if one.state is edge.observed]


def _latest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
