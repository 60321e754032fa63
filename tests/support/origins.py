"""A real HTTP server with files to download. It can cut off, refuse and redirect."""

import contextlib
import gzip
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "127.0.0.1"


@dataclass
class Served:
    """One file.

    `breaks`: each of the next responses ends after this number of bytes. `refusals`: statuses
    and headers of the next responses. `auth`: the Authorization header that is required.
    `false_headers`: headers that replace the true ones.
    """

    content: bytes
    etag: str | None = '"one"'
    breaks: list[int] = field(default_factory=list)
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    auth: str | None = None
    with_length: bool = True
    false_headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Origin:
    """A running server. `asked`: method, path and headers of every request so far."""

    files: dict[str, Served] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def serve_dbip(self, content: bytes) -> str:
        """Serve the file that DB-IP publishes for this month; return its version."""
        version = f"dbip-city-lite-{time.strftime('%Y-%m', time.gmtime())}"
        self.files[f"/free/{version}.mmdb.gz"] = Served(gzip.compress(content))
        return version

    def ranges(self) -> list[str | None]:
        """The Range header of each GET so far."""
        return [headers.get("range") for method, _, headers in self.asked if method == "GET"]


@contextlib.contextmanager
def an_origin() -> Iterator[Origin]:
    """A running server without files."""
    origin = Origin()
    server = ThreadingHTTPServer((HOST, 0), type("_Bound", (_Handler,), {"origin": origin}))
    server.daemon_threads = True
    origin.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield origin
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    origin: Origin

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def do_HEAD(self) -> None:
        self._respond(with_body=False)

    def do_GET(self) -> None:
        self._respond(with_body=True)

    def _respond(self, *, with_body: bool) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.origin.asked.append((self.command, self.path, headers))
        served = self.origin.files.get(self.path)
        if served is None:
            self._refuse(404, {})
        elif served.refusals:
            self._refuse(*served.refusals.pop(0))
        elif served.auth not in (None, headers.get("authorization")):
            self._refuse(401, {})
        else:
            self._send(served, headers, with_body=with_body)

    def _refuse(self, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": "0"} | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, served: Served, headers: dict[str, str], *, with_body: bool) -> None:
        first = 0
        if headers.get("if-range", served.etag) == served.etag and "range" in headers:
            first = int(headers["range"].removeprefix("bytes=").rstrip("-"))
        size = len(served.content)
        if first and first >= size:
            self._refuse(416, {})
            return
        fields = {"Connection": "close"}
        if first:
            fields["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
        if served.with_length:
            fields["Content-Length"] = str(size - first)
        if served.etag is not None:
            fields["ETag"] = served.etag
        self.send_response(206 if first or "Content-Range" in served.false_headers else 200)
        for name, value in (fields | served.false_headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        if with_body:
            end = first + served.breaks.pop(0) if served.breaks else size
            with contextlib.suppress(OSError):
                self.wfile.write(served.content[first:end])
