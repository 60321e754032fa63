"""Checks from a thread whether the public listener of this server answers. It sends real requests:
if a worker is stopped or its loop hangs, the kernel still accepts connections.
"""

import asyncio
import http.client
import socket
from collections.abc import Callable, Sequence

from router.telemetry.troubles import Troubles

EVERY_S = 5.0
TIMEOUT_S = 2.0
ROUNDS = 2  # failed rounds in a row before it is reported
NAME = "public"


class PublicProbe:
    """`address`: of the listener. `connections`: how many are opened in each round. With several,
    every worker is reached sooner or later. `run` never returns; cancel it.
    """

    def __init__(
        self,
        address: tuple[str, int],
        connections: int,
        troubles: Troubles,
        ask: Callable[[tuple[str, int]], str | None] | None = None,
    ) -> None:
        self._address = address
        self._connections = connections
        self._troubles = troubles
        self._ask = ask or ask_once
        self._failed_rounds = 0

    async def run(self) -> None:
        """Check repeatedly."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.check()

    async def check(self) -> None:
        """Send a request on each connection, all at once."""
        asked = (asyncio.to_thread(self._ask, self._address) for _ in range(self._connections))
        self._judge(await asyncio.gather(*asked))

    def _judge(self, answers: Sequence[str | None]) -> None:
        faults = [fault for fault in answers if fault is not None]
        self._failed_rounds = self._failed_rounds + 1 if faults else 0
        if not faults:
            self._troubles.note(NAME, None)
        elif self._failed_rounds >= ROUNDS:
            text = f"{len(faults)} of {len(answers)} requests to it failed: {faults[0]}."
            self._troubles.note(NAME, text)


def ask_once(address: tuple[str, int]) -> str | None:
    """Why one GET /healthz failed; None if it answered 200."""
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/healthz", headers={"Connection": "close"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return None if status == http.client.OK else f"HTTP {status}"


def reachable(bound: socket.socket) -> tuple[str, int]:
    """The address at which this machine reaches a bound socket."""
    host, port = bound.getsockname()[:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104
