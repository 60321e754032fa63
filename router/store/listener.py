"""Listens for hints of changes on a channel, and detects a dead connection. A connection that only
this side still has open gives neither messages nor errors. So a quiet listener pings its server,
and reconnects if no reply comes.
"""

import asyncio
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from router.errors import StoreError
from router.store.connect import Client, connect_listener
from router.store.link import (
    CALLS_S,
    FAULTS,
    cancellations,
    close_quietly,
    within,
)
from router.store.memory import Hints
from router.store.notices import Notice, Report, no_report

CHANGED = "autorouter:changed"
QUIET_S = 5.0
RECONNECT_S = 0.5


class Listener:
    """Turns messages into hints until it is closed. Needs a running loop."""

    def __init__(self, url: str, timeout_s: float, report: Report = no_report) -> None:
        self.hints = Hints()
        self._url = url
        self._timeout_s = timeout_s
        self._report = report
        self._task = self._start()

    def restart(self) -> None:
        """Close the connection, and resolve the URL again."""
        self._task.cancel()
        self._task = self._start(after=self._task)

    async def close(self) -> None:
        """Stop listening."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _start(self, after: asyncio.Task[None] | None = None) -> asyncio.Task[None]:
        return asyncio.create_task(self._run(after), name="redis listener")

    async def _run(self, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await asyncio.gather(after, return_exceptions=True)
        while not cancellations():  # see router.store.link.within
            client = connect_listener(self._url, self._timeout_s)
            try:
                await self._follow(client)
            except (StoreError, *FAULTS):
                await close_quietly(client)
                await asyncio.sleep(RECONNECT_S)
            finally:
                await close_quietly(client)

    async def _follow(self, client: Client) -> None:
        """Listen on one connection until it fails."""
        await within(client.initialize(), CALLS_S * self._timeout_s)
        async with client.pubsub() as pubsub:
            await within(pubsub.subscribe(CHANGED), CALLS_S * self._timeout_s)
            try:
                await self._receive(pubsub)
            except FAULTS as error:
                self._report(Notice.HINTS_LOST, str(error) or type(error).__name__)
                raise

    async def _receive(self, pubsub: Any) -> None:
        """Each message is a hint. The reply to the subscription counts as one too, because changes
        may have been missed before.
        """
        is_asked = False
        while not cancellations():
            message = await pubsub.get_message(timeout=self._timeout_s if is_asked else QUIET_S)
            if message is None and is_asked:
                raise RedisConnectionError("no reply to a ping on the connection for hints")
            if message is None:
                await within(pubsub.ping(), self._timeout_s)
            elif message["type"] != "pong":
                self.hints.give()
            is_asked = message is None
