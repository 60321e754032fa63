"""Answers of one Fleet as ready bytes: built once per (key, query), then looked up. Pure.

An answer is a function of (route key, query, Fleet) and nothing else; that is what
makes caching it correct.
"""

from dataclasses import replace
from typing import Any

import msgspec

from router.answers import NO_STORE, Answer, Labels, error_answer, with_common
from router.caching import CachePolicy, Sharing, etag, not_found_headers, success_headers
from router.decision import Decision, Problem, decide
from router.fleet import Edge, Fleet
from router.query import Query
from router.ranking import Ranker, RouteKey

ALTERNATES_COUNT = 3
RETRY_AFTER_S = 5
KNOWN_ANSWERS = 16_384


class RouteTable:
    """The answers of one Fleet. Its memo is bounded; nothing else changes."""

    def __init__(self, ranker: Ranker, fleet: Fleet, policy: CachePolicy) -> None:
        self.ranker = ranker
        self.fleet = fleet
        self.policy = policy
        self._answers: dict[tuple[RouteKey, Query, Sharing], Answer] = {}

    def answer(self, key: RouteKey, query: Query, sharing: Sharing) -> Answer:
        """The answer for a viewer of this key. A repeated question costs one look-up."""
        question = (key, query, sharing)
        answer = self._answers.get(question)
        if answer is None:
            if len(self._answers) >= KNOWN_ANSWERS:
                self._answers.clear()
            answer = self._answers[question] = self._build(key, query, sharing)
        return answer

    def _build(self, key: RouteKey, query: Query, sharing: Sharing) -> Answer:
        decision = decide(self.ranker, self.fleet, key, query)
        if decision.problem is not None:
            refusal = _refusal(decision, decision.problem, key, query, sharing, self.policy)
            residency = "" if decision.residency is None else "refused"
            labels = refusal.labels._replace(residency=residency)
            return replace(refusal, labels=labels, country=key.country)
        body = msgspec.json.encode(document(decision, query, self.policy))
        # A pick beyond the preferred must be purged as well when it falls.
        tagged = dict.fromkeys((*key.preferred, decision.candidates[0].region.id))
        headers = success_headers(sharing, decision.status, tagged, body, self.policy)
        return Answer(
            code=200,
            headers=with_common(headers, body),
            body=body,
            etag=etag(body),
            labels=_labels(decision, query, sharing),
            country=key.country,
        )


def document(decision: Decision, query: Query, policy: CachePolicy) -> dict[str, Any]:
    """The body of a 200, in the contract's order of keys."""
    pick, *others = decision.candidates
    told: dict[str, Any] = {
        "region": pick.region.id,
        "name": pick.region.name,
        "country": pick.region.country,
        "endpoint": pick.region.endpoint,
        "ttl": policy.ttl(decision.status),
        "scope": query.scope,
        "reason": decision.reason,
        "crossed_border": decision.crossed_border,
        "status": decision.status,
        "alternates": [_named("region", edge) for edge in others[:ALTERNATES_COUNT]],
    }
    if query.model is not None:
        told["model"] = {
            "requested": query.model,
            "resolved": decision.model,
            "state": decision.model_state,
        }
    if query.all:
        told["regions"] = [
            {"id": edge.region.id, **_named("region", edge)} for edge in decision.candidates
        ]
    return told


def _refusal(
    decision: Decision,
    problem: Problem,
    key: RouteKey,
    query: Query,
    sharing: Sharing,
    policy: CachePolicy,
) -> Answer:
    if problem is Problem.NO_EDGE:
        detail = "Every edge is disabled or draining. Try again soon."
        retry = (b"retry-after", str(RETRY_AFTER_S).encode())
        return error_answer(503, problem, detail, [*NO_STORE, retry])
    headers = not_found_headers(sharing, decision.status, key.preferred, policy)
    return error_answer(404, problem, _detail(decision, key, query), headers)


def _detail(decision: Decision, key: RouteKey, query: Query) -> str:
    stay = " or ".join(sorted(decision.residency or ()))
    if decision.problem is Problem.MODEL_UNAVAILABLE:
        where = f" in {stay}, where viewers in {key.country} must stay," if stay else ""
        return f"No edge{where} has the model {decision.model!r} loaded."
    wanted = "" if query.model is None else f" with the model {decision.model!r}"
    if stay and not query.strict:
        return f"No edge{wanted} is up in {stay}, where viewers in {key.country} must stay."
    where = "your country, which is unknown" if key.country is None else key.country
    return f"No edge{wanted} is up in {where}, and strict=true forbids crossing the border."


def _labels(decision: Decision, query: Query, sharing: Sharing) -> Labels:
    return Labels(
        region=decision.candidates[0].region.id,
        reason=str(decision.reason),
        status=str(decision.status),
        scope=str(query.scope),
        residency="" if decision.residency is None else "kept",
        sharing=sharing.value,
        crossed=str(decision.crossed_border).lower(),
    )


def _named(label: str, edge: Edge) -> dict[str, str]:
    region = edge.region
    return {
        label: region.id,
        "name": region.name,
        "country": region.country,
        "endpoint": region.endpoint,
    }
