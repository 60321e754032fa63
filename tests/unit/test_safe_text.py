"""Text from outside cannot break its line, move the cursor or reverse other text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.safe_text import escaped, escaped_json, escaped_lines, escaped_values
from router.text_files import printable

HOSTILE = [
    "\x1b[2J",
    "a\nb",
    "\r",
    "\x9b31m",
    "\u202eabc",
    "\u2028",
    "\x00",
    "\ud800",
    "\U000e0001",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_escaped(text: str) -> None:
    assert escaped(text).isprintable()
    assert printable(text).isprintable()


@given(st.text())
def test_escaping_is_idempotent_and_printable(text: str) -> None:
    once = escaped(text)
    assert once.isprintable()
    assert escaped(once) == once


@given(st.text().filter(str.isprintable))
def test_printable_text_is_unchanged(text: str) -> None:
    assert escaped(text) == text


def test_line_breaks_of_a_traceback_are_kept() -> None:
    assert escaped_lines("one\n\x1btwo") == "one\n\\x1btwo"


@given(
    st.recursive(
        st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_escaped_json_has_the_same_value_and_is_printable(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2)
    safe = escaped_json(text)
    assert json.loads(safe) == value
    assert all(line.isprintable() for line in safe.split("\n"))


def test_every_string_of_a_document_is_escaped() -> None:
    document = {"mo\x1bdels": ("a\x07",), "n": 3, "at": None, "in": {"deep": ["\u202e"]}}
    assert escaped_values(document) == {
        "mo\\x1bdels": ["a\\x07"],
        "n": 3,
        "at": None,
        "in": {"deep": ["\\u202e"]},
    }
