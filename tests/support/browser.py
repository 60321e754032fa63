"""A real Chromium for tests of the dashboard, and a page that records its errors."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

CHROMIUM = "/usr/bin/chromium"
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
PATIENCE_MS = 90_000  # a busy machine draws 300 edges slowly

Scheme = Literal["light", "dark"]

# An init script runs even if the page's Content-Security-Policy forbids foreign scripts.
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation",
    (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as one:
        yield one


@dataclass
class Visit:
    """An open page, its errors and its requests.

    `away`: the test stops the server or makes it refuse, so failed requests are expected.
    """

    page: Page
    home: str
    away: bool = False
    errors: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Record errors and requests from now on."""
        self.page.on("pageerror", lambda error: self.errors.append(f"error: {error}"))
        self.page.on("console", lambda message: self._hear(message.type, message.text))
        self.page.on("request", self._note)

    def _hear(self, kind: str, text: str) -> None:
        failed = text.startswith("Failed to load resource")
        if kind in ("error", "warning") and not (self.away and failed):
            self.errors.append(f"{kind}: {text}")

    def _note(self, request: Request) -> None:
        self.urls.append(request.url)

    def text(self, selector: str) -> str:
        """The visible text of an element, on one line."""
        return " ".join(self.page.locator(selector).inner_text().split())

    def wait_for_text(self, selector: str, text: str) -> None:
        """Wait until the element shows the text."""
        self.page.locator(selector, has_text=text).first.wait_for(timeout=PATIENCE_MS)

    def faults(self) -> list[str]:
        """The accessibility violations that axe-core finds on the page now."""
        found = self.page.evaluate("async () => (await axe.run()).violations")
        return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]

    def is_wider_than_the_window(self) -> bool:
        """Whether the page scrolls sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))

    def check(self) -> None:
        """Fail on any error, policy violation or request to another host."""
        violations = self.page.evaluate("window.violations")
        hosts = {urlsplit(url).netloc for url in self.urls}
        found = (self.errors, violations, hosts)
        assert found == ([], [], {urlsplit(self.home).netloc}), found


@contextlib.contextmanager
def visit(
    browser: Browser, url: str, *, width: int = 1280, height: int = 900, scheme: Scheme = "light"
) -> Iterator[Visit]:
    """Open the page and wait until it is live. `Visit.check` runs at the end."""
    options: Any = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(_WATCH)
    context.add_init_script(path=AXE)
    one = Visit(context.new_page(), url)
    one.listen()
    try:
        one.page.goto(url)
        one.page.wait_for_selector("#live[data-state=live]")
        one.page.wait_for_selector(".land")
        yield one
        one.check()
    finally:
        one.page.unroute_all(behavior="ignoreErrors")  # a handler may still run at this moment
        context.close()
