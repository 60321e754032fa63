"""The text of `autorouter explain` shows the effect of dials and edges that never worked."""

import json
from dataclasses import replace

import msgspec
import pytest

from router.cli import text
from router.model import Observed, Status
from router.routing.cache_headers import CachePolicy
from router.routing.explain import explain
from router.routing.fleet import Edge
from router.routing.query import Query
from tests.support.builders import (
    CITIES,
    a_fleet,
    a_fleet_but,
    a_placed,
    a_ranker_for,
    an_edge,
    an_edge_view,
)


def shown(capsys: pytest.CaptureFixture[str], *edges: Edge) -> tuple[str, list[str]]:
    """Returns the region for a viewer in Toronto and the lines of the explanation."""
    fleet = replace(a_fleet_but(*edges), slot=1)
    found = explain(a_ranker_for(fleet), fleet, a_placed(), Query(), CachePolicy())
    text.show_explanation(
        {"from": "here", "ip": "192.0.2.1", **json.loads(msgspec.json.encode(found))}
    )
    return found["region"], [line.strip() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("share", "words"), [(0.0, "0%: dialled away"), (0.99999, "100%: kept here")]
)
def test_dial_line_says_whether_the_viewer_is_kept(
    capsys: pytest.CaptureFixture[str], share: float, words: str
) -> None:
    pick, _ = shown(capsys)
    got, lines = shown(capsys, replace(an_edge(pick), share=share))
    assert f"dial    {pick} {words}" in lines
    assert (got == pick) is (share > 0)


def test_without_a_dial_there_is_no_dial_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert not any(line.startswith("dial ") for line in shown(capsys)[1])


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.99999, "dialled: keeps this viewer"), (0.0, "dialled: leaves this viewer to others")],
)
def test_each_candidate_shows_the_effect_of_its_dial(
    capsys: pytest.CaptureFixture[str], share: float, words: str
) -> None:
    pick, _ = shown(capsys)
    other = next(id for id in ("yto-01", "yto-02") if id != pick)
    _, lines = shown(capsys, replace(an_edge(other), share=share))
    assert [line.split()[0] for line in lines if words in line] == [other]


def test_candidate_never_seen_working_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    seen = {"local": replace(an_edge_view(Observed.DOWN), worked=False)}
    new = replace(an_edge("yto-01", Observed.DOWN), seen=seen)
    others = [an_edge(id, Observed.DOWN) for id in CITIES if id != "yto-01"]
    fleet = a_fleet(new, *others, status=Status.FAIL_OPEN)
    found = explain(a_ranker_for(fleet), fleet, a_placed(), Query(), CachePolicy())
    text.show_explanation(
        {"from": "here", "ip": "192.0.2.1", **json.loads(msgspec.json.encode(found))}
    )
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("never seen working") == 1
