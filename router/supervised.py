"""Runs background loops for ever: an exception is reported, and the loop starts again.

Also runs calls that may hang, such as file access, so that they delay nothing else.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

FIRST_WAIT_S = 0.2
LAST_WAIT_S = 5.0
STEADY_S = 30.0

T = TypeVar("T")


class LoopObserver(Protocol):
    """Is called with what happens to background loops; see router.telemetry.metrics."""

    def loop_failed(self, loop: str, error: Exception, wait_s: float) -> None:
        """The loop raised an exception, and starts again after this time."""

    def loop_recovered(self, loop: str) -> None:
        """The loop has run for STEADY_S since it failed."""


class LoopEndedError(Exception):
    """A loop that should run for ever returned."""


async def keep_running(
    name: str,
    run: Callable[[], Awaitable[Any]],
    observer: LoopObserver,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Run the loop until cancelled. Each failure in a row doubles the wait before the next
    start, from FIRST_WAIT_S to LAST_WAIT_S; STEADY_S without one resets it."""
    wait_s = FIRST_WAIT_S
    has_failed = False
    while True:
        began = monotonic()
        steady = _call_later(STEADY_S, observer.loop_recovered, name) if has_failed else None
        try:
            await run()
            error: Exception = LoopEndedError("it ended, but should run for ever")
        except Exception as failure:  # noqa: BLE001 - a loop must never end unheard
            error = failure
        finally:
            if steady is not None:
                steady.cancel()
        if monotonic() - began >= STEADY_S:
            wait_s = FIRST_WAIT_S
        has_failed = True
        observer.loop_failed(name, error, wait_s)
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, LAST_WAIT_S)


def _call_later(delay_s: float, call: Callable[[str], None], name: str) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(delay_s, call, name)


async def call_aside(
    call: Callable[[], T], *, timeout_s: float | None = None, name: str = "aside"
) -> T:
    """The result of a call in a daemon thread of its own. Raises what the call raises, or
    TimeoutError; then the thread goes on alone, and delays neither others nor the exit.

    asyncio.to_thread does not suit file access: a call that hangs occupies a shared thread, and
    the process waits for it when it stops.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if not outcome.done():
            if error is None:
                outcome.set_result(result)  # type: ignore[arg-type]
            else:
                outcome.set_exception(error)

    def work() -> None:
        result, error = None, None
        try:
            result = call()
        except BaseException as failure:  # noqa: BLE001 - handed to the caller
            error = failure
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop is closed, so nothing waits for the result
            return

    threading.Thread(target=work, name=name, daemon=True).start()
    async with asyncio.timeout(timeout_s):
        return await outcome


async def call_aside_patiently(
    call: Callable[[], T], *, timeout_s: float, on_timeout: Callable[[], None], name: str
) -> T:
    """The same for a repeated call: after the timeout `on_timeout` is called, and the wait goes
    on, so that hanging threads do not accumulate.
    """
    calling = asyncio.create_task(call_aside(call, name=name))
    try:
        done, _ = await asyncio.wait([calling], timeout=timeout_s)
        if not done:
            on_timeout()
        return await calling
    finally:
        calling.cancel()
