"""What the dashboard says of each fault, in a real Chromium with a real Prometheus beside it.

Each fault is done to a running server. Measured are the seconds until the page names it. Then
the advice is followed, and the page must forget it. `make bench-dashboard` writes the table of
docs/dashboard.md.
"""

import argparse
import contextlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Locator
from playwright.sync_api import TimeoutError as BrowserTimeout

from router.ops.findings import ALERTS, Amiss
from tests.support.browser import Visit, running_browser, visit
from tests.support.dashboard import break_edge, home, state_of
from tests.support.monitoring import RULES
from tests.support.prometheus import Prometheus, running_prometheus
from tests.support.servers import (
    HOST,
    ROOT,
    Dev,
    run_autorouter,
    running_dev,
    wait_until,
)

PAGE = ROOT / "docs" / "dashboard.md"
BEGIN, END = "<!-- faults: written by `make bench-dashboard` -->", "<!-- end of faults -->"
NAMED_S, OVER_S, ALERT_S = 60.0, 90.0, 20.0
CANADIAN, NOWHERE = "24.48.0.1", "192.0.2.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The server that is hurt."""

    dev: Dev

    def command(self, *words: str) -> None:
        """Run `autorouter` as an operator; raises RuntimeError when it is refused."""
        done = run_autorouter(*words, **self.dev.settings)
        if done.returncode != 0:
            raise RuntimeError(f"autorouter {' '.join(words)}: {done.stderr.strip()}")

    def mode(self, mode: str, *edges: str) -> None:
        """Have simulated edges behave so."""
        for edge in edges:
            break_edge(self.dev, edge, mode)

    def ask(self, count: int, path: str, viewer: str) -> None:
        """Ask the public listener as a viewer."""
        url = f"http://{HOST}:{self.dev.port}"
        headers = {"X-Forwarded-For": viewer}
        with httpx.Client(base_url=url, trust_env=False, headers=headers) as client:
            for _ in range(count):
                client.get(path)

    def ids(self, country: str = "") -> list[str]:
        """Edges of a country, or all."""
        listed = self.dev.ops("/v1/edges").json()["edges"]
        return [edge["id"] for edge in listed if country in ("", edge["country"])]


Act = Callable[[Site], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`follow` does what the page advises; None where its window of five minutes has to pass
    or nothing here can repair it."""

    name: str
    kind: Amiss
    inject: Act
    follow: Act | None
    restore: Act | None = None


def sets(mode: str, *edges: str) -> Act:
    """The act that has edges behave so."""
    return lambda site: site.mode(mode, *edges)


def runs(*words: str) -> Act:
    """The act of an operator's command."""
    return lambda site: site.command(*words)


def _in_turn(*acts: Act) -> Act:
    def act(site: Site) -> None:
        for one in acts:
            one(site)

    return act


def _until(state: str, edge: str) -> Act:
    return lambda site: wait_until(lambda: state_of(site.dev, edge) == state, NAMED_S)


def _failing(mode: str, edge: str) -> Fault:
    return Fault(
        name=f"edge: {mode.replace('_', ' ')}",
        kind=Amiss.DOWN,
        inject=sets(mode, edge),
        follow=_repair(edge),
    )


def _repair(*edges: str) -> Act:
    """Repair edges, and wait for no hold-down: the next fault needs them."""

    def act(site: Site) -> None:
        site.mode("healthy", *edges)
        _end_hold_down(*edges)(site)

    return act


def _end_hold_down(*edges: str) -> Act:
    def act(site: Site) -> None:
        def is_back() -> bool:
            return all(state_of(site.dev, edge) == "up" for edge in edges)

        def passes() -> bool:
            listed = site.dev.ops("/v1/edges").json()["edges"]
            reasons = {edge["reason"] for edge in listed if edge["id"] in edges}
            return reasons <= {"ok", "hold_down", "flapping", "recovering"}

        wait_until(passes, OVER_S)
        site.command("enable", *edges, "--now")
        wait_until(is_back, OVER_S)

    return act


def _all(mode: str) -> Act:
    return lambda site: site.mode(mode, *site.ids())


def _take_all_out(site: Site) -> None:
    words = ("--for", "1h", "--reason", "test", "--force")
    site.command("disable", *site.ids(), *words)


def _take_country_out(site: Site) -> None:
    words = ("--for", "1h", "--reason", "test", "--force")
    site.command("drain", *site.ids("CA"), *words)


FAULTS: Sequence[Fault] = (
    *(
        _failing(mode, "dal-01")
        for mode in (
            "down",
            "hang",
            "error",
            "reset",
            "html",
            "garbage",
            "huge",
            "redirect",
            "empty",
            "unhealthy",
            "backend_unhealthy",
        )
    ),
    Fault(
        name="edge: says degraded",
        kind=Amiss.DEGRADED,
        inject=sets("degraded", "dal-02"),
        follow=runs("drain", "dal-02", "--for", "1h", "--reason", "degraded"),
        restore=_in_turn(sets("healthy", "dal-02"), runs("enable", "dal-02")),
    ),
    Fault(
        name="edge: slow",
        kind=Amiss.SLOW,
        inject=sets("slow", "sfo-01"),
        follow=sets("healthy", "sfo-01"),
    ),
    Fault(
        name="edge: passes again after a fall",
        kind=Amiss.HOLD_DOWN,
        inject=_in_turn(
            sets("down", "sfo-01"), _until("down", "sfo-01"), sets("healthy", "sfo-01")
        ),
        follow=runs("enable", "sfo-01", "--now"),
    ),
    Fault(
        name="operator: an edge is drained",
        kind=Amiss.INTENT,
        inject=runs("drain", "nyc-01", "--for", "1h", "--reason", "disks", "--actor", "ann"),
        follow=runs("enable", "nyc-01"),
    ),
    Fault(
        name="operator: a country's edges are drained",
        kind=Amiss.COUNTRY_OUT,
        inject=_take_country_out,
        follow=lambda site: site.command("enable", *site.ids("CA")),
    ),
    Fault(
        name="operator: every edge is disabled",
        kind=Amiss.NO_EDGE,
        inject=_take_all_out,
        follow=lambda site: site.command("enable", *site.ids()),
    ),
    Fault(
        name="viewers: ask for a model that nobody has",
        kind=Amiss.MODEL_NOWHERE,
        inject=lambda site: site.ask(5, "/v1/route?model=no-such-model", CANADIAN),
        follow=None,
    ),
    Fault(
        name="viewers: most have no known place",
        kind=Amiss.UNPLACED,
        inject=lambda site: site.ask(150, "/v1/route", NOWHERE),
        follow=None,
    ),
    Fault(
        name="fleet: every edge fails at once",
        kind=Amiss.BRAKE,
        inject=_all("down"),
        follow=_all("healthy"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was seen. `named_s`: None when the page never named it. `works`: whether the page
    forgot it after the advice was followed; None where the advice was not followed. `fires`:
    whether the alert fires, with no wait; None for kinds that have none."""

    fault: str
    named_s: float | None
    headline: str
    advice: str
    works: bool | None
    alert: str | None
    fires: bool | None


def measure(fault: Fault, site: Site, seen: Visit, prometheus: Prometheus) -> Row:
    """Do the fault, see what is said, follow it, and leave the fleet well."""
    shown = seen.page.locator(f".finding[data-kind={fault.kind}]").first
    alert = ALERTS.get(fault.kind)
    if alert is not None:  # of the fault before
        _comes(lambda: prometheus.alerts(alert) == [], ALERT_S)
    began = time.monotonic()
    fault.inject(site)
    named_s = _waited(shown, began)
    title = advice = ""
    if named_s is not None:
        title = " ".join(shown.locator(".title").inner_text().split())
        advice = " ".join(shown.locator(".action").inner_text().split())
    fires = None if alert is None else _comes(lambda: _fires(alert, site, prometheus), ALERT_S)

    def is_gone() -> bool:
        return seen.page.locator(f".finding[data-kind={fault.kind}]").count() == 0

    works = None
    if fault.follow is not None:
        fault.follow(site)
        works = _comes(is_gone, OVER_S)
    if fault.restore is not None:
        fault.restore(site)
    return Row(
        fault=fault.name,
        named_s=named_s,
        headline=title,
        advice=advice,
        works=works,
        alert=alert,
        fires=fires,
    )


def _fires(alert: str, site: Site, prometheus: Prometheus) -> bool:
    """Whether it fires while viewers ask: some alerts count their answers."""
    site.ask(1, "/v1/route", CANADIAN)
    return prometheus.alerts(alert) != []


def _waited(shown: Locator, began: float) -> float | None:
    try:
        shown.wait_for(state="attached", timeout=NAMED_S * 1_000)
    except BrowserTimeout:
        return None
    return round(time.monotonic() - began, 1)


def _comes(condition: Callable[[], bool], timeout_s: float) -> bool:
    try:
        wait_until(condition, timeout_s)
    except TimeoutError:
        return False
    return True


@contextlib.contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    """A server with a simulated fleet."""
    with running_dev(folder, POLL_INTERVAL_S="1") as dev:
        wait_until(dev.is_ready, NAMED_S)
        yield Site(dev=dev)


def run(faults: Sequence[Fault], say: Callable[[Row], None]) -> None:
    """One fault after the other, on one server and one page."""
    with (
        tempfile.TemporaryDirectory() as name,
        running_browser() as browser,
        running_site(Path(name)) as site,
        running_prometheus(Path(name), site.dev.ops_port, RULES) as prometheus,
    ):
        for fault in faults:
            say(_on_a_new_page(browser, fault, site, prometheus))


def _on_a_new_page(browser: Browser, fault: Fault, site: Site, prometheus: Prometheus) -> Row:
    with visit(browser, home(site.dev)) as seen:
        seen.away = True
        return measure(fault, site, seen, prometheus)


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    head = (
        "| fault | named after | title | advice | it works | alert |\n|---|---:|---|---|---|---|\n"
    )
    return head + "".join(_line(row) for row in rows)


def _line(row: Row) -> str:
    named = "never" if row.named_s is None else f"{row.named_s:g} s"
    works = {True: "yes", False: "no", None: "not tried"}[row.works]
    fires = "" if row.fires else ": does not fire"
    alert = "none" if row.alert is None else f"`{row.alert}`{fires}"
    texts = (text.replace("|", "/") for text in (row.headline, row.advice))
    return f"| {' | '.join((row.fault, named, *texts, works, alert))} |\n"


def write(rows: Sequence[Row]) -> None:
    """Replace the table in docs/dashboard.md."""
    text = PAGE.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(rows)}\n{END}{after}")


def main(words: Sequence[str]) -> int:
    """Exit code 1 when the page did not name a fault, or its advice did not work."""
    parser = argparse.ArgumentParser(prog="python -m bench.dashboard_faults", description=__doc__)
    parser.add_argument("--only", metavar="REGEX", default="", help="faults whose name matches")
    parser.add_argument("--write", action="store_true", help="write docs/dashboard.md")
    asked = parser.parse_args(words)
    rows: list[Row] = []

    def say(row: Row) -> None:
        rows.append(row)
        print(json.dumps(asdict(row)), flush=True)

    run([one for one in FAULTS if re.search(asked.only, one.name)], say)
    if asked.write:
        write(rows)
    return int(any(row.named_s is None or row.works is False for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
