"""The shipped Prometheus rules and Grafana dashboard, and functions that read them."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.metrics import metrics_in_code

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "infra" / "prometheus"
GRAFANA = ROOT / "infra" / "grafana"
RULES = PROMETHEUS / "rules.yml"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "autorouter.json").read_text())

# Labels that Prometheus adds to every sample of a target.
SCRAPED = {"job", "instance"}
OURS = re.compile(r"\b(autorouter_\w+)\s*(?:\{([^}]*)\})?")


def promtool(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["promtool", *map(str, words)],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def shown() -> list[str]:
    """Every expression of the dashboard, with variables replaced."""
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    expressions += [one["expr"] for one in DASHBOARD["annotations"]["list"]]
    return [filled_in(expr) for expr in expressions]


def filled_in(expr: str) -> str:
    """The expression with Grafana's variables replaced."""
    return expr.replace("$__rate_interval", "1m").replace("$job", ".*")


def faults_of(expr: str) -> list[str]:
    """The metrics, labels and records in an expression that do not exist."""
    known = {name: {*labels, *SCRAPED} for name, (_, labels) in metrics_in_code().items()}
    for name, (kind, labels) in metrics_in_code().items():
        if kind == "histogram":
            known |= {f"{name}{end}": {*labels, *SCRAPED, "le"} for end in ("_bucket", "_count")}
    without_records = re.sub(r"\bjob:[\w:]+", "", expr)
    faults = set(re.findall(r"\bjob:[\w:]+", expr)) - RECORDED
    for name, matchers in OURS.findall(without_records):
        labels = set(re.findall(r"(\w+)\s*[=!]", matchers))
        if name not in known:
            faults.add(name)
        else:
            faults |= {f"{name}{{{label}}}" for label in labels - known[name]}
    return sorted(faults)
