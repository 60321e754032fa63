"""A shared cache may store only answers that depend on their key alone."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.geo.country_codes import COUNTRY_CODES
from router.model import Status
from router.routing.cache_headers import (
    CachePolicy,
    Headers,
    Sharing,
    etag,
    format_key,
    is_match,
    not_found_headers,
    parse_key,
    success_headers,
)
from router.routing.ranking import RouteKey
from tests.support.builders import a_key

BODY = b'{"region":"yto-01"}'
LOCATION_HEADERS = (
    "CloudFront-Viewer-Country",
    "CloudFront-Viewer-Latitude",
    "CloudFront-Viewer-Longitude",
)
UNCERTAIN = [Status.STALE, Status.STATIC, Status.FAIL_OPEN]
SHARED = [Sharing.KEYED, Sharing.BY_HEADERS]

ids = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
countries = st.sampled_from(sorted(COUNTRY_CODES))
route_keys = st.builds(
    RouteKey, st.none() | countries, st.lists(ids, unique=True, max_size=3).map(tuple)
)


def a_200(
    sharing: Sharing = Sharing.KEYED,
    status: Status = Status.OK,
    policy: CachePolicy = CachePolicy(key_headers=LOCATION_HEADERS),
    key: RouteKey = a_key(),
) -> dict[bytes, bytes]:
    return dict(success_headers(sharing, status, key.preferred, etag(BODY), policy))


def names(headers: Headers) -> list[bytes]:
    return [name for name, _ in headers]


# Which cache may store what


@pytest.mark.parametrize("sharing", SHARED)
def test_shared_answers_are_fresh_for_ten_seconds(sharing: Sharing) -> None:
    value = a_200(sharing)[b"cache-control"]
    assert value == b"public, max-age=10, stale-while-revalidate=10, stale-if-error=300"


@pytest.mark.parametrize("sharing", SHARED)
@pytest.mark.parametrize("status", UNCERTAIN)
def test_uncertain_answers_are_fresh_for_two_seconds(sharing: Sharing, status: Status) -> None:
    value = a_200(sharing, status)[b"cache-control"]
    assert value == b"public, max-age=2, stale-while-revalidate=10, stale-if-error=300"


@pytest.mark.parametrize("status", Status)
def test_uncertain_answers_never_outlive_certain_ones(status: Status) -> None:
    value = a_200(status=status, policy=CachePolicy(max_age_s=1))[b"cache-control"]
    assert value.startswith(b"public, max-age=1,")


def test_keyed_answers_vary_only_by_the_key() -> None:
    assert a_200(Sharing.KEYED)[b"vary"] == b"X-Autorouter-Key"


def test_header_keyed_answers_vary_by_those_headers() -> None:
    assert a_200(Sharing.BY_HEADERS)[b"vary"] == ", ".join(LOCATION_HEADERS).encode()


@pytest.mark.parametrize(
    ("status", "ttl_s"), [(Status.OK, 300), *((each, 30) for each in UNCERTAIN)]
)
def test_private_answers_are_fresh_for_the_ttl(status: Status, ttl_s: int) -> None:
    headers = a_200(Sharing.PRIVATE, status)
    assert headers == {b"etag": etag(BODY), b"cache-control": f"private, max-age={ttl_s}".encode()}


def test_lifetimes_follow_the_settings() -> None:
    policy = CachePolicy(ttl_s=60, degraded_ttl_s=7, max_age_s=25)
    assert a_200(Sharing.PRIVATE, policy=policy)[b"cache-control"] == b"private, max-age=60"
    assert (policy.ttl(Status.OK), policy.ttl(Status.STATIC)) == (60, 7)
    assert a_200(policy=policy)[b"cache-control"].startswith(b"public, max-age=25,")


def test_tags_contain_every_preferred_edge() -> None:
    headers = a_200(key=a_key("yto-01", "yul-02"))
    assert headers[b"cache-tag"] == b"route,edge:yto-01,edge:yul-02"
    assert headers[b"xkey"] == b"route edge:yto-01 edge:yul-02"


@pytest.mark.parametrize("sharing", Sharing)
@pytest.mark.parametrize("status", Status)
def test_no_header_is_repeated_or_forbids_stale(sharing: Sharing, status: Status) -> None:
    headers = success_headers(sharing, status, a_key().preferred, etag(BODY), CachePolicy())
    assert len(set(names(headers))) == len(headers)
    assert not re.search(rb"s-maxage|no-cache|must-revalidate", dict(headers)[b"cache-control"])


def test_keyed_404_is_shared_for_ten_seconds() -> None:
    headers = dict(not_found_headers(Sharing.KEYED, Status.OK, ["yto-01"], CachePolicy()))
    assert headers == {
        b"cache-control": b"public, max-age=10",
        b"vary": b"X-Autorouter-Key",
        b"cache-tag": b"route,edge:yto-01",
        b"xkey": b"route edge:yto-01",
    }


@pytest.mark.parametrize("status", [Status.STALE, Status.STATIC, Status.FAIL_OPEN])
def test_uncertain_keyed_404_is_fresh_for_two_seconds(status: Status) -> None:
    headers = dict(not_found_headers(Sharing.KEYED, status, [], CachePolicy()))
    assert headers[b"cache-control"] == b"public, max-age=2"


def test_private_404_is_not_stored() -> None:
    headers = not_found_headers(Sharing.PRIVATE, Status.OK, ["yto-01"], CachePolicy())
    assert headers == [(b"cache-control", b"no-store")]


# The key


def test_key_has_country_and_preferred_edges() -> None:
    assert format_key(a_key()) == "CA~yto-01.yto-02.yul-01"


def test_unknown_country_is_zz() -> None:
    assert format_key(RouteKey(None, ("yto-01",))) == "ZZ~yto-01"
    assert parse_key("ZZ~yto-01") == RouteKey(None, ("yto-01",))


@pytest.mark.parametrize("code", ["EU", "AP", "XX", "UK", "AN"])
def test_invalid_country_in_a_key_is_unknown(code: str) -> None:
    assert parse_key(f"{code}~yto-01") == RouteKey(None, ("yto-01",))


@given(route_keys)
def test_every_key_is_read_back(key: RouteKey) -> None:
    assert parse_key(format_key(key)) == key


@given(route_keys, route_keys)
def test_different_keys_have_different_text(one: RouteKey, other: RouteKey) -> None:
    assert (format_key(one) == format_key(other)) == (one == other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "~",
        "CA",
        "CA~.",
        "CA~yto-01.",
        "CA~.yto-01",
        "CA~yto-01..yul-01",
        "CA~yto-01.yto-01",
        "CA~a.b.c.d",
        "ca~yto-01",
        "CAN~yto-01",
        "C~yto-01",
        "CA~YTO-01",
        "CA~yto_01",
        "CA~yto-01 ",
        " CA~yto-01",
        "CA~yto-01\n",
        "CA~yto-01~yul-01",
        "CA~yto-01,yul-01",
        "CA~yt\u00f6-01",
        "\u0106A~yto-01",
        "CA~" + "a" * 192,
        "CA~" + "." * 100_000,
    ],
)
def test_malformed_key_is_rejected(text: str) -> None:
    assert parse_key(text) is None


@given(st.text() | st.text("ACZ~.-a1\n"))
def test_any_text_is_a_valid_key_or_rejected(text: str) -> None:
    key = parse_key(text)
    assert key is None or parse_key(format_key(key)) == key
    assert key is None or format_key(key)[2:] == text[2:]


# Entity tags


@given(st.binary(), st.binary())
def test_tags_are_equal_if_bodies_are_equal(one: bytes, other: bytes) -> None:
    assert (etag(one) == etag(other)) == (one == other)


@given(st.binary())
def test_tags_are_strong_and_quoted(body: bytes) -> None:
    assert re.fullmatch(rb'"[0-9a-f]{24}"', etag(body))


@pytest.mark.parametrize(
    "value",
    [
        b'"abc"',
        b'W/"abc"',
        b' "abc" ',
        b'"x", "abc"',
        b'"x","abc","y"',
        b'W/"x", W/"abc"',
        b"*",
        b" * ",
    ],
)
def test_listed_tag_matches(value: bytes) -> None:
    assert is_match(value, b'"abc"')


@pytest.mark.parametrize(
    "value", [b"", b"abc", b'"ab"', b'"abcd"', b'"ABC"', b'"x", "y"', b'"abc', b"**", b'"*"', b","]
)
def test_other_tag_does_not_match(value: bytes) -> None:
    assert not is_match(value, b'"abc"')


@given(st.lists(st.binary()), st.binary())
def test_tag_is_found_in_any_list(others: list[bytes], body: bytes) -> None:
    tags = [etag(other) for other in others]
    assert is_match(b", ".join([*tags, etag(body)]), etag(body))


@given(st.binary())
def test_matching_never_raises(value: bytes) -> None:
    assert is_match(value, etag(b"")) is (value.strip() == b"*" or etag(b"") in value)
