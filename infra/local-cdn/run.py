"""The local stand-in for the CDN: nginx and Varnish on loopback, in front of an origin.

It writes nginx.conf, cache.vcl and the CDN function with their values, starts both servers, and
stops them when it ends. README.md says how it behaves and what that proves.
"""

import contextlib
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import click

from router.cdn.edge_function import render
from router.cdn.programs import read_program
from router.config.inputs import read_all
from router.config.settings import Settings, load_settings
from router.config.values import Listen
from router.errors import ConfigError
from router.routing.ranking import Ranker

HERE = Path(__file__).parent
HOST = "127.0.0.1"
AUTOROUTER = Path(sys.executable).with_name("autorouter")
MODULES = "usr/lib/nginx/modules"
PACKAGES = {
    "nginx": "usr/sbin/nginx",
    "libnginx-mod-http-js": f"{MODULES}/ngx_http_js_module.so",
    "libnginx-mod-http-geoip2": f"{MODULES}/ngx_http_geoip2_module.so",
    "varnish": "usr/sbin/varnishd",
    "varnish-modules": "usr/lib/*/varnish/vmods/libvmod_xkey.so",
}
VARNISH_PARAMETERS = {
    "default_ttl": "0",  # answers without cache headers are not cached
    "default_grace": "0",
    "default_keep": "0",
    "http_gzip_support": "off",
    "thread_pools": "1",
    "vsl_space": "2m",
}
START_S = 30.0
STOP_S = 5.0
WATCH_S = 0.1
LOG_TAIL = 2_000

_WELCOME = """
A stand-in for the CDN answers on http://{viewers}, in front of http://{origin}
Try, from another terminal:

  send this request twice: X-Cache is Miss, then Hit
    curl -si -H 'X-Stand-In-Viewer: 24.48.0.1' {viewers}/v1/route

  another viewer, with any IPv4 or IPv6 address
    curl -si -H 'X-Stand-In-Viewer: 85.214.132.117' {viewers}/v1/route

  purge all answers that depend on an edge
    curl -si -X PURGE -H 'xkey-purge: edge:yul-01' {cache}/
{more}
Ctrl-C stops everything.
"""
_MORE_OF_DEV = """
  take an edge down: within seconds its answers are purged, and new answers name other edges
    curl -s -X PUT {ops}/simulation/yul-02/down
"""


class _Address(click.ParamType[Listen]):
    """HOST:PORT, as in settings."""

    name = "HOST:PORT"

    def convert(
        self, value: str | Listen, param: click.Parameter | None, ctx: click.Context | None
    ) -> Listen:
        """Parse it; a usage error exits with 2."""
        try:
            return value if isinstance(value, Listen) else Listen.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_PORT = click.IntRange(1, 65535)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True, resolve_path=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--origin",
    type=_Address(),
    default=f"{HOST}:8080",
    show_default=True,
    help="The autorouter server behind the CDN.",
)
@click.option("--port", type=_PORT, default=8081, show_default=True, help="The port for viewers.")
@click.option(
    "--cache-port", type=_PORT, default=6081, show_default=True, help="Varnish's port, for purges."
)
@click.option(
    "--function", type=_FILE, help="A file of `autorouter cdn render`. By default it makes one."
)
@click.option("--regions", type=_FILE, help="The catalog file, instead of AUTOROUTER_REGIONS.")
@click.option("--geo-db", type=_FILE, help="The geo database, instead of AUTOROUTER_GEO_DB.")
@click.option("--dev", is_flag=True, help="Start `autorouter dev` as the origin.")
@click.option("--ops-port", type=_PORT, default=9090, show_default=True, help="Its ops port.")
def main(
    origin: Listen,
    port: int,
    cache_port: int,
    function: Path | None,
    regions: Path | None,
    geo_db: Path | None,
    dev: bool,
    ops_port: int,
) -> None:
    """Run a stand-in for the CDN on this machine, until Ctrl-C.

    nginx locates viewers and runs the CDN function; Varnish caches. The header X-Stand-In-Viewer
    sets the viewer's IP address. AUTOROUTER_CDN_SECRET must be that of the origin.
    """
    paths = {"AUTOROUTER_REGIONS": regions, "AUTOROUTER_GEO_DB": geo_db}
    environ = os.environ | {name: str(path) for name, path in paths.items() if path is not None}
    plan = Plan(
        origin=origin,
        port=port,
        cache_port=cache_port,
        function=function,
        ops_port=ops_port if dev else None,
    )
    try:
        run(plan, environ, _stop_on_signals())
    except ConfigError as error:
        for fault in error.faults:
            click.echo(f"error: {fault}", err=True)
        sys.exit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run. `function`: a file; None to make one. `ops_port`: that of the `autorouter dev`
    to start as the origin; None if the origin already runs.
    """

    origin: Listen
    port: int
    cache_port: int
    function: Path | None
    ops_port: int | None

    @property
    def ports(self) -> list[int]:
        """The ports that must be free."""
        if self.ops_port is None:
            return [self.port, self.cache_port]
        return [self.port, self.cache_port, self.origin.port, self.ops_port]


def run(plan: Plan, environ: Mapping[str, str], stop: threading.Event) -> None:
    """Run until `stop`. Raises ConfigError if it cannot start, or if a process ends by itself."""
    if plan.ops_port is not None:
        purge = f"varnish:http://{HOST}:{plan.cache_port}/"
        defaults = {"AUTOROUTER_CDN_SECRET": secrets.token_hex(16), "AUTOROUTER_PURGE": purge}
        environ = {**defaults, **environ}
    settings = load_settings(environ)
    _check(plan, settings)
    with Children() as children:
        if plan.ops_port is not None:
            _start_dev(plan, environ, children)
            children.wait_for(plan.origin.port, stop)
        elif not _answers(plan.origin.host, plan.origin.port):
            raise ConfigError([f"no origin answers on http://{plan.origin}; see --dev"])
        _write(plan, settings, children.folder)
        _start_cdn(plan, children)
        children.wait_for(plan.port, stop)
        if not stop.is_set():
            click.echo(_welcome(plan))
        children.watch(stop)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _check(plan: Plan, settings: Settings) -> None:
    """Raise a ConfigError with all faults that can be found before anything starts."""
    faults = []
    if missing := missing_packages(Path("/")):
        faults.append(f"missing packages; please run: sudo apt-get install {' '.join(missing)}")
    if not settings.cdn_secret:
        faults.append("AUTOROUTER_CDN_SECRET: set it to that of the origin")
    faults += [f"port {port} is taken; choose another, see --help" for port in _taken(plan.ports)]
    if faults:
        raise ConfigError(faults)


def missing_packages(root: Path) -> list[str]:
    """The Debian packages that are not installed."""
    return [name for name, file in PACKAGES.items() if not any(root.glob(file))]


def _taken(ports: list[int]) -> Iterator[int]:
    for port in ports:
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((HOST, port))
            except OSError:
                yield port


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=START_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _write(plan: Plan, settings: Settings, folder: Path) -> None:
    """Write the files of nginx and Varnish, with all values."""
    catalog, geo = read_all(settings)
    if plan.function:
        program = plan.function.read_text()
    else:
        program = render(Ranker(catalog), read_program())
    (folder / "cdn.js").write_text(program + (HERE / "adapter.js").read_text())
    values = {
        "ORIGIN_HOST": plan.origin.host,
        "ORIGIN_PORT": plan.origin.port,
        "PORT": plan.port,
        "CACHE_PORT": plan.cache_port,
        "SECRET": settings.cdn_secret[0],
        "GEO_DB": geo.path,
        "FOLDER": folder,
        "MODULES": f"/{MODULES}",
    }
    for name in ("nginx.conf", "cache.vcl"):
        text = (HERE / name).read_text()
        for word, value in values.items():
            text = text.replace(f"@{word}@", str(value))
        (folder / name).write_text(text)


def _start_dev(plan: Plan, environ: Mapping[str, str], children: "Children") -> None:
    ports = ["--port", str(plan.origin.port), "--ops-port", str(plan.ops_port)]
    children.start("autorouter", [str(AUTOROUTER), "dev", *ports], environ)


def _start_cdn(plan: Plan, children: "Children") -> None:
    folder = str(children.folder)
    parameters = [word for pair in VARNISH_PARAMETERS.items() for word in ("-p", "=".join(pair))]
    where = ["-n", f"{folder}/varnish", "-f", f"{folder}/cache.vcl", "-T", "none"]
    listening = ["-a", f"{HOST}:{plan.cache_port}", "-s", "malloc,32m", *parameters]
    children.start("varnish", ["/usr/sbin/varnishd", "-F", "-j", "none", *where, *listening])
    children.start(
        "nginx", ["/usr/sbin/nginx", "-p", folder, "-c", "nginx.conf", "-e", "nginx.log"]
    )


class Children:
    """Processes that end with this one. Their output is in a temporary folder."""

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        self.folder = Path(
            self._stack.enter_context(tempfile.TemporaryDirectory(prefix="local-cdn-"))
        )
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with contextlib.suppress(ProcessLookupError):  # workers that a killed nginx left
                os.killpg(process.pid, signal.SIGKILL)
        self._stack.close()

    def start(
        self, name: str, command: list[str], environ: Mapping[str, str] | None = None
    ) -> None:
        """Start a process in its own process group, so that it does not get Ctrl-C."""
        with (self.folder / f"{name}.out").open("wb") as output:
            self._processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environ,
                start_new_session=True,
            )

    def wait_for(self, port: int, stop: threading.Event) -> None:
        """Wait until there is an answer on a port, or until `stop`."""
        deadline = time.monotonic() + START_S
        while not stop.wait(WATCH_S) and not _answers(HOST, port):
            self._check()
            if time.monotonic() > deadline:
                raise ConfigError(
                    [f"no answer on port {port} after {START_S:g} s", *self._log_tails()]
                )

    def watch(self, stop: threading.Event) -> None:
        """Wait until `stop`. Raises ConfigError if a process ends before that."""
        while not stop.wait(WATCH_S):
            self._check()

    def _check(self) -> None:
        ended = [name for name, one in self._processes.items() if one.poll() is not None]
        if ended:
            raise ConfigError([f"{' and '.join(ended)} ended by itself", *self._log_tails()])

    def _log_tails(self) -> list[str]:
        texts = {path.name: path.read_text(errors="replace") for path in self._outputs()}
        return [f"{name}: {text[-LOG_TAIL:]}" for name, text in texts.items() if text]

    def _outputs(self) -> list[Path]:
        return sorted([*self.folder.glob("*.out"), *self.folder.glob("nginx.log")])


def _welcome(plan: Plan) -> str:
    cache = f"{HOST}:{plan.cache_port}"
    more = "" if plan.ops_port is None else _MORE_OF_DEV.format(ops=f"{HOST}:{plan.ops_port}")
    viewers = f"{HOST}:{plan.port}"
    return _WELCOME.format(origin=plan.origin, viewers=viewers, cache=cache, more=more)


if __name__ == "__main__":
    main()
