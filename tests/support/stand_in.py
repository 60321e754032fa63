"""Runs the CDN stand-in as a process."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from router.model import Position
from tests.support.builders import BERLIN, DALLAS, MONTREAL
from tests.support.databases import write_mmdb
from tests.support.servers import (
    AUTOROUTER,
    HOST,
    ROOT,
    Process,
    a_regions_file,
    clean_env,
    eventually,
    free_port,
)

RUN = ROOT / "infra" / "local-cdn" / "run.py"
SECRET = "0123456789abcdef"

CANADIAN, NEIGHBOUR, GERMAN, TEXAN = "24.48.0.1", "24.48.0.99", "85.214.132.117", "97.77.0.1"
CANADIAN_6, COUNTRY_ONLY, UNKNOWN = "2001:db8:1::1", "198.51.100.7", "192.0.2.1"


@dataclass(kw_only=True)
class StandIn:
    """A running stand-in. `client` has persistent connections."""

    process: Process
    port: int
    cache_port: int
    client: httpx.Client

    def ask(
        self,
        query: str = "",
        viewer: str = CANADIAN,
        *,
        method: str = "GET",
        path: str = "/v1/route",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        """The response that this viewer gets."""
        return self.client.request(
            method,
            f"http://{HOST}:{self.port}{path}{query}",
            headers={"X-Stand-In-Viewer": viewer, **(headers or {})},
            content=content,
        )

    def ask_varnish(self, method: str, path: str, **headers: str) -> httpx.Response:
        """Send a request directly to Varnish."""
        return self.client.request(
            method, f"http://{HOST}:{self.cache_port}{path}", headers=headers
        )

    def purge(self, *tags: str) -> int:
        """Remove the responses that have one of the tags. Returns their number."""
        response = self.ask_varnish("PURGE", "/", **{"xkey-purge": " ".join(tags)})
        return int(response.raise_for_status().headers["xkey-purged"])


@contextlib.contextmanager
def running_stand_in(
    folder: Path, origin_port: int, *more: str, cache_port: int | None = None, **settings: str
) -> Iterator[StandIn]:
    """A stand-in in front of an origin on loopback. It authenticates with SECRET."""
    port, cache_port = free_port(), cache_port or free_port()
    words = ["--origin", f"{HOST}:{origin_port}", "--port", str(port), *more]
    command = [sys.executable, str(RUN), *words, "--cache-port", str(cache_port)]
    process = Process(command, folder / "stand-in.log", clean_env(CDN_SECRET=SECRET, **settings))
    with httpx.Client(trust_env=False, verify=False, timeout=10) as client:
        try:
            process.wait_for(lambda: "Ctrl-C" in process.output)
            yield StandIn(process=process, port=port, cache_port=cache_port, client=client)
        finally:
            process.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A server with the stand-in in front of it."""

    cdn: StandIn
    port: int
    ops_port: int


@contextlib.asynccontextmanager
async def origin_behind_stand_in(
    folder: Path, endpoints: Mapping[str, str], geo_db: Path, **settings: str
) -> AsyncIterator[Origin]:
    """`autorouter serve` for these edges, and the stand-in. Both use the same geo database."""
    port, ops_port = free_port(), free_port()
    environ = clean_env(
        REGIONS=str(a_regions_file(folder / "regions.yaml", endpoints)),
        LISTEN=f"{HOST}:{port}",
        OPS_LISTEN=f"{HOST}:{ops_port}",
        GEO_DB=str(geo_db),
        CDN_SECRET=SECRET,
        TRUSTED_PROXIES="127.0.0.0/8",
        **settings,
    )
    server = Process([str(AUTOROUTER), "serve"], folder / "serve.log", environ)
    with contextlib.ExitStack() as stack:
        stack.callback(server.kill)
        await eventually(lambda: "serving" in server.output)
        starting = running_stand_in(folder, port, GEO_DB=str(geo_db))
        cdn = await asyncio.to_thread(starting.__enter__)
        stack.push(starting)
        yield Origin(cdn=cdn, port=port, ops_port=ops_port)


def a_place(country: str, position: Position, city: str | None) -> dict[str, Any]:
    """A record of a City database. Without a city, it knows only the country."""
    location = {"latitude": position.latitude, "longitude": position.longitude}
    named = {} if city is None else {"city": {"names": {"en": city}}}
    return {"country": {"iso_code": country}, "location": location, **named}


def a_small_world(path: Path) -> Path:
    """A database with the locations of the viewers above."""
    return write_mmdb(
        path,
        {
            f"{CANADIAN}/24": a_place("CA", MONTREAL, "Montreal"),
            f"{GERMAN}/24": a_place("DE", BERLIN, "Berlin"),
            f"{TEXAN}/24": a_place("US", DALLAS, "Dallas"),
            f"{CANADIAN_6}/48": a_place("CA", MONTREAL, "Montreal"),
            f"{COUNTRY_ONLY}/24": a_place("CA", Position(60.0, -95.0), None),
        },
    )
