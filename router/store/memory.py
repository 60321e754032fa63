"""The store of one process: what `dev`, and `serve` without Redis, use."""

import asyncio
from collections.abc import Sequence

from router.model import Intent, View
from router.store import Stored


class MemoryStore:
    """Keeps the last view of each vantage. See Store for the promises."""

    def __init__(self) -> None:
        self._views: dict[str, View] = {}
        self._intents: dict[str, Intent] = {}
        self._hint = asyncio.Event()

    async def publish(self, view: View) -> None:
        """See Store."""
        self._views[view.vantage] = view
        self._hint.set()

    async def read(self, edges: Sequence[str]) -> Stored:
        """See Store."""
        intents = tuple(self._intents[id] for id in edges if id in self._intents)
        return Stored(tuple(self._views.values()), intents)

    async def changed(self, timeout_s: float) -> None:
        """See Store."""
        await hinted(self._hint, timeout_s)

    async def close(self) -> None:
        """See Store."""


async def hinted(hint: asyncio.Event, timeout_s: float) -> None:
    """Wait for a hint and take it, or for the timeout."""
    try:
        async with asyncio.timeout(timeout_s):
            await hint.wait()
    except TimeoutError:
        return
    hint.clear()
