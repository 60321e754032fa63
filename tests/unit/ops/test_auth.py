"""Which requests may change the fleet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ops.auth import ChangeAccess, change_access, is_cross_site, may_change

TOKEN = "a-token-of-operators"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_needs_no_token_if_none_is_set(host: str) -> None:
    assert may_change("", None, host)


@pytest.mark.parametrize(
    ("host_header", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("192.0.2.1", False),
        ("", False),
    ],
)
def test_dns_rebinding_is_refused_without_a_token(host_header: str, expected: bool) -> None:
    assert may_change("", None, "127.0.0.1", host_header) is expected


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "fe80::1", "169.254.1.1"])
@pytest.mark.parametrize("authorization", ["", "Bearer ", "Bearer None", f"Bearer {TOKEN}"])
def test_other_hosts_are_refused_if_no_token_is_set(host: str, authorization: str) -> None:
    assert not may_change(authorization, None, host)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "2001:db8::1"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_valid_token_is_accepted_on_every_host(host: str, scheme: str) -> None:
    assert may_change(f"{scheme} {TOKEN}", TOKEN, host)
    assert may_change(f"{scheme}   {TOKEN} ", TOKEN, host)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN} {TOKEN}",
        f"Bearer\t{TOKEN}",
        f"Bearer,{TOKEN}",
        f"x Bearer {TOKEN}",
        "Bearer \xff",
    ],
)
def test_invalid_token_is_refused_on_loopback(authorization: str) -> None:
    assert not may_change(authorization, TOKEN, "127.0.0.1")


@given(st.text())
def test_only_the_token_is_accepted(text: str) -> None:
    assert may_change(f"Bearer {text}", TOKEN, "127.0.0.1") is (text.strip() == TOKEN)


@pytest.mark.parametrize(
    ("token", "host", "changes"),
    [
        (None, "127.0.0.1", ChangeAccess.OPEN),
        (None, "::1", ChangeAccess.OPEN),
        (None, "10.0.0.1", ChangeAccess.REFUSED),
        (TOKEN, "127.0.0.1", ChangeAccess.TOKEN),
        (TOKEN, "0.0.0.0", ChangeAccess.TOKEN),
    ],
)
def test_requirement_for_changes_is_reported(
    token: str | None, host: str, changes: ChangeAccess
) -> None:
    assert change_access(token, host) is changes


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, True),
        ("http://localhost:9090", True),
        ("http://[::1]:9090", True),
        ("http://127.0.0.1", True),
        ("https://ops.example.com", False),
        ("http://127.0.0.1.evil.example", False),
        ("null", False),
        ("", False),
        ("http://[", False),
    ],
)
def test_other_origin_is_refused_without_a_token(origin: str | None, expected: bool) -> None:
    assert may_change("", None, "127.0.0.1", "localhost", origin) is expected
    assert may_change(f"Bearer {TOKEN}", TOKEN, "127.0.0.1", "localhost", origin)


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        (None, False),
        ("same-origin", False),
        ("none", False),
        ("same-site", True),
        ("cross-site", True),
        ("", True),
    ],
)
def test_request_of_another_site_is_detected(site: str | None, expected: bool) -> None:
    assert is_cross_site(site) is expected
