"""The dashboard's history in a real Chromium: the last hour, filtered events, hold-downs."""

import csv
import io
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser

from tests.support.browser import Visit, browser, visit
from tests.support.dashboard import break_edge, home, state_of
from tests.support.servers import Dev, running_dev, wait_until

__all__ = ["browser"]

FALLEN, HELD = "dal-01", "sfo-01"


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with running_dev(tmp_path_factory.mktemp("memory"), POLL_INTERVAL_S="0.3") as one:
        wait_until(one.is_ready)
        break_edge(one, FALLEN)
        wait_until(lambda: state_of(one, FALLEN) == "down")
        yield one


def past_of(id: str, *, at: list[float], states: list[str]) -> dict[str, object]:
    count = len(at)
    return {
        "id": id,
        "state": states,
        "intent": ["enabled"] * count,
        "rtt_ms": [2.0] * (count - 1) + [9.0],
        "answers": [5] * count,
        "share": [0.25] * count,
        "today": {"falls": 2, "down_s": 180},
    }


def test_row_shows_the_last_hour_and_todays_falls(browser: Browser, dev: Dev) -> None:
    now = dev.ops("/v1/edges").json()["now"]
    at = [now - 60 * minutes for minutes in range(29, -1, -1)]
    past = {
        "now": now,
        "at": at,
        "span_s": [60] * 30,
        "answers": [600] * 30,
        "errors": [0] * 29 + [7],
        "edges": [past_of(FALLEN, at=at, states=["up"] * 20 + ["down"] * 10)],
    }
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    try:
        page.route("**/v1/history", lambda route, _: route.fulfill(json=past))
        page.goto(home(dev))
        seen = Visit(page, home(dev))
        seen.wait_for_text(f"tr[data-key={FALLEN}]", "2 failures today, down 3 min")
        charts = page.locator(f"tr[data-key={FALLEN}] .sparks")
        words = charts.get_attribute("aria-label") or ""
        assert "at times down" in words
        assert "2.0 ms to 9.0 ms" in words
        assert charts.locator(".spark-down").count() == 10
        assert charts.locator("path.spark-line").count() == 2
        assert "10 answers/s, 7 errors in the last hour" in seen.text("#pulse")
    finally:
        context.close()


def test_events_and_their_csv_have_the_same_filter(browser: Browser, dev: Dev) -> None:
    with visit(browser, home(dev)) as seen:
        seen.wait_for_text("#event-rows", FALLEN)
        seen.page.fill("#events-edge", FALLEN)
        seen.page.select_option("#events-kind", "transition")
        seen.page.select_option("#events-since", "3600")
        seen.page.wait_for_function(
            "(id) => [...document.querySelectorAll('#event-rows .what')]"
            ".every((one) => one.innerText.startsWith(`${id}: `))",
            arg=FALLEN,
        )
        shown = seen.page.locator("#event-rows .what").count()
        address = seen.page.get_attribute("#events-csv", "href")
        with httpx.Client(base_url=home(dev), trust_env=False) as client:
            rows = list(csv.DictReader(io.StringIO(client.get(str(address)).text)))
        assert {(row["edge"], row["kind"]) for row in rows} == {(FALLEN, "transition")}
        assert len(rows) == shown > 0
        seen.page.fill("#events-edge", "nowhere-01")
        seen.wait_for_text("#event-rows", "no matching events")


def test_hold_down_can_be_ended_from_its_finding(browser: Browser, dev: Dev) -> None:
    break_edge(dev, HELD)
    wait_until(lambda: state_of(dev, HELD) == "down")
    break_edge(dev, HELD, "healthy")
    with visit(browser, home(dev)) as seen:
        seen.page.click(f".finding[data-kind=hold_down] button:has-text('{HELD}')")
        assert seen.page.is_checked("#change-now")
        seen.page.wait_for_selector("#preview .note")
        seen.page.fill("#change-actor", "ann")
        seen.page.click("#change-submit")
        seen.wait_for_text("#event-rows", "by ann · enabled now")
    listed = dev.ops("/v1/events").json()["events"]
    assert [one["after"] for one in listed if one["kind"] == "intent"] == ["enabled"]
    wait_until(lambda: state_of(dev, HELD) == "up")
