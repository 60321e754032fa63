"""The servers that autorouter is compared with. They send the same bytes."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx

from bench.servers import running
from router.geo.database import packaged_database
from tests.support.proc import children_of
from tests.support.servers import free_port

CDN_SECRET = "a-secret-for-measuring-only"
MODULES = Path("/usr/lib/nginx/modules")

_NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log error;
load_module {modules}/ngx_http_geoip2_module.so;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    geoip2 {database} {{
        $country source=$http_x_forwarded_for country iso_code;
        $latitude source=$http_x_forwarded_for location latitude;
        $longitude source=$http_x_forwarded_for location longitude;
    }}
    map "$country $latitude $longitude" $answer {{
        default '{body}';
    }}
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        default_type application/json;
        location = /v1/route {{
            {fields}
            return 200 $answer;
        }}
    }}
}}
"""


@contextlib.contextmanager
def bare_uvicorn(answer: httpx.Response, folder: Path) -> Iterator[tuple[int, int]]:
    """A bare ASGI app that sends the bytes and headers of `answer`. Yields its port and pid."""
    port, path = free_port(), folder / "answer.json"
    path.write_text(json.dumps({"headers": _fields(answer), "body": answer.text}))
    with running([sys.executable, "-m", "bench.bare", str(port), str(path)], port) as pid:
        yield port, pid


@contextlib.contextmanager
def nginx(answer: httpx.Response, folder: Path) -> Iterator[tuple[int, int]]:
    """nginx with geoip2, which looks up the viewer and sends the bytes of `answer`.

    Yields its port and the pid of its only worker.
    """
    port, config = free_port(), folder / "nginx.conf"
    unset = ("content-type", "content-length", "etag")
    kept = [(name, value) for name, value in _fields(answer) if name not in unset]
    fields = "".join(f"add_header {name} '{value}';\n" for name, value in kept)
    config.write_text(
        _NGINX.format(
            folder=folder,
            modules=MODULES,
            database=packaged_database(),
            body=answer.text,
            port=port,
            fields=fields,
        )
    )
    with running(["nginx", "-p", str(folder), "-c", str(config)], port) as pid:
        yield port, children_of(pid)[0]


def _fields(answer: httpx.Response) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.headers.items() if name != "date"]
