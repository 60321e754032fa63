"""Drives polargrid-sdk, which must be on PYTHONPATH; see driver_python.py.

The SDK asks the router when a client is created, and never for a client that exists. So a
client is created at the first request, as an application does at its start.
"""

import asyncio
import importlib
import json
import sys
import time
from typing import Any

sdk: Any = importlib.import_module("polargrid.client")
PROMPT = {"model": "any", "prompt": "hello", "messages": [{"role": "user", "content": "hello"}]}


class Driver:
    """One client at a time, with a clock that can be moved."""

    def __init__(self) -> None:
        self._options: dict[str, Any] = {}
        self._client: Any = None

    async def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do as told; `ok`, or the error's type."""
        match command.pop("do"):
            case "create":
                sdk.AUTOROUTER_URL = command["router"]
                sdk.POLARGRID_REGIONS[sdk.DEFAULT_REGION]["url"] = command["fallback"]
                sdk._reset_region_cache_for_tests()  # noqa: SLF001
                self._options = {"routing_model": command.get("model")}
                self._client = None
            case "advance" | "jump":
                wall, by = time.time, command["seconds"]
                time.time = lambda: wall() + by
            case "request":
                sent = (self._request(command["method"]) for _ in range(command.get("times", 1)))
                told = await asyncio.gather(*sent)
                return next((one for one in told if not one["ok"]), told[0])
        return {"ok": True}

    async def _request(self, method: str) -> dict[str, Any]:
        try:
            if self._client is None:
                self._client = await sdk.PolarGrid.create(
                    api_key="pg_test", timeout=3.0, max_retries=1, **self._options
                )
            if method == "GET":
                await self._client.list_models()
            else:
                await self._client.chat_completion(PROMPT)
        except Exception as error:  # noqa: BLE001  # whatever it raises is its answer
            return {"ok": False, "error": type(error).__name__}
        return {"ok": True}


async def main() -> None:
    driver = Driver()
    for line in sys.stdin:
        print(json.dumps(await driver.run(json.loads(line))), flush=True)


asyncio.run(main())
