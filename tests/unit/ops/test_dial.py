"""How a dial is requested, stored and shown."""

from dataclasses import replace

import msgspec
import pytest

from router.model import Event, Intended, Intent
from router.ops.fleet_document import describe_edge
from router.ops.intents import Dial, RefusedError, parse_share, requested_dial, set_intents
from router.routing.cache_headers import CachePolicy
from router.routing.fleet import Fleet, combine
from router.store.codec import UNREADABLE, decode, encode
from router.store.memory import MemoryStore
from tests.support.builders import NOW, a_catalog, a_view, an_intent

pytestmark = pytest.mark.anyio


async def dialled(
    store: MemoryStore,
    share: float,
    *,
    over_s: int = 0,
    now: float = NOW,
    life_s: int = 7_200,
    fleet: Fleet | None = None,
) -> list[Event]:
    return await set_intents(
        store,
        fleet or await fleet_of(store, now),
        ["yto-01"],
        Intended.ENABLED,
        life_s=life_s,
        reason="GPUs hot",
        actor="alice",
        force=False,
        now=now,
        dial=Dial(share, over_s),
    )


async def fleet_of(store: MemoryStore, now: float = NOW) -> Fleet:
    catalog = a_catalog()
    stored = await store.read([region.id for region in catalog.regions])
    return combine(catalog, [a_view(probed_at=now)], stored.intents, now)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=lambda: NOW)


async def test_dial_is_stored_and_logged(store: MemoryStore) -> None:
    (event,) = await dialled(store, 0.7)
    assert (event.before, event.after, event.reason) == ("enabled", "dial 70%", "GPUs hot")
    edge = (await fleet_of(store)).edges[0]
    assert (edge.share, edge.enabled) == (0.7, True)


async def test_new_dial_starts_from_the_current_share(store: MemoryStore) -> None:
    await dialled(store, 0.0, over_s=600)
    (event,) = await dialled(store, 1.0, over_s=100, now=NOW + 300)
    assert (event.before, event.after) == ("dial 0% over 10m", "dial 100% over 1.66667m")
    halfway = (await fleet_of(store, NOW + 350)).edges[0]
    assert halfway.share == 0.75


async def test_dial_of_a_draining_edge_starts_at_zero(store: MemoryStore) -> None:
    fleet = combine(a_catalog(), [a_view()], [an_intent()], NOW)
    await dialled(store, 1.0, over_s=100, fleet=fleet)
    assert (await fleet_of(store, NOW + 50)).edges[0].share == 0.5


async def test_dial_that_would_expire_too_early_is_refused(store: MemoryStore) -> None:
    with pytest.raises(RefusedError, match="would end before it reaches its share"):
        await dialled(store, 0.0, over_s=600, life_s=300)
    assert (await fleet_of(store)).slot is None


async def test_document_of_an_edge_has_its_dial(store: MemoryStore) -> None:
    await dialled(store, 0.0, over_s=600)
    edge = (await fleet_of(store, NOW + 60)).edges[0]
    shown = describe_edge(edge, NOW + 60, CachePolicy())
    assert (shown["intent"], shown["intent_detail"]) == ("enabled", None)
    assert shown["dial"] == {
        "share": 0.9,
        "from": 1.0,
        "to": 0.0,
        "over_s": 600,
        "reached_at": NOW + 600,
        "actor": "alice",
        "reason": "GPUs hot",
        "since": NOW,
        "until": NOW + 7_200,
    }


@pytest.mark.parametrize(
    ("text", "share"),
    [("70%", 0.7), ("0.7", 0.7), ("0%", 0.0), ("100%", 1.0), ("1", 1.0), ("12.5%", 0.125)],
)
def test_share_is_parsed(text: str, share: float) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["", "70", "101%", "-1%", "nan", "1.1", "70 %", "\u0667%", "1e-1"])
def test_invalid_share_is_rejected(text: str) -> None:
    assert parse_share(text) is None


@pytest.mark.parametrize(
    "arguments",
    [(None, None, None), ("draining", 0.5, None), (None, 0.5, "soon"), (None, 0.5, "4d")],
)
def test_contradictory_dial_is_refused(
    arguments: tuple[str | None, float | None, str | None],
) -> None:
    with pytest.raises(RefusedError):
        requested_dial(*arguments)


class OldIntent(msgspec.Struct):
    """An intent as releases without dials read it; other fields are ignored."""

    edge: str
    state: Intended
    actor: str
    reason: str
    created_at: float
    expires_at: float
    v: int = 1


A_DIAL = replace(an_intent(state=Intended.ENABLED), share=0.3, from_share=0.9, over_s=30)


def test_older_release_reads_a_dial_as_enabled() -> None:
    old = msgspec.json.decode(encode(A_DIAL), type=OldIntent)
    assert (old.state, old.v) == (Intended.ENABLED, 1)


def test_dial_is_read_back() -> None:
    assert decode(encode(A_DIAL), Intent, NOW) == A_DIAL


def test_intent_of_an_older_release_has_no_dial() -> None:
    old = {
        name: value for name, value in msgspec.to_builtins(A_DIAL).items() if "share" not in name
    }
    del old["over_s"]
    assert decode(msgspec.json.encode({**old, "v": 1}), Intent, NOW).share == 1.0


@pytest.mark.parametrize("field", ["share", "from_share", "over_s"])
@pytest.mark.parametrize("value", [-0.1, 1e308, "0.5", None])
def test_dial_out_of_range_is_unreadable(field: str, value: object) -> None:
    fields = {**msgspec.to_builtins(A_DIAL), field: value, "v": 1}
    with pytest.raises(UNREADABLE):
        decode(msgspec.json.encode(fields), Intent, NOW)
