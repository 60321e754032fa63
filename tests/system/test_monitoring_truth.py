"""A real Prometheus scrapes a real server that gets known requests. Every rule and panel query must
give the numbers that the client counted."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import isnan
from typing import Any

import httpx
import pytest

from tests.support.dashboard import break_edge, state_of
from tests.support.monitoring import ALERTS, RECORDED, RULES, filled_in, panels
from tests.support.prometheus import Prometheus, running_prometheus
from tests.support.servers import HOST, Dev, free_port, run_autorouter, running_dev, wait_until

CANADIAN, GERMAN, NOWHERE = "24.48.0.1", "85.214.132.117", "192.0.2.1"
BROKEN = "yvr-02"
EDGES = 10
SCRAPED_S = 60.0

# With 40 % at home, 60 % abroad and 16.7 % errors, an earlier error budget showed no problem.
SERVED = [
    (40, "GET", "/v1/route", CANADIAN),
    (60, "GET", "/v1/route", GERMAN),
    (10, "GET", "/v1/route", NOWHERE),
    (4, "GET", "/healthz", CANADIAN),
]
REJECTED = [
    (20, "GET", "/v1/route?strict=true", GERMAN),
    (7, "GET", "/v1/route?model=%00", CANADIAN),
    (6, "POST", "/v1/route", CANADIAN),
    (5, "GET", "/nowhere", CANADIAN),
]
WITHOUT_EDGE = [(22, "GET", "/v1/route", GERMAN)]


@dataclass
class Counted:
    """Counts of the answers that the client got, by their fields."""

    codes: Counter[tuple[int, str]] = field(default_factory=Counter)
    regions: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    crossed: Counter[bool] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)

    def see(self, answer: httpx.Response, viewer: str) -> None:
        document = answer.json()
        word = document.get("reason") or document.get("code") or "healthz"
        if word != "healthz":
            self.codes[answer.status_code, word] += 1
        if "region" in document:
            self.regions[document["region"]] += 1
            self.statuses[document["status"]] += 1
            self.crossed[document["crossed_border"]] += 1
        if word in PLACED:
            self.sources["none" if viewer == NOWHERE else "database"] += 1

    @property
    def asked(self) -> int:
        """The number of answers in the error budget."""
        return sum(n for (code, _), n in self.codes.items() if code == 200 or code >= 500)

    @property
    def bad_share(self) -> float:
        return 1 - self.statuses["ok"] / self.asked


PLACED = {"nearest_in_country", "no_edge_in_country", "default_order", "no_edge"}


def ask(dev: Dev, wanted: list[tuple[int, str, str, str]], counted: Counted) -> None:
    with httpx.Client(base_url=f"http://{HOST}:{dev.port}", trust_env=False) as client:
        for count, method, path, viewer in wanted:
            for _ in range(count):
                counted.see(
                    client.request(method, path, headers={"X-Forwarded-For": viewer}), viewer
                )


def take_all_out(dev: Dev) -> None:
    words = ("disable", *intents(dev), "--for", "1h", "--reason", "test", "--force")
    assert run_autorouter(*words, **dev.settings).returncode == 0
    wait_until(lambda: set(intents(dev).values()) == {"disabled"})


def intents(dev: Dev) -> dict[str, str]:
    return {edge["id"]: edge["intent"] for edge in dev.ops("/v1/edges").json()["edges"]}


@dataclass
class Run:
    """A server, its Prometheus, and the client's counts."""

    counted: Counted
    prometheus: Prometheus
    dev: Dev


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("truth")
    nobody = f"varnish:http://{HOST}:{free_port()}/"
    settings = {"PURGE": nobody, "STATE_DIR": str(folder), "POLL_INTERVAL_S": "0.5"}
    with running_dev(folder, **settings) as dev:
        dev.process.wait_for(dev.is_ready)
        with running_prometheus(folder, dev.ops_port, RULES) as prometheus:
            yield Run(known_requests(dev, prometheus), prometheus, dev)


def known_requests(dev: Dev, prometheus: Prometheus) -> Counted:
    """Send each kind of served request once, so that its series exists, then the known mix. The
    series of errors exist from the start.
    """
    break_edge(dev, BROKEN)
    wait_until(lambda: state_of(dev, BROKEN) == "down")
    once = Counted()
    ask(dev, [(1, *rest) for _, *rest in SERVED], once)  # type: ignore[misc]
    wait_until(lambda: scraped(prometheus) == once.codes, SCRAPED_S)
    counted = Counted()
    ask(dev, SERVED + REJECTED, counted)
    take_all_out(dev)
    ask(dev, WITHOUT_EDGE, counted)
    wait_until(lambda: scraped(prometheus) == once.codes + counted.codes, SCRAPED_S)
    firing = {"AutorouterBudgetBurnsFast", "AutorouterPurgeFailing"}
    wait_until(lambda: firing <= names_firing(prometheus), SCRAPED_S)
    return counted


def scraped(prometheus: Prometheus) -> Counter[tuple[int, str]]:
    """Answers by code and reason in the last scrape."""
    expr = 'sum by (code, reason) (autorouter_answers_total{reason!="healthz"}) > 0'
    return Counter(
        {
            (int(one["metric"]["code"]), one["metric"]["reason"]): int(float(one["value"][1]))
            for one in prometheus.samples(expr)
        }
    )


def names_firing(prometheus: Prometheus) -> set[str]:
    return {one["labels"]["alertname"] for one in prometheus.firing()}


def about(expected: float) -> Any:
    """Approximately `expected`: Prometheus extrapolates rates to the ends of their window."""
    return pytest.approx(expected, rel=0.25, abs=1e-9)


def values(run: Run, expr: str) -> dict[tuple[str, ...], float]:
    """Label values, in the order of their names → sample value."""
    found = {}
    for one in run.prometheus.samples(expr):
        labels = {k: v for k, v in one["metric"].items() if k not in ("job", "__name__")}
        found[tuple(labels[name] for name in sorted(labels))] = float(one["value"][1])
    return found


def per_second(counts: dict[Any, int]) -> dict[Any, Any]:
    """The rates of these counts over a panel's window of one minute."""
    return {key: about(count / 60) for key, count in counts.items()}


def answers(run: Run) -> Any:
    return {(str(code), word): n for (code, word), n in run.counted.codes.items()}


def within(low: float, high: float) -> Callable[[Run], Any]:
    """There is at least one series, and all are between the bounds."""
    return lambda _: Between(low, high)


@dataclass(eq=False)
class Between:
    """Equal to a dict of values between the bounds, or NaN (no answers, so no time)."""

    low: float
    high: float
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, dict)
        return bool(other) and all(
            self.low <= value <= self.high for value in other.values() if not isnan(value)
        )


def exactly(**labelled: float) -> Callable[[Run], Any]:
    return lambda _: {(name,): value for name, value in labelled.items()}


def alone(value: float) -> Callable[[Run], Any]:
    return lambda _: {(): value}


# Code and reason of each error: counted from zero, so that the first one shows as an increase.
ERRORS = [
    ("400", "bad_model"),
    ("403", "use_edge"),
    ("404", "model_unavailable"),
    ("404", "no_edge_in_country"),
    ("404", "not_found"),
    ("500", "fault"),
    ("503", "no_edge"),
    ("503", "overloaded"),
]

NONE: Callable[[Run], Any] = lambda _: {}  # noqa: E731 - used as a value in TRUTH

# Title of a panel → the expected result of each of its queries, in order.
TRUTH: dict[str, list[Callable[[Run], Any]]] = {
    "Fleet status": [lambda run: {(fleet_status(run),): 1}],
    "Alerts": [lambda run: {(): len(run.prometheus.firing())}],
    "Edges down": [alone(1)],
    "Edges on offer": [alone(0)],
    "Findings": [lambda run: {(kind,): n for kind, n in finding_kinds(run).items()}],
    "Duration of findings": [within(0, 4 * 365 * 86_400)],
    "Answers a second": [lambda run: per_second({(): sum(run.counted.codes.values())})],
    "Bad answers, 1 h": [lambda run: {(): pytest.approx(run.counted.bad_share, abs=0.02)}],
    "Edges": [lambda run: {(id,): 4 if id == BROKEN else 1 for id in intents(run.dev)}],
    "Edges on offer by country": [
        exactly(CA=0, US=0),
        exactly(disabled=EDGES, draining=0),
    ],
    "By region": [lambda run: per_second({(k,): n for k, n in run.counted.regions.items()})],
    "By status": [lambda run: per_second({(k,): n for k, n in run.counted.statuses.items()})],
    "By reason": [lambda run: {**dict.fromkeys(ERRORS, 0), **per_second(answers(run))}],
    "Across a border, unplaced, bad": [
        lambda run: {(): about(run.counted.crossed[True] / run.counted.crossed.total())},
        lambda run: {(): about(run.counted.sources["none"] / run.counted.sources.total())},
        lambda run: {(): pytest.approx(run.counted.bad_share, abs=0.02)},
    ],
    "By sharing": [lambda run: per_second({("private",): run.counted.crossed.total()})],
    "By who placed the viewer": [lambda run: Sums(run.counted.sources)],
    "Probe time": [within(0, 2)] * 3,
    "Probe time by edge, p95": [within(0, 2)],
    "Probes that were not ok": [within(0.1, 20)],
    "Transitions": [within(0, 10)],
    "Events": [within(0, 60), within(0, 60)],
    "Dials": [NONE],
    "Age of views": [within(-1, 5), within(-1, 5)],
    "Brake and isolation": [within(0, 0)] * 4,
    "Store": [within(0, 20), within(0, 5), alone(0), within(0, 0), alone(1)],
    "Purges": [within(0, 20)],
    "Time from a change to its purge": [NONE, NONE],
    "Workers": [within(1, 1), within(1, 1), NONE],
    "Connections": [within(0, 2), exactly(hung_up=0, memory=0, refused=0)],
    "Age of the geo database": [lambda run: {(at(run.dev),): about(geo_age_days(run) * 86_400)}],
    "Files": [exactly(ok=0, refused=0), within(0, 120), within(1, 1)],
    "Releases": [within(1, 1)],
    "Loops and log": [within(0, 0), alone(0)],
}


@dataclass(eq=False)
class Sums:
    """Equal to rates by level and source whose sums by source are the expected ones."""

    sources: Counter[str]
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, dict)
        found: Counter[str] = Counter()
        for (_, source), value in other.items():
            found[source] += value
        return {k: v for k, v in found.items() if v} == per_second(dict(self.sources))


def fleet_status(run: Run) -> str:
    return str(run.dev.ops("/v1/edges").json()["status"])


def at(dev: Dev) -> str:
    return f"{HOST}:{dev.ops_port}"


def geo_age_days(run: Run) -> int:
    return int(run.dev.ops("/readyz").json()["geo"]["age_days"])


def finding_kinds(run: Run) -> Counter[str]:
    return Counter(one["kind"] for one in run.dev.ops("/v1/edges").json()["findings"])


def test_every_panel_has_expected_values() -> None:
    assert {panel["title"]: len(panel["targets"]) for panel in panels()} == {
        title: len(queries) for title, queries in TRUTH.items()
    }


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_panel_shows_what_was_counted(panel: dict[str, Any], run: Run) -> None:
    for target, truth in zip(panel["targets"], TRUTH[panel["title"]], strict=True):
        found = values(run, filled_in(target["expr"]))
        assert truth(run) == found, target["expr"]


# The alerts that these faults must fire. No other alert may fire.
RAISED = {
    "AutorouterNoEdge",
    "AutorouterBudgetBurnsFast",
    "AutorouterPurgeFailing",
}


def test_only_the_alerts_of_the_known_faults_fire(run: Run) -> None:
    of_geo = {"AutorouterGeoOld"} if geo_age_days(run) > 90 else set()
    assert names_firing(run.prometheus) & set(ALERTS) == RAISED | of_geo


def test_alert_says_since_when(run: Run) -> None:
    def firing_since() -> dict[str, str]:
        listed = run.prometheus.ask("alerts")["alerts"]
        return {one["labels"]["alertname"]: one["annotations"]["since"] for one in listed}

    wait_until(lambda: all(since.startswith("20") for since in firing_since().values()), SCRAPED_S)
    assert set(firing_since()) >= RAISED


RATIOS: dict[str, Callable[[Run], float]] = {
    "bad": lambda run: run.counted.bad_share,
    "unplaced": lambda run: run.counted.sources["none"] / run.counted.sources.total(),
    "crossed": lambda run: run.counted.crossed[True] / run.counted.crossed.total(),
    "sharing": lambda _: 1.0,
}


@pytest.mark.parametrize("record", sorted(RECORDED))
def test_recording_rule_gives_what_was_counted(record: str, run: Run) -> None:
    subject, window = re.findall(r"autorouter_(\w+):.*?rate(\d+\w)", record)[0]
    (found,) = values(run, record).values()
    if subject == "asked":
        assert found * seconds(window) == about(run.counted.asked)
    else:
        assert found == pytest.approx(RATIOS[subject](run), abs=0.02)


def seconds(window: str) -> int:
    return int(window[:-1]) * {"m": 60, "h": 3_600, "d": 86_400}[window[-1]]
