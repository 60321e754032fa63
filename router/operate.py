"""Operator acts on a store: take edges out for a while, bring them back, and leave a trail."""

from collections.abc import Sequence

from router.fleet import Fleet
from router.intents import check_known, check_leaving, intent_event, new_intent
from router.model import Event, Intended
from router.store import Store


async def set_intents(
    store: Store,
    fleet: Fleet,
    edges: Sequence[str],
    state: Intended,
    *,
    life_s: int,
    reason: str,
    actor: str,
    force: bool,
    now: float,
) -> list[Event]:
    """Drain or disable edges until `life_s` from now. Raises RefusedError or StoreError;
    a refusal changes nothing."""
    wishes = [
        new_intent(id, state, life_s=life_s, reason=reason, actor=actor, now=now) for id in edges
    ]
    check_known(fleet, edges)
    if not force:
        check_leaving(fleet, edges)
    before = _intended(fleet)
    for wish in wishes:
        await store.put_intent(wish)
    events = [intent_event(one.edge, one, before[one.edge], actor, now) for one in wishes]
    await store.log_events(events)
    return events


async def drop_intents(
    store: Store, fleet: Fleet, edges: Sequence[str], *, actor: str, now: float
) -> list[Event]:
    """Enable edges again. Raises RefusedError for an unknown one, or StoreError."""
    check_known(fleet, edges)
    before = _intended(fleet)
    for id in edges:
        await store.drop_intent(id)
    events = [intent_event(id, None, before[id], actor, now) for id in edges]
    await store.log_events(events)
    return events


def _intended(fleet: Fleet) -> dict[str, Intended]:
    return {edge.region.id: edge.intended for edge in fleet.edges}
