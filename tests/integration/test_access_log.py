"""The request log of a real server."""

import json

import pytest

from tests.support.running import TORONTONIAN, Site
from tests.support.servers import HOST, eventually

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_server_writes_a_line_for_each_request(site: Site, workers: str) -> None:
    running = await site.serve_until_ready(LOG_REQUESTS="all", WORKERS=workers)
    for _ in range(20):
        await running.route()
    running.process.stop()
    lines = [json.loads(line) for line in running.process.output.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) == 20
    assert {line["country"] for line in requests} == {"CA"}
    assert TORONTONIAN["X-Forwarded-For"] not in running.process.output


async def test_line_says_enough_to_explain_it_later(site: Site) -> None:
    running = await site.serve_until_ready(LOG_REQUESTS="all")
    answered = await running.route()
    await eventually(lambda: '"event":"request"' in running.process.output)
    (line,) = [json.loads(one) for one in running.process.output.splitlines() if "_us" in one]
    asked = {"key": line["key"], "scope": line["scope"]}
    told = (
        await running.client.get(f"http://{HOST}:{running.ops_port}/v1/explain", params=asked)
    ).json()
    assert told["region"] == line["region"] == answered["region"]
    assert told["fleet"] == line["fleet"]


async def test_server_writes_none_unless_told(site: Site) -> None:
    running = await site.serve_until_ready()
    await running.route()
    running.process.stop()
    assert '"event":"request"' not in running.process.output
