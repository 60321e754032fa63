"""The stored value types of commit 85b0a81. Tests decode with them what is written today.

Do not change this copy: it represents servers that are not upgraded yet."""

from dataclasses import dataclass, field
from enum import StrEnum

MAX_INTENT_S = 72 * 3_600


class Observed(StrEnum):
    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"


class Intended(StrEnum):
    ENABLED = "enabled"
    DRAINING = "draining"
    DISABLED = "disabled"


class Outcome(StrEnum):
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
    state: Observed
    since: float
    reason: Outcome | None = None
    rtt_ms: float | None = None
    streak: int = 0
    models: tuple[str, ...] | None = None
    models_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    vantage: str
    seq: int
    probed_at: float
    isolated: bool = False
    held: tuple[str, ...] = ()
    edges: dict[str, EdgeView] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    edge: str
    state: Intended
    actor: str
    reason: str
    created_at: float
    expires_at: float

    @property
    def ends_at(self) -> float:
        return min(self.expires_at, self.created_at + MAX_INTENT_S)


class EventKind(StrEnum):
    TRANSITION = "transition"
    BRAKE = "brake"
    ISOLATION = "isolation"
    INTENT = "intent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    at: float
    kind: EventKind
    edge: str | None = None
    vantage: str | None = None
    before: str | None = None
    after: str | None = None
    reason: str | None = None
    actor: str | None = None
    until: float | None = None
