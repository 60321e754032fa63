"""The kinds of stored values as they were at 85b0a81, to read with what is written today.

A copy that is never changed: it stands for servers that nobody has upgraded yet."""

from dataclasses import dataclass, field
from enum import StrEnum

MAX_INTENT_S = 72 * 3_600


class Observed(StrEnum):
    """What probes say of an edge."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"


class Intended(StrEnum):
    """What an operator wants of an edge."""

    ENABLED = "enabled"
    DRAINING = "draining"
    DISABLED = "disabled"


class Outcome(StrEnum):
    """What one probe met: a closed set, so it can label metrics and events."""

    OK = "ok"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    REFUSED = "refused"
    CONNECT_TIMEOUT = "connect_timeout"
    TIMEOUT = "timeout"
    RESET = "reset"
    TLS = "tls"
    STATUS = "status"
    BAD_BODY = "bad_body"
    TOO_LARGE = "too_large"
    LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeView:
    """What one vantage knows of one edge, as published.

    `streak`: consecutive results alike, positive passes, negative failures.
    `models`: ids loaded, or None when the inventory is unknown.
    """

    state: Observed
    since: float
    reason: Outcome | None = None
    rtt_ms: float | None = None
    streak: int = 0
    models: tuple[str, ...] | None = None
    models_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that one vantage publishes, in one value: never torn.

    `seq` only grows, whoever writes; `isolated`: it cannot see its witnesses, so it has
    no verdicts; `held`: edges that it saw fall and does not believe it of yet.
    """

    vantage: str
    seq: int
    probed_at: float
    isolated: bool = False
    held: tuple[str, ...] = ()
    edges: dict[str, EdgeView] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An operator's wish for one edge; void after `expires_at`."""

    edge: str
    state: Intended
    actor: str
    reason: str
    created_at: float
    expires_at: float

    @property
    def ends_at(self) -> float:
        """When it ends, whatever was stored: at most MAX_INTENT_S after it was made."""
        return min(self.expires_at, self.created_at + MAX_INTENT_S)


class EventKind(StrEnum):
    """What an event tells of."""

    TRANSITION = "transition"
    BRAKE = "brake"
    ISOLATION = "isolation"
    INTENT = "intent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened, for people and for audit: who, what, why, until when."""

    at: float
    kind: EventKind
    edge: str | None = None
    vantage: str | None = None
    before: str | None = None
    after: str | None = None
    reason: str | None = None
    actor: str | None = None
    until: float | None = None
