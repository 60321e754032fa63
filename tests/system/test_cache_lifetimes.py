"""The cache of the CDN stand-in follows the caching headers of each answer.

The origin is scripted, so that lifetimes are short and every request is counted.
"""

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.servers import HOST, wait_until
from tests.support.stand_in import CANADIAN, UNKNOWN, StandIn, a_small_world, running_stand_in

ORIGIN_TIMEOUT_S, SLACK_S = 1.0, 2.0
HIT, MISS, ERROR = "Hit", "Miss", "Error"
REVALIDATING, STALE_ON_ERROR = "Hit, stale-while-revalidate", "Hit, stale-if-error"
LONG = "public, max-age=60, stale-while-revalidate=60, stale-if-error=300"
SHORT = "public, max-age=1, stale-while-revalidate=60, stale-if-error=300"
NOT_STALE = "public, max-age=1, stale-if-error=300"


@dataclass
class Script:
    """The next response of the origin. It does not respond until `resumed` is set."""

    status: int = 200
    cache_control: str = LONG
    body: bytes = b"first"
    tags: str = "route edge:yul-01"
    asked: list[str] = field(default_factory=list)
    resumed: threading.Event = field(default_factory=threading.Event)


class Origin(ThreadingHTTPServer):
    """An HTTP server that follows a script."""

    daemon_threads = True
    script = Script()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore that Varnish closes connections that hang. Report all other errors."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Origin

    def do_GET(self) -> None:
        script = self.server.script
        resumed = script.resumed
        script.asked.append(self.path)
        if self.path != "/healthz":
            resumed.wait()
        self.send_response(script.status)
        self.send_header("Cache-Control", script.cache_control)
        self.send_header("xkey", script.tags)
        self.send_header("Content-Length", str(len(script.body)))
        self.end_headers()
        self.wfile.write(script.body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin((HOST, 0), _Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture(scope="module")
def cdn(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    folder = tmp_path_factory.mktemp("cdn")
    world = str(a_small_world(folder / "world.mmdb"))
    with running_stand_in(folder, origin.server_port, GEO_DB=world) as one:
        yield one


@pytest.fixture
def script(origin: Origin, cdn: StandIn) -> Iterator[Script]:
    origin.script = Script()
    origin.script.resumed.set()
    yield origin.script
    origin.script.resumed.set()


@pytest.fixture
def path(request: pytest.FixtureRequest) -> str:
    """A path that only this test uses."""
    return f"/{request.node.name.replace('[', '/').replace(']', '')}"


def ask(cdn: StandIn, path: str, viewer: str = CANADIAN) -> tuple[bytes, str]:
    response = cdn.ask(path=path, viewer=viewer)
    return response.content, response.headers["x-cache"]


def wait_for(cdn: StandIn, path: str, cache: str) -> bytes:
    """Ask until X-Cache has this value. Returns the body."""
    bodies: list[bytes] = []

    def met() -> bool:
        body, did = ask(cdn, path)
        bodies.append(body)
        return did == cache

    wait_until(met)
    return bodies[-1]


def test_fresh_answer_is_served_from_the_cache(cdn: StandIn, script: Script, path: str) -> None:
    answers = [ask(cdn, path) for _ in range(3)]

    assert answers == [(b"first", MISS), (b"first", HIT), (b"first", HIT)]
    assert script.asked == [path]


def test_stale_answer_is_served_during_revalidation(
    cdn: StandIn, script: Script, path: str
) -> None:
    script.cache_control = SHORT
    ask(cdn, path)
    script.body, script.cache_control = b"second", LONG

    assert wait_for(cdn, path, REVALIDATING) == b"first"
    assert wait_for(cdn, path, HIT) == b"second"
    assert script.asked == [path, path]


def test_viewers_do_not_wait_for_a_hung_origin_while_revalidating(
    cdn: StandIn, script: Script, path: str
) -> None:
    script.cache_control = SHORT
    ask(cdn, path)
    script.resumed.clear()
    wait_for(cdn, path, REVALIDATING)
    began = time.monotonic()

    assert [ask(cdn, path) for _ in range(5)] == [(b"first", REVALIDATING)] * 5
    assert time.monotonic() - began < SLACK_S


def test_stale_answer_needs_stale_while_revalidate(cdn: StandIn, script: Script, path: str) -> None:
    script.cache_control = NOT_STALE
    ask(cdn, path)
    script.body = b"second"

    assert wait_for(cdn, path, MISS) == b"second"


def test_purged_answer_is_not_served_again(cdn: StandIn, script: Script, path: str) -> None:
    ask(cdn, path)
    script.body = b"second"

    assert cdn.purge("edge:yul-01") >= 1
    assert [ask(cdn, path) for _ in range(3)] == [
        (b"second", MISS),
        (b"second", HIT),
        (b"second", HIT),
    ]


def test_stale_answer_is_not_served_after_its_purge(
    cdn: StandIn, script: Script, path: str
) -> None:
    script.cache_control = SHORT
    ask(cdn, path)
    script.resumed.clear()
    wait_for(cdn, path, REVALIDATING)  # the revalidation hangs
    wait_until(lambda: len(script.asked) >= 2)
    hung, script.resumed = script.resumed, threading.Event()
    script.resumed.set()
    script.body, script.cache_control = b"second", LONG
    cdn.purge("edge:yul-01")

    assert ask(cdn, path) == (b"second", MISS)
    hung.set()


def test_concurrent_viewers_get_no_purged_answer(cdn: StandIn, script: Script, path: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            script.body = str(number).encode()
            cdn.purge("edge:yul-01")
            answers = list(pool.map(lambda _: ask(cdn, path)[0], range(16)))
            assert answers == [script.body] * 16


@pytest.mark.parametrize("status", [500, 502, 503])
def test_purged_answer_is_served_when_the_origin_fails(
    cdn: StandIn, script: Script, path: str, status: int
) -> None:
    ask(cdn, path)
    cdn.purge("edge:yul-01")
    script.status = status

    assert [ask(cdn, path) for _ in range(3)] == [(b"first", STALE_ON_ERROR)] * 3

    script.status, script.body = 200, b"second"
    assert ask(cdn, path) == (b"second", MISS)


def test_concurrent_viewers_wait_for_one_origin_timeout(
    cdn: StandIn, script: Script, path: str
) -> None:
    ask(cdn, path)
    cdn.purge("edge:yul-01")
    script.resumed.clear()
    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ask(cdn, path), range(20)))

    assert answers == [(b"first", STALE_ON_ERROR)] * 20
    assert time.monotonic() - began < ORIGIN_TIMEOUT_S + SLACK_S


def test_concurrent_errors_take_at_most_two_origin_timeouts(
    cdn: StandIn, script: Script, path: str
) -> None:
    script.resumed.clear()
    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: cdn.ask(path=path).status_code, range(20)))

    assert answers == [504] * 20
    assert time.monotonic() - began < 2 * ORIGIN_TIMEOUT_S + SLACK_S


def test_stale_answer_on_error_ends_after_stale_if_error(
    cdn: StandIn, script: Script, path: str
) -> None:
    script.cache_control = "public, max-age=1, stale-if-error=2"
    ask(cdn, path)
    script.status, script.body = 500, b"failed"

    assert wait_for(cdn, path, STALE_ON_ERROR) == b"first"
    began = time.monotonic()
    assert wait_for(cdn, path, ERROR) == b"failed"
    assert time.monotonic() - began < 2 + SLACK_S


def test_error_is_served_without_stale_if_error(cdn: StandIn, script: Script, path: str) -> None:
    script.cache_control = "public, max-age=1"
    ask(cdn, path)
    script.status, script.body = 500, b"failed"

    assert wait_for(cdn, path, ERROR) == b"failed"


def test_error_is_cached_for_a_second(cdn: StandIn, script: Script, path: str) -> None:
    script.status = 500
    for _ in range(3):
        assert cdn.ask(path=path).status_code == 500
    assert script.asked == [path]

    script.status = 200
    assert wait_for(cdn, path, MISS) == b"first"


@pytest.mark.parametrize("cache_control", ["private, max-age=60", "no-store", "no-cache"])
def test_private_answer_is_not_cached(
    cdn: StandIn, script: Script, path: str, cache_control: str
) -> None:
    script.cache_control = cache_control
    ask(cdn, path)
    script.body = b"second"

    assert ask(cdn, path) == (b"second", MISS)


def test_private_requests_run_concurrently(cdn: StandIn, script: Script, path: str) -> None:
    script.cache_control = "private, max-age=60"
    ask(cdn, path, UNKNOWN)
    script.resumed.clear()
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(ask, cdn, path, UNKNOWN) for _ in range(5)]
        wait_until(lambda: len(script.asked) == 6)
        script.resumed.set()

    assert [answer.result() for answer in answers] == [(b"first", MISS)] * 5


def test_error_does_not_replace_a_good_answer(cdn: StandIn, script: Script, path: str) -> None:
    script.cache_control = "public, max-age=1, stale-while-revalidate=2, stale-if-error=300"
    ask(cdn, path)
    script.status, script.body = 503, b"failed"

    assert wait_for(cdn, path, REVALIDATING) == b"first"
    assert wait_for(cdn, path, STALE_ON_ERROR) == b"first"
