"""docs/health.md and docs/configuration.md have the defaults and limits of the code."""

import json
import re
from typing import Any

import pytest

from router.health import exchange, probe, resolver
from router.health.answers import MAX_MODELS
from router.health.guard import VantagePolicy
from router.health.poller import JITTER, MODELS_INTERVAL_S
from router.health.publisher import LEASE_S, MAX_VIEW_MODELS_BYTES
from router.health.state import HealthPolicy
from router.model import Check
from router.routing.fleet import FleetPolicy
from tests.support.servers import ROOT

PAGE = re.sub(r"\s+", " ", (ROOT / "docs" / "health.md").read_text(encoding="utf-8"))
POLICY, DOUBT, FLEET, CHECK = HealthPolicy(), VantagePolicy(), FleetPolicy(), Check()

PHRASES = [
    "| DNS lookup: how long a probe waits; timeout of the lookup | "
    f"{resolver.WAIT_S:g} s; {resolver.LOOKUP_S:g} s |",
    f"| connecting | {CHECK.connect_timeout_s:g} s |",
    f"| the whole probe, after the lookup | {CHECK.timeout_s:g} s |",
    f"| body | {probe.MAX_BODY_BYTES >> 10} KiB |",
    f"| head of the response | {exchange.MAX_HEAD_BYTES >> 10} KiB, {exchange.MAX_FIELDS} fields |",
    f"| 1xx responses | {exchange.MAX_INTERIM} |",
    f"| chunks of the body | {exchange.MAX_PARTS:,} |",
    "| bytes received, with chunk headers | "
    f"{exchange.RAW_FACTOR * 64 + 2 * (exchange.MAX_HEAD_BYTES >> 10)} KiB |",
    f"| time between the starts of two probes (interval) | {POLICY.interval_s:g} s |",
    f"(recheck) | {POLICY.recheck_s:g} s, or the interval if that is less |",
    f"| jitter | ±{100 * JITTER:g} % each time;",
    f"| fall | to down after {CHECK.fall} failures in a row, "
    f"or after {POLICY.fall_unhealthy} of which one is `unhealthy` |",
    f"| rise | from down after {CHECK.rise} passes in a row,",
    f"| hold-down | {CHECK.hold_down_s:g} s for each fall that is not forgiven, "
    f"at most {POLICY.hold_down_cap_s:g} s |",
    f"| forgiveness | one fall for each {POLICY.forgive_s / 60:g} minutes",
    f"| flapping | {POLICY.flap_transitions} changes of state within "
    f"{POLICY.flap_window_s / 60:g} min:",
    f"| slow | {POLICY.slow_count} passes in a row, each over {CHECK.slow_ms:g} ms "
    f"and over {POLICY.slow_factor:g} times",
    f"| only `local` outcomes for {DOUBT.fresh_s:g} s,",
    f"The inventory is requested about every {MODELS_INTERVAL_S:g} s,",
    f"keeps its last inventory until that is {FLEET.models_fresh_s:g} s old",
    f"{probe.MAX_INVENTORY_BYTES >> 20} MiB and {MAX_MODELS:,} models are read, "
    f"and {MAX_VIEW_MODELS_BYTES >> 20} MiB of model ids",
    f"and at least {DOUBT.brake_count}, fail or went down within {DOUBT.window_s:g} s",
    f"For {DOUBT.settle_s:g} s more,",
    f"or after {DOUBT.hold_s:g} s.",
    f"The lease lasts {LEASE_S:g} s",
    f"| up to {FLEET.fresh_s:g} s old | `ok` |",
    f"| up to {FLEET.stale_s:g} s old | `stale` |",
]


@pytest.mark.parametrize("phrase", PHRASES)
def test_health_page_has_the_default(phrase: str) -> None:
    assert phrase in PAGE


def test_publisher_and_reader_use_the_same_limits() -> None:
    assert FLEET.fresh_s == DOUBT.fresh_s


SCHEMA = json.loads((ROOT / "router" / "regions.schema.json").read_text(encoding="utf-8"))
KEYS = ["fall", "rise", "hold_down_s", "connect_timeout_s", "timeout_s", "slow_ms"]


@pytest.mark.parametrize("key", KEYS)
def test_catalog_table_has_default_and_range(key: str) -> None:
    region = SCHEMA["properties"]["regions"]["items"]["properties"][key]
    rules: dict[str, Any] = SCHEMA["$defs"][region["$ref"].rpartition("/")[2]]
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    default = f"{getattr(CHECK, key):g}"
    assert f"| `{key}` | {rules['minimum']} to {rules['maximum']} | {default} |" in page
    assert f"Default {default}." in region["description"]
