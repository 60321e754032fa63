"""Connections raced over several addresses: a working one wins, failed ones are reported."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import pytest

from router.health.client import open_client
from router.health.connect import RACE_DELAY_S, race, racing_order
from router.health.probe import Prober
from router.health.resolver import Resolver
from router.model import Check, Outcome
from tests.support.builders import a_region
from tests.support.dns import HANG, SERVFAIL, Answer, name_server
from tests.support.servers import HOST, free_port

pytestmark = pytest.mark.anyio

HEALTHY = b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"status":"healthy"}'


@asynccontextmanager
async def listening(*hosts: str) -> AsyncIterator[int]:
    """A healthy edge on the same port of these addresses."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEALTHY)
        writer.close()

    port = free_port()
    servers = [await asyncio.start_server(answer, host, port) for host in hosts]
    try:
        yield port
    finally:
        for server in servers:
            server.close()


def test_order_alternates_families_and_rotates_addresses() -> None:
    addresses = ["::1", "::2", "10.0.0.1", "10.0.0.2"]
    assert racing_order(addresses, 0) == ("::1", "10.0.0.1", "::2", "10.0.0.2")
    assert racing_order(addresses, 1) == ("::2", "10.0.0.2", "::1", "10.0.0.1")
    assert racing_order(["10.0.0.1"], 7) == ("10.0.0.1",)


async def test_refused_address_is_skipped_and_reported() -> None:
    async with listening(HOST) as port:
        connected = await race(["127.0.0.9", HOST], port)
        connected.socket.close()
    assert (connected.address, connected.lost) == (HOST, ("127.0.0.9",))


async def test_silent_address_costs_a_head_start_and_is_reported() -> None:
    async with listening(HOST) as port:
        with ExitStack() as stack:
            silent = stack.enter_context(socket.socket())
            silent.bind(("127.0.0.9", port))
            silent.listen(0)
            for _ in range(8):  # fill its queue, so that it accepts no more connections
                one = stack.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(("127.0.0.9", port))
            started = time.monotonic()
            connected = await race(["127.0.0.9", HOST], port)
            connected.socket.close()
    assert connected.lost == ("127.0.0.9",)
    assert RACE_DELAY_S <= time.monotonic() - started < RACE_DELAY_S + 0.5


async def test_name_that_hangs_or_fails_affects_only_its_edge() -> None:
    names: dict[str, Answer] = {f"hang-{n}.example": HANG for n in range(4)}
    names |= {f"fail-{n}.example": SERVFAIL for n in range(4)}
    names |= {f"good-{n}.example": [HOST] for n in range(8)}
    async with (
        listening(HOST) as port,
        name_server(names) as server,
        open_client(Resolver(servers=[server.address])) as client,
    ):
        regions = [a_region(name, endpoint=f"http://{name}:{port}") for name in names]
        probes = await asyncio.gather(*map(Prober(client).health, regions))
    outcomes = {
        (name.split("-")[0], probe.outcome) for name, probe in zip(names, probes, strict=True)
    }
    assert outcomes == {
        ("hang", Outcome.REFUSED),
        ("fail", Outcome.REFUSED),
        ("good", Outcome.OK),
    }


async def test_round_trip_time_excludes_the_lookup() -> None:
    names: dict[str, Answer] = {"a.example": [HOST]}
    async with listening(HOST) as port, name_server(names) as server:
        server.delay_s = 0.6
        async with open_client(Resolver(servers=[server.address])) as client:
            started = time.monotonic()
            probe = await Prober(client).health(a_region(endpoint=f"http://a.example:{port}"))
            took_ms = (time.monotonic() - started) * 1_000
    assert took_ms > 600
    assert probe.rtt_ms is not None
    assert probe.rtt_ms < took_ms - 500


async def test_resolver_outage_is_a_local_error() -> None:
    async with name_server({}) as server:
        server.is_dead = True
        async with open_client(Resolver(servers=[server.address])) as client:
            region = a_region(endpoint="http://a.example:9", check=Check(timeout_s=0.5))
            assert (await Prober(client).health(region)).outcome is Outcome.LOCAL
