"""The JavaScript client in a real browser, with a real router and edges on other origins."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.browser import running_browser
from tests.support.servers import (
    AUTOROUTER,
    HOST,
    ROOT,
    Process,
    a_regions_file,
    clean_env,
    free_port,
    get,
)

CLIENT = ROOT / "clients" / "javascript" / "autorouter.mjs"
IDS = ["yto-01", "yul-01"]


class Edge(BaseHTTPRequestHandler):
    """A healthy edge that sends its port to any origin."""

    def do_GET(self) -> None:
        port = cast(ThreadingHTTPServer, self.server).server_port
        body = b'{"status": "healthy"}' if self.path == "/health" else str(port).encode()
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def an_edge() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer((HOST, 0), Edge)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[tuple[int, list[ThreadingHTTPServer], ExitStack]]:
    """The router's port, its edges, and a stack that stops the first edge when it closes."""
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        edges = [first.enter_context(an_edge()), stack.enter_context(an_edge())]
        named = {
            id: f"http://{HOST}:{edge.server_port}" for id, edge in zip(IDS, edges, strict=True)
        }
        port = free_port()
        settings = clean_env(
            REGIONS=str(a_regions_file(tmp_path / "regions.yaml", named)),
            LISTEN=f"{HOST}:{port}",
            OPS_LISTEN=f"{HOST}:{free_port()}",
            POLL_INTERVAL_S="10",
        )
        process = Process([str(AUTOROUTER), "serve"], tmp_path / "serve.log", settings)
        stack.callback(process.kill)
        process.wait_for(lambda: "serving" in process.output)
        process.wait_for(lambda: get(f"http://{HOST}:{port}/v1/route").json()["status"] == "ok")
        yield port, edges, first


def test_client_follows_the_router_and_fails_over_in_a_browser(
    ports: tuple[int, list[ThreadingHTTPServer], ExitStack],
) -> None:
    port, edges, first = ports
    answer = get(f"http://{HOST}:{port}/v1/route").json()
    by_endpoint = {f"http://{HOST}:{edge.server_port}": str(edge.server_port) for edge in edges}
    pick, other = by_endpoint[answer["endpoint"]], by_endpoint[answer["alternates"][0]["endpoint"]]
    ask = "async () => (await window.client.request('/v1/hello')).text()"
    with running_browser() as browser:
        page = browser.new_page()
        page.evaluate(
            """async ([text, url]) => {
                const file = URL.createObjectURL(new Blob([text], {type: "text/javascript"}));
                window.client = new (await import(file)).Autorouter(url);
            }""",
            [CLIENT.read_text(), f"http://{HOST}:{port}"],
        )
        assert page.evaluate(ask) == pick
        assert pick == str(edges[0].server_port)
        first.close()
        assert page.evaluate(ask) == other
