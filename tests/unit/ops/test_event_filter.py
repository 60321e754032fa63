"""Event filters, and events as CSV."""

import csv
import io

import pytest

from router.model import Event, EventKind
from router.ops.event_filter import COLUMNS, EventFilter, FilterError, as_csv, parse_filter
from router.store import Logged

EVENT = Event(at=100.0, kind=EventKind.INTENT, edge="yto-01", reason="=1+1", actor="ann, ops")


@pytest.mark.parametrize(
    ("params", "fits"),
    [
        ({}, True),
        ({"edge": "yto-01", "kind": "intent", "since": "100"}, True),
        ({"edge": "yto-02"}, False),
        ({"kind": "brake"}, False),
        ({"since": "100.1"}, False),
    ],
)
def test_filter_selects_events(params: dict[str, str], fits: bool) -> None:
    assert parse_filter(params).fits(EVENT) is fits


@pytest.mark.parametrize("params", [{"kind": "nonsense"}, {"since": "yesterday"}, {"since": "nan"}])
def test_invalid_filter_is_rejected(params: dict[str, str]) -> None:
    with pytest.raises(FilterError, match="must be"):
        parse_filter(params)


def test_empty_filter_selects_everything() -> None:
    assert parse_filter({}) == EventFilter()


def test_csv_is_read_back_and_contains_no_formula() -> None:
    headings, row = csv.reader(io.StringIO(as_csv([Logged("1-0", EVENT)])))
    assert headings == list(COLUMNS)
    fields = dict(zip(headings, row, strict=True))
    assert (fields["id"], fields["at"], fields["kind"]) == ("1-0", "100.0", "intent")
    assert (fields["reason"], fields["actor"], fields["until"]) == ("'=1+1", "ann, ops", "")
