"""Stand-ins for inference servers: their health and model endpoints, healthy and unhealthy."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HOST = "127.0.0.1"
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The response of a path."""

    status: int = 200
    body: bytes = b""
    type: str = "application/json"


def _listed(*ids: str, **more: object) -> Reply:
    cards = [{"id": id, "object": "model", "created": 1, "owned_by": "x", **more} for id in ids]
    return Reply(body=json.dumps({"object": "list", "data": cards}).encode())


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of server. `well` has the replies by path while healthy. `unwell` has those that
    differ while unhealthy. `key`: the API key that /v1/models requires."""

    well: dict[str, Reply]
    unwell: dict[str, Reply]
    models: tuple[str, ...] | None = (MODEL,)
    key: str | None = None


_LOADING = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
_UNHEALTHY = {"error": "unhealthy", "error_type": "healthcheck"}

KINDS = {
    "vLLM": Kind(
        well={"/health": Reply(), "/v1/models": _listed(MODEL, permission=[{"id": "modelperm-1"}])},
        unwell={"/health": Reply(status=503)},
    ),
    "Text Generation Inference (TGI)": Kind(
        well={"/health": Reply(), "/v1/models": _listed(MODEL)},
        unwell={"/health": Reply(status=503, body=json.dumps(_UNHEALTHY).encode())},
    ),
    "llama.cpp": Kind(
        well={"/health": Reply(body=b'{"status":"ok"}'), "/v1/models": _listed(MODEL, meta={})},
        unwell={"/health": Reply(status=503, body=json.dumps(_LOADING).encode())},
    ),
    "Ollama": Kind(
        well={
            "/": Reply(body=b"Ollama is running", type="text/plain"),
            "/v1/models": _listed("llama3.1:8b"),
        },
        unwell={"/": Reply(status=502, body=b"<html>", type="text/html")},
        models=("llama3.1:8b",),
    ),
    "Triton": Kind(
        well={"/v2/health/ready": Reply()},
        unwell={"/v2/health/ready": Reply(status=400)},
        models=None,
    ),
    "LiteLLM": Kind(
        well={
            "/health/readiness": Reply(body=b'{"status":"healthy","db":"connected"}'),
            "/v1/models": _listed(MODEL),
        },
        unwell={"/health/readiness": Reply(status=503, body=b'{"detail":"not connected"}')},
        key="sk-1234",
    ),
}


@dataclass
class StandIn:
    """A running stand-in. A test may change `is_well`."""

    kind: Kind
    is_well: bool = True
    port: int = 0
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ", 2)[1]
            self.asked.append(path)
            writer.write(self._written(self._reply(path, head)))
            await writer.drain()
        finally:
            writer.close()

    def _reply(self, path: str, head: str) -> Reply:
        key = self.kind.key
        if key and path == "/v1/models" and f"authorization: bearer {key}" not in head.lower():
            return Reply(status=401, body=b'{"error":{"message":"No api key passed in."}}')
        answers = self.kind.well if self.is_well else {**self.kind.well, **self.kind.unwell}
        return answers.get(path, Reply(status=404, body=b'{"detail":"Not Found"}'))

    @staticmethod
    def _written(reply: Reply) -> bytes:
        head = (
            f"HTTP/1.1 {reply.status} X\r\nContent-Type: {reply.type}\r\n"
            f"Content-Length: {len(reply.body)}\r\n\r\n"
        )
        return head.encode() + reply.body


@asynccontextmanager
async def stand_in(kind: Kind) -> AsyncIterator[StandIn]:
    """A running stand-in on loopback."""
    one = StandIn(kind)
    server = await asyncio.start_server(one.serve, HOST, 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
