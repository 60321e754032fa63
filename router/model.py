"""The nouns of the service as frozen values; no rules, no I/O.

Coordinates are degrees as floats, times are Unix seconds as floats unless a
name says otherwise, and names carry their unit.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import NamedTuple

MAX_INTENT_S = 72 * 3_600


class Scope(StrEnum):
    """Which edges come first: those in the viewer's country, or the nearest anywhere."""

    COUNTRY = "country"
    GLOBAL = "global"

    # The hash of an Enum runs in Python, and this is in the key of every look-up.
    __hash__ = str.__hash__


class Observed(StrEnum):
    """The state of an edge, as probes observe it."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"


class Intended(StrEnum):
    """What an operator wants for an edge."""

    ENABLED = "enabled"
    DRAINING = "draining"
    DISABLED = "disabled"


class Status(StrEnum):
    """How far the health behind an answer can be trusted."""

    OK = "ok"
    STALE = "stale"
    STATIC = "static"
    FAIL_OPEN = "fail_open"


class Outcome(StrEnum):
    """The outcome of one probe: a closed set, so it can label metrics and events."""

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


class Level(StrEnum):
    """How exactly a viewer's location is known."""

    CITY = "city"
    COUNTRY = "country"
    UNKNOWN = "unknown"

    __hash__ = str.__hash__  # as in Scope: part of the labels of each route


class Source(StrEnum):
    """What located a viewer."""

    CDN_KEY = "cdn_key"
    CDN_HEADERS = "cdn_headers"
    OVERRIDE = "override"
    FEED = "feed"
    DATABASE = "database"
    ASKED = "asked"  # an operator asked about a place
    NONE = "none"

    __hash__ = str.__hash__


class Position(NamedTuple):
    """A point on Earth. latitude in [-90, 90], longitude in [-180, 180], degrees."""

    latitude: float
    longitude: float


class Location(NamedTuple):
    """Where a viewer is; `position` is None unless `level` is CITY."""

    country: str | None = None
    position: Position | None = None
    level: Level = Level.UNKNOWN
    source: Source = Source.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Country:
    """A country by ISO 3166-1 alpha-2 code, and where its people live on average."""

    code: str
    name: str
    centre: Position | None


_SHARED = IPv4Network("100.64.0.0/10")  # RFC 6598; VPNs use it


def is_private(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is on loopback or a private network: plain http may go there."""
    return address.is_private or (isinstance(address, IPv4Address) and address in _SHARED)


class HealthFormat(StrEnum):
    """How an edge reports its health."""

    JSON = "json"  # a `status` in a JSON object
    STATUS = "status"  # any 2xx passes, whatever the body


class ModelsFormat(StrEnum):
    """How an edge reports its loaded models."""

    STATUS = "status"  # at `models_path`, else at /v1/models
    OPENAI = "openai"  # as OpenAI's list of models, at `models_path` only
    NONE = "none"  # it does not report them


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How an edge is probed and judged; the defaults of regions.yaml. `url`: where its health is
    probed, if not at its endpoint. `slow_ms`: a probe that takes no longer is never slow. The rest
    is explained in docs/health.md.
    """

    health: HealthFormat = HealthFormat.JSON
    url: str | None = None
    models: ModelsFormat = ModelsFormat.STATUS
    fall: int = 3
    rise: int = 2
    hold_down_s: float = 30.0
    connect_timeout_s: float = 1.0
    timeout_s: float = 2.0
    slow_ms: float = 500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One entry of regions.yaml, defaults filled in. `endpoint` ends in no slash."""

    id: str
    name: str
    country: str
    position: Position
    endpoint: str
    health_path: str = "/health"
    models_path: str = "/v1/models/status"
    routable: bool = True
    weight: float = 1.0
    check: Check = Check()

    @property
    def health_url(self) -> str:
        """The URL of its health probe."""
        return self.check.url or self.endpoint + self.health_path


class Nearness(StrEnum):
    """How cities are ordered for viewers whose country has no edge."""

    DISTANCE = "distance"
    NETWORK = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyFacts:
    """Known round-trip times. `places`: the places between which was measured; `rtt_ms`: a row for
    each place, None where nothing was measured. `homes`: country → where its people live, and how
    many. `measured_ms`: country → edge id → the time that an operator measured.
    """

    places: tuple[Position, ...]
    rtt_ms: tuple[tuple[float | None, ...], ...]
    homes: dict[str, tuple[tuple[Position, float], ...]]
    measured_ms: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The static facts of regions.yaml, in the file's order.

    `aliases`: model alias in lower case → the id that edges report.
    `countries`: code → Country, for viewers known by country only.
    `residency`: country → the countries whose edges its viewers may use; a country that is not in
    it has no such rule. `latency`: set if `nearness` is `network`.
    """

    regions: tuple[Region, ...]
    aliases: dict[str, str] = field(default_factory=dict)
    countries: dict[str, Country] = field(default_factory=dict)
    residency: dict[str, frozenset[str]] = field(default_factory=dict)
    nearness: Nearness = Nearness.DISTANCE
    latency: LatencyFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The result of one health probe.

    `rtt_ms`: from the end of the lookup to the last byte of an answer.
    `detail`: the outcome in words; None for a pass. `address`: the one that was connected to;
    `lost`: those that failed meanwhile.
    """

    outcome: Outcome
    rtt_ms: float | None = None
    detail: str | None = field(default=None, compare=False)
    address: str | None = field(default=None, compare=False)
    lost: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeView:
    """What one vantage publishes about one edge.

    `streak`: consecutive results alike, positive passes, negative failures.
    `models`: ids loaded, or None when the inventory is unknown.
    `probed_at`: its last probe that counted; None from releases that did not publish it.
    `models_fault`: why the latest inventory could not be used; None if it was. `bad_addresses`:
    those of its addresses that fail while another one works. `back_at`: while it is down and
    passes, when its hold-down ends. `changes`: how often its state changed lately, while it is
    flapping; `calm_at`: when that ends, if nothing changes. `usual_ms`: what a probe usually
    takes, while it is slow. `worked`: whether a probe of this vantage ever passed; None from
    releases that do not publish it.
    """

    state: Observed
    since: float
    reason: Outcome | None = None
    rtt_ms: float | None = None
    streak: int = 0
    models: tuple[str, ...] | None = None
    models_at: float | None = None
    probed_at: float | None = None
    models_fault: Outcome | None = None
    bad_addresses: tuple[str, ...] = ()
    back_at: float | None = None
    changes: int = 0
    calm_at: float | None = None
    usual_ms: float | None = None
    worked: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything that one vantage publishes, in one value, so that readers never see half of it.
    `seq` only grows, also across pollers; `isolated`: the vantage cannot reach its witnesses, so
    it has no verdicts, since `isolated_since`; `held`: edges whose fall the brake holds back,
    since `held_since` and at most until `held_until`. These times are None from releases that do
    not publish them.
    """

    vantage: str
    seq: int
    probed_at: float
    isolated: bool = False
    isolated_since: float | None = None
    held: tuple[str, ...] = ()
    held_since: float | None = None
    held_until: float | None = None
    edges: dict[str, EdgeView] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What an operator wants for one edge, until `expires_at`. With the state ENABLED it is a
    dial: the edge keeps `share` of its viewers, and moves there from `from_share` in `over_s`
    seconds. Releases without dials read it as enabled. `at_once`: pollers also end the hold-down
    and the flapping that began before it.
    """

    edge: str
    state: Intended
    actor: str
    reason: str
    created_at: float
    expires_at: float
    share: float = 1.0
    from_share: float = 1.0
    over_s: float = 0.0
    at_once: bool = False

    def share_at(self, now: float) -> float:
        """The share of its viewers that a dialled edge keeps now, in hundredths."""
        if self.over_s <= 0 or now >= self.created_at + self.over_s:
            return round(self.share, 2)
        done = max(0.0, now - self.created_at) / self.over_s
        return round(self.from_share + (self.share - self.from_share) * done, 2)

    @property
    def ends_at(self) -> float:
        """When it ends: at most MAX_INTENT_S after it was made, even if a later time was stored."""
        return min(self.expires_at, self.created_at + MAX_INTENT_S)


class EventKind(StrEnum):
    """The kind of an event."""

    TRANSITION = "transition"
    BRAKE = "brake"
    ISOLATION = "isolation"
    INTENT = "intent"
    PURGE = "purge"
    RELOAD = "reload"
    MODELS = "models"
    ADDRESS = "address"
    FINDING = "finding"


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
