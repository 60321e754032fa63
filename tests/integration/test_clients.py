"""The conformance suite run on the reference clients and the released SDK."""

import os
import re
import sys
from functools import cache

import pytest

from clients.conformance.__main__ import HERE, references
from clients.conformance.suite import SCENARIOS, Verdict, judge
from tests.support.servers import ROOT

PAGE = (ROOT / "docs" / "clients.md").read_text()
SDK = "polargrid-sdk 0.10.0"


@cache
def verdicts(name: str) -> list[Verdict]:
    if name == SDK:
        environ = os.environ | {"PYTHONPATH": str(ROOT / ".venv" / "sdk" / "0.10.0")}
        return judge([sys.executable, str(HERE / "driver_polargrid.py")], environ)
    return judge(references()[name], dict(os.environ))


def documented(name: str) -> dict[str, bool]:
    """What docs/clients.md says about a client, by scenario."""
    table = PAGE[PAGE.index("<!-- conformance") :]
    head, *rows = [row.split(" | ") for row in re.findall(r"^\| (.*) \|$", table, re.MULTILINE)]
    column = head.index(name)
    return {row[0]: row[column] == "yes" for row in rows if row[column] in ("yes", "no")}


@pytest.mark.parametrize("name", ["Python", "Python, async", "JavaScript"])
def test_reference_client_passes_every_scenario(name: str) -> None:
    assert [one for one in verdicts(name) if not one.passed] == []


@pytest.mark.parametrize("name", ["Python", "Python, async", "JavaScript", SDK])
def test_page_shows_the_result_of_each_client(name: str) -> None:
    assert documented(name) == {one.scenario: one.passed for one in verdicts(name)}


def test_client_that_sends_nothing_fails_the_suite() -> None:
    program = "import sys\nfor _ in sys.stdin: print('{\"ok\": false}', flush=True)"
    passed = [one.scenario for one in judge([sys.executable, "-c", program], {}) if one.passed]
    assert passed == ["reports a 404 to the application, and sends nothing"]


def test_page_has_the_number_of_scenarios() -> None:
    assert f"suite of {len(SCENARIOS)} scenarios" in PAGE
