"""Catalog, views and intents combined into one immutable Fleet. Pure."""

from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from hashlib import blake2b

from router.model import (
    Catalog,
    EdgeView,
    Intended,
    Intent,
    Observed,
    Outcome,
    Region,
    Status,
    View,
)
from router.routing.steps import run_to_end

MODELS_A_STEP = 100

Ids = dict[str, frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPolicy:
    """Ages in seconds. A view votes up to an age of `fresh_s`; the last known state is used up to
    `stale_s`, a model inventory up to `models_fresh_s`. `slot_s`: how long a dial has a shared
    answer name the same edge.
    """

    fresh_s: float = 15.0
    stale_s: float = 120.0
    models_fresh_s: float = 60.0
    slot_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One region with everything known about it now. `models`: ids, None if unknown. `share`: the
    share of viewers that it keeps; 1.0 without a dial. `seen`: vantage → what it published about
    the edge.
    """

    region: Region
    observed: Observed = Observed.UNKNOWN
    since: float | None = None
    reason: Outcome | None = None
    rtt_ms: float | None = None
    votes: Mapping[str, Observed]
    models: frozenset[str] | None = None
    intended: Intended = Intended.ENABLED
    intent: Intent | None = None
    share: float = 1.0
    seen: Mapping[str, EdgeView] = field(default_factory=dict)

    @property
    def enabled(self) -> bool:
        """Whether no operator took it out and the catalog makes it routable."""
        return self.intended is Intended.ENABLED and self.region.routable

    @property
    def never_worked(self) -> bool:
        """Whether no vantage ever saw it working. Older releases do not publish that."""
        return bool(self.seen) and all(one.worked is False for one in self.seen.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Every edge in catalog order, and how far their health can be trusted.

    `seen_at`: when the newest view used was probed; None without one. `slot`: the number of
    the time slot, None while no dial is on (router.routing.dial).

    Computed once, so that requests need not: `by_id`, the edges by their id; `enabled`, those that
    are; `fit`, the ids of enabled edges that are up or degraded, or all while health is ignored;
    `spellings`, the ids of models that edges report, by the id in lower case; `holders`, likewise
    the ids of the edges that report them; `unproven`, while health is ignored, the ids of the
    enabled edges that were never seen working, if others were; `inferior`, the ids of the edges
    that come after all others: those, or the degraded ones while health counts. `inventory`:
    `spellings` and `holders`, if they are known already.
    """

    edges: tuple[Edge, ...]
    status: Status
    seen_at: float | None = None
    slot: int | None = None
    inventory: InitVar[tuple[Ids, Ids] | None] = None
    by_id: Mapping[str, Edge] = field(init=False, repr=False, compare=False)
    enabled: tuple[Edge, ...] = field(init=False, repr=False, compare=False)
    fit: frozenset[str] = field(init=False, repr=False, compare=False)
    unproven: frozenset[str] = field(init=False, repr=False, compare=False)
    inferior: frozenset[str] = field(init=False, repr=False, compare=False)
    spellings: Ids = field(init=False, repr=False, compare=False)
    holders: Ids = field(init=False, repr=False, compare=False)

    def __post_init__(self, inventory: tuple[Ids, Ids] | None) -> None:
        """Compute the look-ups."""
        spellings, holders = inventory or run_to_end(_inventory(self.edges))
        object.__setattr__(self, "by_id", {edge.region.id: edge for edge in self.edges})
        object.__setattr__(self, "enabled", tuple(edge for edge in self.edges if edge.enabled))
        fit = frozenset(edge.region.id for edge in useful_edges(self))
        object.__setattr__(self, "fit", fit)
        object.__setattr__(self, "unproven", _unproven(self))
        object.__setattr__(self, "inferior", _degraded(self) or self.unproven)
        object.__setattr__(self, "spellings", spellings)
        object.__setattr__(self, "holders", holders)

    @property
    def health_counts(self) -> bool:
        """Whether health is used. If not, every enabled edge may be offered."""
        return self.status in (Status.OK, Status.STALE)

    @property
    def routing(self) -> tuple[object, ...]:
        """Everything that answers depend on: equal values mean equal answers."""
        edges = tuple((_routing_of(edge), edge.share) for edge in self.edges)
        return self.status, self.slot, edges, self.unproven


def _inventory(edges: Iterable[Edge]) -> Generator[None, None, tuple[Ids, Ids]]:
    """Model ids as reported, and the edges that report them, both by the id in lower case. Edges
    with equal inventories are handled together. Yields after some models.
    """
    alike: defaultdict[frozenset[str], list[str]] = defaultdict(list)
    for edge in edges:
        if edge.models:
            alike[edge.models].append(edge.region.id)
    spellings: defaultdict[str, set[str]] = defaultdict(set)
    holders: defaultdict[str, set[str]] = defaultdict(set)
    for models, ids in alike.items():
        for number, model in enumerate(models):
            spellings[model.casefold()].add(model)
            holders[model.casefold()].update(ids)
            if number % MODELS_A_STEP == 0:
                yield
    return (yield from _freeze(spellings)), (yield from _freeze(holders))


def _freeze(found: Mapping[str, set[str]]) -> Generator[None, None, Ids]:
    frozen = {}
    for number, (model, ids) in enumerate(found.items()):
        frozen[model] = frozenset(ids)
        if number % MODELS_A_STEP == 0:
            yield
    return frozen


def combine(
    catalog: Catalog,
    views: Iterable[View],
    intents: Iterable[Intent],
    now: float,
    policy: FleetPolicy = FleetPolicy(),
) -> Fleet:
    """The Fleet at `now`. If no view is fresh enough to vote, older ones are used as the last
    known state; if all are too old, health is ignored (`static`).
    """
    return run_to_end(combine_in_steps(catalog, views, intents, now, policy))


def combine_in_steps(
    catalog: Catalog,
    views: Iterable[View],
    intents: Iterable[Intent],
    now: float,
    policy: FleetPolicy = FleetPolicy(),
    before: Fleet | None = None,
) -> Generator[None, None, Fleet]:
    """The same as a generator that yields after each edge, so that the caller can pause. Equal
    parts of the Fleet `before` are reused, which makes later comparisons cheap.
    """
    voters, status = _voters(views, now, policy)
    wishes = {intent.edge: intent for intent in intents if now < intent.ends_at}
    past = () if before is None else before.edges
    inventories = {edge.models: edge.models for edge in past}
    found = []
    for region in catalog.regions:
        edge = _edge(region, voters, wishes.get(region.id), now, policy)
        yield
        models = inventories.setdefault(edge.models, edge.models)
        found.append(edge if models is edge.models else replace(edge, models=models))
        yield
    edges = tuple(found)
    if before is not None and _have_same_models(before.edges, edges):
        inventory = before.spellings, before.holders
    else:
        inventory = yield from _inventory(edges)
    if status is not Status.STATIC and not any(is_offered(edge) for edge in edges):
        status = Status.FAIL_OPEN
    seen_at = max((min(view.probed_at, now) for view in voters), default=None)
    is_dialled = any(edge.share < 1.0 for edge in edges)
    slot = int(now // policy.slot_s) if is_dialled else None
    return Fleet(edges=edges, status=status, seen_at=seen_at, slot=slot, inventory=inventory)


def _have_same_models(before: Sequence[Edge], now: Sequence[Edge]) -> bool:
    return len(before) == len(now) and all(
        one.region.id == other.region.id and one.models is other.models
        for one, other in zip(before, now, strict=True)
    )


def version(fleet: Fleet) -> str:
    """Equal in all processes for fleets that give equal answers, apart from the time slot of
    a dial. 8 hex digits."""
    edges = [
        (
            edge.region.id,
            edge.region.endpoint,
            tuple(edge.region.position),
            edge.region.weight,
            edge.enabled,
            edge.observed.value,
            edge.share,
            None if edge.models is None else sorted(edge.models),
        )
        for edge in fleet.edges
    ]
    facts = (fleet.status.value, edges, *sorted(fleet.unproven))
    return blake2b(repr(facts).encode(), digest_size=4).hexdigest()


def changed_edges(before: Fleet, after: Fleet) -> tuple[str, ...]:
    """Ids of the edges that answers treat differently now. Dials do not count: a shared answer
    lasts no longer than a slot, and private ones are not purged.
    """
    known, now = (
        {
            edge.region.id: (_routing_of(edge), edge.region.id in fleet.unproven)
            for edge in fleet.edges
        }
        for fleet in (before, after)
    )
    return tuple(id for id in {**known, **now} if known.get(id) != now.get(id))


def _routing_of(edge: Edge) -> tuple[object, ...]:
    """Everything about an edge that answers depend on, except its dial."""
    return edge.region, edge.enabled, edge.observed, edge.models


def is_offered(edge: Edge) -> bool:
    """Whether it is enabled, and up or degraded."""
    return edge.enabled and edge.observed in (Observed.UP, Observed.DEGRADED)


def useful_edges(fleet: Fleet) -> list[Edge]:
    """The edges that answers can name now: offered, or all enabled while health is ignored."""
    judged = fleet.health_counts
    return [edge for edge in fleet.enabled if not judged or is_offered(edge)]


def _degraded(fleet: Fleet) -> frozenset[str]:
    """The ids of the degraded edges, while health counts."""
    if not fleet.health_counts:
        return frozenset()
    return frozenset(edge.region.id for edge in fleet.edges if edge.observed is Observed.DEGRADED)


def _unproven(fleet: Fleet) -> frozenset[str]:
    """The enabled edges that come last while health is ignored, because they were never seen
    working. Empty if that is true of all edges or of none.
    """
    if fleet.health_counts:
        return frozenset()
    ids = frozenset(edge.region.id for edge in fleet.enabled if edge.never_worked)
    return frozenset() if len(ids) == len(fleet.enabled) else ids


def _voters(views: Iterable[View], now: float, policy: FleetPolicy) -> tuple[list[View], Status]:
    """The views that vote. One with a time in the future counts as probed now."""
    known = [view for view in views if not view.isolated and now - view.probed_at <= policy.stale_s]
    fresh = [view for view in known if now - view.probed_at <= policy.fresh_s]
    if fresh:
        is_known = not all(is_doubted(view, policy) for view in fresh)
        return fresh, Status.OK if is_known else Status.STALE
    return known, Status.STALE if known else Status.STATIC


def is_doubted(view: View, policy: FleetPolicy) -> bool:
    """Whether its vantage has held removals for longer than health is fresh, so that it still
    publishes the held edges as they were before.
    """
    if not view.held or view.held_since is None:
        return False
    return view.probed_at - view.held_since > policy.fresh_s


def _edge(
    region: Region, voters: list[View], intent: Intent | None, now: float, policy: FleetPolicy
) -> Edge:
    seen = {
        view.vantage: _age_state(view.edges[region.id], view, policy)
        for view in voters
        if region.id in view.edges
    }
    votes = {vantage: one.state for vantage, one in seen.items()}
    observed = combine_votes(votes.values())
    deciding = _deciding_view(seen.values(), observed)
    return Edge(
        region=region,
        observed=observed,
        since=None if deciding is None else deciding.since,
        reason=None if deciding is None else deciding.reason,
        rtt_ms=None if deciding is None else deciding.rtt_ms,
        votes=votes,
        models=_models(seen.values(), now, policy),
        intended=Intended.ENABLED if intent is None else intent.state,
        intent=intent,
        share=_share(intent, now),
        seen=seen,
    )


def _share(intent: Intent | None, now: float) -> float:
    is_dial = intent is not None and intent.state is Intended.ENABLED
    return intent.share_at(now) if intent is not None and is_dial else 1.0


def _age_state(edge: EdgeView, view: View, policy: FleetPolicy) -> EdgeView:
    """The state of an edge in a view: unknown if its vantage could not probe it although it probed
    others.
    """
    if edge.probed_at is None or view.probed_at - edge.probed_at <= policy.fresh_s:
        return edge
    return replace(edge, state=Observed.UNKNOWN)


def combine_votes(votes: Iterable[Observed]) -> Observed:
    """One state from the vantages' votes; UNKNOWN abstains. Down needs the only voter, both of
    two, or more than half of three or more. With fewer votes for down, the edge is degraded, as it
    is if half say degraded.
    """
    count = Counter(vote for vote in votes if vote is not Observed.UNKNOWN)
    total, down = count.total(), count[Observed.DOWN]
    if total == 0:
        return Observed.UNKNOWN
    if 2 * down > total:
        return Observed.DOWN
    if down or 2 * count[Observed.DEGRADED] >= total:
        return Observed.DEGRADED
    return Observed.UP


def _deciding_view(seen: Iterable[EdgeView], observed: Observed) -> EdgeView | None:
    """The view that has seen this state for longest, or else the one that has seen trouble for
    longest.
    """

    def order(one: EdgeView) -> tuple[bool, bool, float]:
        untroubled = one.state in (Observed.UP, Observed.UNKNOWN)
        return one.state is not observed, untroubled, one.since

    return min(seen, key=order, default=None)


def _models(seen: Iterable[EdgeView], now: float, policy: FleetPolicy) -> frozenset[str] | None:
    """The newest inventory that is still fresh. If three or more differ: the models that more than
    half of them name, so that one faulty vantage does not decide.
    """
    dated = [
        (one.models_at, one.models)
        for one in seen
        if one.models is not None
        and one.models_at is not None
        and now - one.models_at <= policy.models_fresh_s
    ]
    if not dated:
        return None
    newest = max(dated)[1]
    if len(dated) < 3 or all(models == newest for _, models in dated):
        return frozenset(newest)
    count = Counter(model for _, models in dated for model in set(models))
    return frozenset(model for model, named in count.items() if 2 * named > len(dated))
