"""Drives the Python client: `driver_python.py sync|async`. Commands come as JSON lines."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent / "python"))
from autorouter_client import AsyncAutorouter, Autorouter, NoEdgeError  # type: ignore[import-not-found]

TIMEOUT = httpx.Timeout(3.0, connect=2.0)


class Driver:
    """One client at a time, with a clock that can be moved."""

    def __init__(self, kind: str) -> None:
        self._is_async = kind == "async"
        self._ahead_s = 0.0
        self._client: Any = None

    async def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do as told; `ok`, or the error's code."""
        match command.pop("do"):
            case "create":
                await self._create(**command)
            case "advance":
                self._ahead_s += command["seconds"]
            case "jump":
                wall, by = time.time, command["seconds"]
                time.time = lambda: wall() + by
            case "request":
                return await self._request(command, command.get("times", 1))
        return {"ok": True}

    async def _create(self, router: str, fallback: str, model: str = "") -> None:
        make, http = (
            (AsyncAutorouter, httpx.AsyncClient(timeout=TIMEOUT))
            if self._is_async
            else (Autorouter, httpx.Client(timeout=TIMEOUT))
        )
        query = {"model": model} if model else None
        self._client = make(router, http, fallback, query, lambda: time.monotonic() + self._ahead_s)

    async def _request(self, command: dict[str, Any], times: int = 1) -> dict[str, Any]:
        if times > 1:
            told = await asyncio.gather(*(self._request(command) for _ in range(times)))
            return {"ok": all(one["ok"] for one in told)}
        try:
            send = self._client.request
            asked = command["method"], command["path"]
            answer = await (send(*asked) if self._is_async else asyncio.to_thread(send, *asked))
        except NoEdgeError as error:
            return {"ok": False, "error": str(error)}
        except httpx.TransportError as error:
            return {"ok": False, "error": type(error).__name__}
        return {"ok": answer.status_code < 400, "status": answer.status_code}


async def main() -> None:
    driver = Driver(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(await driver.run(json.loads(line))), flush=True)


asyncio.run(main())
