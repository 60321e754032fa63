"""Findings for operators: their kinds, grades, and entries in the runbook. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from router.geo.feeds import FeedNote
from router.telemetry.troubles import Trouble


class Grade(StrEnum):
    """How bad a finding is, worst first."""

    ALARM = "alarm"  # viewers are affected
    WARNING = "warning"  # viewers are served, with less redundancy
    OK = "ok"
    NOTICE = "notice"  # for information


class FindingKind(StrEnum):
    """The kinds of findings, in the order within a grade."""

    STARTING = "starting"
    PUBLIC_SILENT = "public_silent"
    NO_EDGE = "no_edge"
    FAIL_OPEN = "fail_open"
    STATIC = "static"
    BRAKE = "brake"
    RESIDENCY = "residency"
    COUNTRY_OUT = "country_out"
    SHED = "shed"
    FAULTS = "faults"
    MODEL_NOWHERE = "model_nowhere"
    WORKERS = "workers"
    DOWN = "down"
    NEVER_WORKED = "never_worked"
    HOLD_DOWN = "hold_down"
    STALE = "stale"
    STORE = "store"
    STORE_VALUES = "store_values"
    ISOLATION = "isolation"
    VANTAGE_SILENT = "vantage_silent"
    LOCAL = "local"
    SPLIT = "split"
    FLAPPING = "flapping"
    SLOW = "slow"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"
    ADDRESS = "address"
    INVENTORY = "inventory"
    UNPLACED = "unplaced"
    PURGE = "purge"
    RELOAD = "reload"
    LOOP = "loop"
    STATE_DIR = "state_dir"
    LOG = "log"
    UNROUTABLE = "unroutable"
    INTENT = "intent"
    GEO_OLD = "geo_old"
    FEEDS_OLD = "feeds_old"
    NOTHING = "nothing"


# Kind → its alert. docs/operations.md has an entry of the same name.
ALERTS: Mapping[FindingKind, str] = {
    FindingKind.PUBLIC_SILENT: "AutorouterPublicSilent",
    FindingKind.NO_EDGE: "AutorouterNoEdge",
    FindingKind.FAIL_OPEN: "AutorouterFailOpen",
    FindingKind.STATIC: "AutorouterStatic",
    FindingKind.BRAKE: "AutorouterBrakeHeld",
    FindingKind.COUNTRY_OUT: "AutorouterCountryOut",
    FindingKind.RESIDENCY: "AutorouterResidencyRefused",
    FindingKind.SHED: "AutorouterClientsRefused",
    FindingKind.FAULTS: "AutorouterFault",
    FindingKind.MODEL_NOWHERE: "AutorouterModelNowhere",
    FindingKind.WORKERS: "AutorouterWorkerMissing",
    FindingKind.DOWN: "AutorouterEdgeDown",
    FindingKind.NEVER_WORKED: "AutorouterEdgeNeverWorked",
    FindingKind.HOLD_DOWN: "AutorouterEdgeDown",
    FindingKind.STALE: "AutorouterStale",
    FindingKind.STORE: "AutorouterStoreUnreadable",
    FindingKind.STORE_VALUES: "AutorouterStoreValuesUnreadable",
    FindingKind.ISOLATION: "AutorouterVantageIsolated",
    FindingKind.VANTAGE_SILENT: "AutorouterVantageSilent",
    FindingKind.LOCAL: "AutorouterVantageBlind",
    FindingKind.SPLIT: "AutorouterEdgeSplit",
    FindingKind.FLAPPING: "AutorouterEdgeFlapping",
    FindingKind.SLOW: "AutorouterEdgeSlow",
    FindingKind.DEGRADED: "AutorouterEdgeDegraded",
    FindingKind.UNKNOWN: "AutorouterEdgeUnknown",
    FindingKind.ADDRESS: "AutorouterEdgeAddress",
    FindingKind.INVENTORY: "AutorouterInventoryUnknown",
    FindingKind.UNPLACED: "AutorouterViewersUnplaced",
    FindingKind.PURGE: "AutorouterPurgeFailing",
    FindingKind.RELOAD: "AutorouterReloadRefused",
    FindingKind.LOOP: "AutorouterLoopFailing",
    FindingKind.STATE_DIR: "AutorouterLastGoodNotSaved",
    FindingKind.LOG: "AutorouterLogUnread",
    FindingKind.UNROUTABLE: "AutorouterEdgeUnroutable",
    FindingKind.GEO_OLD: "AutorouterGeoOld",
    FindingKind.FEEDS_OLD: "AutorouterFeedsOld",
}

# The diagnosis logs an event when a finding of these kinds begins or ends. Other parts log events
# for the other kinds.
LOGGED = frozenset(
    {
        FindingKind.PUBLIC_SILENT,
        FindingKind.NO_EDGE,
        FindingKind.FAIL_OPEN,
        FindingKind.STATIC,
        FindingKind.COUNTRY_OUT,
        FindingKind.RESIDENCY,
        FindingKind.SHED,
        FindingKind.FAULTS,
        FindingKind.MODEL_NOWHERE,
        FindingKind.WORKERS,
        FindingKind.NEVER_WORKED,
        FindingKind.HOLD_DOWN,
        FindingKind.FLAPPING,
        FindingKind.SLOW,
        FindingKind.SPLIT,
        FindingKind.FEEDS_OLD,
        FindingKind.LOCAL,
        FindingKind.STALE,
        FindingKind.STORE,
        FindingKind.STORE_VALUES,
        FindingKind.VANTAGE_SILENT,
        FindingKind.UNPLACED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that an operator should know. `meaning`: which viewers are affected. `action`:
    what to do. `since`: Unix seconds, None if unknown. `subject` distinguishes findings of one
    kind. `share`: the share of viewers who normally use these edges, None if unknown. `runbook`:
    the anchor of its entry in operations.md.
    """

    grade: Grade
    kind: FindingKind
    title: str
    meaning: str
    action: str
    since: float | None = None
    edges: tuple[str, ...] = ()
    subject: str = ""
    share: float | None = None
    runbook: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Set `runbook`, if the kind has an alert."""
        alert = ALERTS.get(self.kind)
        object.__setattr__(self, "runbook", None if alert is None else alert.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """Counts of the public listener over the last five minutes. `routes`: answers of /v1/route."""

    routes: int = 0
    faults: int = 0
    residency_refused: int = 0
    model_unavailable: int = 0
    connections_refused: int = 0
    placed: int = 0
    unplaced: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """The input of a diagnosis besides the fleet and the vantages' views. `store_values`: stored
    values that could not be decoded and are ignored. `purges`: failing purges, by target. `loops`:
    background loops that failed, by name. `state_dir`: why health cannot be saved. `log_stalled`:
    the log cannot be written. `public`: the failing self-probe of the public listener. `moved`:
    the share of viewers who would get another edge if all edges were up. `homes`: edge → the share
    of viewers that it would have then. `age_s`: how long the server has run.
    """

    geo_age_days: float = 0.0
    feeds: Sequence[FeedNote] = ()
    store: Trouble | None = None
    store_values: Trouble | None = None
    reload: Trouble | None = None
    purges: Mapping[str, Trouble] = field(default_factory=dict)
    loops: Mapping[str, Trouble] = field(default_factory=dict)
    state_dir: Trouble | None = None
    log_stalled: bool = False
    public: Trouble | None = None
    recent: Recent = Recent()
    workers: int = 1
    workers_wanted: int = 1
    moved: float | None = None
    homes: Mapping[str, float] = field(default_factory=dict)
    age_s: float = 3_600.0
