"""The fleet as plain data for people and programs. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from router.model import Intended, Observed, View
from router.ops import edge_conditions
from router.routing.cache_headers import CachePolicy
from router.routing.fleet import Edge, Fleet


def describe_fleet(
    fleet: Fleet,
    *,
    now: float,
    policy: CachePolicy = CachePolicy(),
    answers: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The fleet: its status, when it was last seen, and every edge in catalog order.
    `answers`: edge id → number of recent answers that named it; None if they are not counted.
    """
    total = sum(answers.values()) if answers else 0
    return {
        "status": fleet.status,
        "seen_at": fleet.seen_at,
        "edges": [
            {
                **describe_edge(edge, now, policy),
                "share": answers.get(edge.region.id, 0) / total if answers and total else None,
            }
            for edge in fleet.edges
        ],
    }


def describe_edge(edge: Edge, now: float, policy: CachePolicy) -> dict[str, Any]:
    """Everything known about an edge."""
    return {
        "id": edge.region.id,
        "name": edge.region.name,
        "country": edge.region.country,
        "latitude": edge.region.position.latitude,
        "longitude": edge.region.position.longitude,
        "endpoint": edge.region.endpoint,
        "routable": edge.region.routable,
        "weight": edge.region.weight,
        "state": edge.observed,
        "since": edge.since,
        "reason": edge_conditions.reason(edge),
        "why": edge_conditions.why(edge),
        "rtt_ms": edge.rtt_ms,
        "intent": edge.intended,
        "intent_detail": _intent(edge, now, policy),
        "dial": _dial(edge),
        "models": None if edge.models is None else sorted(edge.models),
        "votes": dict(edge.votes),
        **_health_details(edge),
    }


def _health_details(edge: Edge) -> dict[str, Any]:
    """What the vantages publish besides the state: until when the edge is held down or flapping,
    its usual time if it is slow, and errors of its list of models or its addresses.
    """
    faults = [one.models_fault for one in edge.seen.values() if one.models_fault is not None]
    is_down = edge.observed is Observed.DOWN
    return {
        "back_at": edge_conditions.back_at(edge) if is_down else None,
        "changes": edge_conditions.changes(edge),
        "calm_at": edge_conditions.calm_at(edge),
        "usual_ms": edge_conditions.usual_ms(edge),
        "never_worked": edge.never_worked,
        "models_fault": faults[0] if faults else None,
        "bad_addresses": sorted({bad for one in edge.seen.values() for bad in one.bad_addresses}),
    }


def describe_views(views: Iterable[View], now: float) -> list[dict[str, Any]]:
    """The vantages by name, with their age, isolation and brake."""
    return [
        {
            "vantage": view.vantage,
            "age_s": round(max(0.0, now - view.probed_at), 1),
            "isolated": view.isolated,
            "isolated_since": view.isolated_since if view.isolated else None,
            "held": list(view.held),
            "held_since": view.held_since if view.held else None,
            "held_until": view.held_until if view.held else None,
        }
        for view in sorted(views, key=lambda view: view.vantage)
    ]


def _intent(edge: Edge, now: float, policy: CachePolicy) -> dict[str, Any] | None:
    """The intent: who took the edge out, why, until when, and when the edge is drained."""
    intent = edge.intent
    if intent is None or intent.state is Intended.ENABLED:
        return None
    drained_at = intent.created_at + policy.forgotten_after_s
    return {
        "actor": intent.actor,
        "reason": intent.reason,
        "since": intent.created_at,
        "until": intent.ends_at,
        "drained_at": drained_at,
        "drained": now >= drained_at,
    }


def _dial(edge: Edge) -> dict[str, Any] | None:
    """The dial: the share of its viewers that the edge keeps now (`share`), the final one (`to`),
    and when that is reached.
    """
    intent = edge.intent
    if intent is None or intent.state is not Intended.ENABLED or intent.at_once:
        return None
    return {
        "share": edge.share,
        "from": intent.from_share,
        "to": intent.share,
        "over_s": intent.over_s,
        "reached_at": intent.created_at + intent.over_s,
        "actor": intent.actor,
        "reason": intent.reason,
        "since": intent.created_at,
        "until": intent.ends_at,
    }
