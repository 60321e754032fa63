"""Lookups of edge names with a name server that answers, fails, hangs and recovers."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from router.health.resolver import LAST_GOOD_S, LOOKUP_S, WAIT_S, ResolveError, Resolver
from tests.support.dns import HANG, REFUSED, SERVFAIL, Answer, NameServer, name_server
from tests.support.servers import eventually

pytestmark = pytest.mark.anyio

SLACK_S = 0.5
GOOD = ["127.0.0.2"]


class AdjustableClock:
    """The real clock plus an adjustable offset."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@asynccontextmanager
async def resolving(
    names: dict[str, Answer], ttl_s: int = 60
) -> AsyncIterator[tuple[Resolver, NameServer, AdjustableClock]]:
    clock = AdjustableClock()
    async with name_server(names, ttl_s) as server:
        resolver = Resolver(servers=[server.address], clock=clock)
        try:
            yield resolver, server, clock
        finally:
            await resolver.close()


async def lookup_error(resolver: Resolver, name: str) -> ResolveError:
    with pytest.raises(ResolveError) as raised:
        await resolver.addresses(name)
    return raised.value


async def test_both_families_are_found() -> None:
    async with resolving({"a.example": ["127.0.0.2", "::1"]}) as (resolver, _, _):
        assert set(await resolver.addresses("a.example")) == {"127.0.0.2", "::1"}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_ip_address_needs_no_lookup(address: str) -> None:
    async with resolving({}) as (resolver, server, _):
        assert await resolver.addresses(address) == (address,)
    assert not server.asked


async def test_hosts_file_is_read() -> None:
    async with resolving({}) as (resolver, _, _):
        assert "127.0.0.1" in await resolver.addresses("localhost")


async def test_result_is_cached_for_its_ttl() -> None:
    async with resolving({"a.example": GOOD}, ttl_s=1) as (resolver, server, _):
        await resolver.addresses("a.example")
        queries = server.asked["a.example"]
        await resolver.addresses("a.example")
        assert server.asked["a.example"] == queries
        server.names["a.example"] = ["127.0.0.3"]

        async def is_followed() -> bool:
            return await resolver.addresses("a.example") == ("127.0.0.3",)

        await eventually(is_followed, 5)


@pytest.mark.parametrize("answer", [SERVFAIL, REFUSED, HANG], ids=["servfail", "refused", "hang"])
async def test_name_that_fails_alone_is_the_edges_error(answer: Answer) -> None:
    names: dict[str, Answer] = {"good.example": GOOD, "bad.example": answer}
    async with resolving(names) as (resolver, _, _):
        await resolver.addresses("good.example")
        assert not (await lookup_error(resolver, "bad.example")).is_local


@pytest.mark.parametrize("name", ["gone.example", "bare.example", "a..b", "x" * 64 + ".example"])
async def test_name_without_an_address_is_the_edges_error(name: str) -> None:
    async with resolving({"bare.example": []}) as (resolver, _, _):
        assert not (await lookup_error(resolver, name)).is_local


async def test_failure_of_every_name_is_a_local_error() -> None:
    async with resolving({"bad.example": SERVFAIL}) as (resolver, _, _):
        assert (await lookup_error(resolver, "bad.example")).is_local


async def test_last_good_result_is_used_during_an_outage() -> None:
    names: dict[str, Answer] = {f"{id}.example": GOOD for id in "abcd"}
    async with resolving(names, ttl_s=1) as (resolver, server, clock):
        for name in names:
            await resolver.addresses(name)
        server.is_dead = True
        clock.ahead_s = 2.0
        deadline = time.monotonic() + LOOKUP_S + 1
        while time.monotonic() < deadline:
            found = await asyncio.gather(*(resolver.addresses(name) for name in names))
            assert set(found) == {tuple(GOOD)}
        clock.ahead_s = LAST_GOOD_S + 10
        assert (await lookup_error(resolver, "a.example")).is_local


async def test_name_that_starts_to_hang_becomes_the_edges_error() -> None:
    names: dict[str, Answer] = {"a.example": GOOD, "b.example": GOOD}
    async with resolving(names, ttl_s=1) as (resolver, server, clock):
        await resolver.addresses("a.example")
        await resolver.addresses("b.example")
        server.names["a.example"] = HANG
        clock.ahead_s = 2.0
        found = await wait_for_outcome(resolver, ResolveError)
        assert isinstance(found, ResolveError)
        assert not found.is_local
        server.names["a.example"] = GOOD
        assert await wait_for_outcome(resolver, tuple) == tuple(GOOD)


async def wait_for_outcome(resolver: Resolver, kind: type[Any]) -> Any:
    """Look up a.example until the result has this type; return it."""
    async with asyncio.timeout(LOOKUP_S + WAIT_S):
        while True:
            (found,) = await asyncio.gather(resolver.addresses("a.example"), return_exceptions=True)
            if isinstance(found, kind):
                return found


async def test_hung_names_do_not_delay_others() -> None:
    names: dict[str, Answer] = {f"hang-{n}.example": HANG for n in range(50)}
    async with resolving({**names, "good.example": GOOD}) as (resolver, _, _):
        hanging = [asyncio.create_task(lookup_error(resolver, name)) for name in names]
        await asyncio.sleep(0)
        started = time.monotonic()
        await resolver.addresses("good.example")
        assert time.monotonic() - started < SLACK_S
        await asyncio.gather(*hanging)
        assert time.monotonic() - started < 2 * WAIT_S + 2 * SLACK_S


async def test_concurrent_lookups_of_a_name_share_one_query() -> None:
    async with resolving({"a.example": GOOD}) as (resolver, server, _):
        await asyncio.gather(*(resolver.addresses("a.example") for _ in range(100)))
    assert server.asked["a.example"] == 2  # A and AAAA
