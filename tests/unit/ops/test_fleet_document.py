"""The fleet as a JSON document."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from router.model import Intended, Observed
from router.ops.fleet_document import describe_edge, describe_fleet, describe_views
from router.routing.cache_headers import CachePolicy
from tests.support.builders import CITIES, NOW, a_fleet, a_held_edge, a_region, a_view, an_edge

POLICY = CachePolicy(ttl_s=300, degraded_ttl_s=30, max_age_s=10)
DRAINED_AT = NOW - 60 + 300 + 10 + 10  # `a_held_edge` has an intent that is one minute old


def test_document_of_an_edge_has_every_field() -> None:
    edge = an_edge(
        a_region("yul-02", routable=False, weight=2.0), Observed.DEGRADED, models=["b", "a"]
    )
    assert describe_edge(edge, NOW, POLICY) == {
        "id": "yul-02",
        "name": "Montreal 02",
        "country": "CA",
        "latitude": 45.5019,
        "longitude": -73.5674,
        "endpoint": "https://api.yul-02.edge.polargrid.ai",
        "routable": False,
        "weight": 2.0,
        "state": "degraded",
        "since": NOW - 3600,
        "reason": None,
        "rtt_ms": None,
        "intent": "enabled",
        "intent_detail": None,
        "dial": None,
        "why": "",
        "models": ["a", "b"],
        "votes": {"local": "degraded"},
        "back_at": None,
        "changes": 0,
        "calm_at": None,
        "usual_ms": None,
        "never_worked": False,
        "models_fault": None,
        "bad_addresses": [],
    }


def test_unknown_inventory_is_null() -> None:
    assert describe_edge(an_edge(models=None), NOW, POLICY)["models"] is None
    assert describe_edge(an_edge(models=[]), NOW, POLICY)["models"] == []


@pytest.mark.parametrize("state", [Intended.DRAINING, Intended.DISABLED])
def test_draining_edge_has_actor_reason_and_end(state: Intended) -> None:
    detail = describe_edge(a_held_edge(state=state), NOW, POLICY)["intent_detail"]
    assert detail == {
        "actor": "ops",
        "reason": "maintenance",
        "since": NOW - 60,
        "until": NOW + 3600,
        "drained_at": DRAINED_AT,
        "drained": False,
    }


@pytest.mark.parametrize(("now", "drained"), [(DRAINED_AT - 1, False), (DRAINED_AT, True)])
def test_edge_is_drained_when_cached_answers_have_expired(now: float, drained: bool) -> None:
    assert describe_edge(a_held_edge(), now, POLICY)["intent_detail"]["drained"] is drained


def test_drained_waits_for_the_longest_lifetime() -> None:
    policy = CachePolicy(ttl_s=20, degraded_ttl_s=60, max_age_s=5)
    assert policy.forgotten_after_s == 60 + 5 + 10


def test_edges_are_in_catalog_order() -> None:
    document = describe_fleet(a_fleet(), now=NOW)
    assert (document["status"], document["seen_at"]) == ("ok", NOW)
    assert [edge["id"] for edge in document["edges"]] == list(CITIES)


def test_share_is_a_part_of_the_answers_with_an_edge() -> None:
    document = describe_fleet(a_fleet(), now=NOW, answers={"yto-01": 3, "nyc-01": 1})
    shares = {edge["id"]: edge["share"] for edge in document["edges"]}
    assert (shares["yto-01"], shares["nyc-01"], shares["dal-01"]) == (0.75, 0.25, 0.0)


@pytest.mark.parametrize("answers", [None, {}])
def test_share_is_unknown_without_answers(answers: dict[str, int] | None) -> None:
    document = describe_fleet(a_fleet(), now=NOW, answers=answers)
    assert {edge["share"] for edge in document["edges"]} == {None}


def test_vantages_have_age_and_isolation() -> None:
    views = [a_view("b", isolated=True), a_view("a", probed_at=NOW - 20)]
    views[0] = replace(views[0], isolated_since=NOW - 90)
    no_brake: dict[str, Any] = {"held": [], "held_since": None, "held_until": None}
    assert describe_views(views, NOW) == [
        {"vantage": "a", "age_s": 20, "isolated": False, "isolated_since": None, **no_brake},
        {"vantage": "b", "age_s": 0, "isolated": True, "isolated_since": NOW - 90, **no_brake},
    ]


def test_vantage_has_start_and_end_of_its_brake() -> None:
    view = replace(a_view(held=["yto-01"]), held_since=NOW - 30, held_until=NOW + 90)
    (document,) = describe_views([view], NOW)
    assert (document["held_since"], document["held_until"]) == (NOW - 30, NOW + 90)


def test_document_can_be_encoded_as_json() -> None:
    document = describe_fleet(a_fleet(a_held_edge()), now=NOW, answers={"yto-01": 1})
    assert msgspec.json.decode(msgspec.json.encode(document)) == msgspec.to_builtins(document)
