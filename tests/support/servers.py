"""Real processes and sockets for tests: started, waited for by a condition, ended by pid."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from router.api.connection_limit import ConnectionLimit
from router.api.http_protocol import Request, Respond
from router.api.servers import Listener, listener, public_listener, serve_until_stopped
from router.routing.response import Response

ROOT = Path(__file__).parents[2]
AUTOROUTER = Path(sys.executable).with_name("autorouter")
HOST = "127.0.0.1"
PATIENCE_S = 20.0


def wait_until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """Return once the condition holds; TimeoutError when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {timeout_s:g} s: {condition}")
        time.sleep(0.01)


async def eventually(
    condition: Callable[[], bool | Awaitable[bool]],
    timeout_s: float = PATIENCE_S,
    every_s: float = 0.005,
) -> None:
    """The same inside a loop that has to go on meanwhile."""
    async with asyncio.timeout(timeout_s):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(every_s)


def free_port() -> int:
    """A port that nobody uses now, below those that connections and strangers are given:
    it stays free until a server that starts slowly binds it."""
    while True:
        port = 15_000 + secrets.randbelow(17_000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind((HOST, port))
            return port


def is_open(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex((HOST, port)) == 0


class Process:
    """A child process whose output goes to a file; ended by its pid."""

    def __init__(
        self, command: list[str], output: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self._output = output
        with output.open("wb") as file:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env
            )

    @property
    def output(self) -> str:
        """All that it has written so far."""
        return self._output.read_text()

    @property
    def pid(self) -> int:
        return self._child.pid

    def is_alive(self) -> bool:
        return self._child.poll() is None

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        """Until the condition holds; fails with the output when it ends before."""

        def met() -> bool:
            if not self.is_alive():
                raise AssertionError(f"exit {self._child.returncode}: {self.output}")
            return condition()

        try:
            wait_until(met, timeout_s)
        except TimeoutError as error:
            raise AssertionError(f"never ready: {self.output}") from error

    async def ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code, once it ends, without stopping the loop meanwhile."""
        await eventually(lambda: not self.is_alive(), timeout_s)
        return self._child.wait()

    def send(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def exit_code(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code, once it ends."""
        return self._child.wait(timeout_s)

    def stop(self) -> int:
        """End it as an operator would, or for good after a while."""
        self._child.terminate()
        try:
            return self._child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it at once, even when it is stopped."""
        self._child.kill()
        return self._child.wait()


LOADED_S = 60.0  # it may have to load much


class RedisServer:
    """A redis-server of our own on loopback, without persistence."""

    def __init__(self, directory: Path, **options: str) -> None:
        self.port = free_port()
        self.url = f"redis://{HOST}:{self.port}/0"
        self._directory = directory
        self.start(**options)

    def start(self, **options: str) -> None:
        """Start it, or start it again on the same port, empty unless it was told to save."""
        usual = {
            "bind": HOST,
            "port": str(self.port),
            "save": "",
            "appendonly": "no",
            "dir": str(self._directory),
        }
        named = usual | {name.replace("_", "-"): value for name, value in options.items()}
        words = [word for name, value in named.items() for word in (f"--{name}", value)]
        self._process = Process(["redis-server", *words], self._directory / "redis.log")
        self._process.wait_for(
            lambda: "Ready to accept connections" in self._process.output, LOADED_S
        )

    def kill(self) -> None:
        """As the kernel would, for want of memory."""
        self._process.kill()

    def pause(self) -> None:
        """Hang: its port still takes connections, nothing is answered."""
        self._process.send(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send(signal.SIGCONT)


def clean_env(**settings: str) -> dict[str, str]:
    """The environment without AUTOROUTER_ variables but these, and without colour wishes."""
    unwanted = ("AUTOROUTER_", "NO_COLOR", "FORCE_COLOR", "CLICOLOR")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(unwanted)}
    return kept | {f"AUTOROUTER_{name}": text for name, text in settings.items()}


def run_autorouter(*words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """One short command to its end."""
    return subprocess.run(
        [str(AUTOROUTER), *words],
        env=clean_env(**settings),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S,
        check=False,
    )


@dataclass
class Dev:
    """A running `autorouter dev`."""

    process: Process
    port: int
    ops_port: int

    @property
    def settings(self) -> dict[str, str]:
        """What the command line needs to find its ops listener."""
        return {"OPS_LISTEN": f"{HOST}:{self.ops_port}"}

    def ops(self, path: str) -> httpx.Response:
        return get(f"http://{HOST}:{self.ops_port}{path}")

    def is_ready(self) -> bool:
        """Whether it knows the state of every edge."""
        states = [edge["state"] for edge in self.ops("/v1/edges").json()["edges"]]
        return "unknown" not in states


@contextlib.contextmanager
def running_dev(
    folder: Path, *words: str, program: Sequence[str] = (str(AUTOROUTER),), **settings: str
) -> Iterator[Dev]:
    """`autorouter dev` on free ports, once it has told what to try."""
    port, ops_port = free_port(), free_port()
    command = [*program, "dev", "--port", str(port), "--ops-port", str(ops_port), *words]
    dev = Dev(Process(command, folder / "dev.log", clean_env(**settings)), port, ops_port)
    try:
        dev.process.wait_for(lambda: "Ctrl-C" in dev.process.output)
        yield dev
    finally:
        dev.process.kill()


def a_regions_file(path: Path, endpoints: Mapping[str, str]) -> Path:
    """The shipped regions.yaml with these endpoints, and only these regions."""
    document = yaml.safe_load((ROOT / "regions.yaml").read_text())
    document["regions"] = [
        {**region, "endpoint": endpoints[region["id"]]}
        for region in document["regions"]
        if region["id"] in endpoints
    ]
    path.write_text(yaml.safe_dump(document))
    return path


@contextlib.asynccontextmanager
async def served(app: Any, serve: Callable[[Any], Listener] = listener) -> AsyncIterator[int]:
    """The app on a real uvicorn, set up as in production; gives its port."""
    with socket.create_server((HOST, 0)) as bound:
        stop = asyncio.Event()
        serving = asyncio.create_task(serve_until_stopped([(serve(app), bound)], stop))
        try:
            yield bound.getsockname()[1]
        finally:
            stop.set()
            await serving


def public_server(respond: Respond, crowd: ConnectionLimit | None = None) -> Listener:
    """A public listener that refuses as it answers."""
    return public_listener(respond, respond, ConnectionLimit(1_000) if crowd is None else crowd)


class Stand:
    """An app whose app is swapped: one server serves many tests."""

    def __init__(self) -> None:
        self.app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def respond(self, request: Request) -> Response:
        """As the public listener asks."""
        response: Response = self.app.respond(request)
        return response


async def talk(port: int, said: bytes, timeout_s: float = PATIENCE_S) -> bytes:
    """All that a server answers to these bytes until it hangs up."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        async with asyncio.timeout(timeout_s):
            writer.write(said)
            await writer.drain()
            return await reader.read()
    finally:
        writer.transport.abort()


def plain_client(base_url: str = "") -> httpx.AsyncClient:
    """A client for loopback: no proxies, no certificates to load."""
    return httpx.AsyncClient(base_url=base_url, trust_env=False, verify=False, timeout=5)


def get(url: str, **options: Any) -> httpx.Response:
    """The same for one request of a test that has no loop."""
    with httpx.Client(trust_env=False, verify=False, timeout=5) as client:
        return client.get(url, **options)


# Starts `autorouter WORDS` with AUTOROUTER_ settings.
Start = Callable[..., Process]
