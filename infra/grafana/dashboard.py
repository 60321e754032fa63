"""Writes dashboards/autorouter.json: `python infra/grafana/dashboard.py`.

Grafana's own JSON is ten times as long and hard to review.
"""

import json
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).parent / "dashboards" / "autorouter.json"
WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
JOB = 'job=~"$job"'

RED, ORANGE, GREEN, GREY = "dark-red", "orange", "green", "#808080"
STATES = {"1": ("up", GREEN), "2": ("degraded", ORANGE), "3": ("unknown", GREY), "4": ("down", RED)}

Panel = dict[str, Any]


def query(expr: str, legend: str = "", *, instant: bool = False) -> dict[str, Any]:
    """A query, with a legend for each set of labels."""
    return {
        "datasource": SOURCE,
        "expr": expr,
        "legendFormat": legend or "__auto",
        "instant": instant,
        "range": not instant,
    }


def panel(kind: str, title: str, about: str, width: int, height: int, *queries: Any) -> Panel:
    """A panel of any kind. `placed` adds its position."""
    targets = [{**one, "refId": chr(ord("A") + number)} for number, one in enumerate(queries)]
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "targets": targets,
        "gridPos": {"w": width, "h": height},
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {},
    }


def steps(*colours: tuple[float | None, str]) -> dict[str, Any]:
    """Thresholds: each colour applies from its value upwards."""
    listed = [{"value": value, "color": colour} for value, colour in colours]
    return {"mode": "absolute", "steps": listed}


def number(
    title: str, about: str, expr: str, unit: str = "none", thresholds: Any = None, legend: str = ""
) -> Panel:
    """A panel with the present value."""
    made = panel("stat", title, about, 4, 4, query(expr, legend, instant=True))
    made["fieldConfig"]["defaults"] = {
        "unit": unit,
        "thresholds": thresholds or steps((None, "blue")),
    }
    made["options"] = {
        "colorMode": "background",
        "graphMode": "none",
        "textMode": "name" if legend else "value",
        "reduceOptions": {"calcs": ["lastNotNull"]},
    }
    return made


def lines(title: str, about: str, unit: str, *queries: Any, width: int = 8) -> Panel:
    """A panel with lines."""
    made = panel("timeseries", title, about, width, 8, *queries)
    made["fieldConfig"]["defaults"] = {
        "unit": unit,
        "min": 0,
        "custom": {"fillOpacity": 8, "lineWidth": 1, "showPoints": "never"},
    }
    made["options"] = {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return made


def stack(title: str, about: str, unit: str, *queries: Any, width: int = 8) -> Panel:
    """A panel with stacked lines."""
    made = lines(title, about, unit, *queries, width=width)
    made["fieldConfig"]["defaults"]["custom"] |= {
        "fillOpacity": 40,
        "stacking": {"mode": "normal", "group": "A"},
    }
    return made


def timeline(title: str, about: str, expr: str, legend: str, names: dict[str, Any]) -> Panel:
    """A panel with states over time, a row for each series."""
    made = panel("state-timeline", title, about, 16, 8, query(expr, legend))
    shown = {value: {"text": text, "color": colour} for value, (text, colour) in names.items()}
    made["fieldConfig"]["defaults"] = {"mappings": [{"type": "value", "options": shown}]}
    made["options"] = {"mergeValues": True, "showValue": "never", "rowHeight": 0.8}
    return made


def row(title: str) -> Panel:
    """A row with a heading."""
    return {
        "type": "row",
        "title": title,
        "collapsed": False,
        "panels": [],
        "gridPos": {"w": WIDTH, "h": 1},
    }


def placed(panels: list[Panel]) -> list[Panel]:
    """The panels with ids and positions, from left to right, then down."""
    x = y = height = 0
    for number_, one in enumerate(panels, 1):
        place = one["gridPos"]
        if x + place["w"] > WIDTH:
            x, y, height = 0, y + height, 0
        one["id"] = number_
        one["gridPos"] = {"x": x, "y": y, **place}
        x, height = x + place["w"], max(height, place["h"])
    return panels


def rate(metric: str, *by: str, match: str = "") -> str:
    """Events a second by labels."""
    matchers = ",".join(filter(None, [JOB, match]))
    return f"sum by ({', '.join(by)}) (rate({metric}{{{matchers}}}[$__rate_interval]))"


def share(metric: str, part: str, whole: str = "") -> str:
    """The share of the events matching `whole` that match `part`."""
    return f"{rate(metric, 'job', match=part)} / {rate(metric, 'job', match=whole)}"


def quantile(of: float, metric: str, *by: str) -> str:
    """A quantile of a histogram, in seconds."""
    return f"histogram_quantile({of}, {rate(f'{metric}_bucket', *by, 'le')})"


EDGE_STATE = " or ".join(
    f'{value} * (max by (region) (autorouter_edge_state{{{JOB},state="{state}"}}) == 1)'
    for value, (state, _) in reversed(STATES.items())
)
TAKEN_OUT = f'autorouter_edge_intent{{{JOB},intent!="enabled"}}'
ALL_WELL_AT_0 = steps((None, GREEN), (1, RED))

PANELS = [
    row("At a glance"),
    number(
        "Fleet status",
        "stale: health is over 15 s old. static: it is over 120 s old, and ignored. fail_open: no "
        "edge is up.",
        f"max by (status) (autorouter_fleet_status{{{JOB}}}) == 1",
        legend="{{status}}",
    ),
    number(
        "Alerts",
        "Alerts of infra/prometheus that are firing.",
        'count(ALERTS{alertname=~"Autorouter.*",alertstate="firing"}) or vector(0)',
        thresholds=ALL_WELL_AT_0,
    ),
    number(
        "Edges down",
        "By the votes of all vantages, including edges that operators took out.",
        f'sum(max by (region) (autorouter_edge_state{{{JOB},state="down"}}))',
        thresholds=ALL_WELL_AT_0,
    ),
    number(
        "Edges on offer",
        "Edges that are routable, enabled, and up or degraded.",
        f"sum(max by (country) (autorouter_country_offered_edges{{{JOB}}}))",
        thresholds=steps((None, RED), (1, ORANGE), (3, GREEN)),
    ),
    number(
        "Answers a second",
        "Answers of the servers. Answers from the CDN's cache are not included.",
        f'sum(rate(autorouter_answers_total{{{JOB},reason!="healthz"}}[$__rate_interval]))',
        "reqps",
    ),
    number(
        "Bad answers, 1 h",
        "Answers without an edge, or without fresh health. The objective is at most 0.1 %.",
        f"max(job:autorouter_bad:ratio_rate1h{{{JOB}}})",
        "percentunit",
        steps((None, GREEN), (0.001, ORANGE), (0.0144, RED)),
    ),
    timeline("Edges", "State by the votes of all vantages.", EDGE_STATE, "{{region}}", STATES),
    lines(
        "Edges on offer by country",
        "If a country has 0, its viewers are sent abroad.",
        "none",
        query(
            f"max by (country) (autorouter_country_offered_edges{{{JOB}}})",
            "{{country}}",
        ),
        query(
            f"sum by (intent) (max by (region, intent) ({TAKEN_OUT}))",
            "{{intent}} by operators",
        ),
    ),
    lines(
        "Findings",
        "Findings of the servers' diagnosis, by kind. docs/dashboard.md explains the kinds.",
        "none",
        query(f"max by (kind) (autorouter_findings{{{JOB}}}) > 0", "{{kind}}"),
        width=12,
    ),
    lines(
        "Duration of findings",
        "Time since the oldest finding of each kind began.",
        "s",
        query(
            f"time() - min by (kind) (autorouter_finding_since_seconds{{{JOB}}})",
            "{{kind}}",
        ),
        width=12,
    ),
    row("Answers"),
    stack(
        "By region",
        "The edge that answers name first.",
        "reqps",
        query(rate("autorouter_answers_total", "region", match='region!=""'), "{{region}}"),
    ),
    stack(
        "By status",
        "The status of the health that answers used.",
        "reqps",
        query(rate("autorouter_answers_total", "status", match='status!=""'), "{{status}}"),
    ),
    stack(
        "By reason",
        "Why answers have an edge or none, with HTTP status. docs/api.md explains the reasons.",
        "reqps",
        query(
            rate("autorouter_answers_total", "code", "reason", match='reason!="healthz"'),
            "{{code}} {{reason}}",
        ),
    ),
    lines(
        "Across a border, unplaced, bad",
        "Shares of all answers. Unplaced viewers have an unknown location, and get edges in the "
        "order of regions.yaml.",
        "percentunit",
        query(share("autorouter_answers_total", 'crossed="true"', 'crossed!=""'), "crossing"),
        query(share("autorouter_placements_total", 'source="none"'), "unplaced"),
        query(f"job:autorouter_bad:ratio_rate5m{{{JOB}}}", "bad"),
    ),
    stack(
        "By sharing",
        "How caches may store answers. keyed: shared by route key, the best. private: not stored.",
        "reqps",
        query(rate("autorouter_answers_total", "sharing", match='sharing!=""'), "{{sharing}}"),
    ),
    stack(
        "By who placed the viewer",
        "The source of viewers' locations, and their precision.",
        "reqps",
        query(rate("autorouter_placements_total", "source", "level"), "{{source}}, {{level}}"),
    ),
    row("Probes"),
    lines(
        "Probe time",
        "Duration of probes that got an HTTP response, for all edges.",
        "s",
        query(quantile(0.5, "autorouter_probe_duration_seconds"), "p50"),
        query(quantile(0.95, "autorouter_probe_duration_seconds"), "p95"),
        query(quantile(0.99, "autorouter_probe_duration_seconds"), "p99"),
    ),
    lines(
        "Probe time by edge, p95",
        "An edge far above its usual time is degraded.",
        "s",
        query(quantile(0.95, "autorouter_probe_duration_seconds", "region"), "{{region}}"),
    ),
    stack(
        "Probes that were not ok",
        "docs/health.md explains the outcomes.",
        "reqps",
        query(
            rate("autorouter_probes_total", "region", "outcome", match='outcome!="ok"'),
            "{{region}} {{outcome}}",
        ),
    ),
    lines(
        "Transitions",
        "State changes per minute, as each vantage sees them.",
        "none",
        query(
            f"60 * {rate('autorouter_transitions_total', 'region', 'state')}",
            "{{region}} {{state}}",
        ),
    ),
    lines(
        "Events",
        "Events per minute, by kind.",
        "none",
        query(f"60 * {rate('autorouter_events_total', 'kind')}", "{{kind}}"),
        query(f"60 * {rate('autorouter_fleet_swaps_total', 'job')}", "changed answers"),
    ),
    lines(
        "Dials",
        "The share of its viewers that a dialled edge keeps.",
        "percentunit",
        query(f"min by (region) (autorouter_edge_dial_ratio{{{JOB}}}) < 1", "{{region}}"),
    ),
    row("Vantages and store"),
    lines(
        "Age of views",
        "By vantage. A view older than 15 s has no vote.",
        "s",
        query(f"min by (vantage) (autorouter_view_age_seconds{{{JOB}}})", "{{vantage}}"),
        query(f"max by (instance) (autorouter_fleet_age_seconds{{{JOB}}})", "used by {{instance}}"),
    ),
    lines(
        "Brake and isolation",
        "Edges whose removal the brake delays, and isolated vantages.",
        "none",
        query(f"max by (vantage) (autorouter_view_held_edges{{{JOB}}})", "{{vantage}} holds"),
        query(f"max by (vantage) (autorouter_view_isolated{{{JOB}}})", "{{vantage}} is isolated"),
        query(f"max by (instance) (autorouter_held_edges{{{JOB}}})", "{{instance}} holds"),
        query(f"max by (instance) (autorouter_isolated{{{JOB}}})", "{{instance}} is isolated"),
    ),
    lines(
        "Store",
        "Reads, publishes, values that could not be decoded, and notices.",
        "ops",
        query(rate("autorouter_store_reads_total", "result"), "read {{result}}"),
        query(rate("autorouter_publishes_total", "result"), "publish {{result}}"),
        query(rate("autorouter_store_unreadable_total", "job"), "not decoded"),
        query(rate("autorouter_store_notices_total", "kind"), "{{kind}}"),
        query(f"min(autorouter_last_store_read_ok{{{JOB}}})", "can be read"),
    ),
    row("CDN"),
    lines(
        "Purges",
        "Purge requests by CDN and result, including retries.",
        "ops",
        query(rate("autorouter_purges_total", "target", "result"), "{{target}} {{result}}"),
        width=12,
    ),
    lines(
        "Time from a change to its purge",
        "For accepted purges. It includes 0.25 s of waiting for more changes.",
        "s",
        query(quantile(0.5, "autorouter_purge_delay_seconds", "target"), "{{target}} p50"),
        query(quantile(0.99, "autorouter_purge_delay_seconds", "target"), "{{target}} p99"),
        width=12,
    ),
    row("Processes"),
    lines(
        "Workers",
        "Workers that answer, and that should answer.",
        "none",
        query(f"sum by (instance) (autorouter_workers{{{JOB}}})", "{{instance}}"),
        query(f"sum by (instance) (autorouter_workers_wanted{{{JOB}}})", "{{instance}} wanted"),
        query(rate("autorouter_child_ends_total", "child", "how"), "{{child}} {{how}}, a second"),
    ),
    lines(
        "Connections",
        "Open connections, and connections closed per second because of a limit.",
        "none",
        query(f"max by (instance) (autorouter_connections{{{JOB}}})", "{{instance}}"),
        query(rate("autorouter_connections_shed_total", "how"), "{{how}}"),
    ),
    lines(
        "Age of the geo database",
        "A finding reports it after 45 days.",
        "s",
        query(f"max by (instance) (autorouter_geo_age_seconds{{{JOB}}})", "{{instance}}"),
    ),
    lines(
        "Files",
        "Per minute: reloads of changed files, and saves of the last good health.",
        "none",
        query(f"60 * {rate('autorouter_reloads_total', 'result')}", "reload {{result}}"),
        query(f"60 * {rate('autorouter_last_good_saves_total', 'result')}", "save {{result}}"),
        query(
            f"min by (instance) (autorouter_last_reload_ok{{{JOB}}})",
            "{{instance}} files are valid",
        ),
    ),
    lines(
        "Releases",
        "Processes by version.",
        "none",
        query(f"count by (job, version) (autorouter_build_info{{{JOB}}})", "{{job}} {{version}}"),
    ),
    lines(
        "Loops and log",
        "Per minute: background loops that failed, and log lines that were dropped.",
        "none",
        query(f"60 * {rate('autorouter_loop_failures_total', 'loop')}", "loop {{loop}}"),
        query(f"60 * {rate('autorouter_log_lines_dropped_total', 'job')}", "lines dropped"),
    ),
]


def variables() -> list[dict[str, Any]]:
    """The variables of the dashboard: the data source and the job."""
    jobs = "label_values(autorouter_build_info, job)"
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {
            "name": "job",
            "label": "Job",
            "type": "query",
            "datasource": SOURCE,
            "definition": jobs,
            "query": {"query": jobs, "refId": "jobs"},
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def annotations() -> list[dict[str, Any]]:
    """Alerts as marks in all panels."""
    firing = {
        "name": "Alerts",
        "enable": True,
        "iconColor": "red",
        "datasource": SOURCE,
        "expr": 'ALERTS{alertname=~"Autorouter.*",alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{region}}{{country}}{{vantage}}{{instance}}",
    }
    return [firing]


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports or provisions it."""
    return {
        "uid": "autorouter",
        "title": "autorouter",
        "tags": ["autorouter"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables()},
        "annotations": {"list": annotations()},
        "panels": placed(PANELS),
    }


def text() -> str:
    """The dashboard as JSON text."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(text(), encoding="utf-8")
