"""The decision: which edge an answer names, and why. Pure.

Served answers, `explain` and simulations all use `decide`. It checks edges in the viewer's order
of preference and stops when it has as many candidates as the caller needs.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from router.model import Catalog, Intended, Scope, Status
from router.routing.fleet import Edge, Fleet
from router.routing.query import Query
from router.routing.ranking import Ranker, RouteKey


class RouteReason(StrEnum):
    """Why this edge was picked, as in the answer."""

    NEAREST_IN_COUNTRY = "nearest_in_country"
    NEAREST_GLOBAL = "nearest_global"
    NO_EDGE_IN_COUNTRY = "no_edge_in_country"
    COUNTRY_UNAVAILABLE = "country_unavailable"
    MODEL_ELSEWHERE = "model_elsewhere"
    DEFAULT_ORDER = "default_order"
    FAIL_OPEN = "fail_open"


class Problem(StrEnum):
    """Why there is no pick. The value is the `code` of the answer."""

    MODEL_UNAVAILABLE = "model_unavailable"
    NO_EDGE_IN_COUNTRY = "no_edge_in_country"
    NO_EDGE = "no_edge"


class Rejection(StrEnum):
    """Why an edge is not offered to this viewer."""

    NOT_ROUTABLE = "not_routable"
    DRAINING = "draining"
    DISABLED = "disabled"
    DOWN = "down"
    UNKNOWN = "unknown"
    ABROAD = "abroad"
    RESIDENCY = "residency"
    MODEL_NOT_LOADED = "model_not_loaded"


class ModelState(StrEnum):
    """Whether an edge has the requested model."""

    LOADED = "loaded"
    UNKNOWN = "unknown"
    ABSENT = "absent"


# Looked up once, because access to members of an enum is slow.
_COUNTRY = Scope.COUNTRY

Judged = tuple[Edge, Rejection | None]
Tier = tuple[bool, bool, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome for one (key, query, fleet).

    `candidates`: edges offered, best first; the pick is the first. Empty if there is a `problem`.
    `rejected`: the other edges in order of preference, each with the reason; those that residency
    forbids come last. `residency`: the countries in which this viewer must stay, if any. `order`:
    of a whole Decision, all edges in order of preference.
    """

    candidates: tuple[Edge, ...] = ()
    rejected: tuple[tuple[Edge, Rejection], ...] = ()
    reason: RouteReason | None = None
    problem: Problem | None = None
    crossed_border: bool = False
    status: Status
    model: str | None = None
    model_state: ModelState | None = None
    residency: frozenset[str] | None = None
    order: tuple[Edge, ...] = field(default=(), repr=False, compare=False)


def resolve_model(requested: str, catalog: Catalog, fleet: Fleet) -> str:
    """The id that edges report for the requested model: resolves aliases and ignores case."""
    wanted = catalog.aliases.get(requested.casefold(), requested)
    reported = fleet.spellings.get(wanted.casefold(), ())
    return wanted if wanted in reported or not reported else min(reported)


def decide(
    ranker: Ranker, fleet: Fleet, key: RouteKey, query: Query, enough: int | None = None
) -> Decision:
    """Choose for one viewer. The same arguments always give the same Decision. `enough`: how many
    candidates the caller needs. With it, the candidates are the first ones of the complete
    Decision and `rejected` may be shorter; the other fields are the same.
    """
    case = _make_case(ranker, fleet, key, query)
    ordered = _order_edges(ranker, fleet, key, query.scope)
    order = tuple(ordered) if enough is None else ()
    problem = _common_problem(case)
    judged: list[Judged] = []
    if problem is None or enough is None:
        judged = _judge_all(case, order or ordered, enough, problem)
    offered = [edge for edge, why in judged if why is None]
    if problem is None and not offered:
        problem = Problem.NO_EDGE_IN_COUNTRY
    rejected = tuple((edge, why) for edge, why in judged if why is not None)
    if problem is not None:
        return Decision(
            status=fleet.status,
            problem=problem,
            rejected=rejected,
            model=case.model,
            residency=case.residency,
            order=order,
        )
    ranked = tuple(_sort_by_tier(offered, case))
    return Decision(
        status=fleet.status,
        candidates=ranked[:enough],
        rejected=rejected,
        reason=_reason(ranker, case, ranked),
        crossed_border=key.country not in (None, ranked[0].region.country),
        model=case.model,
        model_state=None if case.model is None else _hide_absent(ranked[0], case.model),
        residency=case.residency,
        order=order,
    )


def model_state(edge: Edge, model: str) -> ModelState:
    """Whether the edge reports the model. Case is ignored."""
    if edge.models is None:
        return ModelState.UNKNOWN
    folded = model.casefold()
    loaded = any(id.casefold() == folded for id in edge.models)
    return ModelState.LOADED if loaded else ModelState.ABSENT


class _Case(NamedTuple):
    """The input of one decision. `holders`: the ids of the edges that have the model."""

    fleet: Fleet
    key: RouteKey
    query: Query
    model: str | None
    residency: frozenset[str] | None
    holders: frozenset[str]

    def lacks_model(self, edge: Edge) -> bool:
        """Whether the edge is known not to have the model."""
        is_known = self.model is not None and edge.models is not None
        return is_known and edge.region.id not in self.holders


def _make_case(ranker: Ranker, fleet: Fleet, key: RouteKey, query: Query) -> _Case:
    model = None if query.model is None else resolve_model(query.model, ranker.catalog, fleet)
    residency = ranker.catalog.residency.get(key.country or "")
    holders = frozenset() if model is None else fleet.holders.get(model.casefold(), frozenset())
    return _Case(fleet, key, query, model, residency, holders)


def _order_edges(ranker: Ranker, fleet: Fleet, key: RouteKey, scope: Scope) -> Iterable[Edge]:
    """Every edge in the viewer's order of preference; those never chosen come last."""
    for region in ranker.in_order(key, scope):
        yield fleet.by_id[region.id]
    for edge in fleet.edges:
        if edge.region.id not in ranker.regions:
            yield edge


def _judge_all(
    case: _Case, ordered: Iterable[Edge], enough: int | None, problem: Problem | None
) -> list[Judged]:
    # Residency is checked before anything else, so no later rule can allow an edge that it
    # forbids.
    if case.residency is not None:
        ordered = sorted(ordered, key=lambda edge: not _is_allowed(edge, case.residency))
    judged = _judge(case, ordered, enough)
    if problem is not None or case.query.strict or any(why is None for _, why in judged):
        return judged
    # If only edges that cannot be offered have the model, any other edge can load it.
    return _judge(case._replace(model=None), [edge for edge, _ in judged], enough)


def _judge(case: _Case, ordered: Iterable[Edge], enough: int | None) -> list[Judged]:
    """Edges, each with its rejection or None. Stops when no later edge can come before the
    candidates needed: edges abroad come last in the order of preference, so a later edge is never
    in a better tier than the best for this country.
    """
    if enough is None:
        return [(edge, _rejection(edge, case)) for edge in ordered]
    judged: list[Judged] = []
    tiers: Counter[Tier] = Counter()
    is_nowhere = case.model is not None and not case.holders
    for edge in ordered:
        why = _rejection(edge, case)
        judged.append((edge, why))
        if why is not None:
            continue
        tier = _tier(edge, case)
        tiers[tier] += 1
        best_later = (is_nowhere, False, tier[2])
        if sum(count for tier, count in tiers.items() if tier <= best_later) >= enough:
            break
    return judged


def _is_allowed(edge: Edge, residency: frozenset[str] | None) -> bool:
    return residency is None or edge.region.country in residency


def _rejection(edge: Edge, case: _Case) -> Rejection | None:
    if case.residency is not None and edge.region.country not in case.residency:
        return Rejection.RESIDENCY
    if edge.region.id not in case.fleet.fit:
        return _unfit(edge, case)
    if case.query.strict and edge.region.country != case.key.country:
        return Rejection.ABROAD
    if case.lacks_model(edge):
        return Rejection.MODEL_NOT_LOADED
    return None


def _unfit(edge: Edge, case: _Case) -> Rejection:
    if not edge.region.routable:
        return Rejection.NOT_ROUTABLE
    if edge.intended is not Intended.ENABLED:
        return Rejection(edge.intended.value)
    if case.query.strict and edge.region.country != case.key.country:
        return Rejection.ABROAD
    return Rejection(edge.observed.value)


def _common_problem(case: _Case) -> Problem | None:
    """The problem of all viewers of this country, wherever they are; None without one."""
    if not case.fleet.enabled:
        return Problem.NO_EDGE
    allowed = (edge for edge in case.fleet.enabled if _is_allowed(edge, case.residency))
    first = next(allowed, None)
    if first is None:
        return Problem.NO_EDGE_IN_COUNTRY
    if case.lacks_model(first) and all(map(case.lacks_model, allowed)):
        return Problem.MODEL_UNAVAILABLE
    return None


def _sort_by_tier(offered: list[Edge], case: _Case) -> list[Edge]:
    """By what outweighs distance. Home comes before abroad already."""
    if case.model is None and not case.fleet.inferior:
        return offered
    return sorted(offered, key=lambda edge: _tier(edge, case))


def _tier(edge: Edge, case: _Case) -> Tier:
    """The sort key before distance: model loaded first, then up before degraded (while health is
    ignored: seen working before never seen working), then, unless scope=global, the viewer's own
    country first.
    """
    region = edge.region
    unloaded = case.model is not None and region.id not in case.holders
    abroad = case.query.scope is _COUNTRY and region.country != case.key.country
    return unloaded, region.id in case.fleet.inferior, abroad


def _reason(ranker: Ranker, case: _Case, ranked: tuple[Edge, ...]) -> RouteReason:
    key, query = case.key, case.query
    if case.fleet.status is Status.FAIL_OPEN:
        return RouteReason.FAIL_OPEN
    is_global = query.scope is Scope.GLOBAL or key.country is None
    if is_global and not key.preferred and key.country not in ranker.covered:
        return RouteReason.DEFAULT_ORDER
    if is_global:
        return RouteReason.NEAREST_GLOBAL
    if ranked[0].region.country == key.country:
        return RouteReason.NEAREST_IN_COUNTRY
    if key.country not in ranker.covered:
        return RouteReason.NO_EDGE_IN_COUNTRY
    if query.model is not None and _has_home_without_model(case._replace(model=None)):
        return RouteReason.MODEL_ELSEWHERE
    return RouteReason.COUNTRY_UNAVAILABLE


def _has_home_without_model(case: _Case) -> bool:
    """Whether an edge in the country would have been picked without the model."""
    fit = [edge for edge in case.fleet.edges if _rejection(edge, case) is None]
    best = min(fit, key=lambda edge: _tier(edge, case))
    return best.region.country == case.key.country


def _hide_absent(edge: Edge, model: str) -> ModelState:
    """The model state in an answer. It never says "absent", because the edge may load the model on
    request.
    """
    is_loaded = model_state(edge, model) is ModelState.LOADED
    return ModelState.LOADED if is_loaded else ModelState.UNKNOWN
