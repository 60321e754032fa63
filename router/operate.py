"""Operator acts on a store: take edges out for a while, bring them back, and leave a trail."""

from collections.abc import Sequence

from router.fleet import Fleet
from router.intents import check_known, check_leaving, check_text, intent_event, new_intent
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
    events = []
    for wish in wishes:
        await store.put_intent(wish)
        events.append(intent_event(wish.edge, wish, before[wish.edge], wish.actor, now))
        await store.log_events(events[-1:])  # at once: the store may be gone before the next
    return events


async def drop_intents(
    store: Store, fleet: Fleet, edges: Sequence[str], *, actor: str, now: float
) -> list[Event]:
    """Enable edges again. Raises RefusedError or StoreError; a refusal changes nothing."""
    check_known(fleet, edges)
    check_text("actor", actor)
    before = _intended(fleet)
    events = []
    for id in edges:
        await store.drop_intent(id)
        events.append(intent_event(id, None, before[id], actor, now))
        await store.log_events(events[-1:])
    return events


def _intended(fleet: Fleet) -> dict[str, Intended]:
    return {edge.region.id: edge.intended for edge in fleet.edges}
