"""The dashboard in forced colours, in print, at 200 % zoom and with hostile texts, in a real
Chromium. If a state takes too long to produce, the test changes the server's response."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route

from tests.support.browser import Visit, browser, visit
from tests.support.dashboard import break_edge, home, intend, open_change, state_of
from tests.support.servers import Dev, running_dev, wait_until

__all__ = ["browser"]

UP, DOWN, DEGRADED, DRAINED, DIALLED = "yto-01", "yvr-02", "nyc-02", "dal-02", "yto-02"
COUNTRIES = {"CA": "Canada", "US": "United States"}
HOSTILE = [
    "https://zq.example.com/" + "x" * 177,
    "zq" + "x" * 198,
    "zq\u202egnp.exe\u2066\u05d0\u05d1",
]
# Text nodes with a hostile text outside a <bdi>, where it could reorder the text around it.
BARE = """() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
        const { data, parentElement } = walker.currentNode;
        const isApart = parentElement.closest("bdi, option, .unseen");
        if (data.includes("zq") && !isApart) found.push(parentElement.outerHTML.slice(0, 120));
    }
    return found;
}"""
CLIPPED = """() => {
    const isClipped = (one) =>
        one.scrollHeight > one.clientHeight + 1 || one.scrollWidth > one.clientWidth + 1;
    const scrollers = [...document.querySelectorAll(".scroller")];
    return scrollers.filter(isClipped).map((one) => one.getAttribute("aria-label"));
}"""

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A server with one edge down, one degraded, one drained and one dialled."""
    with running_dev(tmp_path_factory.mktemp("views"), POLL_INTERVAL_S="0.5") as one:
        wait_until(one.is_ready)
        break_edge(one, DOWN)
        break_edge(one, DEGRADED, "degraded")
        intend(one, DRAINED, state="draining")
        intend(one, DIALLED, dial=0.4)
        wait_until(lambda: state_of(one, DOWN) == "down")
        wait_until(lambda: state_of(one, DEGRADED) == "degraded")
        yield one


def change_response(page: Page, path: str, change: Change) -> None:
    """Change the server's response for this path on its way to the page."""

    def answer(route: Route) -> None:
        document = route.fetch().json()
        change(document)
        route.fulfill(json=document)

    page.route(path, answer)


def change_edge(page: Page, id: str, finding: dict[str, Any] | None = None, **facts: Any) -> None:
    """Change facts of an edge in the response, and optionally add a first finding."""

    def change(document: dict[str, Any]) -> None:
        next(edge for edge in document["edges"] if edge["id"] == id).update(facts)
        if finding is not None:
            document["findings"].insert(0, {**document["findings"][0], **finding})
            document["headline"] = finding["title"]

    change_response(page, "**/v1/edges", change)


def missing(seen: Visit, dev: Dev) -> list[str]:
    """The facts of edges that are missing in their rows, and the findings that are not shown."""
    document = dev.ops("/v1/edges").json()
    lacking = []
    for edge in document["edges"]:
        row = seen.text(f"tr[data-key={edge['id']}]")
        facts = [edge["id"], edge["name"], edge["state"], edge["why"]]
        facts += [COUNTRIES[edge["country"]], *edge["models"], *edge["votes"]]
        if detail := edge["intent_detail"] or edge["dial"]:
            facts += [detail["actor"], detail["reason"], "until"]
        lacking += [f"{edge['id']}: {fact} in {row}" for fact in facts if fact not in row]
        if not re.search(r"[\d.]+ ms|\u2013", row):
            lacking.append(f"{edge['id']}: round trip in {row}")
    situation = seen.text("#situation")
    return lacking + [one["title"] for one in document["findings"] if one["title"] not in situation]


def assert_whole(seen: Visit, dev: Dev) -> None:
    """Assert that nothing is missing. Retry, because the page is updated after the server."""
    for _ in range(100):
        if missing(seen, dev) == []:
            return
        seen.page.wait_for_timeout(200)
    assert missing(seen, dev) == []


def test_every_fact_is_shown_in_forced_colours_zoom_and_print(browser: Browser, dev: Dev) -> None:
    with visit(browser, home(dev), width=1280) as seen:
        seen.wait_for_text(f"tr[data-key={DIALLED}] .held b", "dialled to 40 %")
        assert_whole(seen, dev)
        seen.page.emulate_media(forced_colors="active")
        assert_whole(seen, dev)
        seen.page.emulate_media(forced_colors="none")
        seen.page.set_viewport_size({"width": 640, "height": 450})
        assert_whole(seen, dev)
        assert not seen.is_wider_than_the_window()
        for width in (740, 1060):  # A4 and Letter, portrait and landscape
            seen.page.set_viewport_size({"width": width, "height": 900})
            seen.page.emulate_media(media="print")
            assert_whole(seen, dev)
            assert seen.page.evaluate(CLIPPED) == []
            assert not seen.is_wider_than_the_window()


def test_states_differ_by_shape(browser: Browser, dev: Dev) -> None:
    with visit(browser, home(dev)) as seen:
        seen.page.emulate_media(forced_colors="active")
        shapes = {
            id: re.findall("<[a-z]+|>[A-Z]<", seen.page.inner_html(f"tr[data-key={id}] th .glyph"))
            for id in (UP, DOWN, DEGRADED, DRAINED)
        }
        assert len(set(map(tuple, shapes.values()))) == 4


def test_hostile_texts_do_not_break_the_layout(browser: Browser, dev: Dev) -> None:
    url, word, bidi = HOSTILE
    with visit(browser, home(dev)) as seen:
        page = seen.page
        finding = {"title": word, "meaning": url, "action": bidi, "edges": [DRAINED]}
        detail = edge_of(dev, DRAINED)["intent_detail"] | {"actor": word, "reason": bidi}
        hostile = {"name": bidi, "votes": {url: "up", word: "down"}, "models": [url, bidi, word]}
        change_edge(page, DRAINED, finding, intent_detail=detail, endpoint=url, why=url, **hostile)
        change_response(page, "**/v1/explain*", hostile_names)
        change_response(page, "**/v1/events?*edge=*", hostile_events)
        seen.wait_for_text("#headline", "zqxxx")
        page.fill("#why-viewer", "Canada")
        page.click("#why-form [type=submit]")
        seen.wait_for_text("#why-answer", "zq")
        page.fill("#events-edge", DRAINED)
        seen.wait_for_text("#event-rows", "zqxxx")
        for width in (390, 640, 1280, 1920):
            page.set_viewport_size({"width": width, "height": 900})
            assert not seen.is_wider_than_the_window(), width
        open_change(seen, DRAINED)
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.querySelector('#change').scrollWidth") <= width
        assert page.evaluate(BARE) == []
        assert "\u202e" not in page.inner_text("body")


def edge_of(dev: Dev, id: str) -> dict[str, Any]:
    edges: list[dict[str, Any]] = dev.ops("/v1/edges").json()["edges"]
    return next(edge for edge in edges if edge["id"] == id)


def hostile_names(document: dict[str, Any]) -> None:
    for number, edge in enumerate([*document["candidates"], *document["rejected"]]):
        edge["name"] = HOSTILE[number % len(HOSTILE)]
    for edge in document["rejected"]:
        edge |= {"intent_reason": HOSTILE[1], "until": 4e9}


def hostile_events(document: dict[str, Any]) -> None:
    for number, event in enumerate(document["events"]):
        event |= {"actor": HOSTILE[number % 3], "reason": HOSTILE[(number + 1) % 3]}


@pytest.mark.parametrize("name", ["reason", "actor"])
def test_texts_with_direction_controls_are_rejected(dev: Dev, name: str) -> None:
    wish = {"state": "draining", "for": "2h", "reason": "x", "actor": "ann", name: HOSTILE[2]}
    with httpx.Client(trust_env=False, base_url=home(dev), timeout=30) as client:
        answer = client.put("v1/edges/sfo-01/intent", json=wish)
    assert (answer.status_code, answer.json()["can_force"]) == (409, False)
    assert f"the {name} must be" in answer.json()["detail"]


def test_page_shows_no_alarm_while_starting(browser: Browser, dev: Dev) -> None:
    starting = {
        "grade": "warning",
        "kind": "starting",
        "title": "Starting: no health has been read yet",
        "action": "Wait a few seconds.",
        "edges": [],
    }

    def change(document: dict[str, Any]) -> None:
        document["findings"] = [{**document["findings"][0], **starting}]
        document["headline"] = starting["title"]
        for edge in document["edges"]:
            edge |= {"state": "unknown", "since": None, "votes": {}, "intent": "enabled"}
            edge |= {"intent_detail": None, "dial": None, "reason": None, "why": ""}

    with visit(browser, home(dev)) as seen:
        change_response(seen.page, "**/v1/edges", change)
        seen.wait_for_text("#headline", "Starting")
        assert "Wait a few seconds" in seen.text("#headline")
        assert seen.page.locator("[data-grade=alarm], tr[data-tone=bad]").count() == 0


def test_row_says_that_an_edge_never_worked(browser: Browser, dev: Dev) -> None:
    with visit(browser, home(dev)) as seen:
        change_edge(seen.page, DOWN, never_worked=True)
        seen.wait_for_text(f"tr[data-key={DOWN}]", "has never worked")


def test_flapping_can_be_ended_and_is_recorded(browser: Browser, dev: Dev) -> None:
    why = "its state changed 6 times; up at 12:00:00 UTC if it does not change"
    finding = {
        "grade": "warning",
        "kind": "flapping",
        "title": f"{DEGRADED} (New York 02) is degraded: {why}",
        "edges": [DEGRADED],
        "subject": DEGRADED,
    }
    with visit(browser, home(dev)) as seen:
        change_edge(
            seen.page, DEGRADED, finding, reason="flapping", why=why, changes=6, calm_at=4e9
        )
        seen.wait_for_text(f"tr[data-key={DEGRADED}]", why)
        seen.page.click(f"#headline button:has-text('End flapping of {DEGRADED}')")
        assert seen.page.is_checked("#change-now")
        seen.page.wait_for_selector("#preview .note")
        seen.page.fill("#change-actor", "bob")
        seen.page.click("#change-submit")
        seen.wait_for_text("#event-rows", "by bob · enabled now")
    listed = [json.dumps(one) for one in dev.ops("/v1/events").json()["events"]]
    reason = "ends hold-down and flapping"
    assert any(DEGRADED in one and "bob" in one and reason in one for one in listed)
