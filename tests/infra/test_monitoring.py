"""Alert rules and the dashboard: valid PromQL with existing metrics, and a test of each alert."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.grafana import dashboard
from tests.support.metrics import metrics_in_code
from tests.support.monitoring import (
    ALERTS,
    DASHBOARD,
    GRAFANA,
    PROMETHEUS,
    ROOT,
    RULES,
    faults_of,
    panels,
    promtool,
    rules,
    shown,
)

TESTS = sorted(PROMETHEUS.glob("tests*.yml"))
COMPOSE = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())["services"]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text()
RUNBOOK_URL = "https://docs.example.com/operations"


@pytest.mark.parametrize(
    ("expr", "faults"),
    [
        ("sum(autorouter_workers)", []),
        ('rate(autorouter_answers_total{status="ok"}[5m])', []),
        ("autorouter_probe_duration_seconds_bucket{le='1'}", []),
        ("autorouter_wrong > job:autorouter_asked:rate5m", ["autorouter_wrong"]),
        ('autorouter_workers{state="up"}', ["autorouter_workers{state}"]),
        ("job:autorouter_asked:rate7m", ["job:autorouter_asked:rate7m"]),
    ],
)
def test_errors_in_expressions_are_detected(expr: str, faults: list[str]) -> None:
    assert faults_of(expr) == faults


# Rules


def test_rules_are_valid() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scrape_configuration_is_valid() -> None:
    done = promtool("check", "config", "--lint=all", "--lint-fatal", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_example_route_to_slack_is_valid() -> None:
    done = amtool("check-config", "alertmanager.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("severity", ["critical", "warning"])
def test_alerts_reach_the_channel_of_their_severity(severity: str) -> None:
    route = ("config", "routes", "test", "--config.file=alertmanager.yml")
    done = amtool(*route, f"severity={severity}")
    assert done.stdout.strip() == f"slack-{severity}"


def amtool(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["amtool", *words],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_scrape_configuration_finds_the_processes_of_compose() -> None:
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    targets = {each for job in jobs for one in job["static_configs"] for each in one["targets"]}
    processes = {
        name for name, one in COMPOSE.items() if one.get("command") in (["serve"], ["poll"])
    }
    assert targets == {f"{name}:9090" for name in processes}


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.name))
def test_alerts_fire_as_expected(path: Path) -> None:
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def annotations_in(path: Path, folder: Path) -> list[str]:
    """The annotations, as Prometheus fills them in, of every alert that fires in a test file.
    promtool prints them if a test wrongly expects that no alert fires."""
    document = yaml.safe_load(path.read_text()) | {"rule_files": [str(RULES)]}
    for test in document["tests"]:
        test["external_labels"] = {"runbook": RUNBOOK_URL}
        checks = [check for check in test.pop("promql_expr_test") if check["exp_samples"]]
        test["alert_rule_test"] = [
            {"eval_time": check["eval_time"], "alertname": test["name"], "exp_alerts": []}
            for check in checks
        ]
    file = folder / path.name
    file.write_text(yaml.safe_dump(document))
    return re.findall(r"Annotations:(\{.*\})", promtool("test", "rules", file).stderr)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.name))
def test_annotations_are_filled_in(path: Path, tmp_path: Path) -> None:
    annotations = annotations_in(path, tmp_path)
    names = {test["name"] for test in yaml.safe_load(path.read_text())["tests"]}
    assert {name for name in names if f"{RUNBOOK_URL}#{name.lower()}" in str(annotations)} == names
    assert [one for one in annotations if not re.search(r'since:? ?=?"?1970-01-0\d', one)] == []
    wrong = r"error|no value|\{\{|\}\}|%!|NaN|Inf|e[+-]\d"
    assert [one for one in annotations if re.search(wrong, one.replace("error budget", ""))] == []


def expected_outcomes() -> dict[str, list[bool]]:
    """For each alert, whether it is expected to fire in each of its checks."""
    outcomes: dict[str, list[bool]] = {}
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for check in test["promql_expr_test"]:
                (name,) = re.findall(r'alertname="(\w+)"', check["expr"])
                outcomes.setdefault(name, []).append(bool(check["exp_samples"]))
    return outcomes


def test_every_alert_is_tested_before_during_and_after() -> None:
    assert set(expected_outcomes()) == set(ALERTS)
    assert all(checks[0] is False and True in checks for checks in expected_outcomes().values())


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_rule_uses_existing_metrics(rule: dict[str, Any]) -> None:
    assert faults_of(rule["expr"]) == []


@pytest.mark.parametrize("name", ALERTS)
def test_alert_has_a_summary_and_a_runbook_link(name: str) -> None:
    alert = ALERTS[name]
    annotations = alert["annotations"]
    assert alert["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert annotations["runbook_url"].endswith("}}#" + name.lower())
    assert f'"{name}"' in annotations["since"]
    assert "{{ $" in annotations["description"] or name == "AutorouterAbsent"


@pytest.mark.parametrize("name", ALERTS)
def test_alert_has_a_runbook_entry(name: str) -> None:
    entry = re.search(rf"^### {name}\n(.*?)(?=^##)", RUNBOOK + "\n##", re.MULTILINE | re.DOTALL)
    assert entry is not None
    for part in ("Means:", "Affects:", "Check:", "Do:", "Ends when:"):
        assert f"**{part}**" in entry[1], part


def test_every_runbook_entry_has_an_alert() -> None:
    assert set(re.findall(r"^### (Autorouter\w+)$", RUNBOOK, re.MULTILINE)) == set(ALERTS)


# Dashboard


def test_dashboard_is_up_to_date() -> None:
    assert dashboard.OUTPUT.read_text() == dashboard.text()


def test_every_dashboard_expression_is_valid_promql(tmp_path: Path) -> None:
    listed = [{"record": f"expr_{n}", "expr": expr} for n, expr in enumerate(shown())]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": listed}]}))
    done = promtool("check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(shown())} rules found" in done.stdout


@pytest.mark.parametrize("expr", shown())
def test_dashboard_uses_existing_metrics(expr: str) -> None:
    assert faults_of(expr) == []


def test_every_metric_is_on_the_dashboard() -> None:
    text = " ".join(shown())
    unseen = [name for name in metrics_in_code() if name not in text]
    assert unseen == []


def test_panels_are_distinct_and_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < dashboard.WIDTH
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_runbook_describes_every_row() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows
    assert [title for title in rows if f"\n| {title} | " not in RUNBOOK] == []


def test_data_source_is_chosen_by_variable() -> None:
    chosen = {
        one["uid"] for panel in panels() for one in [panel["datasource"], *data_sources(panel)]
    }
    assert chosen == {"${datasource}"}
    assert "datasource" in {one["name"] for one in DASHBOARD["templating"]["list"]}


def data_sources(panel: dict[str, Any]) -> list[dict[str, str]]:
    return [target["datasource"] for target in panel["targets"]]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_panel_has_a_description(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["targets"]


def test_grafana_of_compose_finds_dashboard_and_data() -> None:
    mounted = {
        source: to for source, to, *_ in (v.split(":") for v in COMPOSE["grafana"]["volumes"])
    }
    (provider,) = yaml.safe_load((GRAFANA / "dashboards" / "provider.yml").read_text())["providers"]
    (source,) = yaml.safe_load((GRAFANA / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert provider["options"]["path"] == f"{mounted['./grafana']}/dashboards"
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in COMPOSE
