"""Which viewer `/v1/explain` is asked about."""

import pytest

from router.model import Level, Location, Source
from router.ops.questions import QuestionError, past_time, subject
from router.routing.cache_headers import Sharing
from router.routing.client_address import Networks
from router.routing.location import Locator
from tests.support.builders import TORONTO

FOUND = Location("CA", TORONTO, Level.CITY, Source.DATABASE)
LOCATOR = Locator(lambda _: FOUND, trusted=Networks(), divided={"CA"})


def test_key_is_used_unchanged() -> None:
    placed = subject([("key", "CA~yto-01.yul-01")], LOCATOR).placed
    assert placed.key is not None
    assert (placed.key.country, placed.key.preferred) == ("CA", ("yto-01", "yul-01"))
    assert placed.sharing is Sharing.KEYED


def test_headers_need_no_secret() -> None:
    lines = ["CloudFront-Viewer-Country: DE", "cloudfront-viewer-latitude:52.5"]
    lines.append("CloudFront-Viewer-Longitude: 13.4")
    placed = subject([("header", line) for line in lines], LOCATOR).placed
    assert (placed.location.country, placed.location.source) == ("DE", Source.CDN_HEADERS)
    assert placed.location.position == (52.5, 13.4)


def test_key_in_a_header_is_used() -> None:
    placed = subject([("header", "X-Autorouter-Key: CA~yto-01")], LOCATOR).placed
    assert placed.key is not None


def test_cdn_address_is_used_in_a_divided_country() -> None:
    lines = ["CloudFront-Viewer-Country: CA", "CloudFront-Viewer-Address: 24.48.0.1:443"]
    placed = subject([("header", line) for line in lines], LOCATOR).placed
    assert placed.location == FOUND


def test_country_means_many_viewers() -> None:
    who = subject([("country", "de")], LOCATOR)
    assert (who.is_many, who.address, who.placed.location.country) == (True, None, "DE")


@pytest.mark.parametrize(
    ("params", "about"),
    [
        ([("key", "nonsense")], "is not a route key; give one like CA~yto-01.yul-01"),
        ([("header", "Cookie: x")], "'Cookie' is not a header that says where a viewer is"),
        ([("header", "X-Origin-Verify: x")], "is not a header that says where a viewer is"),
        ([("header", "CloudFront-Viewer-Country: 7")], "do not say where the viewer is"),
        ([("header", "CloudFront-Viewer-Country: CA")] * 9, "at most 8 headers"),
        ([("ip", "nonsense")], "'nonsense' is not an IP address"),
        ([], "is not an IP address"),
    ],
)
def test_invalid_question_is_rejected_with_a_reason(
    params: list[tuple[str, str]], about: str
) -> None:
    with pytest.raises(QuestionError, match=about):
        subject(params, LOCATOR)


@pytest.mark.parametrize("text", ["soon", "nan", "inf", "1e999"])
def test_time_must_be_a_number(text: str) -> None:
    with pytest.raises(QuestionError, match="Unix seconds"):
        past_time([("at", text)])
    assert past_time([("at", "17.5")]) == 17.5
    assert past_time([]) is None
