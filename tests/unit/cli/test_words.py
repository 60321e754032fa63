"""Numbers and times as people write them."""

import pytest

from router.cli.words import count, parse_moment

NOW = 1_764_252_000.0  # 2025-11-27T14:00:00Z


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (1, ("edge",), "1 edge"),
        (0, ("edge",), "0 edges"),
        (2_000, ("edge",), "2,000 edges"),
        (1, ("country", "countries"), "1 country"),
        (2, ("country", "countries"), "2 countries"),
    ],
)
def test_one_is_singular(number: int, words: tuple[str, ...], text: str) -> None:
    assert count(number, *words) == text


@pytest.mark.parametrize(
    ("text", "ago_s"),
    [
        ("20m", 1_200),
        ("2h", 7_200),
        ("1d", 86_400),
        ("13:30", 1_800),
        ("14:00:00", 0),
        ("14:30", 84_600),
        ("2025-11-27T13:00Z", 3_600),
        ("2025-11-27T13:00", 3_600),
        ("2025-11-27T14:00+01:00", 3_600),
        ("1764248400", 3_600),
    ],
)
def test_time_is_parsed(text: str, ago_s: int) -> None:
    assert parse_moment(text, NOW) == NOW - ago_s


@pytest.mark.parametrize(
    "text", ["", "soon", "25:00", "-5m", "2h ago", "nan", "inf", "9" * 400, "2099-01-01"]
)
def test_invalid_time_is_rejected(text: str) -> None:
    assert parse_moment(text, NOW) is None
