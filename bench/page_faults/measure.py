"""Injects faults into a site, and records what the page and Prometheus show."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as BrowserTimeout

from bench.page_faults.site import OVER_S, Fault, S, Site, Stage
from router.ops.findings import ALERTS
from tests.support.browser import running_browser, visit
from tests.support.monitoring import RULES
from tests.support.prometheus import Prometheus, running_prometheus
from tests.support.servers import wait_until

CALM_S, ALERT_S, ALERT_ENDS_S = 60.0, 30.0, 150.0
LASTS_S = 320.0
STEADY_S, STEADY_WITHIN_S = 3.0, 15.0

# Read everything in one call, because the page may be redrawn between two calls.
_READ = """(kind) => {
    const text = (within, selector) =>
        (within.querySelector(selector)?.textContent ?? "").replace(/\\s+/g, " ").trim();
    const found = [...document.querySelectorAll(`.finding[data-kind=${kind}]`)];
    const one = found.find((each) => text(each, ".action") !== "") ?? found[0];
    const own = one ? [text(one, ".title"), text(one, ".action")] : ["", ""];
    return [text(document, "#headline .title"), ...own];
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The result of one fault.

    `named_s`: time until the page named it, or None if it never did. `works`: whether the finding
    disappeared after the advice was followed, or None if that is not known yet. `alert`: the alert
    of this kind of finding, if there is one. `fires`: whether the alert fires without a `for`.
    """

    fault: str
    kind: str
    named_s: float | None = None
    headline: str = ""
    title: str = ""
    advice: str = ""
    works: bool | None = None
    alert: str | None = None
    fires: bool | None = None

    @property
    def is_right(self) -> bool:
        """Whether the fault was named, its advice works and its alert fires."""
        return self.named_s is not None and self.works is True and self.fires is not False


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A site, its page and its Prometheus."""

    site: Site
    page: Page
    prometheus: Prometheus


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasting:
    """A row whose finding ends by itself at most LASTS_S after `since`, monotonic."""

    row: Row
    since: float


Keep = Callable[[Row], None]


def run(stages: Iterable[Stage[Any]], keep: Keep) -> None:
    """Run each stage on its own site. Every row is saved at once, and again when it is complete.

    A site with lasting findings keeps running while the next stage runs.
    """
    with running_browser() as browser, ExitStack() as stack:
        earlier = stack.enter_context(ExitStack())
        for stage in stages:
            if stage.faults:
                say(f"{stage.name}: starting")
                here = stack.enter_context(ExitStack())
                watched = here.enter_context(_watched(browser, stage))
                lasting = _do_all(stage, watched, keep)
                earlier.close()
                here.callback(_settle, watched, lasting, keep)
                earlier = here


@contextmanager
def _watched(browser: Browser, stage: Stage[Any]) -> Iterator[Watched]:
    with (
        tempfile.TemporaryDirectory(prefix="autorouter-") as name,
        stage.start(Path(name)) as site,
        running_prometheus(Path(name), site.ops_port, RULES) as prometheus,
        visit(browser, site.home) as seen,
    ):
        seen.away = True  # requests fail while a server restarts
        yield Watched(site=site, page=seen.page, prometheus=prometheus)


def _do_all(stage: Stage[Any], watched: Watched, keep: Keep) -> list[Lasting]:
    """Inject every fault of a stage. Returns those whose findings have not ended yet."""
    lasting: list[Lasting] = []
    for fault in stage.faults:
        row = _attempt(fault, watched.site, watched, {one.row.kind for one in lasting})
        keep(row)
        say(str(asdict(row)))
        if fault.lasts:
            lasting.append(Lasting(row=row, since=time.monotonic()))
    return lasting


def _settle(watched: Watched, lasting: Iterable[Lasting], keep: Keep) -> None:
    for one in lasting:
        left_s = one.since + LASTS_S - time.monotonic()
        say(f"{one.row.fault}: waiting at most {max(left_s, 0.0):.0f} s for its end")
        keep(replace(one.row, works=_disappears(watched, one.row.kind, left_s)))


def _attempt(fault: Fault[S], site: S, watched: Watched, lasting: set[str]) -> Row:
    """The row of a fault. If the fault cannot be injected, the row is a failure."""
    try:
        return measure(fault, site, watched, lasting)
    except Exception as error:  # noqa: BLE001 - the other faults are still measured
        say(f"{fault.name}: {type(error).__name__}: {error}")
        return Row(fault=fault.name, kind=fault.kind, alert=ALERTS.get(fault.kind), works=False)


def measure(fault: Fault[S], site: S, watched: Watched, lasting: set[str]) -> Row:
    """Inject the fault, record what is shown, follow the advice, and restore the site."""
    alert = ALERTS.get(fault.kind)

    def is_quiet() -> bool:
        return site.kinds() <= lasting and not _shown(watched, fault.kind)

    if not becomes_true(is_quiet, CALM_S / 4):
        site.steady()
    if not becomes_true(is_quiet, CALM_S):
        others = ", ".join(sorted(site.kinds() - lasting))
        say(f"{fault.name}: starts with other findings: {others}")
    if alert is not None and not becomes_true(
        lambda: not watched.prometheus.alerts(alert), ALERT_ENDS_S
    ):
        raise RuntimeError(f"{alert} of an earlier fault still fires")
    began = time.monotonic()
    fault.inject(site)
    named_s = _named(watched.page, fault, began)
    fires = None if alert is None else becomes_true(lambda: _fires(alert, fault, watched), ALERT_S)
    row = Row(fault=fault.name, kind=fault.kind, named_s=named_s, alert=alert, fires=fires)
    if named_s is not None:
        headline, title, advice = _steady_texts(watched.page, fault)
        row = replace(row, headline=headline, title=title, advice=advice)
    fault.follow(site)
    if not fault.lasts:
        row = replace(row, works=_disappears(watched, fault.kind, OVER_S))
    if fault.restore is not None:
        fault.restore(site)
    return row


def _named(page: Page, fault: Fault[Any], began: float) -> float | None:
    shown = page.locator(f".finding[data-kind={fault.kind}]").first
    try:
        shown.wait_for(state="attached", timeout=fault.within_s * 1_000)
    except BrowserTimeout:
        return None
    return round(time.monotonic() - began, 1)


def _steady_texts(page: Page, fault: Fault[Any]) -> tuple[str, str, str]:
    """The headline when it no longer changes, and the title and advice of the finding."""
    texts = _read(page, fault)
    deadline = time.monotonic() + STEADY_WITHIN_S
    since = time.monotonic()
    while since + STEADY_S > time.monotonic() < deadline:
        time.sleep(0.2)
        now = _read(page, fault)
        if now[0] != texts[0]:
            since = time.monotonic()
        texts = now
    return texts


def _read(page: Page, fault: Fault[Any]) -> tuple[str, str, str]:
    headline, title, advice = page.evaluate(_READ, fault.kind)
    return headline, title, advice


def _disappears(watched: Watched, kind: str, within_s: float) -> bool:
    return becomes_true(lambda: not _shown(watched, kind), within_s)


def _shown(watched: Watched, kind: str) -> bool:
    return watched.page.locator(f".finding[data-kind={kind}]").count() > 0


def _fires(alert: str, fault: Fault[Any], watched: Watched) -> bool:
    """Whether the alert fires. Viewers keep asking, because some alerts count answers."""
    if fault.again is not None:
        fault.again(watched.site)
    return watched.prometheus.alerts(alert) != []


def becomes_true(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether the condition becomes true in time."""
    try:
        wait_until(condition, timeout_s)
    except (TimeoutError, httpx.HTTPError):
        return False
    return True


def say(text: str) -> None:
    """Print progress to standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
