"""What a vantage may believe of its own probes: isolation and the fleet brake. Pure.

A broken monitor sees every edge fail. So a vantage that sees most of the fleet fail at
once doubts itself first, and one that cannot see its witnesses says nothing at all.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from router.health import Health
from router.model import Observed, View


@dataclass(frozen=True, slots=True, kw_only=True)
class VantagePolicy:
    """The brake holds removals while more than `brake_share` of the enabled edges, and at
    least `brake_count`, fall within `window_s` of each other; at most for `hold_s`."""

    brake_share: float = 0.5
    brake_count: int = 3
    window_s: float = 30.0
    hold_s: float = 120.0
    fresh_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Brake:
    """Most of the fleet fell at once, at `since`.

    The edges `held` stay published as last seen working, until the vantage is `believed`.
    """

    since: float
    held: frozenset[str]
    believed: bool = False


def is_isolated(passed: Collection[bool]) -> bool:
    """Whether most witnesses failed. Without witnesses a vantage is never isolated."""
    return 2 * sum(passed) < len(passed)


def judge_brake(
    brake: Brake | None,
    healths: Mapping[str, Health],
    enabled: Collection[str],
    now: float,
    policy: VantagePolicy = VantagePolicy(),
) -> Brake | None:
    """The brake after looking at every edge: put on, kept, believed after `hold_s`, or
    gone once the fleet no longer fails as a whole."""
    held = frozenset() if brake is None else brake.held
    failing = frozenset(
        id for id in enabled if id in healths and _is_failing(healths[id], id in held, now, policy)
    )
    if len(failing) < policy.brake_count or len(failing) <= policy.brake_share * len(enabled):
        return None
    if brake is None:
        return Brake(since=now, held=failing)
    believed = brake.believed or now - brake.since >= policy.hold_s
    return Brake(since=brake.since, held=failing, believed=believed)


def is_confirmed(brake: Brake, others: Iterable[View], now: float, policy: VantagePolicy) -> bool:
    """Whether another fresh vantage sees most of the held edges down too."""
    return any(
        not view.isolated
        and now - view.probed_at <= policy.fresh_s
        and 2 * sum(_says_down(view, id) for id in brake.held) > len(brake.held)
        for view in others
    )


def published_state(
    id: str, health: Health, brake: Brake | None, last_good: Mapping[str, Observed]
) -> Observed:
    """What to publish of an edge: its own state, but of a held one the last that worked."""
    if brake is None or brake.believed or id not in brake.held:
        return health.state
    if health.state is not Observed.DOWN:
        return health.state
    return last_good.get(id, Observed.UNKNOWN)


def _is_failing(health: Health, was_held: bool, now: float, policy: VantagePolicy) -> bool:
    """Down since lately (or held for it), or failing and not down yet."""
    if health.state is Observed.DOWN:
        return was_held or now - health.since <= policy.window_s
    return health.streak < 0


def _says_down(view: View, id: str) -> bool:
    return id in view.edges and view.edges[id].state is Observed.DOWN
