"""The ASGI app gives the same answers as the public listener."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from router.api.asgi import AsgiApp
from router.api.http_protocol import Respond
from router.errors import ConfigError
from tests.support import contract
from tests.support.servers import Stand, public_server, served, talk

pytestmark = pytest.mark.anyio

HOP_BY_HOP = {b"date", b"connection", b"server"}


def an_asgi_app(respond: Respond) -> AsgiApp:
    @asynccontextmanager
    async def answering() -> AsyncIterator[Respond]:
        yield respond

    return AsgiApp(answering)


def parts(received: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Returns status line, fields and body without the headers that each server adds."""
    head, _, body = received.partition(b"\r\n\r\n")
    opening, *lines = head.split(b"\r\n")
    fields = sorted(line for line in lines if line.partition(b":")[0].lower() not in HOP_BY_HOP)
    return opening.rstrip(), fields, body


@pytest.mark.parametrize("case", contract.CASES, ids=str)
async def test_answers_equal_those_of_the_public_listener(
    case: contract.Case, both: "Both"
) -> None:
    await both.answer_by((await contract.an_app(case.fleet)).respond)
    fast, plain = await both.ask(case.raw)
    assert parts(plain) == parts(fast)


async def test_exception_gives_the_same_500(both: "Both") -> None:
    await both.answer_by(contract.failing(await contract.an_app("up")))
    for case in (contract.Case(), contract.Case(method="HEAD")):
        fast, plain = await both.ask(case.raw)
        assert plain.startswith(b"HTTP/1.1 500 ")
        assert parts(plain) == parts(fast)


class Both:
    """The public listener and a standard uvicorn, each on its own port."""

    def __init__(self) -> None:
        self.fast, self.plain = Stand(), Stand()
        self.ports: list[int] = []

    async def answer_by(self, respond: Respond) -> None:
        self.fast.app = SimpleNamespace(respond=respond)
        app = an_asgi_app(respond)
        app._respond = respond
        self.plain.app = app

    async def ask(self, request: bytes) -> list[bytes]:
        return [await talk(port, request) for port in self.ports]


@pytest.fixture(scope="module")
async def both() -> AsyncIterator[Both]:
    one = Both()
    async with (
        served(one.fast.respond, public_server) as fast,
        served(one.plain) as plain,
    ):
        one.ports = [fast, plain]
        yield one


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Lifespan:
    """The server's side of the lifespan protocol."""

    def __init__(self, app: AsgiApp) -> None:
        self.sent: list[Any] = []
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        self._task = asyncio.create_task(app({"type": "lifespan"}, self._events.get, self._record))

    async def _record(self, message: Any) -> None:
        self.sent.append(message["type"])

    async def send_event(self, kind: str) -> list[str]:
        await self._events.put({"type": kind})
        for _ in range(5):
            await asyncio.sleep(0)
        return self.sent


async def test_lifespan_starts_and_stops_the_application() -> None:
    events = []

    @asynccontextmanager
    async def answering() -> AsyncIterator[Respond]:
        events.append("started")
        yield (await contract.an_app("up")).respond
        events.append("stopped")

    lifespan = Lifespan(AsgiApp(answering))
    await lifespan.send_event("lifespan.startup")
    await asyncio.sleep(0.01)
    assert (lifespan.sent, events) == (["lifespan.startup.complete"], ["started"])
    await lifespan.send_event("lifespan.shutdown")
    assert (lifespan.sent[-1], events[-1]) == ("lifespan.shutdown.complete", "stopped")


async def test_invalid_settings_fail_the_startup() -> None:
    @asynccontextmanager
    async def answering() -> AsyncIterator[Respond]:
        raise ConfigError(["AUTOROUTER_TTL_S: not a number"])
        yield

    lifespan = Lifespan(AsgiApp(answering))
    assert await lifespan.send_event("lifespan.startup") == ["lifespan.startup.failed"]


async def test_app_that_is_not_running_says_what_to_do() -> None:
    app = an_asgi_app((await contract.an_app("up")).respond)
    with pytest.raises(RuntimeError, match=r"async with app\.running\(\)"):
        await app({"type": "http"}, None, None)


async def test_mounted_app_answers_below_its_root() -> None:
    app = an_asgi_app((await contract.an_app("up")).respond)
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": "/edge/v1/route", "raw_path": b"/edge/v1/route",
        "root_path": "/edge", "query_string": b"", "headers": [], "client": None,
    }  # fmt: skip
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async with app.running():
        await app(scope, None, send)
    assert sent[0]["status"] == 200
