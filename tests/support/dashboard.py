"""The dashboard of a running `autorouter dev`: its URL, and actions of an operator."""

from typing import Any

import httpx

from tests.support.browser import Visit
from tests.support.servers import HOST, Dev


def home(dev: Dev) -> str:
    return f"http://{HOST}:{dev.ops_port}/"


def break_edge(dev: Dev, id: str, mode: str = "down") -> None:
    with httpx.Client(trust_env=False, timeout=30) as client:
        client.put(f"{home(dev)}simulation/{id}/{mode}").raise_for_status()


def intend(dev: Dev, id: str, **fields: Any) -> None:
    """Set an intent. `fields` are those of the request, such as `state` or `dial`."""
    wish = {"for": "2h", "reason": "busy", "actor": "ann", **fields}
    with httpx.Client(trust_env=False, timeout=60) as client:
        client.put(f"{home(dev)}v1/edges/{id}/intent", json=wish).raise_for_status()


def state_of(dev: Dev, id: str) -> str:
    edges = dev.ops("/v1/edges").json()["edges"]
    return str(next(edge["state"] for edge in edges if edge["id"] == id))


def open_change(seen: Visit, id: str) -> None:
    """Press the button of an edge's row and wait for the preview."""
    seen.page.click(f"tr[data-key={id}] [data-control=change]")
    seen.page.wait_for_selector("#preview .note")


def fill_change(seen: Visit, *, reason: str = "new disks", actor: str = "ann") -> None:
    seen.page.fill("#change-reason", reason)
    seen.page.fill("#change-actor", actor)
