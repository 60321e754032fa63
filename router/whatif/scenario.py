"""The catalog and the fleet that an operator supposes. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from router.errors import ConfigError
from router.model import (
    Catalog,
    EdgeView,
    Intended,
    Intent,
    Nearness,
    Observed,
    Region,
    Status,
    View,
)
from router.routing.fleet import Edge, Fleet, combine

_HOUR_S = 3_600
_MAX_NAMED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The supposed changes: edges drained or down, regions added or removed, another order of
    cities. `dials`: edge → the share of its viewers that it keeps; `weights`: edge → its weight.
    """

    drained: Collection[str] = ()
    down: Collection[str] = ()
    added: tuple[Region, ...] = ()
    without: Collection[str] = ()
    nearness: Nearness | None = None
    dials: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The changes in words: `drained yto-01; added fra-01`."""
        added = [region.id for region in self.added]
        parts = {"drained": self.drained, "down": self.down, "added": added, "gone": self.without}
        lines = [f"{what} {', '.join(ids)}" for what, ids in parts.items() if ids]
        lines += [f"dialled {id} to {share:.0%}" for id, share in self.dials.items()]
        lines += [f"weight of {id} {weight:g}" for id, weight in self.weights.items()]
        return "; ".join([*lines, *([f"nearness {self.nearness}"] if self.nearness else [])])


NO_CHANGE = Change()


def change_catalog(catalog: Catalog, change: Change) -> Catalog:
    """The catalog with regions added and others removed. Raises ConfigError naming every id that
    is taken or unknown.
    """
    regions = (*catalog.regions, *change.added)
    faults = _taken_ids(catalog, change.added)
    named = (*change.drained, *change.down, *change.without, *change.dials, *change.weights)
    faults += _unknown_ids(regions, named)
    staying = tuple(
        replace(region, weight=change.weights.get(region.id, region.weight))
        for region in regions
        if region.id not in change.without
    )
    if not any(region.routable for region in staying):
        faults.append("no region would be left that can be chosen")
    if faults:
        raise ConfigError(faults)
    return replace(catalog, regions=staying)


def change_fleet(catalog: Catalog, present: Fleet, change: Change, now: float) -> Fleet:
    """The present fleet of `catalog`, with the change. Edges of unknown state count as up, and so
    do all edges while health is ignored.
    """
    known = {edge.region.id: edge for edge in present.edges}
    edges = {
        region.id: _edge_view(known.get(region.id), present.status, now)
        for region in catalog.regions
    }
    edges |= {id: replace(edges[id], state=Observed.DOWN) for id in change.down}
    view = View(vantage="supposed", seq=1, probed_at=now, edges=edges)
    wanted = {edge.region.id: edge.intended for edge in present.edges}
    wanted |= dict.fromkeys(change.drained, Intended.DRAINING)
    shares = {edge.region.id: edge.share for edge in present.edges} | {**change.dials}
    wanted |= dict.fromkeys(change.dials, Intended.ENABLED)
    intents = [_intent(id, state, shares.get(id, 1.0), now) for id, state in wanted.items()]
    return combine(catalog, [view], intents, now)


def _taken_ids(catalog: Catalog, added: Iterable[Region]) -> list[str]:
    known = {region.id for region in catalog.regions}
    return [
        f"{one.id} is in the catalog already; use another id" for one in added if one.id in known
    ]


def _unknown_ids(regions: Iterable[Region], ids: Iterable[str]) -> list[str]:
    known = sorted({region.id for region in regions})
    there = ", ".join(known[:_MAX_NAMED])
    return [
        f"no such edge: {id}; there are {there}" for id in dict.fromkeys(ids) if id not in known
    ]


def _edge_view(edge: Edge | None, status: Status, now: float) -> EdgeView:
    if edge is None or status is Status.STATIC:
        return EdgeView(state=Observed.UP, since=now)
    models = None if edge.models is None else tuple(sorted(edge.models))
    worked = False if edge.never_worked else None
    return EdgeView(state=edge.observed, since=now, models=models, models_at=now, worked=worked)


def _intent(edge: str, state: Intended, share: float, now: float) -> Intent:
    return Intent(
        edge=edge,
        state=state,
        actor="",
        reason="",
        created_at=now,
        expires_at=now + _HOUR_S,
        share=share,
    )
