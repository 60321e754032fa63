"""Which edge an answer names and why: pure, and the one place that decides.

Served answers, `explain` and simulations all come from `decide`, or from `decide_soon`, which
says the beginning of the same for less.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from router.model import Catalog, Intended, Observed, Scope, Status
from router.routing.fleet import Edge, Fleet
from router.routing.offer import Offer, offered
from router.routing.query import Query
from router.routing.ranking import Ranker, RouteKey


class RouteReason(StrEnum):
    """Why this edge was picked, as the answer says it."""

    NEAREST_IN_COUNTRY = "nearest_in_country"
    NEAREST_GLOBAL = "nearest_global"
    NO_EDGE_IN_COUNTRY = "no_edge_in_country"
    COUNTRY_UNAVAILABLE = "country_unavailable"
    MODEL_ELSEWHERE = "model_elsewhere"
    DEFAULT_ORDER = "default_order"
    FAIL_OPEN = "fail_open"


class Problem(StrEnum):
    """Why there is no pick; the value is the answer's `code`."""

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
    """Whether an edge has the model asked for."""

    LOADED = "loaded"
    UNKNOWN = "unknown"
    ABSENT = "absent"


Judged = tuple[Edge, Rejection | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome for one (key, query, fleet).

    `candidates`: edges offered, best first; the pick is the first. Empty with a
    `problem`. `rejected`: the other edges in order of preference, each with why; those that
    residency forbids come last. `residency`: where this viewer must stay, if anywhere.
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


def resolve_model(requested: str, catalog: Catalog, fleet: Fleet) -> str:
    """The id that edges report for what was asked: through the aliases, whatever the case."""
    wanted = _meant(requested, catalog)
    folded = wanted.casefold()
    reported = {id for edge in fleet.edges for id in edge.models or () if id.casefold() == folded}
    return _as_reported(wanted, reported)


def _meant(requested: str, catalog: Catalog) -> str:
    return catalog.aliases.get(requested.casefold(), requested)


def _as_reported(wanted: str, reported: Collection[str]) -> str:
    return wanted if wanted in reported or not reported else min(reported)


def decide(ranker: Ranker, fleet: Fleet, key: RouteKey, query: Query) -> Decision:
    """Choose for one viewer. The same arguments always give the same Decision."""
    model = None if query.model is None else resolve_model(query.model, ranker.catalog, fleet)
    residency = ranker.catalog.residency.get(key.country or "")
    ordered = _in_order(ranker, fleet, key, query.scope)
    # What residency forbids is out before anything else is weighed, so nothing lets it in.
    allowed = [edge for edge in ordered if _is_allowed(edge, residency)]
    judged = [(edge, _rejection(edge, fleet, key, query, model)) for edge in allowed]
    problem = _problem(judged, fleet, query, model)
    if problem is None and not _offered(judged):
        # Only edges that cannot be offered may have the model: any other can load it.
        judged = [(edge, _rejection(edge, fleet, key, query, None)) for edge in allowed]
        problem = None if _offered(judged) else Problem.NO_EDGE_IN_COUNTRY
    rejected = (
        *((edge, why) for edge, why in judged if why is not None),
        *((edge, Rejection.RESIDENCY) for edge in ordered if not _is_allowed(edge, residency)),
    )
    if problem is not None:
        return Decision(
            status=fleet.status,
            problem=problem,
            rejected=rejected,
            model=model,
            residency=residency,
        )
    ranked = tuple(sorted(_offered(judged), key=lambda edge: _tier(edge, fleet, key, query, model)))
    return Decision(
        status=fleet.status,
        candidates=ranked,
        rejected=rejected,
        reason=_reason(ranker, fleet, allowed, key, query, ranked),
        crossed_border=key.country not in (None, ranked[0].region.country),
        model=model,
        model_state=None if model is None else _told(model_state(ranked[0], model)),
        residency=residency,
    )


def offer_of(fleet: Fleet) -> Offer:
    """What `decide_soon` needs of a Fleet."""
    return offered(fleet, health_counts=_health_counts(fleet))


def decide_soon(
    ranker: Ranker, offer: Offer, key: RouteKey, query: Query, enough: int
) -> Decision | None:
    """What `decide` says, with the first `enough` candidates and none rejected, but without
    a look at the whole fleet. None where that cannot be known so soon."""
    if query.strict or query.all or key.country in ranker.catalog.residency:
        return None
    model, edges = None, offer.edges
    if query.model is not None:
        wanted = _meant(query.model, ranker.catalog)
        model, edges = _as_reported(wanted, offer.spellings(wanted)), offer.with_model(wanted)
        if offer.is_nowhere(wanted):
            problem = Problem.MODEL_UNAVAILABLE
            return Decision(status=offer.fleet.status, problem=problem, model=model)
    if len(edges) < enough:
        return None
    met = (edges.get(region.id) for region in ranker.in_order(key, query.scope))
    ranked = tuple(islice((edge for edge in met if edge is not None), enough))
    return Decision(
        status=offer.fleet.status,
        candidates=ranked,
        reason=_reason(ranker, offer.fleet, offer.edges.values(), key, query, ranked),
        crossed_border=key.country not in (None, ranked[0].region.country),
        model=model,
        model_state=None if model is None else _told(model_state(ranked[0], model)),
    )


def picker(ranker: Ranker, fleet: Fleet, query: Query) -> Callable[[RouteKey], str | None]:
    """For who asks about many keys: tells the pick of each, or None where there is none."""
    offer = offer_of(fleet)

    def pick(key: RouteKey) -> str | None:
        soon = decide_soon(ranker, offer, key, query, 1)
        candidates = (soon or decide(ranker, fleet, key, query)).candidates
        return candidates[0].region.id if candidates else None

    return pick


def model_state(edge: Edge, model: str) -> ModelState:
    """Whether the edge reports the model; model ids match whatever their case."""
    if edge.models is None:
        return ModelState.UNKNOWN
    folded = model.casefold()
    loaded = any(id.casefold() == folded for id in edge.models)
    return ModelState.LOADED if loaded else ModelState.ABSENT


def _in_order(ranker: Ranker, fleet: Fleet, key: RouteKey, scope: Scope) -> list[Edge]:
    """Every edge in the viewer's order of preference; those never chosen come last."""
    edges = {edge.region.id: edge for edge in fleet.edges}
    ordered = [edges.pop(region.id) for region in ranker.order(key, scope)]
    return ordered + list(edges.values())


def _is_allowed(edge: Edge, residency: frozenset[str] | None) -> bool:
    return residency is None or edge.region.country in residency


def _offered(judged: list[Judged]) -> list[Edge]:
    return [edge for edge, why in judged if why is None]


def _rejection(
    edge: Edge, fleet: Fleet, key: RouteKey, query: Query, model: str | None
) -> Rejection | None:
    if not edge.region.routable:
        return Rejection.NOT_ROUTABLE
    if edge.intended is not Intended.ENABLED:
        return Rejection(edge.intended.value)
    if query.strict and edge.region.country != key.country:
        return Rejection.ABROAD
    if _health_counts(fleet) and edge.observed in (Observed.DOWN, Observed.UNKNOWN):
        return Rejection(edge.observed.value)
    if model is not None and model_state(edge, model) is ModelState.ABSENT:
        return Rejection.MODEL_NOT_LOADED
    return None


def _problem(judged: list[Judged], fleet: Fleet, query: Query, model: str | None) -> Problem | None:
    if not any(edge.enabled for edge in fleet.edges):
        return Problem.NO_EDGE
    enabled = [edge for edge, _ in judged if edge.enabled]
    if not enabled:
        return Problem.NO_EDGE_IN_COUNTRY
    if model is not None and all(model_state(e, model) is ModelState.ABSENT for e in enabled):
        return Problem.MODEL_UNAVAILABLE
    if query.strict and not _offered(judged):
        return Problem.NO_EDGE_IN_COUNTRY
    return None


def _health_counts(fleet: Fleet) -> bool:
    return fleet.status in (Status.OK, Status.STALE)


def _tier(
    edge: Edge, fleet: Fleet, key: RouteKey, query: Query, model: str | None
) -> tuple[bool, bool, bool]:
    """What outweighs distance: the model loaded, up before degraded, and then, unless
    scope=global, the viewer's own country."""
    unloaded = model is not None and model_state(edge, model) is not ModelState.LOADED
    degraded = _health_counts(fleet) and edge.observed is Observed.DEGRADED
    abroad = query.scope is Scope.COUNTRY and edge.region.country != key.country
    return unloaded, degraded, abroad


def _reason(
    ranker: Ranker,
    fleet: Fleet,
    allowed: Iterable[Edge],
    key: RouteKey,
    query: Query,
    ranked: tuple[Edge, ...],
) -> RouteReason:
    if fleet.status is Status.FAIL_OPEN:
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
    if query.model is not None and _has_home_without_model(fleet, allowed, key, query):
        return RouteReason.MODEL_ELSEWHERE
    return RouteReason.COUNTRY_UNAVAILABLE


def _has_home_without_model(
    fleet: Fleet, allowed: Iterable[Edge], key: RouteKey, query: Query
) -> bool:
    """Whether, but for the model, an edge in the country would have been picked."""
    fit = [edge for edge in allowed if _rejection(edge, fleet, key, query, None) is None]
    best = min(fit, key=lambda edge: _tier(edge, fleet, key, query, None))
    return best.region.country == key.country


def _told(state: ModelState) -> ModelState:
    """An answer never claims absence: the edge may load the model when asked."""
    return ModelState.LOADED if state is ModelState.LOADED else ModelState.UNKNOWN
