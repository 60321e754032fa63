"""The dashboard in a real Chromium, on a real server with simulated edges."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.support.browser import Scheme, browser, visit
from tests.support.dashboard import (
    break_edge,
    fill_change,
    home,
    intend,
    open_change,
    state_of,
)
from tests.support.servers import (
    AUTOROUTER,
    HOST,
    Dev,
    Process,
    clean_env,
    free_port,
    get,
    is_open,
    running_dev,
    wait_until,
)

__all__ = ["browser"]

VANCOUVERITE = "142.58.1.1"
FAST = {"POLL_INTERVAL_S": "0.3"}
TOKEN = "a-token-of-operators"
WIDTHS = [390, 1280, 1920]
LATE_MS = 300
PATIENT_S = 60.0

NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen {host}:{port};
    location /ops/ {{
      proxy_pass http://{host}:{ops_port}/;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
    }}
  }}
}}
"""


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    with running_dev(tmp_path, **FAST) as one:
        wait_until(one.is_ready)
        yield one


@pytest.fixture(scope="module")
def shared_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A server for tests that do not change it."""
    with running_dev(tmp_path_factory.mktemp("shared"), **FAST) as one:
        wait_until(one.is_ready)
        yield one


def route(dev: Dev, viewer: str = VANCOUVERITE) -> dict[str, Any]:
    url = f"http://{HOST}:{dev.port}/v1/route"
    answer: dict[str, Any] = get(url, headers={"X-Forwarded-For": viewer}).json()
    return answer


@contextmanager
def delayed_requests(page: Page, url: str) -> Iterator[list[Route]]:
    """Hold back matching requests until the block ends, then wait for their responses."""
    held: list[Route] = []
    page.route(url, lambda route, _: held.append(route))
    yield held
    for one in held:
        with page.expect_request_finished():
            one.continue_()
    page.wait_for_timeout(LATE_MS)


def _numbers(text: str) -> list[float]:
    return [float(one) for one in re.findall(r"-?[\d.]+", text)]


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.getAttribute('aria-label')"))


# Appearance


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_page_is_accessible_and_fits(
    browser: Browser, dev: Dev, width: int, scheme: Scheme
) -> None:
    with visit(browser, home(dev), width=width, scheme=scheme) as seen:
        assert seen.faults() == []
        break_edge(dev, "yvr-02")
        break_edge(dev, "nyc-01", "degraded")
        seen.wait_for_text("tr[data-key=yvr-02]", "down")
        seen.wait_for_text("tr[data-key=nyc-01]", "degraded")
        seen.page.fill("#why-viewer", "Germany")
        seen.page.click("#why-form [type=submit]")
        seen.page.wait_for_selector(".verdict")
        assert seen.faults() == []
        assert not seen.is_wider_than_the_window()
        open_change(seen, "dal-01")
        assert seen.faults() == []
        assert not seen.is_wider_than_the_window()


# Content


def test_killed_edge_is_shown_in_findings_table_and_map(browser: Browser, dev: Dev) -> None:
    with visit(browser, home(dev)) as seen:
        assert seen.page.locator(".hatched").count() == 0
        before = seen.page.locator(".land").evaluate_all(
            "all => all.map((one) => one.className.baseVal)"
        )
        break_edge(dev, "yvr-02")
        seen.wait_for_text("tr[data-key=yvr-02]", "down")
        title = "yvr-02 (Vancouver) is down: connection refused, or name not resolved"
        assert title in seen.text("#headline")
        assert re.search(r"since \d\d:\d\d · \d+ s", seen.text("#headline"))
        seen.page.wait_for_selector(".label[data-site=Vancouver][data-tone=bad]")
        seen.page.wait_for_selector(".hatched", state="attached")
        after = seen.page.locator(".land").evaluate_all(
            "all => all.map((one) => one.className.baseVal)"
        )
        assert before != after
        seen.wait_for_text("#headline", "Moved")
        assert "Japan" in seen.text("#headline")
        assert seen.text("#country-rows tr:has-text('Japan')").endswith("100 %")
        seen.wait_for_text("#event-rows", "yvr-02: up → down")
        assert seen.page.title() == "(1) autorouter"


def test_down_edge_is_first_in_the_table(browser: Browser, dev: Dev) -> None:
    break_edge(dev, "sfo-01")
    with visit(browser, home(dev)) as seen:
        seen.wait_for_text("#edge-rows tr:first-child", "sfo-01")
        assert "refused" in seen.text("#edge-rows tr:first-child")


def test_table_shows_the_share_of_answers(browser: Browser, dev: Dev) -> None:
    for _ in range(3):
        assert route(dev)["region"] == "yvr-02"
    with visit(browser, home(dev)) as seen:
        assert "100 %" in seen.text("tr[data-key=yvr-02]")
        assert seen.text("#edges-note") == "share of 3 answers in the last 5 min"


def test_chosen_edge_shows_its_territory(browser: Browser, shared_dev: Dev) -> None:
    with visit(browser, home(shared_dev)) as seen:
        seen.page.click("tr[data-key=yvr-02] [data-control=select]")
        assert seen.page.locator(".chosen").count() > 3
        seen.page.click("tr[data-key=yvr-02] [data-control=select]")
        assert seen.page.locator(".chosen").count() == 0
        seen.page.click(".label[data-site=Dallas]")
        seen.page.wait_for_selector("tr[data-key=dal-01][data-selected=true]")


def test_map_can_be_zoomed(browser: Browser, shared_dev: Dev) -> None:
    with visit(browser, home(shared_dev)) as seen:
        scene = "document.querySelector('#map-frame svg > g').getAttribute('transform')"
        views = [seen.page.evaluate(scene)]
        for button in ("#map-edges", "#map-in", "#map-out", "#map-world"):
            seen.page.click(button)
            views.append(seen.page.evaluate(scene))
        assert len(set(views[:3])) == 3
        assert views[4] == views[0]


def test_projection_keeps_areas_and_is_invertible(browser: Browser, shared_dev: Dev) -> None:
    program = """async () => {
        const { project, unproject } = await import("./static/projection.js");
        const size = (x, y, d = 1e-4) => {
            const [a, b] = [project(x, y), project(x + d, y)];
            const c = project(x, y + d);
            const area = (b[0] - a[0]) * (a[1] - c[1]) - (c[0] - a[0]) * (a[1] - b[1]);
            return area / (d * d) / Math.cos((y * Math.PI) / 180);
        };
        const places = [[0, 0], [-79, 43], [150, -33], [-160, 71], [30, -55]];
        const measure = ([x, y]) => ({ x, y, size: size(x, y), back: unproject(...project(x, y)) });
        return places.map(measure);
    }"""
    with visit(browser, home(shared_dev)) as seen:
        places = seen.page.evaluate(program)
    for place in places:
        assert place["size"] == pytest.approx(places[0]["size"], rel=1e-3)
        assert place["back"] == pytest.approx([place["x"], place["y"]], abs=1e-6)


# Changes


def test_edge_is_drained_after_its_preview_and_enabled_again(
    tmp_path: Path, browser: Browser
) -> None:
    brief = {"TTL_S": "1", "DEGRADED_TTL_S": "1", "CDN_MAX_AGE_S": "0"}
    with running_dev(tmp_path, **FAST, **brief) as dev, visit(browser, home(dev)) as seen:
        wait_until(dev.is_ready)
        assert route(dev)["region"] == "yvr-02"
        open_change(seen, "yvr-02")
        assert "of all viewers get another edge" in seen.text("#preview")
        assert "yvr-02 → sfo-01" in seen.text("#preview")
        assert "Every country that has an edge keeps one" in seen.text("#preview")
        assert seen.page.is_disabled("#change-submit")
        fill_change(seen)
        seen.page.click("#change-submit")
        wait_until(lambda: route(dev)["region"] != "yvr-02")
        seen.wait_for_text("tr[data-key=yvr-02]", "draining, ")
        assert "ann: new disks" in seen.text("tr[data-key=yvr-02]")
        seen.wait_for_text("#event-rows", "yvr-02: enabled → draining")
        seen.wait_for_text("tr[data-key=yvr-02] .held b", "drained")
        open_change(seen, "yvr-02")
        assert "sfo-01 → yvr-02" in seen.text("#preview")
        seen.page.click("#change-submit")
        wait_until(lambda: route(dev)["region"] == "yvr-02")
        seen.wait_for_text("#event-rows", "yvr-02: draining → enabled")


def test_late_response_to_a_change_does_not_close_the_next_dialog(
    browser: Browser, dev: Dev
) -> None:
    with visit(browser, home(dev)) as seen:
        open_change(seen, "yvr-02")
        fill_change(seen)
        with delayed_requests(seen.page, "**/v1/edges/yvr-02/intent") as held:
            with seen.page.expect_request("**/v1/edges/yvr-02/intent"):
                seen.page.click("#change-submit")
            seen.page.type("#change-reason", " and more")
            assert seen.page.is_disabled("#change-submit")
            assert len(held) == 1
            seen.page.keyboard.press("Escape")
            open_change(seen, "sfo-01")
        seen.wait_for_text("tr[data-key=yvr-02] .held b", "drain")
        assert "sfo-01" in seen.text("#change[open] #change-title")


def test_finding_has_a_button_for_its_advice(browser: Browser, dev: Dev) -> None:
    break_edge(dev, "dal-02")
    with visit(browser, home(dev)) as seen:
        seen.wait_for_text("#headline", "dal-02")
        seen.page.click("#headline button")
        seen.page.wait_for_selector("#preview .note")
        assert seen.page.is_checked("[name=state][value=disabled]")
        fill_change(seen, reason="broken disk")
        seen.page.click("#change-submit")
        seen.wait_for_text("#findings", "dal-02 (Dallas 02) is disabled by ann: broken disk")


def test_last_edge_of_a_country_is_drained_only_with_confirmation(
    tmp_path: Path, browser: Browser
) -> None:
    regions = tmp_path / "few.yaml"
    regions.write_text(
        "regions:\n"
        "  - {id: ber-01, name: Berlin, country: DE, latitude: 52.5, longitude: 13.4,"
        " endpoint: https://ber-01.example.com}\n"
        "  - {id: yto-01, name: Toronto, country: CA, latitude: 43.7, longitude: -79.4,"
        " endpoint: https://yto-01.example.com}\n"
        "  - {id: yul-01, name: Montreal, country: CA, latitude: 45.5, longitude: -73.6,"
        " endpoint: https://yul-01.example.com}\n"
    )
    with (
        running_dev(tmp_path, "--regions", str(regions), **FAST) as dev,
        visit(browser, home(dev)) as seen,
    ):
        wait_until(dev.is_ready)
        open_change(seen, "ber-01")
        fill_change(seen)
        assert "Left without an edge: Germany" in seen.text("#preview")
        assert seen.page.is_disabled("#change-submit")
        seen.page.check("#change-force")
        seen.page.click("#change-submit")
        seen.wait_for_text("#headline", "Germany has no edge left")
        wait_until(lambda: route(dev, "85.214.132.117")["region"] != "ber-01")


def test_dialog_works_by_keyboard_and_returns_the_focus(browser: Browser, shared_dev: Dev) -> None:
    with visit(browser, home(shared_dev)) as seen:
        seen.page.focus("tr[data-key=yul-01] [data-control=change]")
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_selector("#change[open]")
        assert seen.page.evaluate(
            "document.querySelector('#change').contains(document.activeElement)"
        )
        seen.page.keyboard.press("Escape")
        seen.page.wait_for_selector("#change", state="hidden")
        assert focused(seen.page) == "Drain yul-01"


def test_worst_finding_is_announced_once(browser: Browser, dev: Dev) -> None:
    with visit(browser, home(dev)) as seen:
        seen.page.evaluate(
            """() => {
                window.said = [];
                const note = () => window.said.push(document.querySelector("#announced").innerText);
                new MutationObserver(note).observe(
                    document.querySelector("#announced"), { childList: true, subtree: true });
            }"""
        )
        break_edge(dev, "yvr-02")
        seen.wait_for_text("#headline", "Moved")
        break_edge(dev, "sfo-01", "degraded")
        seen.wait_for_text("#findings", "sfo-01")
        assert seen.page.evaluate("window.said") == [
            "yvr-02 (Vancouver) is down: connection refused, or name not resolved"
        ]


def test_focus_stays_while_rows_change(browser: Browser, dev: Dev) -> None:
    with visit(browser, home(dev)) as seen:
        seen.page.focus("tr[data-key=yul-01] [data-control=change]")
        break_edge(dev, "sfo-01")
        seen.wait_for_text("#edge-rows tr:first-child", "sfo-01")
        assert focused(seen.page) == "Drain yul-01"


# Why this edge?


def test_address_is_explained(browser: Browser, dev: Dev) -> None:
    break_edge(dev, "yvr-02")
    wait_until(lambda: state_of(dev, "yvr-02") == "down")
    with visit(browser, home(dev)) as seen:
        seen.page.fill("#why-viewer", VANCOUVERITE)
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_selector(".verdict")
        text = seen.text("#why")
        assert f"{VANCOUVERITE} gets {route(dev)['region']}" in text
        assert "its city is known, from the geo database" in text
        assert "CA~yvr-02." in text
        assert "cache-control: private, max-age=300" in text
        assert re.search(r"yvr-02 \d+ km down out: down for \d+ s", text)


@pytest.mark.parametrize("asked", ["Canada", "ca"])
def test_country_is_explained(browser: Browser, shared_dev: Dev, asked: str) -> None:
    with visit(browser, home(shared_dev)) as seen:
        seen.page.fill("#why-viewer", asked)
        seen.page.click("#why-form [type=submit]")
        seen.wait_for_text(".verdict", "Canada gets")
        assert re.search(r"All viewers there (\S+ [\d.]+ %,? ?){5}", seen.text("#why-answer"))


def test_place_on_the_map_is_explained(browser: Browser, shared_dev: Dev) -> None:
    with visit(browser, home(shared_dev)) as seen:
        seen.page.locator("#map-frame").scroll_into_view_if_needed()
        box = seen.page.locator(".country[data-country=BR]").bounding_box()
        assert box is not None
        seen.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        seen.wait_for_text(".verdict", "Brazil gets")
        assert "from this query" in seen.text("#why-answer")


def test_late_answer_to_an_earlier_question_is_not_shown(browser: Browser, shared_dev: Dev) -> None:
    with visit(browser, home(shared_dev)) as seen:
        seen.wait_for_text("#why-answer .hint", "Or click a place")
        with delayed_requests(seen.page, "**/v1/explain?country=CA*") as held:
            for country in ("CA", "BR"):
                seen.page.fill("#why-viewer", country)
                seen.page.click("#why-form [type=submit]")
            seen.wait_for_text(".verdict", "Brazil gets")
            assert len(held) == 1
        assert "Brazil gets" in seen.text(".verdict")


def test_late_preview_of_another_state_is_not_shown(browser: Browser, shared_dev: Dev) -> None:
    with visit(browser, home(shared_dev)) as seen:
        seen.page.wait_for_selector("tr[data-key=yvr-02] [data-control=change]")
        with delayed_requests(seen.page, "**/v1/preview?*state=draining") as held:
            seen.page.click("tr[data-key=yvr-02] [data-control=change]")
            seen.page.check("[name=state][value=disabled]")
            seen.page.wait_for_selector("#preview .note")
            seen.page.check("[name=state][value=draining]")
            seen.wait_for_text("#preview", "Calculating")
            assert len(held) == 2
            seen.away = True
            held.pop().abort()
            seen.wait_for_text("#preview .fault", "The preview failed")
            with seen.page.expect_request_finished():
                held.pop(0).continue_()
            seen.page.wait_for_timeout(LATE_MS)
            assert "The preview failed" in seen.text("#preview .fault")
            assert seen.page.is_disabled("#change-submit")
            while not held:  # the page asks again
                seen.page.wait_for_timeout(100)
        seen.page.wait_for_selector("#preview .note")


def test_invalid_address_is_reported(browser: Browser, shared_dev: Dev) -> None:
    with visit(browser, home(shared_dev)) as seen:
        seen.away = True
        seen.page.fill("#why-viewer", "1.2.3")
        seen.page.click("#why-form [type=submit]")
        seen.wait_for_text("#why-answer .fault", "is not an IP address. Try 24.48.0.1")


def test_question_and_selection_are_kept_in_the_url(browser: Browser, shared_dev: Dev) -> None:
    with visit(browser, home(shared_dev)) as seen:
        seen.page.fill("#why-viewer", "Germany")
        seen.page.click("#why-form [type=submit]")
        seen.wait_for_text(".verdict", "Germany gets")
        seen.page.click("tr[data-key=yvr-02] [data-control=select]")
        seen.page.click("#map-in")
        scene = "document.querySelector('#map-frame svg > g').getAttribute('transform')"
        kept, url = seen.page.evaluate(scene), seen.page.url
    with visit(browser, url) as seen:
        seen.wait_for_text(".verdict", "Germany gets")
        seen.page.wait_for_selector("tr[data-key=yvr-02][data-selected=true]")
        assert _numbers(seen.page.evaluate(scene)) == pytest.approx(_numbers(kept), rel=1e-3)
        assert not any("Germany" in one for one in seen.urls if "explain" not in one)


def test_question_is_asked_again_when_the_fleet_changes(browser: Browser, dev: Dev) -> None:
    with visit(browser, home(dev)) as seen:
        seen.page.fill("#why-viewer", VANCOUVERITE)
        seen.page.keyboard.press("Enter")
        seen.wait_for_text(".verdict", f"{VANCOUVERITE} gets yvr-02")
        break_edge(dev, "yvr-02")
        seen.page.wait_for_function(
            "() => !document.querySelector('#why-verdict').innerText.includes('yvr-02')"
        )
        assert f"gets {route(dev)['region']}" in seen.text(".verdict")


# Accuracy


def test_page_and_readyz_agree(browser: Browser, dev: Dev) -> None:
    with visit(browser, home(dev)) as seen:
        break_edge(dev, "yvr-02")
        break_edge(dev, "sfo-01")
        seen.wait_for_text("#headline", "edges are down")
        seen.page.wait_for_function(
            """async () => {
                const readiness = await (await fetch("readyz")).json();
                const shown = (one) => document.querySelector(one).innerText;
                return shown("#headline .title") === readiness.headline
                    && readiness.amiss.every((one) => shown("#situation").includes(one));
            }"""
        )
        href = seen.page.get_attribute("#findings .runbook", "href") or ""
        seen.page.goto(home(dev) + href)
        assert seen.text("h3:target") == "AutorouterEdgeDown"


def test_page_says_when_it_is_not_up_to_date(browser: Browser, shared_dev: Dev) -> None:
    with visit(browser, home(shared_dev)) as seen:
        seen.away = True
        seen.wait_for_text("#headline", "All well")
        seen.page.route("**/v1/edges", lambda route, _: route.abort())
        seen.wait_for_text("#headline", "Not up to date since")
        assert "All well" not in seen.text("#situation")
        seen.page.unroute("**/v1/edges")
        seen.wait_for_text("#headline", "All well")


def test_response_that_is_cut_off_is_not_shown(browser: Browser, shared_dev: Dev) -> None:
    with visit(browser, home(shared_dev)) as seen:
        seen.wait_for_text("#headline", "All well")
        seen.page.route("**/v1/edges", lambda route, _: route.fulfill(status=200, body='{"now'))
        seen.wait_for_text("#headline", "Not up to date since")


def test_percentages_sum_to_100(browser: Browser, shared_dev: Dev) -> None:
    program = """async () => {
        const { percents } = await import("./static/format.js");
        return [[1, 1, 1], [0.5, 0.25, 0.125, 0.125], [7], [0.006, 0.004]].map(percents);
    }"""
    with visit(browser, home(shared_dev)) as seen:
        assert [sum(parts) for parts in seen.page.evaluate(program)] == [100, 100, 100, 100]


def test_down_edge_has_no_share_now(browser: Browser, dev: Dev) -> None:
    for _ in range(3):
        assert route(dev)["region"] == "yvr-02"
    break_edge(dev, "yvr-02")
    with visit(browser, home(dev)) as seen:
        seen.wait_for_text("tr[data-key=yvr-02]", "0 now")
        seen.wait_for_text("tr[data-key=yvr-02]", "100 % before")


# Previews


def test_draining_all_edges_warns_of_503(browser: Browser, dev: Dev) -> None:
    with visit(browser, home(dev)) as seen:
        ids = [edge["id"] for edge in dev.ops("/v1/edges").json()["edges"]]
        for id in ids:
            seen.page.check(f"tr[data-key={id}] [data-control=tick]")
        seen.page.click("#edges-change")
        seen.wait_for_text("#preview", "every viewer gets 503")
        fill_change(seen)
        assert seen.page.is_disabled("#change-submit")
        seen.page.check("#change-force")
        seen.page.click("#change-submit")
        seen.wait_for_text("#headline", "No edge is enabled")


def test_preview_is_updated_when_the_fleet_changes(browser: Browser, dev: Dev) -> None:
    with visit(browser, home(dev)) as seen:
        open_change(seen, "yvr-02")
        assert "yvr-02 → sfo-01" in seen.text("#preview")
        break_edge(dev, "sfo-01")
        seen.page.wait_for_function(
            "() => !document.querySelector('#preview').innerText.includes('sfo-01')"
        )


def test_edge_is_dialled_after_its_preview(browser: Browser, dev: Dev) -> None:
    with visit(browser, home(dev)) as seen:
        open_change(seen, "yvr-02")
        whole = seen.text("#preview .moves li:first-child .number")
        seen.page.check("[name=state][value=dial]")
        seen.page.fill("#change-share", "50")
        seen.page.wait_for_function(
            "(whole) => { const one = document.querySelector('#preview .number');"
            " return one && one.innerText !== whole; }",
            arg=whole,
        )
        fill_change(seen, reason="hot")
        seen.page.click("#change-submit")
        seen.wait_for_text("tr[data-key=yvr-02] .held b", "dialled to 50 %")


# Size and hostile text


@pytest.fixture(scope="module")
def large_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A server with 300 edges. One has a hostile name, one is drained with a hostile reason."""
    folder = tmp_path_factory.mktemp("large")
    name = "https://example.com/" + "x" * 60
    regions = folder / "hostile.yaml"
    lines = [
        f"  - {{id: e{number:03}, name: '{name if number == 0 else f'City {number}'}',"
        f" country: {('CA', 'US', 'DE', 'BR')[number % 4]}, latitude: {number % 120 - 55},"
        f" longitude: {number % 300 - 150}, endpoint: 'https://e{number:03}.example.com'}}\n"
        for number in range(300)
    ]
    regions.write_text("regions:\n" + "".join(lines))
    with running_dev(folder, "--regions", str(regions), POLL_INTERVAL_S="10") as one:
        wait_until(one.is_ready, PATIENT_S)
        intend(one, "e001", state="draining", reason="r" * 200, actor="a" * 200)
        yield one


def test_300_edges_with_hostile_text_keep_the_layout(browser: Browser, large_dev: Dev) -> None:
    with visit(browser, home(large_dev), width=1920, height=1080) as seen:
        seen.page.wait_for_selector("tr[data-key=e299]", state="attached")
        seen.wait_for_text("tr[data-key=e001]", "r" * 200)
        assert not seen.is_wider_than_the_window()
        assert seen.page.evaluate("document.documentElement.scrollHeight") < 3_000
        assert seen.page.locator(".label").count() <= 40
        seen.page.fill("#edges-find", "germany")
        assert seen.page.locator("#edge-rows tr").count() == 75
        seen.page.click("th[data-sort=edge] button")
        assert seen.text("#edge-rows tr:first-child .id") == "e002"


def test_300_edges_with_a_change_a_second_leave_the_browser_idle(
    browser: Browser, large_dev: Dev
) -> None:
    """Measured in CPU time of the main thread, which does not depend on the machine's load."""

    def busy_s() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

    with visit(browser, home(large_dev), width=1920, height=1080) as seen:
        seen.page.wait_for_selector("tr[data-key=e299]", state="attached")
        seen.page.wait_for_selector(".map-frame .land", state="attached")
        seen.page.wait_for_timeout(3_000)  # do not measure the loading of the page
        session = seen.page.context.new_cdp_session(seen.page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        before, began = busy_s(), time.monotonic()
        for number in range(10):
            intend(large_dev, f"e{100 + number}", state="draining")
            seen.page.wait_for_timeout(1_000)
        busy = (busy_s() - before) / (time.monotonic() - began)
        seen.wait_for_text("tr[data-key=e109] .held b", "drain")
    assert 0 < busy <= 0.30


# Connection to the server


def test_page_polls_if_no_event_stream_is_free(browser: Browser, dev: Dev) -> None:
    def refuse(route: Route, _: Any) -> None:
        is_stream = "event-stream" in route.request.headers.get("accept", "")
        if is_stream:
            route.fulfill(status=503, body="{}")
        else:
            route.continue_()

    context = browser.new_context()
    context.route("**/v1/events*", refuse)
    page = context.new_page()
    try:
        page.goto(home(dev))
        page.wait_for_selector("#live[data-state=polling]", timeout=40_000)
        assert "no free event stream" in page.inner_text("#live")
        break_edge(dev, "dal-01")
        page.locator("#headline", has_text="dal-01").wait_for(timeout=40_000)
        page.locator("#event-rows", has_text="dal-01: up").wait_for(timeout=40_000)
    finally:
        context.close()


def test_page_reconnects_after_a_server_restart(tmp_path: Path, browser: Browser) -> None:
    port, ops_port = free_port(), free_port()
    command = [str(AUTOROUTER), "dev", "--port", str(port), "--ops-port", str(ops_port)]

    def start(name: str) -> Dev:
        dev = Dev(Process(command, tmp_path / name, clean_env(**FAST)), port, ops_port)
        dev.process.wait_for(lambda: "Ctrl-C" in dev.process.output)
        wait_until(dev.is_ready)
        return dev

    dev = start("first.log")
    try:
        with visit(browser, home(dev)) as seen:
            break_edge(dev, "dal-01")
            seen.wait_for_text("#headline", "dal-01")
            seen.away = True
            dev.process.kill()
            seen.wait_for_text("#live", "Reconnecting")
            seen.wait_for_text("#live", "last update 2 s ago")
            seen.wait_for_text("#headline", "Not up to date since")
            assert seen.page.get_attribute("body", "data-current") == "false"
            dev = start("second.log")
            seen.page.wait_for_selector("#live[data-state=live]")
            seen.wait_for_text("#headline", "All well")
            assert "dal-01" not in seen.text("#event-rows")
            break_edge(dev, "dal-02")
            seen.wait_for_text("#event-rows", "dal-02: up → down")
    finally:
        dev.process.kill()


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[Dev, str]]:
    """A server that requires a token, under /ops/ of a real nginx."""
    port = free_port()
    with running_dev(tmp_path, OPS_TOKEN=TOKEN, **FAST) as dev:
        text = NGINX.format(folder=tmp_path, host=HOST, port=port, ops_port=dev.ops_port)
        (tmp_path / "nginx.conf").write_text(text)
        command = ["nginx", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
        nginx = Process(command, tmp_path / "nginx.log")
        try:
            nginx.wait_for(lambda: is_open(port))
            wait_until(dev.is_ready)
            yield dev, f"http://{HOST}:{port}/ops/"
        finally:
            nginx.stop()


def test_page_works_under_a_prefix_with_a_token(browser: Browser, proxied: tuple[Dev, str]) -> None:
    dev, url = proxied
    with visit(browser, url) as seen:
        open_change(seen, "yvr-02")
        fill_change(seen)
        seen.away = True
        seen.page.fill("#change-token", "another-token-altogether")
        seen.page.click("#change-submit")
        seen.wait_for_text(
            "#change-fault", "Refused: this is not the AUTOROUTER_OPS_TOKEN of this server"
        )
        assert route(dev)["region"] == "yvr-02"
        seen.page.fill("#change-token", TOKEN)
        seen.page.click("#change-submit")
        wait_until(lambda: route(dev)["region"] != "yvr-02")
        seen.wait_for_text("#event-rows", "yvr-02: enabled → draining")
        assert all(urlsplit(one).path.startswith("/ops/") for one in seen.urls)
        assert not any(TOKEN in one for one in seen.urls)
        kept = seen.page.evaluate("JSON.stringify([sessionStorage, localStorage, document.cookie])")
        assert json.loads(kept) == [{"autorouter-actor": "ann"}, {}, ""]


def test_change_through_a_proxy_without_a_token_is_rejected(
    browser: Browser, tmp_path: Path, proxied: tuple[Dev, str]
) -> None:
    _, url = proxied
    with visit(browser, url) as seen:
        open_change(seen, "yvr-02")
        fill_change(seen)
        seen.away = True
        seen.page.click("#change-submit")
        seen.wait_for_text(
            "#change-fault",
            "Refused: a token is needed. Enter the AUTOROUTER_OPS_TOKEN of this server.",
        )
        assert seen.page.is_visible("#change[open]")
