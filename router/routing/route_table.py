"""Answers of one Fleet as prepared bytes: built once per (key, query), then looked up. Pure.

An answer is a function of (route key, query, Fleet) and nothing else; that is what
makes caching it correct.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import chain, takewhile
from typing import Any

import msgspec

from router.model import Observed
from router.routing.cache_headers import (
    CachePolicy,
    Sharing,
    etag,
    format_key,
    not_found_headers,
    success_headers,
)
from router.routing.decision import Decision, ModelState, Problem, decide, model_state
from router.routing.dial import apply_dial, dial_position
from router.routing.fleet import Edge, Fleet, version
from router.routing.query import Query
from router.routing.ranking import Ranker, RouteKey
from router.routing.response import NO_STORE, RETRY_AFTER, Answer, Labels, error_answer, with_common

ALTERNATES_COUNT = 3
KNOWN_ANSWERS = 16_384
# Key, query, sharing, and the pick while a dial decides it.
Question = tuple[RouteKey, Query, Sharing, str | None]
KNOWN_BYTES = 32 * 2**20  # limit on their bodies: one with all=true names every edge

CODES = {
    Problem.NO_EDGE: 503,
    Problem.MODEL_UNAVAILABLE: 404,
    Problem.NO_EDGE_IN_COUNTRY: 404,
}


class RouteTable:
    """The answers of one Fleet. Immutable, except for a bounded cache."""

    def __init__(self, ranker: Ranker, fleet: Fleet, policy: CachePolicy) -> None:
        self.ranker = ranker
        self.fleet = fleet
        self.policy = policy
        self._answers: dict[Question, Answer] = {}
        self._known_bytes = 0
        self._decisions: dict[tuple[RouteKey, Query], Decision] = {}
        self._dials = sum(edge.share < 1.0 for edge in fleet.edges)
        self._listed: dict[str, msgspec.Raw] = {}

    @cached_property
    def version(self) -> str:
        """The version of its Fleet."""
        return version(self.fleet)

    def answer(self, key: RouteKey, query: Query, sharing: Sharing, seed: int = 0) -> Answer:
        """The answer for a viewer of this key. A repeated question costs one look-up. `seed`: 32
        bits that represent the viewer's network. Only private answers depend on it, and only while
        a dial is set.
        """
        if self._dials:
            return self._answer_with_dial(key, query, sharing, seed)
        question = (key, query, sharing, None)
        answer = self._answers.get(question)
        if answer is None:
            answer = self._build(self._decide(key, query), key, query, sharing)
            self._keep(question, answer)
        return answer

    def _answer_with_dial(self, key: RouteKey, query: Query, sharing: Sharing, seed: int) -> Answer:
        """`answer` while a dial is set. Decisions and answers are cached; which viewers are
        dialled away is not.
        """
        whole = self._decisions.get((key, query))
        if whole is None:
            whole = self._decide(key, query)
            if len(self._decisions) >= KNOWN_ANSWERS:
                self._decisions.clear()
            self._decisions[key, query] = whole
        decision = apply_dial(whole, key, dial_position(self.fleet, key, sharing, seed))
        pick = decision.candidates[0].region.id if decision.candidates else None
        question = (key, query, sharing, pick)
        answer = self._answers.get(question)
        if answer is None:
            answer = self._build(decision, key, query, sharing)
            self._keep(question, answer)
        return answer

    def _keep(self, question: Question, answer: Answer) -> None:
        """Cache an answer; clear the cache at its bound."""
        if len(self._answers) >= KNOWN_ANSWERS or self._known_bytes >= KNOWN_BYTES:
            self._answers.clear()
            self._known_bytes = 0
        self._answers[question] = answer
        self._known_bytes += len(answer.body)

    def _decide(self, key: RouteKey, query: Query) -> Decision:
        # While a dial is set, a viewer may get any candidate, so all are needed.
        enough = None if query.all or self._dials else 1 + ALTERNATES_COUNT
        return decide(self.ranker, self.fleet, key, query, enough)

    def _build(self, decision: Decision, key: RouteKey, query: Query, sharing: Sharing) -> Answer:
        tagged = _first_of_each(chain(key.preferred, self._deciding(decision, key, query)))
        if decision.problem is not None:
            refusal = _refusal(decision, decision.problem, tagged, key, query, sharing, self.policy)
            is_kept_in = self._is_kept_in(decision, decision.problem)
            labels = refusal.labels._replace(residency="refused" if is_kept_in else "")
            return replace(refusal, labels=labels, country=key.country, key=format_key(key))
        body_fields = document(decision, query, self.policy)
        if query.all:
            body_fields["regions"] = [self._entry(edge) for edge in decision.candidates]
        body = msgspec.json.encode(body_fields)
        tag = etag(body)
        headers = success_headers(sharing, decision.status, tagged, tag, self.policy)
        return Answer(
            code=200,
            headers=with_common(headers, body),
            body=body,
            etag=tag,
            labels=_labels(decision, query, sharing),
            country=key.country,
            key=format_key(key),
        )

    def _is_kept_in(self, decision: Decision, problem: Problem) -> bool:
        """Whether a residency rule is why the viewer got no edge: not when none is enabled,
        and not when no enabled edge anywhere has the model."""
        if decision.residency is None or problem is Problem.NO_EDGE:
            return False
        if problem is not Problem.MODEL_UNAVAILABLE:
            return True
        states = (model_state(edge, decision.model or "") for edge in self.fleet.enabled)
        return any(state is not ModelState.ABSENT for state in states)

    def _entry(self, edge: Edge) -> msgspec.Raw:
        """An edge as `regions` lists it: the same text in each answer, so encoded once."""
        id = edge.region.id
        entry = self._listed.get(id)
        if entry is None:
            fields = {"id": id, **_named("region", edge)}
            entry = self._listed[id] = msgspec.Raw(msgspec.json.encode(fields))
        return entry

    def _deciding(self, decision: Decision, key: RouteKey, query: Query) -> Iterator[str]:
        """The edges whose change may change this answer, the most likely first: those in it, and
        all that would come before the last of them. Every edge, if that cannot be limited.
        """
        first = decision.candidates[: 1 + ALTERNATES_COUNT]
        named = [edge.region.id for edge in first]
        if decision.order:
            return chain(named, (edge.region.id for edge in decision.order))
        ideal = (region.id for region in self.ranker.in_order(key, query.scope))
        is_plain = not query.all and query.model is None and not self._dials
        is_whole = len(first) > ALTERNATES_COUNT and is_plain
        if is_whole and all(edge.observed is Observed.UP for edge in first):
            return chain(named, takewhile(named[-1].__ne__, ideal))
        return chain(named, ideal, (edge.region.id for edge in self.fleet.edges))


def _first_of_each(ids: Iterable[str]) -> Iterator[str]:
    met: set[str] = set()
    for id in ids:
        if id not in met:
            met.add(id)
            yield id


def document(decision: Decision, query: Query, policy: CachePolicy) -> dict[str, Any]:
    """The body of a 200, in the contract's order of keys, without `regions`."""
    pick, *others = decision.candidates
    fields: dict[str, Any] = {
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
        fields["model"] = {
            "requested": query.model,
            "resolved": decision.model,
            "state": decision.model_state,
        }
    return fields


def _refusal(
    decision: Decision,
    problem: Problem,
    tagged: Iterable[str],
    key: RouteKey,
    query: Query,
    sharing: Sharing,
    policy: CachePolicy,
) -> Answer:
    if problem is Problem.NO_EDGE:
        detail = "Every edge is disabled or draining. Try again soon."
        return error_answer(CODES[problem], problem, detail, [*NO_STORE, RETRY_AFTER])
    headers = not_found_headers(sharing, decision.status, tagged, policy)
    return error_answer(CODES[problem], problem, _detail(decision, key, query), headers)


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
        code="200",
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
