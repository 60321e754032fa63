"""Faults of all that is around edges, on a site of processes: a real Redis, three pollers, a
server with two workers, an edge behind TLS and a CDN that takes purges.
"""

import asyncio
import contextlib
import http.server
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
import redis as redis_client

from bench.page_faults.site import (
    OVER_S,
    Act,
    Fault,
    Site,
    Stage,
    a_current_database,
    in_turn,
    repairs,
)
from router.geo.feeds import FeedNote, feeds_path, note_path
from router.ops.findings import Amiss
from router.processes.simulated_edges import Mode
from router.store.redis import VANTAGES, view_key
from tests.support.builders import CITIES
from tests.support.databases import set_built_at
from tests.support.servers import HOST, run_autorouter, wait_until
from tests.support.site.fleet import EDGE, Pace, Server, Setup, open_site
from tests.support.site.fleet import Site as Processes
from tests.support.site.soak import rewrite
from tests.support.site.storm_faults import workers_of
from tests.support.stand_in import SECRET

DAY_S = 86_400
PER_SECOND = 10
SETUP = Setup(partial=True, witness=True, tls=True, workers=2, own_geo=True, cdn=True)
MOST = ("yto-01", "yto-02", "yul-01", "yul-02", "nyc-01", "dal-01")
SIGHTED, BLIND = "two", ("nyc-01", "nyc-02")
STALE_WITHIN_S, STATIC_WITHIN_S = 60.0, 180.0
FEW_FILES = 3  # fewer than a process has open: it can open no more


@dataclass
class Cdn:
    """Takes purges, or refuses them."""

    status: HTTPStatus = HTTPStatus.OK

    @contextlib.contextmanager
    def running(self, port: int) -> Iterator[None]:
        """On this port, in a thread."""
        cdn = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PURGE(self) -> None:
                self.send_response(cdn.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        with http.server.ThreadingHTTPServer((HOST, port), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield
            server.shutdown()


@dataclass(kw_only=True)
class FleetSite(Site):
    """`all`: the processes, which belong to `loop`. `tormented`: to be stopped."""

    all: Processes
    loop: asyncio.AbstractEventLoop
    cdn: Cdn
    tormented: threading.Event = field(default_factory=threading.Event)

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run this on the loop of the processes, to its end."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result(OVER_S)

    def mode(self, mode: str, *edges: str) -> None:
        """Have edges behave so, as every vantage sees them."""
        modes = dict.fromkeys(edges, Mode(mode))
        self.do(self.all.set_modes(modes))
        self.partly(mode, *edges)

    def partly(self, mode: str, *edges: str) -> None:
        """The same as the last vantage alone sees them."""
        for edge in edges:
            self.do(self.all.partial.edges[edge].set_mode(Mode(mode)))

    @property
    def server(self) -> Server:
        """The one server."""
        return self.all.servers[0]

    def redis(self) -> Any:
        """A client of the site's Redis."""
        return redis_client.Redis.from_url(self.all.redis.url)

    def torment(self, act: Callable[[list[int]], None]) -> None:
        """Do this to the workers again and again, until `calm`."""
        self.tormented.clear()

        def go_on() -> None:
            while not self.tormented.wait(0.05):
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                    act(workers_of(self.server))

        threading.Thread(target=go_on, daemon=True).start()

    def calm(self) -> None:
        """End what torments the workers."""
        self.tormented.set()
        time.sleep(0.2)


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[FleetSite]:
    """The site in a thread with a loop of its own: a browser needs this one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    cdn = Cdn()
    opened = open_site(folder, Pace(interval_s=1.0), SETUP, vantages=3, servers=1)

    def wait(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(2 * OVER_S)

    processes: Processes = wait(opened.__aenter__())
    try:
        processes.viewers.per_second = PER_SECOND
        server = processes.servers[0]
        with cdn.running(processes.cache_port):
            yield FleetSite(
                folder=folder,
                port=server.port,
                ops_port=server.ops_port,
                all=processes,
                loop=loop,
                cdn=cdn,
            )
    finally:
        wait(opened.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _partly(mode: str, *edges: str) -> Act[FleetSite]:
    return lambda site: site.partly(mode, *edges)


def _witness(mode: Mode) -> Act[FleetSite]:
    return lambda site: site.do(site.all.witness.set_mode(mode))


def _show(certificate: str) -> Act[FleetSite]:
    def act(site: FleetSite) -> None:
        assert site.all.door is not None
        site.all.door.show(certificate)

    return act


def _renew_certificate(site: FleetSite) -> None:
    _show("valid")(site)
    repairs(EDGE)(site)


def _isolate(site: FleetSite) -> None:
    _witness(Mode.DOWN)(site)
    site.partly("down", *MOST)


def _mend_network(site: FleetSite) -> None:
    site.partly("healthy", *MOST)
    _witness(Mode.HEALTHY)(site)


def _replace(name: str, content: Callable[[], bytes]) -> Act[FleetSite]:
    def act(site: FleetSite) -> None:
        fresh = site.folder / f"{name}.new"
        fresh.write_bytes(content())
        fresh.replace(site.folder / name)

    return act


def _renew_database(site: FleetSite) -> None:
    (site.folder / "fresh").mkdir(exist_ok=True)
    a_current_database(site.folder / "fresh").replace(site.folder / "geo.mmdb")


def _age_database(site: FleetSite) -> None:
    _renew_database(site)
    set_built_at(site.folder / "geo.mmdb", int(time.time()) - 100 * DAY_S)


def _note_feeds(days: int) -> Act[FleetSite]:
    """A feed of one network, fetched so many days ago."""

    def act(site: FleetSite) -> None:
        folder = site.folder / "feeds"
        folder.mkdir(exist_ok=True)
        note = FeedNote(name="aws", source="aws", fetched_at=time.time() - days * DAY_S)
        note_path(folder).write_bytes(msgspec.json.encode([note]))
        feeds_path(folder).write_text(f"192.0.{days}.0/24,CA,CA-ON,Toronto,\n")

    return act


def _checks(told: str, *words: str) -> Act[FleetSite]:
    """`autorouter check` with the server's settings, which must tell this."""

    def act(site: FleetSite) -> None:
        done = run_autorouter("check", *words, **site.all.settings, **site.server.settings)
        if done.returncode == 0 or told not in done.stdout + done.stderr:
            raise RuntimeError(f"autorouter check: {done.stdout}{done.stderr}")

    return act


def _edit(**fields: Any) -> Act[FleetSite]:
    """Change the first region of regions.yaml."""
    return lambda site: rewrite(site.all, lambda told: told["regions"][0].update(fields))


def _add_edge(site: FleetSite) -> None:
    wrong = f"http://{HOST}:9"  # where nothing listens
    new = {"id": "chi-01", "name": "Chicago", "country": "US", "latitude": 41.9}
    new |= {"longitude": -87.6, "endpoint": wrong}
    rewrite(site.all, lambda told: told["regions"].append(new))


def _correct_endpoint(site: FleetSite) -> None:
    right = site.all.partial.edges["sfo-01"].endpoint
    rewrite(site.all, lambda told: told["regions"][-1].update(endpoint=right))


def _remove_edge(site: FleetSite) -> None:
    rewrite(site.all, lambda told: told["regions"].pop())
    wait_until(lambda: set(site.ids()) == set(CITIES), OVER_S)


def _make_unroutable(site: FleetSite) -> None:
    rewrite(site.all, lambda told: told["regions"][-1].update(routable=False))
    site.mode("down", _last(site))


def _repair_unroutable(site: FleetSite) -> None:
    repairs(_last(site))(site)


def _make_routable(site: FleetSite) -> None:
    rewrite(site.all, lambda told: told["regions"][-1].pop("routable"))


def _last(site: FleetSite) -> str:
    return site.ids()[-1]


def _refuse_purges(site: FleetSite) -> None:
    site.cdn.status = HTTPStatus.SERVICE_UNAVAILABLE
    site.command("drain", "sfo-01", "--for", "1h", "--reason", "disks")


def _accept_purges(site: FleetSite) -> None:
    site.cdn.status = HTTPStatus.OK
    site.command("enable", "sfo-01")


def _limit_files(limit: int | None) -> Act[FleetSite]:
    """The limit of open files of a poller without witnesses and of its children; None: as much
    as it may have. The connections to BLIND are broken, so that new ones are needed."""

    def act(site: FleetSite) -> None:
        pid = site.all.pollers[SIGHTED].pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            _, hard = resource.prlimit(one, resource.RLIMIT_NOFILE)
            soft = hard if limit is None else limit
            resource.prlimit(one, resource.RLIMIT_NOFILE, (soft, hard))
        if limit is not None:
            site.mode("down", *BLIND)
            site.mode("healthy", *BLIND)

    return act


def _stop_workers(workers: list[int]) -> None:
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)


def _kill_one_worker(workers: list[int]) -> None:
    if len(workers) == SETUP.workers:
        os.kill(workers[-1], signal.SIGKILL)


def _torment(act: Callable[[list[int]], None]) -> Act[FleetSite]:
    return lambda site: site.torment(act)


def _calm_and_restart(site: FleetSite) -> None:
    site.calm()
    site.do(site.all.restart(site.server))


def _block_state(site: FleetSite) -> None:
    folder = Path(site.server.settings["STATE_DIR"])
    folder.rename(folder.with_suffix(".away"))
    folder.write_text("no folder")


def _mend_state(site: FleetSite) -> None:
    folder = Path(site.server.settings["STATE_DIR"])
    folder.unlink()
    folder.with_suffix(".away").rename(folder)


def _write_foreign_value(site: FleetSite) -> None:
    with site.redis() as client:
        client.sadd(VANTAGES, "foreign")
        client.set(view_key("foreign"), b"not a view")


def _delete_foreign_value(site: FleetSite) -> None:
    with site.redis() as client:
        client.delete(view_key("foreign"))
        client.srem(VANTAGES, "foreign")


def _kill_poller(site: FleetSite) -> None:
    site.all.pollers[SIGHTED].kill()


def _kill_pollers(site: FleetSite) -> None:
    for poller in site.all.pollers.values():
        poller.kill()


def _start_pollers(site: FleetSite) -> None:
    for vantage in site.all.vantages:
        site.all.poll(vantage)


_FAULTS: tuple[Fault[FleetSite], ...] = (
    Fault(
        name="edge: its certificate has expired",
        kind=Amiss.DOWN,
        inject=_show("expired"),
        follow=_renew_certificate,
    ),
    Fault(
        name="edge: never worked",
        kind=Amiss.NEVER_WORKED,
        inject=_add_edge,
        follow=in_turn(_checks("chi-01", "--probe"), _correct_endpoint),
        restore=_remove_edge,
    ),
    Fault(
        name="edge: not routable, and down",
        kind=Amiss.UNROUTABLE,
        inject=_make_unroutable,
        follow=_repair_unroutable,
        restore=_make_routable,
    ),
    Fault(
        name="edges: all fail, seen by three vantages",
        kind=Amiss.FAIL_OPEN,
        inject=lambda site: site.mode("down", *CITIES),
        follow=repairs(*CITIES),
    ),
    Fault(
        name="vantage: it alone sees an edge down",
        kind=Amiss.SPLIT,
        inject=_partly("down", "nyc-01"),
        follow=_partly("healthy", "nyc-01"),
        restore=repairs("nyc-01"),
    ),
    Fault(
        name="vantage: its witness and most edges fail",
        kind=Amiss.ISOLATION,
        inject=_isolate,
        follow=_mend_network,
        restore=repairs(*CITIES),
    ),
    Fault(
        name="vantage: its poller has no open files left",
        kind=Amiss.LOCAL,
        inject=_limit_files(FEW_FILES),
        follow=_limit_files(None),
        restore=repairs(*BLIND),
    ),
    Fault(
        name="vantage: its poller is killed",
        kind=Amiss.VANTAGE_SILENT,
        inject=_kill_poller,
        follow=lambda site: site.all.poll(SIGHTED),
    ),
    Fault(
        name="Redis: stops",
        kind=Amiss.STORE,
        inject=lambda site: site.all.redis.kill(),
        follow=lambda site: site.all.redis.start(),
    ),
    Fault(
        name="files: regions.yaml is refused",
        kind=Amiss.RELOAD,
        inject=_edit(latitude=91),
        follow=in_turn(_checks("latitude"), _edit(latitude=43.6532)),
    ),
    Fault(
        name="files: the geo database is refused",
        kind=Amiss.RELOAD,
        inject=_replace("geo.mmdb", lambda: b"no database"),
        follow=in_turn(_checks("geo.mmdb"), _renew_database),
    ),
    Fault(
        name="files: a secret is refused",
        kind=Amiss.RELOAD,
        inject=_replace("cdn-secret", lambda: b"short"),
        follow=in_turn(_checks("CDN_SECRET"), _replace("cdn-secret", SECRET.encode)),
    ),
    Fault(
        name="files: the geo database is old",
        kind=Amiss.GEO_OLD,
        inject=_age_database,
        follow=_renew_database,
    ),
    Fault(
        name="files: feeds are old",
        kind=Amiss.FEEDS_OLD,
        inject=_note_feeds(40),
        follow=_note_feeds(0),
    ),
    Fault(
        name="files: the state folder is gone",
        kind=Amiss.STATE_DIR,
        inject=_block_state,
        follow=_mend_state,
    ),
    Fault(
        name="CDN: refuses purges",
        kind=Amiss.PURGE,
        inject=_refuse_purges,
        follow=_accept_purges,
    ),
    Fault(
        name="server: a worker ends again and again",
        kind=Amiss.WORKERS,
        inject=_torment(_kill_one_worker),
        follow=_calm_and_restart,
    ),
    Fault(
        name="server: its workers hang",
        kind=Amiss.PUBLIC_SILENT,
        inject=_torment(_stop_workers),
        follow=_calm_and_restart,
    ),
    Fault(
        name="Redis: has a value of another program",
        kind=Amiss.STORE_VALUES,
        inject=_write_foreign_value,
        follow=_delete_foreign_value,
        lasts=True,
    ),
    Fault(
        name="vantages: no poller runs",
        kind=Amiss.STALE,
        inject=_kill_pollers,
        follow=_start_pollers,
        within_s=STALE_WITHIN_S,
    ),
    Fault(
        name="vantages: no poller runs for 2 minutes",
        kind=Amiss.STATIC,
        inject=_kill_pollers,
        follow=_start_pollers,
        within_s=STATIC_WITHIN_S,
    ),
)

FLEET = Stage(name="fleet", start=_running, faults=_FAULTS)
