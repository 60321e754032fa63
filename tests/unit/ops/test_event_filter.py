"""Filters of events, and events as CSV."""

import csv
import io

import pytest

from router.model import Event, EventKind
from router.ops.event_filter import COLUMNS, FilterError, Wanted, as_csv, wanted
from router.store import Logged

EVENT = Event(at=100.0, kind=EventKind.INTENT, edge="yto-01", reason="=1+1", actor="ann, ops")


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({}, True),
        ({"edge": "yto-01", "kind": "intent", "since": "100"}, True),
        ({"edge": "yto-02"}, False),
        ({"kind": "brake"}, False),
        ({"since": "100.1"}, False),
    ],
)
def test_event_fits_what_is_asked(asked: dict[str, str], fits: bool) -> None:
    assert wanted(asked).fits(EVENT) is fits


@pytest.mark.parametrize("asked", [{"kind": "nonsense"}, {"since": "yesterday"}, {"since": "nan"}])
def test_filter_that_is_none_is_refused(asked: dict[str, str]) -> None:
    with pytest.raises(FilterError, match="must be"):
        wanted(asked)


def test_nothing_asked_is_everything() -> None:
    assert wanted({}) == Wanted()


def test_csv_reads_back_and_holds_no_formula() -> None:
    headings, row = csv.reader(io.StringIO(as_csv([Logged("1-0", EVENT)])))
    assert headings == list(COLUMNS)
    told = dict(zip(headings, row, strict=True))
    assert (told["id"], told["at"], told["kind"]) == ("1-0", "100.0", "intent")
    assert (told["reason"], told["actor"], told["until"]) == ("'=1+1", "ann, ops", "")
