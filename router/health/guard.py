"""Decides whether a vantage can trust its own probes: isolation and the fleet brake. Pure.

A broken monitor sees every edge fail. So a vantage that sees most of the fleet fail at
once holds the removals for a while. One that cannot reach its witnesses publishes no states.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from router.health.state import Health
from router.model import Observed, View


@dataclass(frozen=True, slots=True, kw_only=True)
class VantagePolicy:
    """The brake holds removals while more than `brake_share` of the enabled edges, and at
    least `brake_count`, fall within `window_s` of each other; for `hold_s` at most. When
    fewer fail, each edge that fell has `settle_s` more to pass again."""

    brake_share: float = 0.5
    brake_count: int = 3
    window_s: float = 30.0
    hold_s: float = 120.0
    settle_s: float = 10.0
    fresh_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Brake:
    """Most of the fleet, the edges `fallen`, fell at once, at `since`.

    Edges that are not removed yet stay published as last seen working, until the vantage is
    `believed`. Edges that another vantage `confirmed` are removed. `lifted_at`: when the fleet
    stopped failing as a whole.
    """

    since: float
    fallen: frozenset[str]
    believed: bool = False
    confirmed: frozenset[str] = frozenset()
    lifted_at: float | None = None


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
    """The brake after all edges were checked. It begins, continues, ends because the fall is
    `believed` after `hold_s`, or ends `settle_s` after the fleet stopped failing as a whole.
    """
    fallen = frozenset() if brake is None else brake.fallen
    failing = frozenset(
        id
        for id in enabled
        if id in healths and _is_failing(healths[id], id in fallen, now, policy)
    )
    if len(failing) < policy.brake_count or len(failing) <= policy.brake_share * len(enabled):
        return _lift(brake, enabled, now, policy)
    if brake is None:
        return Brake(since=now, fallen=failing)
    believed = brake.believed or now - brake.since >= policy.hold_s
    return replace(brake, fallen=failing, believed=believed, lifted_at=None)


def _lift(
    brake: Brake | None, enabled: Collection[str], now: float, policy: VantagePolicy
) -> Brake | None:
    """The brake when the fleet no longer fails as a whole. It stays for `settle_s`, so that
    edges that pass again are not published as down."""
    if brake is None or brake.believed:
        return None
    lifted_at = now if brake.lifted_at is None else brake.lifted_at
    is_over = now - lifted_at >= policy.settle_s or now - brake.since >= policy.hold_s
    fallen = brake.fallen.intersection(enabled)
    return None if is_over else replace(brake, fallen=fallen, lifted_at=lifted_at)


def is_confirmed(brake: Brake, others: Iterable[View], now: float, policy: VantagePolicy) -> bool:
    """Whether another fresh vantage sees most of the fallen edges down too, even if its own
    brake holds them. Otherwise two vantages would wait for each other."""
    return any(
        _is_fresh(view, now, policy)
        and 2 * sum(_saw_fall(view, id) for id in brake.fallen) > len(brake.fallen)
        for view in others
    )


def confirmed_edges(
    brake: Brake, others: Iterable[View], now: float, policy: VantagePolicy
) -> frozenset[str]:
    """The fallen edges that another fresh vantage sees down too. They are removed, even
    while the others are held."""
    fresh = [view for view in others if _is_fresh(view, now, policy)]
    return frozenset(id for id in brake.fallen if any(_saw_fall(view, id) for view in fresh))


def held_edges(
    brake: Brake | None, healths: Mapping[str, Health], removed: Collection[str]
) -> frozenset[str]:
    """The edges whose fall is not published: they are down and part of a mass fall, no other
    vantage confirmed it, and they are not removed yet."""
    if brake is None or brake.believed:
        return frozenset()
    down = {id for id in brake.fallen if id in healths and healths[id].state is Observed.DOWN}
    return frozenset(down - brake.confirmed).difference(removed)


def held_until(brake: Brake, policy: VantagePolicy = VantagePolicy()) -> float:
    """When the brake ends at the latest."""
    latest = brake.since + policy.hold_s
    return latest if brake.lifted_at is None else min(latest, brake.lifted_at + policy.settle_s)


def _is_failing(health: Health, had_fallen: bool, now: float, policy: VantagePolicy) -> bool:
    """Whether it went down lately (or fell under the brake), or fails and is not down yet."""
    if health.state is Observed.DOWN:
        return had_fallen or now - health.since <= policy.window_s
    return health.streak < 0


def _is_fresh(view: View, now: float, policy: VantagePolicy) -> bool:
    return not view.isolated and now - view.probed_at <= policy.fresh_s


def _saw_fall(view: View, id: str) -> bool:
    said = view.edges.get(id)
    return id in view.held or (said is not None and said.state is Observed.DOWN)
