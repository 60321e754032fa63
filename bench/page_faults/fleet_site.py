"""A site of processes for fault injection: a real Redis, three pollers, a server with two workers,
an edge with TLS, and a CDN that accepts purges.
"""

import asyncio
import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import redis as redis_client

from bench.page_faults.site import (
    OVER_S,
    Site,
)
from router.processes.simulated_edges import Mode
from tests.support.proc import workers_of
from tests.support.servers import HOST
from tests.support.site.fleet import Pace, Server, Setup, open_site
from tests.support.site.fleet import Site as Processes

PER_SECOND = 10
SETUP = Setup(partial=True, witness=True, tls=True, workers=2, own_geo=True, cdn=True)


@dataclass
class Cdn:
    """A CDN that answers every purge with `status`."""

    status: HTTPStatus = HTTPStatus.OK

    @contextlib.contextmanager
    def running(self, port: int) -> Iterator[None]:
        """Run on this port in a thread."""
        cdn = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PURGE(self) -> None:
                self.send_response(cdn.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        with http.server.ThreadingHTTPServer((HOST, port), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield
            server.shutdown()


@dataclass(kw_only=True)
class FleetSite(Site):
    """`all`: the processes, which run on `loop`."""

    all: Processes
    loop: asyncio.AbstractEventLoop
    cdn: Cdn
    repeating_ends: threading.Event = field(default_factory=threading.Event)

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine on the loop of the processes and wait for its end."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result(OVER_S)

    def mode(self, mode: str, *edges: str) -> None:
        """Set the mode of edges for every vantage."""
        modes = dict.fromkeys(edges, Mode(mode))
        self.do(self.all.set_modes(modes))
        self.set_partial_mode(mode, *edges)

    def set_partial_mode(self, mode: str, *edges: str) -> None:
        """Set the mode of edges for the last vantage only."""
        for edge in edges:
            self.do(self.all.partial.edges[edge].set_mode(Mode(mode)))

    @property
    def server(self) -> Server:
        return self.all.servers[0]

    def redis(self) -> Any:
        """A client of the site's Redis."""
        return redis_client.Redis.from_url(self.all.redis.url)

    def repeat_on_workers(self, act: Callable[[list[int]], None]) -> None:
        """Repeat an action on the workers until `stop_repeating` is called."""
        self.repeating_ends.clear()

        def go_on() -> None:
            while not self.repeating_ends.wait(0.05):
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                    act(workers_of(self.server.process.pid))

        threading.Thread(target=go_on, daemon=True).start()

    def stop_repeating(self) -> None:
        """Stop the action that `repeat_on_workers` started."""
        self.repeating_ends.set()
        time.sleep(0.2)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[FleetSite]:
    """The site, on an event loop in a thread, because the browser uses this thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    cdn = Cdn()
    opened = open_site(folder, Pace(interval_s=1.0), SETUP, vantages=3, servers=1)

    def wait(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(2 * OVER_S)

    processes: Processes = wait(opened.__aenter__())
    try:
        processes.viewers.per_second = PER_SECOND
        server = processes.servers[0]
        with cdn.running(processes.cache_port):
            yield FleetSite(
                folder=folder,
                port=server.port,
                ops_port=server.ops_port,
                all=processes,
                loop=loop,
                cdn=cdn,
            )
    finally:
        wait(opened.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
