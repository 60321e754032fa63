"""One edge judged from one vantage: a pure state machine over probe results.

`step` takes the time of the probe. Nothing here reads a clock, waits or uses randomness.
Rules and defaults: docs/health.md.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

from router.model import Check, Observed, Outcome, Probe

_MAX_REMEMBERED = 16
_BASELINE_WEIGHT = 0.1
_PASSES = frozenset({Outcome.OK, Outcome.DEGRADED})
_PATIENCE = 1.5  # times the usual time of an edge


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    """Thresholds. Counts are of consecutive results; times are in seconds unless the name says
    otherwise.
    """

    interval_s: float = 3.0
    recheck_s: float = 0.85
    fall: int = Check().fall
    fall_unhealthy: int = 2
    rise: int = Check().rise
    hold_down_s: float = Check().hold_down_s
    hold_down_cap_s: float = 300.0
    forgive_s: float = 300.0
    flap_transitions: int = 4
    flap_window_s: float = 900.0
    slow_factor: float = 3.0
    slow_floor_ms: float = Check().slow_ms
    slow_count: int = 2
    slow_memory_s: float = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The health of one edge after its latest probe. `streak`: the number of equal results in a
    row: passes if positive, failures if negative. `falls`: falls that make the hold-down longer.
    One is forgiven for each quiet 5 minutes. `risen_at`: when it was last down. `counted_at`: when
    the last probe that counted ended. `changes`: when the state changed, within the flap window,
    oldest first. `flapping`: the state changed too often, so it is at most degraded until it is
    quiet.
    """

    state: Observed = Observed.UNKNOWN
    since: float
    reason: Outcome | None = None
    rtt_ms: float | None = None
    streak: int = 0
    unhealthy: bool = False
    clean: int = 0
    slow: int = 0
    baseline_ms: float | None = None
    counted_at: float | None = None
    falls: int = 0
    risen_at: float | None = None
    held_until: float = 0.0
    changes: tuple[float, ...] = ()
    flapping: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One change of state, to be published and logged."""

    before: Observed
    after: Observed
    reason: Outcome
    at: float


def step(
    health: Health, probe: Probe, now: float, policy: HealthPolicy = HealthPolicy()
) -> tuple[Health, Transition | None]:
    """The health after one probe that ended at `now`, and the transition it made, if any.

    A local fault (of this machine's DNS, descriptors or network) does not count.
    """
    if probe.outcome is Outcome.LOCAL:
        return health, None
    counted = _count(_calm(health, now, policy), probe, now, policy)
    state = _judge(counted, probe, now, policy)
    if state is health.state:
        return counted, None
    changed = _change(counted, state, now, policy)
    return changed, Transition(before=health.state, after=state, reason=probe.outcome, at=now)


def policy_for(policy: HealthPolicy, check: Check) -> HealthPolicy:
    """The policy with the settings of one edge in regions.yaml."""
    return _policy_for(policy, check.fall, check.rise, check.hold_down_s, check.slow_ms)


@lru_cache(maxsize=256)
def _policy_for(
    policy: HealthPolicy, fall: int, rise: int, hold_down_s: float, slow_ms: float
) -> HealthPolicy:
    return replace(
        policy,
        fall=fall,
        fall_unhealthy=min(policy.fall_unhealthy, fall),
        rise=rise,
        hold_down_s=hold_down_s,
        slow_floor_ms=slow_ms,
    )


def wait_s(health: Health, policy: HealthPolicy = HealthPolicy()) -> float:
    """Seconds from the start of the last probe to the start of the next, before jitter.

    Short while the state may be about to change: failing but not yet down, or passing but not
    yet up. An edge that only waits for the end of its hold-down is not probed more often.
    """
    suspect = health.streak < 0 and health.state is not Observed.DOWN
    recovering = 0 < health.streak < policy.rise and health.state is Observed.DOWN
    return policy.recheck_s if suspect or recovering else policy.interval_s


def patience_s(health: Health, policy: HealthPolicy = HealthPolicy()) -> float:
    """Seconds after which another probe starts beside one without an answer: the recheck interval,
    or longer for a slow but healthy edge.
    """
    if health.streak <= 0:
        return policy.recheck_s
    usual_ms = max(health.baseline_ms or 0.0, health.rtt_ms or 0.0)
    return min(max(policy.recheck_s, _PATIENCE * usual_ms / 1_000), policy.interval_s)


def undo_fall(health: Health, before: Health) -> Health:
    """The health of an edge that passes again after a fall that the brake held: as if it had
    not fallen."""
    return replace(
        health,
        state=before.state,
        since=before.since,
        falls=before.falls,
        risen_at=before.risen_at,
        held_until=before.held_until,
        changes=before.changes,
        flapping=before.flapping,
    )


def end_hold_down(health: Health, at: float, policy: HealthPolicy = HealthPolicy()) -> Health:
    """The health after an operator ended the hold-down and the flapping at `at`. Neither a
    fall nor a change after that is affected, so calling it again changes nothing."""
    changes = tuple(one for one in health.changes if one > at)
    is_held = health.state is Observed.DOWN and health.since <= at
    return replace(
        health,
        held_until=min(health.held_until, at) if is_held else health.held_until,
        falls=health.falls if health.since > at else 0,
        changes=changes,
        flapping=health.flapping and len(changes) >= policy.flap_transitions,
    )


def back_at(health: Health, now: float) -> float | None:
    """When the hold-down of an edge that passes again ends; None for any other edge."""
    is_held = health.state is Observed.DOWN and health.streak > 0 and health.held_until > now
    return health.held_until if is_held else None


def calm_at(health: Health, policy: HealthPolicy) -> float | None:
    """When a flapping edge calms, if its state does not change; None for any other edge."""
    if not health.flapping or not health.changes:
        return None
    return health.changes[-1] + policy.flap_window_s


def usual_ms(health: Health) -> float | None:
    """The usual time of a probe of a slow edge, in ms; None for any other edge."""
    return health.baseline_ms if health.slow else None


def shift_times(health: Health, by_s: float) -> Health:
    """The health with its times shifted, after the clock was set forward by `by_s`, or back if
    negative.
    """
    return replace(
        health,
        since=health.since + by_s,
        risen_at=None if health.risen_at is None else health.risen_at + by_s,
        held_until=health.held_until + by_s,
        counted_at=None if health.counted_at is None else health.counted_at + by_s,
        changes=tuple(at + by_s for at in health.changes),
    )


def _calm(health: Health, now: float, policy: HealthPolicy) -> Health:
    """Forget changes older than the flap window. An edge stops flapping when none is left."""
    recent = tuple(at for at in health.changes if now - at < policy.flap_window_s)
    return replace(health, changes=recent, flapping=health.flapping and bool(recent))


def _count(health: Health, probe: Probe, now: float, policy: HealthPolicy) -> Health:
    if probe.outcome not in _PASSES:
        return replace(
            health,
            streak=min(health.streak, 0) - 1,
            unhealthy=health.unhealthy or probe.outcome is Outcome.UNHEALTHY,
            clean=0,
            counted_at=now,
            reason=probe.outcome,
            rtt_ms=probe.rtt_ms,
        )
    slow = health.slow + 1 if _is_slow(health, probe, policy) else 0
    clean = 0 if slow or probe.outcome is Outcome.DEGRADED else health.clean + 1
    return replace(
        health,
        streak=max(health.streak, 0) + 1,
        unhealthy=False,
        slow=slow,
        clean=clean,
        reason=probe.outcome,
        rtt_ms=probe.rtt_ms,
        baseline_ms=_baseline(health, probe, slow, now, policy),
        counted_at=now,
    )


def _is_slow(health: Health, probe: Probe, policy: HealthPolicy) -> bool:
    if probe.rtt_ms is None or health.baseline_ms is None:
        return False
    return probe.rtt_ms > max(policy.slow_factor * health.baseline_ms, policy.slow_floor_ms)


def _baseline(
    health: Health, probe: Probe, slow: int, now: float, policy: HealthPolicy
) -> float | None:
    """A moving average of probe times. The weight of a slow probe is the time since the previous
    one, so more frequent probes do not make slow times usual sooner. The average does follow, so
    an edge that is now further away is not degraded for ever.
    """
    if probe.rtt_ms is None or health.baseline_ms is None:
        return probe.rtt_ms if health.baseline_ms is None else health.baseline_ms
    weight = _BASELINE_WEIGHT
    if slow:
        passed_s = min(max(0.0, now - (health.counted_at or now)), policy.interval_s)
        weight = passed_s / policy.slow_memory_s
    return health.baseline_ms + weight * (probe.rtt_ms - health.baseline_ms)


def _judge(health: Health, probe: Probe, now: float, policy: HealthPolicy) -> Observed:
    if health.streak < 0:
        fallen = -health.streak >= policy.fall
        confirmed = health.unhealthy and -health.streak >= policy.fall_unhealthy
        return Observed.DOWN if fallen or confirmed else health.state
    if health.state is Observed.DOWN and (health.streak < policy.rise or now < health.held_until):
        return Observed.DOWN
    if probe.outcome is Outcome.DEGRADED or health.slow >= policy.slow_count:
        return Observed.DEGRADED
    if health.flapping or _would_flap(health, policy):
        return Observed.DEGRADED
    if health.state is Observed.DEGRADED and health.clean < policy.rise:
        return Observed.DEGRADED
    return Observed.UP


def _would_flap(health: Health, policy: HealthPolicy) -> bool:
    """Whether one more change of state would make the edge flapping."""
    unsettled = health.state in (Observed.DOWN, Observed.DEGRADED)
    return unsettled and len(health.changes) + 1 >= policy.flap_transitions


def _change(health: Health, state: Observed, now: float, policy: HealthPolicy) -> Health:
    first = health.state is Observed.UNKNOWN
    changes = () if first else (*health.changes, now)[-_MAX_REMEMBERED:]
    flapping = health.flapping or len(changes) >= policy.flap_transitions
    changed = replace(health, state=state, since=now, changes=changes, flapping=flapping)
    if state is Observed.DOWN:
        falls = _unforgiven(health, now, policy)
        held_s = min(policy.hold_down_s * (falls + 1), policy.hold_down_cap_s)
        return replace(changed, falls=falls + 1, held_until=now + held_s)
    return replace(changed, risen_at=now) if health.state is Observed.DOWN else changed


def _unforgiven(health: Health, now: float, policy: HealthPolicy) -> int:
    """The falls that are not forgiven yet, by the time since the edge was last down, whether
    up or degraded."""
    if health.risen_at is None:
        return health.falls
    return max(0, health.falls - int((now - health.risen_at) // policy.forgive_s))
