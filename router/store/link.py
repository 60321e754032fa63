"""The connection to Redis: makes calls, and resolves the URL again if it may be connected to the
wrong server. A client keeps its connections, and a Cluster's client its list of nodes, as long as
they work. After a planned failover behind one address, these may lead to a server that is alive
but no longer the primary. So the client is replaced, with all of its connections, after an error
that only a wrong server gives, and after `SILENT_S` without success.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
)

from router.errors import StoreError
from router.store.connect import TIMEOUT_S, Client, connect, disconnect
from router.store.notices import Notice, Report, no_report

SILENT_S = 5.0
RENEW_S = 5.0
CALLS_S = 2.5  # in timeouts: to connect, log in and send a command

# All exceptions of redis-py for faults of Redis and the network. Clusters have their own base
# class.
FAULTS = (RedisError, RedisClusterException, OSError, TimeoutError)

# Errors of a server that is read-only, or has not the keys or the users.
WRONG_SERVER = (
    ReadOnlyError,
    MovedError,
    ClusterDownError,
    RedisClusterException,
    AuthenticationError,
    AuthorizationError,
)

T = TypeVar("T")


class Link:
    """Holds the client for one URL. `on_renewal`: called after the client was replaced."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S, report: Report = no_report) -> None:
        self._url = url
        self._report = report
        self._succeeded_at = time.monotonic()
        self._renewed_at = float("-inf")
        self._closing: set[asyncio.Task[None]] = set()
        self.timeout_s = timeout_s
        self.on_renewal: Callable[[], None] = lambda: None
        self.client = connect(url, timeout_s)

    async def call(self, ask: Callable[[Client], Awaitable[T]]) -> T:
        """The reply of Redis. Returns or raises StoreError within a bounded time, whatever Redis
        does.
        """
        client = self.client
        try:
            answer = await within(ask(client), CALLS_S * self.timeout_s)
        except StoreError as error:
            if client is self.client:
                self._note_error(error)
            raise
        self._succeeded_at = time.monotonic()
        return answer

    def _note_error(self, error: StoreError) -> None:
        """Replace the client if the error calls for it, at most once in RENEW_S."""
        now = time.monotonic()
        is_due = now - self._renewed_at >= RENEW_S
        is_silent = now - self._succeeded_at >= SILENT_S
        if is_due and (is_silent or isinstance(error.__cause__, WRONG_SERVER)):
            self.renew(str(error))

    def renew(self, why: str) -> None:
        """Replace the client, which resolves the URL again and opens new connections."""
        old, self.client = self.client, connect(self._url, self.timeout_s)
        self._renewed_at = time.monotonic()
        task = asyncio.create_task(self._leave(old), name="redis connections left")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        self._report(Notice.RECONNECTED, why)
        self.on_renewal()

    async def _leave(self, client: Client) -> None:
        """Close an old client once all calls that use it must have ended."""
        try:
            await asyncio.sleep(CALLS_S * self.timeout_s)
        finally:
            await close_quietly(client)

    async def close(self) -> None:
        """Close every connection."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await close_quietly(self.client)


async def close_quietly(client: Client) -> None:
    """Close a client, whatever state its server is in."""
    try:
        await disconnect(client)
    except FAULTS:
        return


def raise_first(answers: Iterable[object]) -> None:
    """Raise the first error among the replies of a pipeline."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


async def within(call: Awaitable[T], limit_s: float) -> T:
    """The call's result. Raises StoreError after `limit_s` at the latest."""
    cancelled = cancellations()
    try:
        async with asyncio.timeout(limit_s):
            return await call
    except FAULTS as error:
        raise StoreError(f"Redis: {str(error) or type(error).__name__}") from error
    finally:
        # redis-py uses asyncio.wait_for, which before Python 3.12 may lose a cancellation that
        # arrives just as it ends (github.com/python/cpython/issues/86296).
        if cancellations() > cancelled:
            raise asyncio.CancelledError


def cancellations() -> int:
    """How often the current task was cancelled."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
