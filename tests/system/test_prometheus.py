"""A real Prometheus scrapes a real server: alerts fire, and every panel has something to show."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.monitoring import RULES, shown
from tests.support.prometheus import Prometheus, running_prometheus
from tests.support.servers import (
    HOST,
    Dev,
    free_port,
    get,
    run_autorouter,
    running_dev,
    wait_until,
)

VIEWERS = ("24.48.0.1", "85.214.132.117", "192.0.2.1")  # Canadian, German, of nowhere
EDGE = "yto-01"
SCRAPED_S = 60.0

# Nothing takes purges here, so none has a delay; no alert fires unless a test makes one.
EMPTY = (
    "autorouter_purge_delay_seconds",
    "autorouter_edge_dial_ratio",
    "autorouter_child_ends_total",
    "ALERTS{",
)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("dev")
    nobody = f"varnish:http://{HOST}:{free_port()}/"
    with running_dev(folder, PURGE=nobody, STATE_DIR=str(folder), POLL_INTERVAL_S="0.5") as one:
        one.process.wait_for(one.is_ready)
        yield one


@pytest.fixture(scope="module")
def prometheus(dev: Dev, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with running_prometheus(folder, dev.ops_port, RULES) as one:
        yield one


def route(dev: Dev, viewer: str) -> None:
    answer = get(f"http://{HOST}:{dev.port}/v1/route", headers={"X-Forwarded-For": viewer})
    assert answer.is_success


def break_edge(dev: Dev) -> None:
    with httpx.Client(trust_env=False) as client:
        client.put(f"http://{HOST}:{dev.ops_port}/simulation/{EDGE}/down").raise_for_status()


def test_down_edge_fires_an_alert_until_it_is_disabled(dev: Dev, prometheus: Prometheus) -> None:
    assert prometheus.alerts("AutorouterEdgeDown") == []
    break_edge(dev)
    wait_until(lambda: prometheus.alerts("AutorouterEdgeDown", region=EDGE) != [], SCRAPED_S)
    (alert,) = prometheus.alerts("AutorouterEdgeDown")
    assert alert["labels"]["severity"] == "warning"
    assert alert["annotations"]["summary"] == f"{EDGE} is down"
    assert f"1 server(s) of autorouter have {EDGE} as down" in alert["annotations"]["description"]

    words = ("disable", EDGE, "--for", "1h", "--reason", "broken")
    assert run_autorouter(*words, **dev.settings).returncode == 0
    wait_until(lambda: prometheus.alerts("AutorouterEdgeDown") == [], SCRAPED_S)


def test_every_panel_shows_what_a_server_has(dev: Dev, prometheus: Prometheus) -> None:
    break_edge(dev)  # so that there are transitions and events

    def are_shown() -> bool:
        for viewer in VIEWERS:
            route(dev, viewer)
        return all(map(prometheus.samples, expected))

    expected = [expr for expr in shown() if not any(word in expr for word in EMPTY)]
    try:
        wait_until(are_shown, SCRAPED_S)
    except TimeoutError:
        assert [expr for expr in expected if not prometheus.samples(expr)] == []


@pytest.mark.parametrize("expr", shown())
def test_prometheus_takes_every_expression(expr: str, prometheus: Prometheus) -> None:
    prometheus.samples(expr)
