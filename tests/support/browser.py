"""A real Chromium for tests of the page, and a page that notes whatever is wrong with it."""

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

# Also runs where the page's own policy forbids scripts from elsewhere.
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation",
    (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests of a module."""
    with running_browser() as one:
        yield one


@dataclass
class Visit:
    """A page that is open, and what went wrong on it. `away`: the server is gone, or
    refuses, on purpose; then requests may fail."""

    page: Page
    home: str
    away: bool = False
    errors: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Note errors and requests from now on."""
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
        """What is shown there, on one line."""
        return " ".join(self.page.locator(selector).inner_text().split())

    def wait_for_text(self, selector: str, text: str) -> None:
        """Until the text is shown there."""
        self.page.locator(selector, has_text=text).first.wait_for(timeout=PATIENCE_MS)

    def faults(self) -> list[str]:
        """All that axe-core has against the page as it is now."""
        found = self.page.evaluate("async () => (await axe.run()).violations")
        return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]

    def is_wider_than_the_window(self) -> bool:
        """Whether the page scrolls sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))

    def check(self) -> None:
        """Fail for any error, broken policy, or request to another host."""
        violations = self.page.evaluate("window.violations")
        hosts = {urlsplit(url).netloc for url in self.urls}
        found = (self.errors, violations, hosts)
        assert found == ([], [], {urlsplit(self.home).netloc}), found


@contextlib.contextmanager
def visit(
    browser: Browser, url: str, *, width: int = 1280, height: int = 900, scheme: Scheme = "light"
) -> Iterator[Visit]:
    """The page at this address, once it is live; checked at the end."""
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
        context.close()
