"""YAML and text files: how values are read, and the line of every error."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.config import yaml_lines
from router.config.yaml_lines import MAX_FAULTS, read_yaml
from router.errors import ConfigError
from router.text_files import MAX_BYTES, plain_number, printable, read_text


def read(text: str) -> Any:
    document = read_yaml(text, "a.yaml")
    assert document.faults == []
    return document.value


def the_fault_in(text: str) -> str:
    """Returns the only error, whether or not the document could be read."""
    try:
        error = read_yaml(text, "a.yaml").error()
    except ConfigError as unreadable:
        error = unreadable
    assert len(error.faults) == 1, error.faults
    return error.faults[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only a comment\n---\n", None),
        ("a:", {"a": None}),
        ("a: [1, -2.5, 1.0e+3]", {"a": [1.0, -2.5, 1000.0]}),
        ("a: [yes, On, true, NO, off]", {"a": [True, True, True, False, False]}),
        ("a: ['NO', \"1\", '']", {"a": ["NO", "1", ""]}),
        ("a: {NO: x, 1: y, true: z}", {"a": {"NO": "x", "1": "y", "true": "z"}}),
        ("a: 2024-01-31", {"a": "2024-01-31"}),
        ("<<: {a: b}", {"<<": {"a": "b"}}),
    ],
)
def test_yaml_is_read_as_plain_values(text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize("text", [".nan", "-.inf", "1.0e+999", "9" * 5000, "0:45", "0x1F", "1_0_"])
def test_number_that_is_not_plain_and_finite_is_text(text: str) -> None:
    assert read(f"a: {text}") == {"a": text}
    assert plain_number(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x 1", "1: a: anchors (&) and aliases (*) are refused; write the value out"),
        ("a:\n  - *x", "2: a[0]: anchors (&) and aliases (*) are refused"),
        ("a: !!str 1", "1: a: tags (!) are refused; remove the tag"),
        ("a: {}\na: {}", "2: a: is given on line 1 already; keep one"),
        ("\na: {? [b] : c}", "2: a.?: a key must be plain text"),
        ("' a': !b", "1: [' a']: tags (!) are refused"),
        ("a: 1\n---\nb: 2\n", "2: a second document starts here; keep one"),
        ("a: 1\nb: [1,\n", "3: not valid YAML: did not find expected node content"),
        ("a: 1\nb: \x00\n", "2: has a control character; remove it"),
        ("a: \udc00\n", "1: has half a surrogate pair"),
        ("\nx: " + "[" * 100_000, "2: x[0]: is nested more than 8 deep; flatten it"),
        ("\nx: " + "{a: " * 100_000, "2: x.a: is nested more than 8 deep; flatten it"),
    ],
)
def test_rejected_yaml_has_line_and_key(text: str, expected: str) -> None:
    assert the_fault_in(text).startswith(f"a.yaml:{expected}")


def test_nested_aliases_are_not_expanded() -> None:
    laughs = "".join(f"  k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 9)}]\n" for i in range(1, 9))
    faults = read_yaml(f"x:\n{laughs}", "a.yaml").error().faults
    assert sum("are refused" in fault for fault in faults) == len(faults) == 8 * (1 + 9)


def test_missing_key_has_the_line_of_its_parent() -> None:
    document = read_yaml("a: 1\nb:\n  - c: 2\n", "a.yaml")
    keys = (("b", 0, "c"), ("b", 0, "gone"), ("b", 7), ("gone",))
    assert [document.line(key) for key in keys] == [3, 3, 2, 1]


def test_value_is_shown_as_in_the_file() -> None:
    document = read_yaml('a: NO\nb: "x\\x1b"\nc: [1]\nd: 1.50\n', "a.yaml")
    assert [document.shown((key,)) for key in "abcd"] == ["NO", r"'x\x1b'", "this", "1.50"]


def test_errors_are_ordered_by_line() -> None:
    document = read_yaml("a: 1\nb: 2\n", "a.yaml")
    document.add_fault(("b",), "second")
    document.add_fault(("a",), "first")
    document.add_fault((), "the whole")
    expected = ("a.yaml:1: a: first", "a.yaml:1: the whole", "a.yaml:2: b: second")
    assert document.error().faults == expected


def test_long_text_is_shortened_and_printable() -> None:
    assert printable("a" * 61) == "a" * 60 + "…"
    assert printable("a\n\x1b\u202e") == r"a\n\x1b\u202e"


def test_pyyaml_without_libyaml_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    with pytest.raises(ConfigError, match="PyYAML lacks libyaml; install one of its wheels"):
        read_yaml("a: 1", "a.yaml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a:\n\xff", ":2: is not UTF-8; save the file as UTF-8"),
        (b"#" * (MAX_BYTES + 1), ": is larger than 4 MiB; is it the right file?"),
        (None, ": cannot be read: No such file or directory; make one"),
    ],
)
def test_error_for_an_unreadable_file_has_its_path(
    content: bytes | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_text(path, "make one")
    assert str(caught.value) == f"{path}{words}"


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + b"#" * (MAX_BYTES - 3))
    assert read_text(path, "make one") == "#" * (MAX_BYTES - 3)


@pytest.mark.parametrize(
    "text",
    [
        "[" + "a, " * 190_000 + "a]",
        "{" + ", ".join(f"k{number}: 1" for number in range(25_000)) + "}",
        "- {a: [b, c]}\n" * 25_000,
        "- &a x\n" * 50_000,
    ],
    ids=["items", "keys", "nested", "faulty"],
)
def test_document_of_too_many_parts_uses_little_memory(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml_lines, "MAX_NODES", yaml_lines.MAX_NODES // 10)
    tracemalloc.start()
    with pytest.raises(ConfigError) as caught:
        read_yaml(text, "regions.yaml")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(caught.value.faults) <= MAX_FAULTS + 1
    assert peak < 10 * 2**20


def test_reading_stops_after_100_errors() -> None:
    with pytest.raises(ConfigError) as caught:
        read_yaml("- &a x\n" * 1_000, "regions.yaml")
    assert len(caught.value.faults) == MAX_FAULTS + 1
    assert "stopped after 100 faults" in caught.value.faults[-1]
