"""A query is read leniently: only an invalid model is rejected."""

from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import Scope
from router.routing.query import Query, parse_query

MAX_FIELDS = 64
MAX_MODEL_LENGTH = 128


def the_model(raw: bytes) -> str | None:
    query = parse_query(raw)
    assert query is not None
    return query.model


@pytest.mark.parametrize("raw", [b"", b"&", b"&&&", b"=", b"=&=", b"?", b"utm=1&x", b"%", b"\xff"])
def test_query_without_known_fields_gives_the_defaults(raw: bytes) -> None:
    assert parse_query(raw) == Query()


@pytest.mark.parametrize(
    ("raw", "scope"),
    [
        (b"scope=global", Scope.GLOBAL),
        (b"scope=GLOBAL", Scope.GLOBAL),
        (b"scope=+global%20", Scope.GLOBAL),
        (b"scope=%67lobal", Scope.GLOBAL),
        (b"scope=country", Scope.COUNTRY),
        (b"scope=", Scope.COUNTRY),
        (b"scope", Scope.COUNTRY),
        (b"scope=galaxy", Scope.COUNTRY),
        (b"scope=global%00", Scope.COUNTRY),
        (b"Scope=global", Scope.COUNTRY),
        (b"scope=global&scope=country", Scope.GLOBAL),
        (b"scope=country&scope=global", Scope.COUNTRY),
    ],
)
def test_scope_is_country_unless_global(raw: bytes, scope: Scope) -> None:
    assert parse_query(raw) == Query(scope=scope)


@pytest.mark.parametrize(
    ("text", "is_set"),
    [(b"true", True), (b"TRUE", True), (b"+true+", True), (b"1", False), (b"yes", False)],
)
def test_switches_are_set_only_by_true(text: bytes, *, is_set: bool) -> None:
    assert parse_query(b"strict=" + text) == Query(strict=is_set)
    assert parse_query(b"all=" + text) == Query(all=is_set)


@pytest.mark.parametrize(
    ("raw", "model"),
    [
        (b"model=kokoro-82m", "kokoro-82m"),
        (b"model=Kokoro", "Kokoro"),
        (b"model=org%2Fmodel%3Av1", "org/model:v1"),
        (b"model=a+b%20c", "a b c"),
        (b"model=%20%20kokoro%09", "kokoro"),
        (b"model=a=b", "a=b"),
        (b"model=%C3%A9", "é"),
        (b"model=100%", "100%"),
        (b"model=%zz%4", "%zz%4"),
        (b"model=%ff", "\ufffd"),
        (b"model=%ED%A0%80", "\ufffd\ufffd\ufffd"),
        (b"model=\xff", "\xff"),
        (b"model=first&model=second", "first"),
        (b"model=&model=second", None),
        (b"model=+%20", None),
        (b"model", None),
        (b"other=x&model=kokoro&scope", "kokoro"),
    ],
)
def test_model_is_decoded_and_trimmed(raw: bytes, model: str | None) -> None:
    assert the_model(raw) == model


def test_all_fields_can_be_combined() -> None:
    query = parse_query(b"all=true&model=kokoro&strict=true&scope=global")
    assert query == Query(Scope.GLOBAL, "kokoro", strict=True, all=True)


@pytest.mark.parametrize("length", [1, MAX_MODEL_LENGTH])
def test_model_may_be_128_characters_long(length: int) -> None:
    assert the_model(b"model=" + b"%C3%A9" * length) == "é" * length


@pytest.mark.parametrize("length", [MAX_MODEL_LENGTH + 1, 10_240, 1_000_000])
def test_longer_model_is_rejected(length: int) -> None:
    assert parse_query(b"model=" + b"m" * length) is None


@pytest.mark.parametrize("code", [0x00, 0x01, 0x0A, 0x0D, 0x1B, 0x1F, 0x7F])
def test_control_characters_are_rejected(code: int) -> None:
    assert parse_query(f"model=a%{code:02x}b".encode()) is None


@pytest.mark.parametrize("raw", [b"model=a%C2%85b", b"model=a%C2%9Fb", b"model=a\x9fb"])
def test_c1_control_characters_are_rejected(raw: bytes) -> None:
    assert parse_query(raw) is None


def test_first_of_repeated_models_is_used() -> None:
    assert the_model(b"model=fine&model=%00") == "fine"
    assert parse_query(b"model=%00&model=fine") is None


def test_fields_past_the_limit_are_ignored() -> None:
    filler = b"x=1&" * (MAX_FIELDS - 1)
    assert parse_query(filler + b"strict=true") == Query(strict=True)
    assert parse_query(b"x=1&" + filler + b"strict=true") == Query()


@given(st.binary())
def test_arbitrary_bytes_never_raise(raw: bytes) -> None:
    query = parse_query(raw)
    assert query is None or query.model is None or 0 < len(query.model) <= MAX_MODEL_LENGTH


@given(st.lists(st.sampled_from([b"model=", b"scope=", b"&", b"%", b"0", b"+", b"\n", b"\xff"])))
def test_fragments_of_queries_never_raise(parts: list[bytes]) -> None:
    query = parse_query(b"".join(parts))
    assert query is None or query.model is None or query.model == query.model.strip()


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=MAX_MODEL_LENGTH))
def test_quoted_model_is_read_back(model: str) -> None:
    assert the_model(b"model=" + quote_plus(model).encode()) == (model.strip() or None)
