"""The request log of a real server."""

import json
from typing import Any

import pytest

from tests.support.running import TORONTONIAN, Running, Site
from tests.support.servers import HOST, eventually

pytestmark = pytest.mark.anyio


def request_lines(running: Running) -> list[dict[str, Any]]:
    """The log lines of requests, without the server's own health checks."""
    whole = running.process.output.rpartition("\n")[0]
    lines = [json.loads(line) for line in whole.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    return [line for line in requests if line["reason"] != "healthz"]


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_each_request_is_logged_without_the_viewer(site: Site, workers: str) -> None:
    running = await site.serve_until_ready(LOG_REQUESTS="all", WORKERS=workers)
    for _ in range(20):
        await running.route()
    running.process.stop()
    requests = request_lines(running)
    assert len(requests) == 20
    assert {line["country"] for line in requests} == {"CA"}
    assert TORONTONIAN["X-Forwarded-For"] not in running.process.output


async def knows_models(running: Running) -> bool:
    """Whether it knows the models of every edge, after which the fleet does not change."""
    edges = (await running.ops("/v1/edges")).json()["edges"]
    return all(edge["models"] is not None for edge in edges)


async def test_logged_key_and_scope_explain_the_answer(site: Site) -> None:
    running = await site.serve_until_ready(LOG_REQUESTS="all")
    await eventually(lambda: knows_models(running))
    answered = await running.route()
    await eventually(lambda: bool(request_lines(running)))
    (line,) = request_lines(running)
    params = {"key": line["key"], "scope": line["scope"]}
    url = f"http://{HOST}:{running.ops_port}/v1/explain"
    explained = (await running.client.get(url, params=params)).json()
    assert explained["region"] == line["region"] == answered["region"]
    assert explained["fleet"] == line["fleet"]


async def test_requests_are_not_logged_by_default(site: Site) -> None:
    running = await site.serve_until_ready()
    await running.route()
    running.process.stop()
    assert '"event":"request"' not in running.process.output
