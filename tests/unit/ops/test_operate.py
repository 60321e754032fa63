"""Changes by operators are applied completely or not at all, and always logged."""

from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from router.errors import StoreError
from router.model import Event, Intended
from router.ops.intents import RefusedError, drop_intents, enable_at_once, set_intents
from router.routing.fleet import Fleet, combine
from tests.support.builders import (
    CANADIAN,
    CITIES,
    NOW,
    a_catalog,
    a_view,
)
from tests.support.failing_store import FailingStore

pytestmark = pytest.mark.anyio


class OperatedStore(FailingStore):
    """A store that also returns its fleet and its audit log."""

    async def fleet(self) -> Fleet:
        stored = await self.read(list(CITIES))
        return combine(a_catalog(), [a_view()], stored.intents, NOW)

    async def intended(self) -> dict[str, str]:
        """Returns the intended state by edge, for edges with an intent."""
        return {intent.edge: intent.state for intent in (await self.read(list(CITIES))).intents}

    async def audit(self) -> list[tuple[str | None, str | None, str | None]]:
        events = [logged.event for logged in await self.events()]
        return [(event.edge, event.before, event.after) for event in events]


@pytest.fixture
def store() -> OperatedStore:
    return OperatedStore(lambda: NOW)


async def drain(
    store: OperatedStore,
    *edges: str,
    state: Intended = Intended.DRAINING,
    life_s: int = 60,
    reason: str = "new disks",
    force: bool = False,
) -> list[Event]:
    return await set_intents(
        store,
        await store.fleet(),
        edges,
        state,
        life_s=life_s,
        reason=reason,
        actor="ann",
        force=force,
        now=NOW,
    )


async def enable(store: OperatedStore, *edges: str, actor: str = "bob") -> list[Event]:
    return await drop_intents(store, await store.fleet(), edges, actor=actor, now=NOW)


async def error_of(act: Awaitable[Sequence[Event]]) -> str:
    with pytest.raises(RefusedError) as caught:
        await act
    return str(caught.value)


async def test_draining_edges_is_logged(store: OperatedStore) -> None:
    events = await drain(store, "yto-01", "yul-01")
    assert await store.intended() == {"yto-01": "draining", "yul-01": "draining"}
    assert [one.event for one in await store.events()] == events
    assert {(one.reason, one.actor, one.until) for one in events} == {
        ("new disks", "ann", NOW + 60)
    }


async def test_enabling_edges_is_logged(store: OperatedStore) -> None:
    await drain(store, "yto-01", "yul-01", state=Intended.DISABLED)
    events = await enable(store, "yto-01", "yul-01")
    assert await store.intended() == {}
    assert [one.event for one in await store.events()][2:] == events
    assert {(one.before, one.after, one.actor) for one in events} == {
        ("disabled", "enabled", "bob")
    }


async def test_enabling_an_edge_at_once_is_logged(store: OperatedStore) -> None:
    await drain(store, "yto-01")
    fleet = await store.fleet()
    (event,) = await enable_at_once(store, fleet, ["yto-01"], actor="bob", now=NOW)
    (intent,) = (await store.read(["yto-01"])).intents
    assert (intent.state, intent.at_once, intent.share) == (Intended.ENABLED, True, 1.0)
    assert (event.before, event.after, event.actor) == ("draining", "enabled", "bob")
    assert event.reason is not None
    assert "hold-down" in event.reason


async def test_later_intent_replaces_the_earlier(store: OperatedStore) -> None:
    await drain(store, "yto-01")
    await drain(store, "yto-01", state=Intended.DISABLED)
    assert await store.intended() == {"yto-01": "disabled"}
    assert await store.audit() == [
        ("yto-01", "enabled", "draining"),
        ("yto-01", "draining", "disabled"),
    ]


@pytest.mark.parametrize(
    ("edges", "changes"),
    [
        (["yto-01", "nowhere"], {}),
        (CANADIAN, {}),
        (["yto-01"], {"life_s": 0}),
        (["yto-01"], {"reason": ""}),
    ],
    ids=["unknown", "country", "life", "reason"],
)
async def test_refused_intent_changes_nothing(
    store: OperatedStore, edges: list[str], changes: dict[str, Any]
) -> None:
    await error_of(drain(store, *edges, **changes))
    assert (await store.intended(), await store.audit()) == ({}, [])


async def test_force_allows_a_country_without_an_edge(store: OperatedStore) -> None:
    assert "CA" in await error_of(drain(store, *CANADIAN))
    await drain(store, *CANADIAN, force=True)
    assert set(await store.intended()) == set(CANADIAN)


async def test_force_does_not_allow_unknown_edges(store: OperatedStore) -> None:
    assert "no such edge" in await error_of(drain(store, "nowhere", force=True))


@pytest.mark.parametrize(
    ("edges", "actor"), [(["yto-01", "nowhere"], "bob"), (["yto-01"], ""), (["yto-01"], "\x1b[2J")]
)
async def test_refused_enabling_changes_nothing(
    store: OperatedStore, edges: list[str], actor: str
) -> None:
    await drain(store, "yto-01")
    await error_of(enable(store, *edges, actor=actor))
    assert await store.intended() == {"yto-01": "draining"}
    assert len(await store.audit()) == 1


async def test_failed_write_of_an_intent_changes_nothing(store: OperatedStore) -> None:
    store.failing = {"change_intents"}
    with pytest.raises(StoreError):
        await drain(store, "yto-01", "yul-01", "nyc-01")
    assert (await store.intended(), await store.audit()) == ({}, [])


async def test_failed_write_of_an_enabling_changes_nothing(store: OperatedStore) -> None:
    await drain(store, "yto-01", "yul-01")
    store.failing = {"change_intents"}
    with pytest.raises(StoreError):
        await enable(store, "yto-01", "yul-01")
    assert set(await store.intended()) == {"yto-01", "yul-01"}
    assert len(await store.audit()) == 2


async def test_repeated_edge_counts_once(store: OperatedStore) -> None:
    events = await drain(store, *["yto-01"] * 1_500)
    assert len(events) == len(await store.audit()) == 1
    assert len(await enable(store, *["yto-01"] * 1_500)) == 1
