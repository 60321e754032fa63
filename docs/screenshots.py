"""`make screenshots`: take the pictures in docs/images from a running server.

The fleet is simulated, the browser is real. Runs from the top of the checkout.
"""
# ruff: noqa: INP001 - a script beside the documents, not a package

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx
from playwright.sync_api import Browser

from tests.support.browser import Scheme, Visit, running_browser, visit
from tests.support.servers import HOST, Dev, running_dev, wait_until

FOLDER = Path(__file__).parent / "images"
ANSWERS = 1_500
COLOURS = "96"
NETWORKS = (
    *("24.48", "64.59", "128.100", "142.58", "8.8", "12.34", "66.249", "98.137", "200.160"),
    *("189.1", "85.214", "81.2", "2.16", "5.8", "41.0", "196.25", "103.21", "117.1", "133.1"),
)


def main() -> None:
    """Take all of them."""
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_dev(Path(folder), POLL_INTERVAL_S="0.5") as dev,
        running_browser() as browser,
    ):
        wait_until(dev.is_ready)
        answer_many(dev)
        take(browser, dev, "well", width=1440, height=1000, scheme="dark")
        break_some(dev)
        take(browser, dev, "trouble", width=1920, height=1160)
        take(browser, dev, "phone", width=390, height=1500)
        take(browser, dev, "drain", width=1100, height=760, act=ask_to_drain)
        take(browser, dev, "why", width=1440, height=800, act=ask_why)


def answer_many(dev: Dev) -> None:
    """Give viewers of all continents answers, so that shares mean something."""
    draw = random.Random(1)  # noqa: S311 - a sample
    with httpx.Client(trust_env=False) as client:
        for _ in range(ANSWERS):
            viewer = f"{draw.choice(NETWORKS)}.{draw.randrange(256)}.{draw.randrange(1, 255)}"
            url = f"http://{HOST}:{dev.port}/v1/route"
            client.get(url, headers={"X-Forwarded-For": viewer})


def break_some(dev: Dev) -> None:
    """One edge down, one degraded, one draining."""
    wish = {"state": "draining", "for": "2h", "reason": "new kernel", "actor": "ann"}
    with httpx.Client(trust_env=False, base_url=f"http://{HOST}:{dev.ops_port}") as client:
        client.put("/simulation/yvr-02/down")
        client.put("/simulation/nyc-02/degraded")
        client.put("/v1/edges/dal-02/intent", json=wish)
    wait_until(lambda: states(dev) >= {"down", "degraded"})


def states(dev: Dev) -> set[str]:
    return {edge["state"] for edge in dev.ops("/v1/edges").json()["edges"]}


def ask_to_drain(seen: Visit) -> None:
    seen.page.click("tr[data-key=yul-01] [data-control=change]")
    seen.page.wait_for_selector("#preview .note")
    seen.page.fill("#change-reason", "kernel update")
    seen.page.fill("#change-actor", "ann")


def ask_why(seen: Visit) -> None:
    seen.page.fill("#why-viewer", "142.58.1.1")
    seen.page.click("#why-form [type=submit]")
    seen.page.wait_for_selector(".verdict")
    seen.page.evaluate("document.querySelector('#map').scrollIntoView()")


def take(
    browser: Browser,
    dev: Dev,
    name: str,
    *,
    width: int,
    height: int,
    scheme: Scheme = "light",
    act: Callable[[Visit], None] = lambda _: None,
) -> None:
    """One picture of what fits in the window, with few colours so that it stays small."""
    path = FOLDER / f"{name}.png"
    home = f"http://{HOST}:{dev.ops_port}/"
    with visit(browser, home, width=width, height=height, scheme=scheme) as seen:
        act(seen)
        seen.page.screenshot(path=path, animations="disabled")
    command = ["pngquant", "--force", "--ext", ".png", "--speed", "1", COLOURS, str(path)]
    subprocess.run(command, check=True)  # noqa: S603 - a fixed command
    print(f"{path}: {path.stat().st_size // 1000} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
