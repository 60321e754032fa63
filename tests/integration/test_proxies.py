"""The configurations in infra/proxy with a real nginx, a real Caddy and a real server.

Each viewer has its own loopback address. A geofeed locates one in Toronto and one in Dallas, so
the response shows which address the server used.
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from router.api import http_protocol
from tests.support.servers import (
    AUTOROUTER,
    HOST,
    ROOT,
    Dev,
    Process,
    clean_env,
    free_port,
    is_open,
    running_dev,
)

FOLDER = ROOT / "infra" / "proxy"
TORONTO, DALLAS = "127.0.1.1", "127.0.1.2"
OVERRIDES = f"""# prefix,country,region,city,,latitude,longitude
{TORONTO}/32,CA,CA-ON,Toronto,,43.6532,-79.3832
{DALLAS}/32,US,US-TX,Dallas,,32.7767,-96.7970
"""
NGINX_MAIN = """daemon off;
pid nginx.pid;
error_log stderr warn;
events {}
http {
%s
}
"""
FALSE_HEADERS = (
    {"X-Forwarded-For": DALLAS},
    {"X-Forwarded-For": f"{DALLAS}, {HOST}"},
    {"X-Forwarded-For": f"{HOST}, {DALLAS}, {HOST}, {HOST}"},
    {"X-Real-IP": DALLAS, "True-Client-IP": DALLAS, "CloudFront-Viewer-Address": f"{DALLAS}:5000"},
    {"Forwarded": f"for={DALLAS}", "X-Autorouter-Key": "US~dal-01.dal-02"},
)


def nginx(folder: Path, port: int, upstream: int) -> list[str]:
    """The command, after writing the file with this test's ports and certificate."""
    certificate = folder / "fullchain.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=autorouter.example.com"
    files = ["-out", str(certificate), "-keyout", str(folder / "privkey.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    text = with_ports(
        (FOLDER / "nginx.conf").read_text(),
        ("127.0.0.1:8080", f"{HOST}:{upstream}"),
        ("listen 443", f"listen {HOST}:{port}"),
        ("    listen [::]:443 ssl http2;\n", ""),
        ("/etc/ssl/autorouter", str(folder)),
    )
    (folder / "nginx.conf").write_text(NGINX_MAIN % text)
    return ["nginx", "-p", str(folder), "-c", "nginx.conf"]


def caddy(folder: Path, port: int, upstream: int) -> list[str]:
    text = with_ports(
        (FOLDER / "Caddyfile").read_text(),
        ("127.0.0.1:8080", f"{HOST}:{upstream}"),
        ("autorouter.example.com {", f"http://{HOST}:{port} {{\n\tbind {HOST}"),
    )
    # Without TLS: Caddy cannot get a certificate in a test.
    (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + text)
    return [str(AUTOROUTER.with_name("caddy")), "run", "--config", str(folder / "Caddyfile")]


def with_ports(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


class Proxied:
    """A proxy and the server behind it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(
        self, viewer: str, method: str = "GET", path: str = "/v1/route", **headers: str
    ) -> httpx.Response:
        """Send a request from the viewer's address."""
        transport = httpx.HTTPTransport(local_address=viewer, verify=False)
        with httpx.Client(transport=transport, timeout=30) as client:
            return client.request(method, self._url + path, headers=headers)

    def city(self, viewer: str, headers: dict[str, str]) -> str:
        response = self.ask(viewer, **headers)
        assert response.status_code == 200, response.text
        return str(response.json()["name"])


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("dev")
    (folder / "overrides.csv").write_text(OVERRIDES)
    settings = {"GEO_OVERRIDES": str(folder / "overrides.csv"), "TRUSTED_PROXIES": f"{HOST}/32"}
    with running_dev(folder, **settings) as dev:
        yield dev


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def proxied(
    request: pytest.FixtureRequest, dev: Dev, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxied]:
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    command: Callable[[Path, int, int], list[str]] = request.param
    env = {**clean_env(), "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    process = Process(command(folder, port, dev.port), folder / "proxy.log", env)
    try:
        process.wait_for(lambda: is_open(port))
        scheme = "https" if command is nginx else "http"
        yield Proxied(f"{scheme}://{HOST}:{port}")
    finally:
        process.kill()


def test_address_of_the_viewer_is_used(proxied: Proxied) -> None:
    assert proxied.city(TORONTO, {}).startswith("Toronto")
    assert proxied.city(DALLAS, {}).startswith("Dallas")


@pytest.mark.parametrize("headers", FALSE_HEADERS, ids=lambda headers: next(iter(headers)))
def test_false_address_headers_are_ignored(proxied: Proxied, headers: dict[str, str]) -> None:
    assert proxied.city(TORONTO, headers).startswith("Toronto")


def test_response_passes_unchanged(proxied: Proxied, dev: Dev) -> None:
    response = proxied.ask(TORONTO)
    direct = httpx.get(f"http://{HOST}:{dev.port}/v1/route", headers={"X-Forwarded-For": TORONTO})
    assert response.json() == direct.json()
    for name in ("cache-control", "etag", "content-type", "access-control-allow-origin"):
        assert response.headers[name] == direct.headers[name]
    again = proxied.ask(TORONTO, **{"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert proxied.ask(TORONTO, "HEAD").headers["etag"] == response.headers["etag"]


def test_other_methods_are_rejected(proxied: Proxied) -> None:
    response = proxied.ask(TORONTO, "POST")
    assert (response.status_code, response.json()["code"]) == (403, "use_edge")


def test_forwarded_for_without_the_proxy_is_ignored(dev: Dev) -> None:
    transport = httpx.HTTPTransport(local_address=TORONTO)
    with httpx.Client(transport=transport) as client:
        url = f"http://{HOST}:{dev.port}/v1/route"
        response = client.get(url, headers={"X-Forwarded-For": DALLAS})
    assert response.json()["name"].startswith("Toronto")


def test_trusting_a_viewer_network_accepts_false_addresses(tmp_path: Path) -> None:
    """The reason why AUTOROUTER_TRUSTED_PROXIES must not contain networks of viewers."""
    (tmp_path / "overrides.csv").write_text(OVERRIDES)
    settings = {"GEO_OVERRIDES": str(tmp_path / "overrides.csv"), "TRUSTED_PROXIES": "127.0.0.0/16"}
    with running_dev(tmp_path, **settings) as dev:
        transport = httpx.HTTPTransport(local_address="127.0.0.9")
        with httpx.Client(transport=transport) as client:
            url = f"http://{HOST}:{dev.port}/v1/route"
            response = client.get(url, headers={"X-Forwarded-For": DALLAS})
    assert response.json()["name"].startswith("Dallas")


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_proxy_closes_idle_connections_before_the_server(name: str) -> None:
    (kept_s,) = re.findall(r"keepalive(?:_timeout)? (\d+)s", (FOLDER / name).read_text())
    assert int(kept_s) < http_protocol.KEEP_ALIVE_S


def test_caddy_rejects_an_invalid_file(tmp_path: Path) -> None:
    path = tmp_path / "Caddyfile"
    path.write_text((FOLDER / "Caddyfile").read_text().replace("dial_timeout", "dail_timeout"))
    caddy_bin = str(AUTOROUTER.with_name("caddy"))
    command = [caddy_bin, "adapt", "--adapter", "caddyfile", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "dail_timeout" in done.stderr


def test_caddy_file_is_formatted() -> None:
    caddy_bin = AUTOROUTER.with_name("caddy")
    done = subprocess.run(
        [caddy_bin, "fmt", FOLDER / "Caddyfile"], capture_output=True, text=True, check=False
    )
    assert done.stdout == (FOLDER / "Caddyfile").read_text()
