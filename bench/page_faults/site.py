"""A running site for fault injection, and the faults as data."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx

from router.geo.database import packaged_database
from router.ops.findings import FindingKind
from tests.support.databases import set_built_at
from tests.support.servers import HOST, get, run_autorouter, wait_until

NAMED_S, OVER_S = 60.0, 90.0
CANADIAN = "24.48.0.1"
PASSING = {"ok", "hold_down", "flapping", "recovering"}


@dataclass(kw_only=True)
class Site(ABC):
    """A server with a fleet, and a folder for its files."""

    folder: Path
    port: int
    ops_port: int

    @property
    def home(self) -> str:
        """The URL of the dashboard."""
        return f"http://{HOST}:{self.ops_port}/"

    @abstractmethod
    def mode(self, mode: str, *edges: str) -> None: ...

    def command(self, *words: str) -> None:
        """Run `autorouter` as an operator. Raises RuntimeError if it fails."""
        done = run_autorouter(*words, OPS_LISTEN=f"{HOST}:{self.ops_port}")
        if done.returncode != 0:
            raise RuntimeError(f"autorouter {' '.join(words)}: {done.stderr.strip()}")

    def ask(self, count: int, path: str = "/v1/route", viewer: str | None = CANADIAN) -> None:
        """Send requests of a viewer, or of a proxy that hides its viewers."""
        headers = {} if viewer is None else {"X-Forwarded-For": viewer}
        base = f"http://{HOST}:{self.port}"
        with httpx.Client(base_url=base, trust_env=False, headers=headers) as client:
            for _ in range(count):
                client.get(path)

    def document(self) -> dict[str, Any]:
        """The `/v1/edges` document of the ops listener."""
        document: dict[str, Any] = get(f"{self.home}v1/edges").json()
        return document

    def ids(self, country: str = "") -> list[str]:
        """The ids of the edges in a country, or of all edges."""
        edges = self.document()["edges"]
        return [edge["id"] for edge in edges if country in ("", edge["country"])]

    def states(self, key: str, *edges: str) -> set[str]:
        """The values of a key, such as `state` or `intent`, of these edges."""
        return {edge[key] for edge in self.document()["edges"] if edge["id"] in edges}

    def steady(self) -> None:
        """End the hold-downs and flapping of earlier faults."""
        edges = self.document()["edges"]
        waiting = {"degraded", "down"}
        ids = [
            edge["id"] for edge in edges if edge["state"] in waiting and edge["intent"] == "enabled"
        ]
        if ids:
            self.command("enable", *ids, "--now")

    def kinds(self) -> set[str]:
        """The kinds of the findings that are alarms or warnings."""
        worse = ("alarm", "warning")
        return {one["kind"] for one in self.document()["findings"] if one["grade"] in worse}


S = TypeVar("S", bound=Site)
Act = Callable[[S], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Generic[S]):
    """One fault.

    `follow`: does what the page advises. `restore`: undoes the rest. `again`: repeated while the
    alert is awaited. `lasts`: the finding counts the last 5 minutes, so it ends 5 minutes after the
    last event. `within_s`: how long to wait for the page.
    """

    name: str
    kind: FindingKind
    inject: Act[S]
    follow: Act[S]
    restore: Act[S] | None = None
    again: Act[S] | None = None
    lasts: bool = False
    within_s: float = NAMED_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(Generic[S]):
    """Faults that are injected into one site, one after the other. `start` runs the site."""

    name: str
    start: Callable[[Path], AbstractContextManager[S]]
    faults: tuple[Fault[S], ...]


def sets(mode: str, *edges: str) -> Act[Site]:
    return lambda site: site.mode(mode, *edges)


def runs(*words: str) -> Act[Site]:
    return lambda site: site.command(*words)


def in_turn(*acts: Act[S]) -> Act[S]:
    """Do the acts one after the other."""

    def act(site: S) -> None:
        for one in acts:
            one(site)

    return act


def until(key: str, value: str, *edges: str) -> Act[Site]:
    """Wait until these edges all have this value."""
    return lambda site: wait_until(lambda: site.states(key, *edges) == {value}, NAMED_S)


def repairs(*edges: str) -> Act[Site]:
    """Repair edges and end their hold-down, because the next fault needs them."""

    def act(site: Site) -> None:
        site.mode("healthy", *edges)
        wait_until(lambda: site.states("reason", *edges) <= PASSING, OVER_S)
        site.command("enable", *edges, "--now")
        wait_until(lambda: site.states("state", *edges) == {"up"}, OVER_S)

    return act


def a_current_database(folder: Path) -> Path:
    """A copy of the packaged geo database that is a week old, so that its age is no finding."""
    path = folder / "current.mmdb"
    path.write_bytes(packaged_database().read_bytes())
    return set_built_at(path, int(time.time()) - 7 * 86_400)
