"""`python sdk_driver.py URL OPTIONS`: test_sdk.py runs it with a released SDK on its path.

OPTIONS is a JSON list of keyword arguments. The driver creates one client for each. It prints the
output of the SDK, then one line of JSON.
"""

import asyncio
import importlib
import json
import sys
from typing import Any


async def create_all(sdk: Any, options: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The region that each client resolved to."""
    clients = [await sdk.PolarGrid.create(api_key="pg_test", debug=True, **one) for one in options]
    return [
        {"id": one.get_region_id(), "name": one.get_region_name(), "url": one._base_url}
        for one in clients
    ]


def main() -> None:
    sdk = importlib.import_module("polargrid.client")
    sdk.AUTOROUTER_URL = sys.argv[1]  # type: ignore[attr-defined]
    print(json.dumps(asyncio.run(create_all(sdk, json.loads(sys.argv[2])))))


if __name__ == "__main__":
    main()
