"""`autorouter enable --now`, from the command until the edge is up."""

from pathlib import Path
from typing import Any

import httpx

from tests.support.servers import HOST, Dev, run_autorouter, running_dev, wait_until

EDGE = "sfo-01"


def test_enable_now_ends_the_hold_down(tmp_path: Path) -> None:
    with running_dev(tmp_path, POLL_INTERVAL_S="0.5") as dev:
        wait_until(dev.is_ready)
        simulate(dev, "down")
        wait_until(lambda: shown(dev)["state"] == "down")
        simulate(dev, "healthy")
        wait_until(lambda: shown(dev)["reason"] == "hold_down")
        back_at = shown(dev)["back_at"]
        done = run_autorouter("enable", EDGE, "--now", "--actor", "ann", **dev.settings)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: shown(dev)["state"] == "up")
        document = dev.ops("/v1/edges").json()
        assert document["now"] < back_at - 5
        acts = [one for one in dev.ops("/v1/events").json()["events"] if one["kind"] == "intent"]
    assert [(one["actor"], one["after"]) for one in acts] == [("ann", "enabled")]
    assert "hold-down" in acts[0]["reason"]


def simulate(dev: Dev, mode: str) -> None:
    url = f"http://{HOST}:{dev.ops_port}/simulation/{EDGE}/{mode}"
    httpx.put(url, trust_env=False).raise_for_status()


def shown(dev: Dev) -> dict[str, Any]:
    listed: list[dict[str, Any]] = dev.ops("/v1/edges").json()["edges"]
    return next(edge for edge in listed if edge["id"] == EDGE)
