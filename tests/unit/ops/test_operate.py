"""Operators' acts on a store: done whole, refused whole, and always on record."""

from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from router.errors import StoreError
from router.model import Event, Intended
from router.ops.intents import RefusedError, drop_intents, enable_at_once, set_intents
from router.routing.fleet import Fleet, combine
from router.store import Change
from router.store.memory import MemoryStore
from tests.support.builders import CITIES, NOW, a_catalog, a_view

pytestmark = pytest.mark.anyio

CANADIAN = [id for id, (_, country, _) in CITIES.items() if country == "CA"]


class Shelf(MemoryStore):
    """A store that fails once it was asked to act so many times."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)
        self.acts_left = 99

    async def change_intents(self, changes: Sequence[Change]) -> None:
        if self.acts_left == 0:
            raise StoreError("Redis: gone")
        self.acts_left -= 1
        await super().change_intents(changes)

    async def fleet(self) -> Fleet:
        stored = await self.read(list(CITIES))
        return combine(a_catalog(), [a_view()], stored.intents, NOW)

    async def intended(self) -> dict[str, str]:
        """Each edge that is held back, and how."""
        return {intent.edge: intent.state for intent in (await self.read(list(CITIES))).intents}

    async def audit(self) -> list[tuple[str | None, str | None, str | None]]:
        events = [logged.event for logged in await self.events()]
        return [(event.edge, event.before, event.after) for event in events]


@pytest.fixture
def store() -> Shelf:
    return Shelf()


async def take_out(
    store: Shelf,
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


async def bring_back(store: Shelf, *edges: str, actor: str = "bob") -> list[Event]:
    return await drop_intents(store, await store.fleet(), edges, actor=actor, now=NOW)


async def refused(act: Awaitable[Sequence[Event]]) -> str:
    with pytest.raises(RefusedError) as caught:
        await act
    return str(caught.value)


async def test_edges_are_taken_out_and_it_is_on_record(store: Shelf) -> None:
    events = await take_out(store, "yto-01", "yul-01")
    assert await store.intended() == {"yto-01": "draining", "yul-01": "draining"}
    assert [one.event for one in await store.events()] == events
    assert {(one.reason, one.actor, one.until) for one in events} == {
        ("new disks", "ann", NOW + 60)
    }


async def test_edges_are_brought_back_and_it_is_on_record(store: Shelf) -> None:
    await take_out(store, "yto-01", "yul-01", state=Intended.DISABLED)
    events = await bring_back(store, "yto-01", "yul-01")
    assert await store.intended() == {}
    assert [one.event for one in await store.events()][2:] == events
    assert {(one.before, one.after, one.actor) for one in events} == {
        ("disabled", "enabled", "bob")
    }


async def test_edge_that_is_wanted_at_once_is_on_record(store: Shelf) -> None:
    await take_out(store, "yto-01")
    fleet = await store.fleet()
    (event,) = await enable_at_once(store, fleet, ["yto-01"], actor="bob", now=NOW)
    (intent,) = (await store.read(["yto-01"])).intents
    assert (intent.state, intent.at_once, intent.share) == (Intended.ENABLED, True, 1.0)
    assert (event.before, event.after, event.actor) == ("draining", "enabled", "bob")
    assert event.reason is not None
    assert "hold-down" in event.reason


async def test_later_wish_replaces_the_earlier(store: Shelf) -> None:
    await take_out(store, "yto-01")
    await take_out(store, "yto-01", state=Intended.DISABLED)
    assert await store.intended() == {"yto-01": "disabled"}
    assert await store.audit() == [
        ("yto-01", "enabled", "draining"),
        ("yto-01", "draining", "disabled"),
    ]


@pytest.mark.parametrize(
    ("edges", "wrong"),
    [
        (["yto-01", "nowhere"], {}),
        (CANADIAN, {}),
        (["yto-01"], {"life_s": 0}),
        (["yto-01"], {"reason": ""}),
    ],
    ids=["unknown", "country", "life", "reason"],
)
async def test_refusal_changes_nothing(
    store: Shelf, edges: list[str], wrong: dict[str, Any]
) -> None:
    await refused(take_out(store, *edges, **wrong))
    assert (await store.intended(), await store.audit()) == ({}, [])


async def test_country_is_left_without_an_edge_by_force(store: Shelf) -> None:
    assert "CA" in await refused(take_out(store, *CANADIAN))
    await take_out(store, *CANADIAN, force=True)
    assert set(await store.intended()) == set(CANADIAN)


async def test_force_does_not_invent_edges(store: Shelf) -> None:
    assert "no such edge" in await refused(take_out(store, "nowhere", force=True))


@pytest.mark.parametrize(
    ("edges", "actor"), [(["yto-01", "nowhere"], "bob"), (["yto-01"], ""), (["yto-01"], "\x1b[2J")]
)
async def test_refused_return_changes_nothing(store: Shelf, edges: list[str], actor: str) -> None:
    await take_out(store, "yto-01")
    await refused(bring_back(store, *edges, actor=actor))
    assert await store.intended() == {"yto-01": "draining"}
    assert len(await store.audit()) == 1


async def test_act_that_fails_changes_nothing(store: Shelf) -> None:
    store.acts_left = 0
    with pytest.raises(StoreError):
        await take_out(store, "yto-01", "yul-01", "nyc-01")
    assert (await store.intended(), await store.audit()) == ({}, [])


async def test_return_that_fails_changes_nothing(store: Shelf) -> None:
    store.acts_left = 1
    await take_out(store, "yto-01", "yul-01")
    with pytest.raises(StoreError):
        await bring_back(store, "yto-01", "yul-01")
    assert set(await store.intended()) == {"yto-01", "yul-01"}
    assert len(await store.audit()) == 2


async def test_edge_named_many_times_counts_once(store: Shelf) -> None:
    events = await take_out(store, *["yto-01"] * 1_500)
    assert len(events) == len(await store.audit()) == 1
    assert len(await bring_back(store, *["yto-01"] * 1_500)) == 1
