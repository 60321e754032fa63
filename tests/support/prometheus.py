"""A real Prometheus with the shipped rules. It scrapes one ops listener every second."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.servers import HOST, Process, free_port, get


@dataclass
class Prometheus:
    port: int

    def ask(self, path: str, **params: str) -> Any:
        response = get(f"http://{HOST}:{self.port}/api/v1/{path}", params=params).json()
        assert response["status"] == "success", response
        return response["data"]

    def samples(self, expr: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=expr)["result"]
        return found

    def firing(self) -> list[dict[str, Any]]:
        return [one for one in self.ask("alerts")["alerts"] if one["state"] == "firing"]

    def alerts(self, name: str, **labels: str) -> list[dict[str, Any]]:
        """Firing alerts with this name and these labels."""
        wanted = {"alertname": name, **labels}.items()
        return [one for one in self.firing() if wanted <= one["labels"].items()]

    def is_ready(self) -> bool:
        try:
            return get(f"http://{HOST}:{self.port}/-/ready").is_success
        except httpx.HTTPError:
            return False


def without_for(rules: Path, path: Path) -> Path:
    """The shipped rules with `for: 0s`, so that alerts fire at once."""
    document = yaml.safe_load(rules.read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                rule["for"] = "0s"
    path.write_text(yaml.safe_dump(document))
    return path


def a_configuration(folder: Path, ops_port: int, rules: Path) -> Path:
    targets = [{"targets": [f"{HOST}:{ops_port}"]}]
    document = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(without_for(rules, folder / "rules.yml"))],
        "scrape_configs": [{"job_name": "autorouter", "static_configs": targets}],
    }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(document))
    return path


@contextlib.contextmanager
def running_prometheus(folder: Path, ops_port: int, rules: Path) -> Iterator[Prometheus]:
    """A Prometheus that has scraped the target at least once."""
    port = free_port()
    options = [
        f"--config.file={a_configuration(folder, ops_port, rules)}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={HOST}:{port}",
    ]
    process = Process(["prometheus", *options], folder / "prometheus.log")
    one = Prometheus(port)
    try:
        process.wait_for(one.is_ready)
        process.wait_for(lambda: one.samples('up{job="autorouter"} == 1') != [])
        yield one
    finally:
        process.stop()
