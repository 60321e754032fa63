"""Why an edge is not up, from what the vantages published. Pure."""

import time
from collections.abc import Iterable
from enum import StrEnum

from router.model import EdgeView, Observed, Outcome
from router.routing.fleet import Edge

_REASONS = {
    Outcome.UNHEALTHY: "it says that it is unhealthy",
    Outcome.REFUSED: "connection refused, or name not resolved",
    Outcome.CONNECT_TIMEOUT: "the connection timed out",
    Outcome.TIMEOUT: "the response timed out",
    Outcome.RESET: "the connection was reset",
    Outcome.TLS: "TLS error",
    Outcome.STATUS: "an HTTP status other than 200",
    Outcome.BAD_BODY: "the response is not a health document",
    Outcome.TOO_LARGE: "the response is too large",
    Outcome.LOCAL: "an error on the poller's own machine",
    Outcome.DEGRADED: "it says that it is degraded",
}


class Condition(StrEnum):
    """Why an edge that passes its probes is not up."""

    HOLD_DOWN = "hold_down"
    SPLIT = "split"
    FLAPPING = "flapping"
    SLOW = "slow"
    RECOVERING = "recovering"  # up after one more passed probe
    UNSTEADY = "unsteady"  # slow or flapping; older releases do not publish which of them


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
    seen = _agreeing(edge)
    if any(one.calm_at is not None for one in seen):
        return Condition.FLAPPING
    if any(one.usual_ms is not None for one in seen):
        return Condition.SLOW
    says = any(one.worked is not None for one in seen)
    return Condition.RECOVERING if says else Condition.UNSTEADY


def reason(edge: Edge) -> str | None:
    """The reason for the edge's state, in one word. It is never `ok` for an edge that is not up."""
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
            return "it passes its probes again; up after one more"
        case Condition.UNSTEADY:
            return "slow or flapping"
    return "" if edge.reason is None else _REASONS.get(edge.reason, "")


def back_at(edge: Edge) -> float | None:
    """When the last of its hold-downs ends; None if no vantage publishes that."""
    return _latest(one.back_at for one in _agreeing(edge))


def calm_at(edge: Edge) -> float | None:
    """When it stops flapping, if its state does not change; None if it is not flapping."""
    return _latest(one.calm_at for one in edge.seen.values())


def changes(edge: Edge) -> int:
    """How often its state has changed in the last minutes; 0 if it is not flapping."""
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
        return "it passes its probes again, and is held down for a while"
    return f"it passes its probes again, back at {clock_time(at)}"


def _split(edge: Edge) -> str:
    down = sorted(name for name, vote in edge.votes.items() if vote is Observed.DOWN)
    sees = "sees" if len(down) == 1 else "see"
    return f"only {' and '.join(down)} {sees} it down"


def _flapping(edge: Edge) -> str:
    at = calm_at(edge) or 0.0
    return f"its state changed {changes(edge)} times; up at {clock_time(at)} if it does not change"


def _slow(edge: Edge) -> str:
    slow = [one for one in _agreeing(edge) if one.usual_ms is not None]
    worst = max(slow, key=lambda one: one.rtt_ms or 0.0)
    return f"{worst.rtt_ms or 0.0:,.0f} ms, usually {worst.usual_ms or 0.0:,.0f} ms"


def _agreeing(edge: Edge) -> list[EdgeView]:
    """What the vantages that agree with the state of the edge published about it."""
    return [one for one in edge.seen.values() if one.state is edge.observed]


def _latest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
