"""The dial: an edge keeps a share of the viewers whose pick it would be. Pure. The others get
their next candidate, with the dialled edge as first alternate. No viewer is sent across a border,
to a degraded edge, to one never seen working, or to one without the model; a viewer without a
suitable candidate stays. A smaller share moves the same viewers and some more. For time slots and
figures see docs/adr/0026-dial-by-time-slots.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from router.model import Observed
from router.routing.cache_headers import Sharing, format_key
from router.routing.decision import Decision, ModelState, decide, model_state
from router.routing.fleet import Edge, Fleet
from router.routing.query import Query
from router.routing.ranking import Ranker, RouteKey, fnv1a32, mix32

GOLDEN_RATIO = 0.6180339887498949

PARTS = 100

# The picks of a key's viewers, one for each of several equal parts; a single one if no dial
# applies. None: no edge.
Picked = tuple[str | None, ...]

# Edge id → a viewer's position in [0, 1) on its dial. The viewer keeps the edge if it is below the
# share.
DialPosition = Callable[[str], float]


def dial_position(fleet: Fleet, key: RouteKey, sharing: Sharing, seed: int) -> DialPosition:
    """The position for an answer. For a private answer it depends on the viewer's network; for a
    shared one, which is for many viewers, on its key and the time slot.
    """
    if sharing is Sharing.PRIVATE:
        return partial(network_position, seed)
    return partial(slot_position, fleet.slot or 0, key)


def network_position(seed: int, id: str) -> float:
    """Uses another hash than the ranking inside a metro, because viewers who rank an edge first
    all have high values of that hash.
    """
    return mix32(mix32(seed) ^ fnv1a32(f"dial {id}")) / 2**32


def slot_position(slot: int, key: RouteKey, id: str) -> float:
    """Successive multiples of the golden ratio fill [0, 1) evenly, however few they are."""
    return (mix32(fnv1a32(f"dial {id} {format_key(key)}")) / 2**32 + slot * GOLDEN_RATIO) % 1.0


def apply_dial(decision: Decision, key: RouteKey, position_of: DialPosition) -> Decision:
    """The decision, with its pick replaced if the dial moves this viewer away."""
    if not decision.candidates:
        return decision
    pick = decision.candidates[0]
    edge = _pick_by_dial(decision, key, position_of)
    if edge is pick:
        return decision
    rest = (one for one in decision.candidates[1:] if one is not edge)
    return replace(
        decision,
        candidates=(edge, pick, *rest),
        crossed_border=key.country not in (None, edge.region.country),
    )


def picker(ranker: Ranker, fleet: Fleet, query: Query) -> Callable[[RouteKey], Picked]:
    """A function for callers with many keys: the picks of the viewers of each."""
    dials = [edge.region.id for edge in fleet.edges if edge.share < 1.0]
    positions = {id: _even_positions(id) for id in dials}
    enough = None if fleet.slot is not None else 1

    def pick(key: RouteKey) -> Picked:
        decision = decide(ranker, fleet, key, query, enough)
        if not decision.candidates:
            return (None,)
        if decision.candidates[0].share >= 1.0:
            return (decision.candidates[0].region.id,)
        parts = (
            _pick_by_dial(decision, key, partial(_part_position, positions, part))
            for part in range(PARTS)
        )
        return tuple(edge.region.id for edge in parts)

    return pick


def _part_position(positions: Mapping[str, Sequence[float]], part: int, id: str) -> float:
    return positions[id][part] if id in positions else 0.0


def _even_positions(id: str) -> list[float]:
    """The positions of PARTS equal parts of the viewers on an edge's dial: evenly over [0, 1), in
    a different order for each edge, because dials are independent of each other.
    """
    seed, positions = fnv1a32(f"dial {id}"), [0.0] * PARTS
    for place, part in enumerate(sorted(range(PARTS), key=lambda part: mix32(part ^ seed))):
        positions[part] = (place + 0.5) / PARTS
    return positions


def _pick_by_dial(decision: Decision, key: RouteKey, position_of: DialPosition) -> Edge:
    """The pick, or, if the viewer is dialled away from it, the first suitable candidate."""
    pick, *others = decision.candidates
    if position_of(pick.region.id) < pick.share:
        return pick
    for edge in others:
        if position_of(edge.region.id) < edge.share and _is_suitable(
            edge, pick, key, decision.model
        ):
            return edge
    return pick


def _is_suitable(edge: Edge, pick: Edge, key: RouteKey, model: str | None) -> bool:
    if pick.region.country == key.country != edge.region.country:
        return False
    if edge.observed is not Observed.UP and edge.observed is not pick.observed:
        return False
    if edge.never_worked and not pick.never_worked:
        return False
    if model is None:
        return True
    is_loaded = [model_state(one, model) is ModelState.LOADED for one in (edge, pick)]
    return is_loaded[0] or not is_loaded[1]
