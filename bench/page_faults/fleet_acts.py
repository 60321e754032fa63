"""Actions that break and repair the site of processes."""

import os
import resource
import signal
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec

from bench.page_faults.fleet_site import SETUP, FleetSite
from bench.page_faults.site import (
    OVER_S,
    Act,
    a_current_database,
    repairs,
)
from router.geo.feeds import FeedNote, feeds_path, note_path
from router.processes.simulated_edges import Mode
from router.store.redis import VANTAGES, view_key
from tests.support.builders import CITIES
from tests.support.databases import set_built_at
from tests.support.proc import children_of
from tests.support.running import replace_file
from tests.support.servers import HOST, run_autorouter, wait_until
from tests.support.site.fleet import EDGE
from tests.support.site.soak import rewrite

DAY_S = 86_400
MOST = ("yto-01", "yto-02", "yul-01", "yul-02", "nyc-01", "dal-01")
VANTAGE, RECONNECTED = "two", ("nyc-01", "nyc-02")
FEW_FILES = 3  # fewer than a process has open, so that it can open no more


def set_partial_mode(mode: str, *edges: str) -> Act[FleetSite]:
    return lambda site: site.set_partial_mode(mode, *edges)


def witness(mode: Mode) -> Act[FleetSite]:
    return lambda site: site.do(site.all.witness.set_mode(mode))


def show(certificate: str) -> Act[FleetSite]:
    def act(site: FleetSite) -> None:
        assert site.all.door is not None
        site.all.door.show(certificate)

    return act


def renew_certificate(site: FleetSite) -> None:
    show("valid")(site)
    repairs(EDGE)(site)


def isolate(site: FleetSite) -> None:
    witness(Mode.DOWN)(site)
    site.set_partial_mode("down", *MOST)


def mend_network(site: FleetSite) -> None:
    site.set_partial_mode("healthy", *MOST)
    witness(Mode.HEALTHY)(site)


def replace(name: str, content: Callable[[], bytes]) -> Act[FleetSite]:
    return lambda site: replace_file(site.folder / name, content())


def renew_database(site: FleetSite) -> None:
    (site.folder / "fresh").mkdir(exist_ok=True)
    a_current_database(site.folder / "fresh").replace(site.folder / "geo.mmdb")


def age_database(site: FleetSite) -> None:
    renew_database(site)
    set_built_at(site.folder / "geo.mmdb", int(time.time()) - 100 * DAY_S)


def note_feeds(days: int) -> Act[FleetSite]:
    """A feed with one network that was fetched this many days ago."""

    def act(site: FleetSite) -> None:
        folder = site.folder / "feeds"
        folder.mkdir(exist_ok=True)
        note = FeedNote(name="aws", source="aws", fetched_at=time.time() - days * DAY_S)
        note_path(folder).write_bytes(msgspec.json.encode([note]))
        feeds_path(folder).write_text(f"192.0.{days}.0/24,CA,CA-ON,Toronto,\n")

    return act


def checks(expected: str, *words: str) -> Act[FleetSite]:
    """Run `autorouter check` with the server's settings. It must fail and print `expected`."""

    def act(site: FleetSite) -> None:
        done = run_autorouter("check", *words, **site.all.settings, **site.server.settings)
        if done.returncode == 0 or expected not in done.stdout + done.stderr:
            raise RuntimeError(f"autorouter check: {done.stdout}{done.stderr}")

    return act


def edit(**fields: Any) -> Act[FleetSite]:
    """Change the first region of regions.yaml."""
    return lambda site: rewrite(site.all, lambda document: document["regions"][0].update(fields))


def add_edge(site: FleetSite) -> None:
    wrong = f"http://{HOST}:9"  # nothing listens on this port
    new = {"id": "chi-01", "name": "Chicago", "country": "US", "latitude": 41.9}
    new |= {"longitude": -87.6, "endpoint": wrong}
    rewrite(site.all, lambda document: document["regions"].append(new))


def correct_endpoint(site: FleetSite) -> None:
    right = site.all.partial.edges["sfo-01"].endpoint
    rewrite(site.all, lambda document: document["regions"][-1].update(endpoint=right))


def remove_edge(site: FleetSite) -> None:
    rewrite(site.all, lambda document: document["regions"].pop())
    wait_until(lambda: set(site.ids()) == set(CITIES), OVER_S)


def make_unroutable(site: FleetSite) -> None:
    rewrite(site.all, lambda document: document["regions"][-1].update(routable=False))
    site.mode("down", last(site))


def repair_unroutable(site: FleetSite) -> None:
    repairs(last(site))(site)


def make_routable(site: FleetSite) -> None:
    rewrite(site.all, lambda document: document["regions"][-1].pop("routable"))


def last(site: FleetSite) -> str:
    return site.ids()[-1]


def refuse_purges(site: FleetSite) -> None:
    site.cdn.status = HTTPStatus.SERVICE_UNAVAILABLE
    site.command("drain", "sfo-01", "--for", "1h", "--reason", "disks")


def accept_purges(site: FleetSite) -> None:
    site.cdn.status = HTTPStatus.OK
    site.command("enable", "sfo-01")


def limit_files(limit: int | None) -> Act[FleetSite]:
    """Limit the open files of a poller and its children. None removes the limit.

    The poller has no witnesses. Its connections to RECONNECTED are closed, so it needs new ones.
    """

    def act(site: FleetSite) -> None:
        pid = site.all.pollers[VANTAGE].pid
        for one in (pid, *children_of(pid)):
            _, hard = resource.prlimit(one, resource.RLIMIT_NOFILE)
            soft = hard if limit is None else limit
            resource.prlimit(one, resource.RLIMIT_NOFILE, (soft, hard))
        if limit is not None:
            site.mode("down", *RECONNECTED)
            site.mode("healthy", *RECONNECTED)

    return act


def stop_workers(workers: list[int]) -> None:
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)


def kill_one_worker(workers: list[int]) -> None:
    if len(workers) == SETUP.workers:
        os.kill(workers[-1], signal.SIGKILL)


def repeat_on_workers(act: Callable[[list[int]], None]) -> Act[FleetSite]:
    return lambda site: site.repeat_on_workers(act)


def stop_repeating_and_restart(site: FleetSite) -> None:
    site.stop_repeating()
    site.do(site.all.restart(site.server))


def block_state(site: FleetSite) -> None:
    folder = Path(site.server.settings["STATE_DIR"])
    folder.rename(folder.with_suffix(".away"))
    folder.write_text("no folder")


def mend_state(site: FleetSite) -> None:
    folder = Path(site.server.settings["STATE_DIR"])
    folder.unlink()
    folder.with_suffix(".away").rename(folder)


def write_foreign_value(site: FleetSite) -> None:
    with site.redis() as client:
        client.sadd(VANTAGES, "foreign")
        client.set(view_key("foreign"), b"not a view")


def delete_foreign_value(site: FleetSite) -> None:
    with site.redis() as client:
        client.delete(view_key("foreign"))
        client.srem(VANTAGES, "foreign")


def kill_poller(site: FleetSite) -> None:
    site.all.pollers[VANTAGE].kill()


def kill_pollers(site: FleetSite) -> None:
    for poller in site.all.pollers.values():
        poller.kill()


def start_pollers(site: FleetSite) -> None:
    for vantage in site.all.vantages:
        site.all.poll(vantage)
