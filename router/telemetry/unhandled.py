"""Reports errors that no caller can catch: those of callbacks and of abandoned tasks."""

import asyncio
from typing import Any

from router.supervised import LoopObserver


def report_unhandled(observer: LoopObserver) -> None:
    """Report such errors to the observer, as failures of the loop `callback`. Needs a running
    loop.
    """

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception):
            observer.loop_failed("callback", error, 0.0)
        else:
            loop.default_exception_handler(context)

    asyncio.get_running_loop().set_exception_handler(handle)
