"""Reading and using invalid data from Redis never raises.

It is used by answers, documents, metrics, log lines and the command line.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from prometheus_client import generate_latest

from router.api.live_fleet import FleetWatch
from router.cli import text
from router.cli.fleet_text import show_edges
from router.model import Event, EventKind, Intended, Intent, Observed, Outcome, Scope, View
from router.ops.diagnosis import findings
from router.ops.fleet_document import describe_fleet, describe_views
from router.routing.cache_headers import CachePolicy, Sharing
from router.routing.explain import explain
from router.routing.query import Query
from router.store import Stored
from router.store.codec import UNREADABLE, decode, encode
from router.store.keys import Before, Head, Names, Part, Survey
from router.store.memory import MemoryStore
from router.store.reading import Reader, intent_key, view_key
from router.telemetry.metrics import Telemetry
from tests.support.builders import (
    NOW,
    a_key,
    a_placed,
    a_ranker,
    a_view,
    an_edge_view,
    an_intent,
)
from tests.support.hostile import HOSTILE_TEXTS, ODD_TIMES, mangled, many

EDGE = an_edge_view(Observed.DEGRADED, models=["kokoro-82m"], models_at=NOW - 5)
VIEW = a_view("evil", {"yto-01": EDGE, "yul-01": Observed.DOWN}, seq=7, held=["yul-01"])
INTENT = an_intent("yto-01")
EVENT = Event(
    at=NOW,
    kind=EventKind.INTENT,
    edge="yto-01",
    vantage="evil",
    before="enabled",
    after="draining",
    reason="disks",
    actor="ann",
    until=NOW + 60,
)


class Bytes:
    """Redis keys with the given values."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self.values = values

    async def survey(
        self, views: Sequence[str], intents: Sequence[str], limit: int, before: Before
    ) -> Survey:
        names = [key.rpartition(":")[2] for key in self.values if ":view:" in key]
        parts = {key: self.values[key] for key in intents if key in self.values}
        return Survey(Names(names, len(names)), await self.heads(views), dict(parts))

    async def heads(self, keys: Sequence[str]) -> list[Head]:
        found = [self.values.get(key, b"") for key in keys]
        return [Head(value[:256], len(value)) for value in found]

    async def parts(self, keys: Sequence[str], limits: Sequence[int]) -> list[Part]:
        return [self.values.get(key) for key in keys]


class Source:
    """A store for a FleetWatch that reads the given values."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._keys = Bytes(values)
        self._reader = Reader(lambda: NOW)

    async def read(self, edges: Sequence[str]) -> Stored:
        return await self._reader.read(self._keys, edges)

    async def changed(self, seen: int, timeout_s: float) -> int:
        raise NotImplementedError


def as_sent(document: Any) -> Any:
    """The document as a client receives it."""
    return json.loads(msgspec.json.encode(document))


def use_everywhere(values: Mapping[str, bytes]) -> FleetWatch:
    """Read the values, then answer, explain and show the fleet."""
    telemetry = Telemetry()
    watch = FleetWatch(a_ranker(), Source(values), telemetry, clock=lambda: NOW)
    asyncio.run(watch.refresh())
    for query in (Query(), Query(model="kokoro-82m"), Query(scope=Scope.GLOBAL, all=True)):
        assert watch.table.answer(a_key(), query, Sharing.PRIVATE).code in (200, 404)
        explanation = explain(watch.ranker, watch.fleet, a_placed(), query, CachePolicy())
        text.show_explanation(
            {"from": "here", "ip": "192.0.2.1", **json.loads(msgspec.json.encode(explanation))}
        )
    shown = {
        **describe_fleet(watch.fleet, now=NOW),
        "vantages": describe_views(watch.published, NOW),
        "findings": findings(watch.fleet, watch.published, now=NOW),
    }
    show_edges({"from": "here", **json.loads(msgspec.json.encode(shown))})
    generate_latest(telemetry.registry)
    return watch


@many
@given(mangled(VIEW), mangled(INTENT))
def test_invalid_values_never_raise_outside_the_reader(
    capsys: pytest.CaptureFixture[str], view: bytes, intent: bytes
) -> None:
    values = {
        view_key("evil"): view,
        view_key("good"): encode(a_view("good", {"nyc-01": Observed.UP})),
        intent_key("yto-01"): intent,
    }
    watch = use_everywhere(values)
    assert "good" in {view.vantage for view in watch.published}
    capsys.readouterr()


@many
@given(mangled(EVENT))
def test_invalid_events_are_dropped_or_shown(
    capsys: pytest.CaptureFixture[str], event: bytes
) -> None:
    try:
        kept = decode(event, Event, NOW)
    except UNREADABLE:
        return
    text.show_events([{"id": "1-0", **as_sent(kept)}])
    Telemetry().event_happened(kept)
    capsys.readouterr()


@pytest.mark.parametrize("at", ODD_TIMES)
@pytest.mark.parametrize("field", ["created_at", "expires_at"])
def test_intent_with_invalid_times_affects_no_other(
    capsys: pytest.CaptureFixture[str], field: str, at: float
) -> None:
    fields = {**json.loads(encode(INTENT)), field: at}
    good = an_intent("yul-01", Intended.DISABLED)
    watch = use_everywhere(
        {
            view_key("local"): encode(a_view()),
            intent_key("yto-01"): json.dumps(fields).encode(),
            intent_key("yul-01"): encode(good),
        }
    )
    intended = {edge.region.id: edge.intended for edge in watch.fleet.edges}
    assert intended["yul-01"] is Intended.DISABLED
    assert all(
        edge.intent is None or edge.intent.ends_at <= NOW + 5 * 86_400 for edge in watch.fleet.edges
    )
    capsys.readouterr()


def models_of(watch: FleetWatch, id: str = "yto-01") -> frozenset[str] | None:
    return next(edge.models for edge in watch.fleet.edges if edge.region.id == id)


@pytest.mark.parametrize("ahead_s", [60.0, 1e6, 1e9])
def test_inventory_from_the_future_is_ignored(
    capsys: pytest.CaptureFixture[str], ahead_s: float
) -> None:
    false = a_view("evil", {"yto-01": an_edge_view(models=["lie"], models_at=NOW + ahead_s)})
    true = a_view("good", {"yto-01": an_edge_view(models=["kokoro-82m"], models_at=NOW - 10)})
    alone = use_everywhere({view_key("evil"): encode(false)})
    assert models_of(alone) is None
    both = use_everywhere({view_key("evil"): encode(false), view_key("good"): encode(true)})
    assert models_of(both) == frozenset({"kokoro-82m"})


def test_one_false_inventory_of_three_is_outvoted(capsys: pytest.CaptureFixture[str]) -> None:
    def view(name: str, model: str, at: float) -> bytes:
        return encode(a_view(name, {"yto-01": an_edge_view(models=[model], models_at=at)}))

    watch = use_everywhere(
        {
            view_key("evil"): view("evil", "lie", NOW),
            view_key("one"): view("one", "kokoro-82m", NOW - 10),
            view_key("two"): view("two", "kokoro-82m", NOW - 20),
        }
    )
    assert models_of(watch) == frozenset({"kokoro-82m"})


def test_oversized_inventory_is_unknown() -> None:
    fields = json.loads(encode(VIEW))
    for models in (["x" * 300], [f"m{number}" for number in range(20_000)]):
        fields["edges"]["yto-01"]["models"] = models
        edge = decode(json.dumps(fields).encode(), View, NOW).edges["yto-01"]
        assert (edge.models, edge.state) == (None, Observed.DEGRADED)


def test_every_field_is_read_back() -> None:
    """Fails for a new field that the reader does not know."""
    for value in (VIEW, INTENT, EVENT):
        assert decode(encode(value), type(value), NOW) == value  # type: ignore[type-var]
    kept = decode(encode(VIEW), View, NOW).edges["yto-01"]
    full = {name: getattr(kept, name) for name in kept.__slots__}
    assert full == {name: getattr(EDGE, name) for name in EDGE.__slots__}


@pytest.mark.parametrize("field", ["reason", "rtt_ms"])
def test_optional_fields_of_an_edge_are_read_back(field: str) -> None:
    valid: dict[str, Any] = {"reason": Outcome.TIMEOUT, "rtt_ms": 12.5}
    fields = json.loads(encode(VIEW))
    fields["edges"]["yto-01"][field] = valid[field]
    edge = decode(json.dumps(fields).encode(), View, NOW).edges["yto-01"]
    assert getattr(edge, field) == valid[field]


@pytest.mark.parametrize("field", ["back_at", "calm_at", "usual_ms"])
@pytest.mark.parametrize("value", [-1.0, 1e300])
def test_impossible_times_of_an_edge_are_dropped(field: str, value: float) -> None:
    fields = json.loads(encode(VIEW))
    fields["edges"]["yto-01"][field] = value
    edge = decode(json.dumps(fields).encode(), View, NOW).edges["yto-01"]
    assert getattr(edge, field) is None


@pytest.mark.parametrize("field", ["isolated_since", "held_since", "held_until"])
@pytest.mark.parametrize("value", [-1.0, 1e300])
def test_impossible_times_of_a_view_are_dropped(field: str, value: float) -> None:
    text = json.dumps({**json.loads(encode(VIEW)), field: value}).encode()
    assert getattr(decode(text, View, NOW), field) is None


@given(mangled(replace(EVENT, reason="".join(HOSTILE_TEXTS), actor=HOSTILE_TEXTS[0])))
def test_texts_of_stored_events_are_safe(text: bytes) -> None:
    """For events read from Redis and for events that this process writes to any store."""
    try:
        event = msgspec.json.decode(text, type=Event)
        read_back = decode(text, Event, NOW)
    except UNREADABLE:
        return
    store = MemoryStore()
    asyncio.run(store.log_events([event]))
    ((_, kept),) = asyncio.run(store.events())
    for one in (read_back, kept, msgspec.json.decode(encode(event), type=Event)):
        texts = [value for name in fields(one) if isinstance(value := getattr(one, name.name), str)]
        assert all(text.isprintable() and len(text) <= 1_000 for text in texts)


def test_texts_of_intents_from_redis_are_safe() -> None:
    hostile = replace(INTENT, reason="".join(HOSTILE_TEXTS), actor=HOSTILE_TEXTS[0])
    intent = decode(encode(hostile), Intent, NOW)
    assert intent.reason.isprintable()
    assert intent.actor == r"\x1b[2J"
