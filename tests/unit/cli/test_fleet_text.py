"""The fleet in a terminal of any width."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from router.cli.fleet_text import (
    COLUMNS,
    NEEDED,
    columns_that_fit,
    fleet_lines,
    show_edge,
    show_edges,
)

EDGE: dict[str, Any] = {
    "id": "yto-01",
    "name": "Toronto",
    "country": "CA",
    "endpoint": "https://api.yto-01.edge.example",
    "routable": True,
    "state": "degraded",
    "since": None,
    "reason": "connect_timeout",
    "rtt_ms": 12.4,
    "votes": {"ams": "up", "nyc": "down"},
    "intent": "enabled",
    "intent_detail": None,
    "models": ["kokoro-82m", "whisper-large-v3-turbo"],
    "share": 0.25,
}
LONG = EDGE | {"id": "a-region-with-a-long-name-017", "reason": None, "votes": {}, "models": None}
DOCUMENT: dict[str, Any] = {
    "status": "ok",
    "from": "http://127.0.0.1:9090",
    "headline": "yto-01 (Toronto) is degraded",
    "edges": [EDGE, LONG],
    "findings": [{"title": "it is slow", "action": "wait", "edges": ["yto-01"]}],
}


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_important_columns_are_complete_at_every_width(width: int) -> None:
    out = io.StringIO()
    show_edges(DOCUMENT, out=Console(file=out, width=width, force_terminal=True, soft_wrap=True))
    first, second = out.getvalue().splitlines()[2:]
    for word in ("yto-01", "degraded", "connect_timeout", "enabled"):
        assert word in first
    assert LONG["id"] in second


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("count", [1, 2, 30])
def test_lines_fit_the_terminal(width: int, count: int) -> None:
    fleet = DOCUMENT | {"edges": [EDGE | {"id": f"yto-{number:02}"} for number in range(count)]}
    heading, *lines = (line.plain for line in fleet_lines(fleet, width)[1:])
    assert all(len(line) <= width for line in (heading, *lines))
    assert [line.split()[0] for line in lines] == [edge["id"] for edge in fleet["edges"]]
    assert all("degraded" in line and "enabled" in line for line in lines)
    assert set(NEEDED) <= set(heading.split())


def test_all_columns_are_shown_without_a_width() -> None:
    heading = fleet_lines(DOCUMENT, None)[1].plain
    assert heading.split() == list(COLUMNS)
    assert "ams=up nyc=down" in fleet_lines(DOCUMENT, None)[2].plain


def test_models_are_hidden_first() -> None:
    assert "models" not in fleet_lines(DOCUMENT, 120)[1].plain


@given(st.dictionaries(st.sampled_from(COLUMNS), st.integers(1, 50)), st.integers(0, 300))
def test_columns_keep_their_order_and_the_needed_ones(sizes: dict[str, int], width: int) -> None:
    names = columns_that_fit({name: sizes.get(name, 5) for name in COLUMNS}, width)
    assert [name for name in COLUMNS if name in names] == names
    assert set(NEEDED) <= set(names)


def test_single_edge_shows_all_facts_and_findings() -> None:
    out = io.StringIO()
    show_edge(DOCUMENT, EDGE, Console(file=out, width=200))
    text = out.getvalue()
    for word in (EDGE["endpoint"], "degraded (connect_timeout)", "25.0%", "it is slow", "wait"):
        assert word in text
    assert "whisper-large-v3-turbo" in text


@pytest.mark.parametrize(
    ("known", "line"),
    [
        ({"back_at": 1_764_216_000.0}, "back at 04:00:00 UTC"),
        ({"calm_at": 1_764_216_000.0}, "steady at 04:00:00 UTC"),
        ({"usual_ms": 2.0}, "usually 2 ms"),
    ],
)
def test_single_edge_shows_its_times(known: dict[str, float], line: str) -> None:
    out = io.StringIO()
    show_edge(DOCUMENT, EDGE | known, Console(file=out, width=200))
    assert line in " ".join(out.getvalue().split())


def test_escapes_do_not_reach_the_terminal() -> None:
    out = io.StringIO()
    hostile = EDGE | {"models": ["\x1b[2Jgone", "\u202ereversed"]}
    show_edges(DOCUMENT | {"edges": [hostile]}, out=Console(file=out, width=300))
    assert "\x1b" not in out.getvalue()
    assert "\u202e" not in out.getvalue()
