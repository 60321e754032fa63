"""The public answers as a plain ASGI app: `uvicorn router.api.asgi:app`.

Use it to mount the answers in another app, to trace them, or to run them under another server.
It is slower than the public listener and has none of its limits; the ASGI server must set those.
Responses are those of the public listener, split into ASGI messages. See docs/running.md.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from router.api.http_protocol import FAULT, Request, Respond
from router.errors import ConfigError
from router.routing.location import PLACING
from router.routing.response import Response

log = logging.getLogger("autorouter")

Scope = dict[str, Any]
OpenAnswers = Callable[[], AbstractAsyncContextManager[Respond]]


class AsgiApp:
    """Answers HTTP requests while `running`; an ASGI lifespan runs it too."""

    def __init__(self, open_answers: OpenAnswers) -> None:
        self._open_answers = open_answers
        self._respond: Respond | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A context in which requests are answered. An app that mounts this one enters it in its
        lifespan. Raises ConfigError.
        """
        async with self._open_answers() as respond:
            self._respond = respond
            try:
                yield
            finally:
                self._respond = None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """One connection scope of ASGI 3."""
        if scope["type"] == "http":
            await self._answer(scope, send)
        elif scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        else:
            await send({"type": "websocket.close"})  # before it is accepted: a 403

    async def _run_lifespan(self, receive: Any, send: Any) -> None:
        async with AsyncExitStack() as stack:
            await receive()
            try:
                await stack.enter_async_context(self.running())
            except ConfigError as error:
                message = "\n".join(error.faults)
                await send({"type": "lifespan.startup.failed", "message": message})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, send: Any) -> None:
        if self._respond is None:
            raise RuntimeError(
                "The app is not running. Let the server run its lifespan, or enter "
                "`async with app.running():` in the lifespan of the app that mounts it."
            )
        request = _request(scope)
        try:
            response = self._respond(request)
        except Exception:
            log.exception("request failed")
            response = FAULT.to_head if request.method == b"HEAD" else FAULT.to_get
        start, body = _messages(response)
        await send(start)
        await send(body)


def _request(scope: Scope) -> Request:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    path = path.removeprefix(scope.get("root_path", "").encode())
    query: bytes = scope.get("query_string", b"")
    client = scope.get("client")
    headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
    return Request(
        method=scope["method"].encode(),
        target=path + b"?" + query if query else path,
        headers=[header for header in headers if header[0] in PLACING],
        peer=client[0] if client else None,
        known=b",".join(value for name, value in headers if name == b"if-none-match"),
    )


def _messages(response: Response) -> tuple[Scope, Scope]:
    """The ASGI start and body messages of a prepared response."""
    lines, _, body = response.rest.partition(b"\r\n\r\n")
    start = {
        "type": "http.response.start",
        "status": int(response.opening.split(b" ", 2)[1]),
        "headers": [tuple(line.split(b": ", 1)) for line in lines.split(b"\r\n")],
    }
    return start, {"type": "http.response.body", "body": body}


def _open_answers() -> AbstractAsyncContextManager[Respond]:
    """Answers with the settings in the environment. The import is here because router.processes is
    a higher layer: importing this module must not import it.
    """
    from router.processes.embedded import open_answers

    return open_answers()


app = AsgiApp(_open_answers)
