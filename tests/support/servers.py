"""Real processes and sockets for tests. Tests await conditions instead of sleeping."""

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
    """Return once the condition holds. Raises TimeoutError after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"condition not met after {timeout_s:g} s: {condition}")
        time.sleep(0.01)


async def eventually(
    condition: Callable[[], bool | Awaitable[bool]],
    timeout_s: float = PATIENCE_S,
    every_s: float = 0.005,
) -> None:
    """The same as `wait_until`, without blocking the event loop."""
    async with asyncio.timeout(timeout_s):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(every_s)


def free_port() -> int:
    """A free port below the ephemeral range: no outgoing connection takes it before a server
    that starts slowly binds it."""
    while True:
        port = 15_000 + secrets.randbelow(17_000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind((HOST, port))
            return port


def is_open(port: int) -> bool:
    """Whether the port accepts connections."""
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex((HOST, port)) == 0


class Process:
    """A child process that writes its output to a file."""

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
        """The output so far."""
        return self._output.read_text()

    @property
    def pid(self) -> int:
        return self._child.pid

    def is_alive(self) -> bool:
        return self._child.poll() is None

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        """Wait for the condition. Fails with the output if the process ends first."""

        def met() -> bool:
            if not self.is_alive():
                raise AssertionError(f"exit {self._child.returncode}: {self.output}")
            return condition()

        try:
            wait_until(met, timeout_s)
        except TimeoutError as error:
            raise AssertionError(f"never ready: {self.output}") from error

    async def ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the exit code without blocking the event loop."""
        await eventually(lambda: not self.is_alive(), timeout_s)
        return self._child.wait()

    def send(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def exit_code(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the exit code."""
        return self._child.wait(timeout_s)

    def stop(self) -> int:
        """Send SIGTERM, then SIGKILL if the process does not end in time."""
        self._child.terminate()
        try:
            return self._child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Send SIGKILL, which also ends a stopped process."""
        self._child.kill()
        return self._child.wait()


LOADED_S = 60.0  # a large dump may take long to load


class RedisServer:
    """A redis-server on loopback, without persistence by default."""

    def __init__(self, directory: Path, **options: str) -> None:
        directory.mkdir(exist_ok=True)
        self.port = free_port()
        self.url = f"redis://{HOST}:{self.port}/0"
        self._directory = directory
        self.start(**options)

    def start(self, **options: str) -> None:
        """Start it, or restart it on the same port. It is empty unless it saved its data."""
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
        """Send SIGKILL, as the kernel does when memory runs out."""
        self._process.kill()

    def pause(self) -> None:
        """Hang: connections are accepted, commands get no reply."""
        self._process.send(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send(signal.SIGCONT)


@contextlib.contextmanager
def running_redis(directory: Path, **options: str) -> Iterator[RedisServer]:
    """A redis-server that is killed at the end of the block."""
    server = RedisServer(directory, **options)
    try:
        yield server
    finally:
        server.kill()


def clean_env(**settings: str) -> dict[str, str]:
    """The environment with only these AUTOROUTER_ settings, and without colour variables."""
    unwanted = ("AUTOROUTER_", "NO_COLOR", "FORCE_COLOR", "CLICOLOR")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(unwanted)}
    return kept | {f"AUTOROUTER_{name}": text for name, text in settings.items()}


def run_autorouter(*words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run one short command to its end."""
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
        """Settings with which a command finds the ops listener."""
        return {"OPS_LISTEN": f"{HOST}:{self.ops_port}"}

    def ops(self, path: str) -> httpx.Response:
        return get(f"http://{HOST}:{self.ops_port}{path}")

    def is_ready(self) -> bool:
        """Whether the server knows the state of every edge."""
        states = [edge["state"] for edge in self.ops("/v1/edges").json()["edges"]]
        return "unknown" not in states


@contextlib.contextmanager
def running_dev(
    folder: Path, *words: str, program: Sequence[str] = (str(AUTOROUTER),), **settings: str
) -> Iterator[Dev]:
    """`autorouter dev` on free ports, once it has printed its examples."""
    port, ops_port = free_port(), free_port()
    command = [*program, "dev", "--port", str(port), "--ops-port", str(ops_port), *words]
    dev = Dev(Process(command, folder / "dev.log", clean_env(**settings)), port, ops_port)
    try:
        dev.process.wait_for(lambda: "Ctrl-C" in dev.process.output)
        yield dev
    finally:
        dev.process.kill()


def a_regions_file(path: Path, endpoints: Mapping[str, str]) -> Path:
    """The shipped regions.yaml with only the regions that have an endpoint here."""
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
    """The app on a real uvicorn with the production setup. Yields its port."""
    with socket.create_server((HOST, 0)) as bound:
        stop = asyncio.Event()
        serving = asyncio.create_task(serve_until_stopped([(serve(app), bound)], stop))
        try:
            yield bound.getsockname()[1]
        finally:
            stop.set()
            await serving


def public_server(respond: Respond, crowd: ConnectionLimit | None = None) -> Listener:
    """A public listener. Its rejections use the same app as its answers."""
    return public_listener(respond, respond, ConnectionLimit(1_000) if crowd is None else crowd)


class Stand:
    """An app that delegates to `app`, so that one server can serve many tests."""

    def __init__(self) -> None:
        self.app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def respond(self, request: Request) -> Response:
        """Answer a request of the public listener."""
        response: Response = self.app.respond(request)
        return response


async def talk(port: int, said: bytes, timeout_s: float = PATIENCE_S) -> bytes:
    """Send bytes and read until the server closes the connection."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        async with asyncio.timeout(timeout_s):
            writer.write(said)
            await writer.drain()
            return await reader.read()
    finally:
        writer.transport.abort()


def plain_client(base_url: str = "") -> httpx.AsyncClient:
    """A client for loopback. It ignores proxies and does not load certificates."""
    return httpx.AsyncClient(base_url=base_url, trust_env=False, verify=False, timeout=5)


def get(url: str, **options: Any) -> httpx.Response:
    """One GET with the same options, for tests without an event loop."""
    with httpx.Client(trust_env=False, verify=False, timeout=5) as client:
        return client.get(url, **options)


# Starts `autorouter WORDS` with AUTOROUTER_ settings.
Start = Callable[..., Process]
