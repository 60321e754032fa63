"""The alert rules and the Grafana dashboard as Prometheus gets them."""

import json
from typing import Any

from tests.support.servers import ROOT

PROMETHEUS = ROOT / "infra" / "prometheus"


GRAFANA = ROOT / "infra" / "grafana"


RULES = PROMETHEUS / "rules.yml"


DASHBOARD = json.loads((GRAFANA / "dashboards" / "autorouter.json").read_text())


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def shown() -> list[str]:
    """Every expression of the dashboard, as Prometheus gets it."""
    told = [target["expr"] for panel in panels() for target in panel["targets"]]
    told += [one["expr"] for one in DASHBOARD["annotations"]["list"]]
    return [filled_in(expr) for expr in told]


def filled_in(expr: str) -> str:
    """With Grafana's variables replaced, as it does."""
    return expr.replace("$__rate_interval", "1m").replace("$job", ".*")
