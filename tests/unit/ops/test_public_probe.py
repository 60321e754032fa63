"""The self-probe of the public listener."""

import asyncio
import socket

from router.ops.public_probe import PublicProbe, ask_once, reachable
from router.telemetry.troubles import Trouble, Troubles


def test_two_failed_rounds_are_reported() -> None:
    replies: list[str | None] = ["timed out"]
    troubles = Troubles(lambda: 7.0)
    probe = PublicProbe(("127.0.0.1", 1), 2, troubles, ask=lambda _: replies[0])
    asyncio.run(probe.check())
    assert troubles.get("public") is None
    asyncio.run(probe.check())
    trouble = troubles.get("public")
    assert trouble == Trouble(7.0, "2 of 2 requests to it failed: timed out.")
    replies[0] = None
    asyncio.run(probe.check())
    assert troubles.get("public") is None


def test_listener_that_never_answers_is_detected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(5)
        address = reachable(silent)

        async def close_at_once() -> str | None:
            asked = asyncio.create_task(asyncio.to_thread(ask_once, address))
            connection, _ = await asyncio.to_thread(silent.accept)
            connection.close()
            return await asked

        assert asyncio.run(close_at_once()) is not None
    assert "refused" in (ask_once(address) or "").lower()


def test_wildcard_address_is_probed_on_loopback() -> None:
    with socket.create_server(("0.0.0.0", 0)) as bound:
        assert reachable(bound)[0] == "127.0.0.1"
