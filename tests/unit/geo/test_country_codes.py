"""Which two-letter codes are countries."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.geo.countries import load_countries
from router.geo.country_codes import COUNTRY_CODES, code_advice, country_code

SHIPPED = Path(__file__).parents[3] / "geodata" / "countries.csv"


def test_codes_equal_those_of_the_shipped_countries() -> None:
    assert set(load_countries(SHIPPED)) == COUNTRY_CODES


@pytest.mark.parametrize("text", ["CA", "ca", "Ca", "XK"])
def test_country_code_is_found_in_any_case(text: str) -> None:
    assert country_code(text) == text.upper()


@pytest.mark.parametrize(
    "text",
    [
        *("EU", "AP", "XX", "ZZ", "UK", "AN", "T1", "A1", "A2", "O1", "uk"),
        *("", "C", "CAN", "C ", "\u00df", "\u0421\u0410", "\ufb06"),
    ],
)
def test_other_text_is_not_a_country(text: str) -> None:
    assert country_code(text) is None


@given(st.text(max_size=3))
def test_result_is_always_a_known_code(text: str) -> None:
    assert country_code(text) in {None, *COUNTRY_CODES}


def test_advice_has_the_correct_code() -> None:
    assert code_advice("uk") == "did you mean GB?"
    assert "ISO 3166-1" in code_advice("EU")
