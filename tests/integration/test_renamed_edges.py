"""After a reload that renames every edge, viewers still get their nearest edge."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.running import Running, Site, joined, rewritten, site
from tests.support.servers import HOST

pytestmark = pytest.mark.anyio

__all__ = ["joined", "site"]

VIEWERS = {"128.100.1.1": "yto", "132.204.1.1": "yul", "129.110.1.1": "dal", "171.64.1.1": "sfo"}
LIMIT_S = 60.0


def rename(document: dict[str, list[dict[str, Any]]]) -> None:
    for region in document["regions"]:
        region["id"] = f"{region['id']}-new"


async def picks(server: Running) -> dict[str, dict[str, Any]]:
    """The response to each viewer."""
    url = f"http://{HOST}:{server.port}/v1/route"
    return {
        address: (await server.client.get(url, headers={"X-Forwarded-For": address})).json()
        for address in VIEWERS
    }


async def test_renamed_edges_are_used_once_all_are_probed(joined: Site) -> None:
    """First probes are spread over the interval: at first, only one edge is known as healthy."""
    joined.settings["POLL_INTERVAL_S"] = "3"
    joined.poll()
    server = await joined.serve_until_ready()
    rewritten(Path(joined.settings["REGIONS"]), rename)
    renamed = 0
    async with asyncio.timeout(LIMIT_S):
        while renamed < 20:  # about one second of responses from probes of the new ids
            answers = await picks(server)
            for address, answer in answers.items():
                assert answer["region"].startswith(VIEWERS[address]), answer
            is_new = all(one["region"].endswith("-new") for one in answers.values())
            renamed += is_new and all(one["status"] == "ok" for one in answers.values())
            await asyncio.sleep(0.05)
