"""The baseline: a bare uvicorn ASGI app that returns constant bytes and headers.

`python -m bench.bare PORT FILE`: FILE is JSON with `headers` and `body`.
"""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn

Send = Callable[[dict[str, Any]], Awaitable[None]]


def main() -> None:
    """Serve until terminated."""
    port, answer = int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    headers = [(name.encode(), value.encode()) for name, value in answer["headers"]]
    body = answer["body"].encode()

    async def app(scope: dict[str, Any], receive: object, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    uvicorn.run(
        app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", ws="none",
        lifespan="off", access_log=False, log_config=None, proxy_headers=False, server_header=False,
    )  # fmt: skip


main()
