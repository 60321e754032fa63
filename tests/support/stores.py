"""Stores on a real Redis, opened for one test."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from router.errors import StoreError
from router.store.notices import Notice
from router.store.redis import RedisStore
from tests.support.builders import a_view

Reports = list[tuple[Notice, str]]


@asynccontextmanager
async def opened(
    url: str, reports: Reports | None = None, **options: Any
) -> AsyncIterator[RedisStore]:
    """A store, closed at the end; `reports` collects what it reports."""
    if reports is not None:
        options["report"] = lambda notice, about: reports.append((notice, about))
    store = RedisStore(url, **options)
    try:
        yield store
    finally:
        await store.close()


async def refused_s(call: Awaitable[Any]) -> float:
    """The time until a call fails with a StoreError."""
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"^Redis: "):
        await call
    return time.monotonic() - started


async def is_written(store: RedisStore, vantage: str = "local") -> bool:
    """Whether a view can be published."""
    try:
        await store.publish(a_view(vantage, {}, seq=time.time_ns()))
    except StoreError:
        return False
    return True


async def is_hinted(reader: RedisStore, writer: RedisStore) -> bool:
    """Whether a view from the writer wakes the reader long before its timeout."""
    seen = await reader.changed(-1, 0.01)
    started = time.monotonic()
    waiting = asyncio.create_task(reader.changed(seen, 1.0))
    await asyncio.sleep(0)
    await is_written(writer, "hinter")
    await waiting
    return time.monotonic() - started < 0.5
