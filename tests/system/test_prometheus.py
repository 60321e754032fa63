"""A real Prometheus scrapes a real server: an alert fires and ends."""

from collections.abc import Iterator

import pytest

from tests.support.dashboard import break_edge
from tests.support.monitoring import DASHBOARD, RULES
from tests.support.prometheus import Prometheus, running_prometheus
from tests.support.servers import (
    Dev,
    run_autorouter,
    running_dev,
    wait_until,
)

EDGE = "yto-01"
SCRAPED_S = 60.0
ANNOTATIONS = [one["expr"] for one in DASHBOARD["annotations"]["list"]]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("dev")
    with running_dev(folder, POLL_INTERVAL_S="0.5") as one:
        one.process.wait_for(one.is_ready)
        yield one


@pytest.fixture(scope="module")
def prometheus(dev: Dev, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with running_prometheus(folder, dev.ops_port, RULES) as one:
        yield one


def test_down_edge_fires_an_alert_until_it_is_disabled(dev: Dev, prometheus: Prometheus) -> None:
    assert prometheus.alerts("AutorouterEdgeDown") == []
    break_edge(dev, EDGE)
    wait_until(lambda: prometheus.alerts("AutorouterEdgeDown", region=EDGE) != [], SCRAPED_S)
    wait_until(lambda: all(map(prometheus.samples, ANNOTATIONS)), SCRAPED_S)
    (alert,) = prometheus.alerts("AutorouterEdgeDown")
    assert alert["labels"]["severity"] == "warning"
    assert alert["annotations"]["summary"] == f"{EDGE} is down"
    assert f"{EDGE} is down on 1 server(s) of autorouter" in alert["annotations"]["description"]

    words = ("disable", EDGE, "--for", "1h", "--reason", "broken")
    assert run_autorouter(*words, **dev.settings).returncode == 0
    wait_until(lambda: prometheus.alerts("AutorouterEdgeDown") == [], SCRAPED_S)
