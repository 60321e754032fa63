"""Faults of edges and changes by operators, on `autorouter dev`: one vantage, no Redis."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.page_faults.site import (
    NAMED_S,
    Act,
    Fault,
    Site,
    Stage,
    a_current_database,
    in_turn,
    repairs,
    runs,
    sets,
    until,
)
from router.ops.findings import FindingKind
from tests.support.dashboard import break_edge
from tests.support.servers import AUTOROUTER, Dev, running_dev, wait_until

FIVE = ("yto-01", "nyc-01", "dal-01", "dal-02", "sfo-01")


@dataclass(kw_only=True)
class DevSite(Site):
    """A server with a simulated fleet."""

    dev: Dev

    def mode(self, mode: str, *edges: str) -> None:
        for edge in edges:
            break_edge(self.dev, edge, mode)

    def put(self, path: str) -> None:
        httpx.put(self.home + path, trust_env=False).raise_for_status()


@contextlib.contextmanager
def running(
    folder: Path, program: Sequence[str] = (str(AUTOROUTER),), **settings: str
) -> Iterator[DevSite]:
    """`autorouter dev` that knows the state of every edge."""
    database = str(a_current_database(folder))
    usual = {"POLL_INTERVAL_S": "1", "GEO_DB": database, "GEO_DIR": str(folder / "data")}
    with running_dev(folder, program=program, **usual | settings) as dev:
        wait_until(dev.is_ready, NAMED_S)
        yield DevSite(folder=folder, port=dev.port, ops_port=dev.ops_port, dev=dev)


def _failing(name: str, mode: str) -> Fault[DevSite]:
    return Fault(
        name=f"edge: {name}",
        kind=FindingKind.DOWN,
        inject=sets(mode, "dal-01"),
        follow=repairs("dal-01"),
    )


def _all(mode: str) -> Act[Site]:
    return lambda site: site.mode(mode, *site.ids())


def _take_out(state: str, country: str) -> Act[Site]:
    words = ("--for", "1h", "--reason", "test", "--force")
    return lambda site: site.command(state, *site.ids(country), *words)


_FAULTS: tuple[Fault[DevSite], ...] = (
    _failing("refuses connections", "down"),
    _failing("never answers", "hang"),
    _failing("answers 500", "error"),
    _failing("answers what is not HTTP", "garbage"),
    _failing("says that it is unhealthy", "unhealthy"),
    Fault(
        name="edge: says that it is degraded",
        kind=FindingKind.DEGRADED,
        inject=sets("degraded", "dal-02"),
        follow=runs("drain", "dal-02", "--for", "1h", "--reason", "degraded"),
        restore=in_turn(sets("healthy", "dal-02"), runs("enable", "dal-02")),
    ),
    Fault(
        name="edge: is slow",
        kind=FindingKind.SLOW,
        inject=sets("slow", "sfo-01"),
        follow=runs("drain", "sfo-01", "--for", "1h", "--reason", "slow"),
        restore=in_turn(sets("healthy", "sfo-01"), runs("enable", "sfo-01")),
    ),
    Fault(
        name="edge: passes again after a fall",
        kind=FindingKind.HOLD_DOWN,
        inject=in_turn(
            sets("down", "sfo-01"), until("state", "down", "sfo-01"), sets("healthy", "sfo-01")
        ),
        follow=runs("enable", "sfo-01", "--now"),
    ),
    Fault(
        name="edges: 5 of 10 fail",
        kind=FindingKind.DOWN,
        inject=sets("down", *FIVE),
        follow=repairs(*FIVE),
    ),
    Fault(
        name="edges: all fail at once, seen by one vantage",
        kind=FindingKind.BRAKE,
        inject=_all("down"),
        follow=_all("healthy"),
    ),
    Fault(
        name="operator: drains an edge",
        kind=FindingKind.INTENT,
        inject=runs("drain", "nyc-01", "--for", "1h", "--reason", "disks", "--actor", "ann"),
        follow=runs("enable", "nyc-01"),
    ),
    Fault(
        name="operator: drains a country's edges",
        kind=FindingKind.COUNTRY_OUT,
        inject=_take_out("drain", "CA"),
        follow=lambda site: site.command("enable", *site.ids("CA")),
    ),
    Fault(
        name="operator: disables every edge",
        kind=FindingKind.NO_EDGE,
        inject=_take_out("disable", ""),
        again=lambda site: site.ask(1),
        follow=lambda site: site.command("enable", *site.ids()),
    ),
)

EDGES = Stage(name="edges", start=running, faults=_FAULTS)
