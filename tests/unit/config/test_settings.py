"""Settings from the environment: all errors are reported at once, and no secret is shown."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.config.settings import (
    MAX_SECRET_FILE_LENGTH,
    PREFIX,
    Settings,
    describe_settings,
    load_settings,
    read_settings,
    unknown_settings,
)
from router.config.values import Listen, PurgeSpec
from router.errors import ConfigError

LONG = "0123456789abcdef"
SECRETS = {
    "OPS_TOKEN": "hunter2-hunter2-hunter2",
    "CDN_SECRET": "swordfish-swordfish,opensesame-opensesame",
    "REDIS_URL": "redis://user:correcthorse@127.0.0.1:6379/0",
    "EDGE_API_KEY": "batterystaple",
    "FASTLY_TOKEN": "a-fastly-token",
    "CLOUDFLARE_TOKEN": "a-cloudflare-token",
    "MAXMIND_LICENSE_KEY": "a-license-key",
}


def environ(**values: str) -> dict[str, str]:
    return {PREFIX + name: value for name, value in values.items()}


def loaded(**values: str) -> Settings:
    return load_settings(environ(**values))


def faults_of(**values: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(**values)
    return caught.value.faults


def test_nothing_set_gives_the_defaults() -> None:
    settings = load_settings({})
    assert settings == Settings()
    assert settings.listen == Listen("0.0.0.0", 8080)
    assert settings.ops_listen == Listen("127.0.0.1", 9090)


def test_lifetimes_have_the_defaults_of_the_contract() -> None:
    settings = Settings()
    lifetimes = settings.ttl_s, settings.degraded_ttl_s, settings.cdn_max_age_s
    assert lifetimes == (300, 30, 10)


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_blank_value_means_unset(blank: str) -> None:
    every = {each.variable: blank for each in describe_settings()}
    assert load_settings(every) == Settings()


def test_other_variables_are_ignored() -> None:
    assert load_settings({"PATH": "/bin", "TTL_S": "5", "AUTOROUTER_PORT": "tcp"}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("regions", "/etc/regions.yaml", Path("/etc/regions.yaml")),
        ("geo_db", "~/city.mmdb", (Path("~/city.mmdb").expanduser(),)),
        ("geo_db", "/a/4.mmdb, /a/6.mmdb", (Path("/a/4.mmdb"), Path("/a/6.mmdb"))),
        ("listen", "127.0.0.1:0", Listen("127.0.0.1", 0)),
        ("listen", "[::]:65535", Listen("::", 65535)),
        ("trusted_proxies", "10.0.0.0/8, 2001:db8::/32", ("10.0.0.0/8", "2001:db8::/32")),
        ("trusted_proxies", "10.1.2.3,", ("10.1.2.3",)),
        ("cdn_secret", LONG, (LONG,)),
        ("cdn_secret", f"{LONG}, {LONG}2", (LONG, f"{LONG}2")),
        ("cache_key_headers", "CloudFront-Viewer-Country", ("CloudFront-Viewer-Country",)),
        ("vantage", "tor-1", "tor-1"),
        ("ttl_s", "1", 1),
        ("ttl_s", " 86400 ", 86_400),
        ("cdn_max_age_s", "0", 0),
        ("poll_interval_s", "0.1", 0.1),
        (
            "witnesses",
            "https://a.example/, http://b.example",
            ("https://a.example/", "http://b.example"),
        ),
        ("log_level", "debug", "debug"),
        ("log_format", "json", "json"),
        ("log_requests", "none", 0.0),
        ("log_requests", "all", 1.0),
        ("log_requests", "0.01", 0.01),
        ("log_requests", "1.0", 1.0),
        ("purge", "none", ()),
        (
            "purge",
            "varnish:http://127.0.0.1:6081/, cloudfront:E2QWRU",
            (PurgeSpec("varnish", "http://127.0.0.1:6081/"), PurgeSpec("cloudfront", "E2QWRU")),
        ),
        ("redis_url", "redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis_url", "rediss://:pw@[::1]/1", "rediss://:pw@[::1]/1"),
        ("redis_url", "redis+cluster://h:7000", "redis+cluster://h:7000"),
        ("redis_url", "redis+sentinel://a:1,b/svc/2", "redis+sentinel://a:1,b/svc/2"),
    ],
)
def test_values_are_parsed(name: str, text: str, expected: object) -> None:
    assert getattr(loaded(**{name.upper(): text}), name) == expected


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("TTL_S", ["0", "-1", "86401", "5m", "1.5", "nan", "0x10", "1_0"]),
        ("DEGRADED_TTL_S", ["0", "86401"]),
        ("CDN_MAX_AGE_S", ["-1", "3601", "ten"]),
        ("POLL_INTERVAL_S", ["0", "0.09", "300.1", "nan", "inf", "-inf"]),
        ("VANTAGE", ["Toronto", "-a", "a b", "a" * 64, "a.b"]),
        ("LOG_LEVEL", ["loud", "INFO"]),
        ("LOG_FORMAT", ["xml"]),
        ("LOG_REQUESTS", ["some", "1.1", "-0.1", "nan", "1%", "0_1", ".", "2", "\u0660"]),
        ("LISTEN", ["8080", "localhost:80", ":80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536"]),
        ("LISTEN", ["1.2.3.4:-1", "1.2.3.4:0000001234567", "1.2.3.4:" + "0" * 5_000]),
        ("OPS_LISTEN", ["127.0.0.1:http", "127.0.0.1:\u0661"]),
        ("TRUSTED_PROXIES", ["10.0.0.1/8", "proxy", "10.0.0.0/33"]),
        ("CDN_SECRET", ["short", f"{LONG},short", ",", f"{LONG}é", f"{LONG},{LONG}\x7f"]),
        ("OPS_TOKEN", ["pässwort", "two\nlines", "tab\ttab", "\u200b"]),
        ("EDGE_API_KEY", ["schlüssel", "two\r\nlines"]),
        ("CACHE_KEY_HEADERS", ["X-Forwarded-For", "CloudFront-Viewer-City,Cookie"]),
        ("WITNESSES", ["example.com", "ftp://a/", "https://", "http://[::1", "http://h:0/"]),
        ("WITNESSES", ["http://127.0.0.1:99999/", "http://127.0.0.1:x/", "http://a b/"]),
        ("PURGE", ["varnish:http://h:0/", "varnish:http://a b/", "varnish:http://[::1/"]),
        ("PURGE", ["akamai:x", "varnish", "varnish:127.0.0.1:6081", "cloudfront:", "fastly:a/b"]),
        ("PURGE", ["none,varnish:http://h/", "cloudflare:\u0661", "cloudfront:E1 fastly:S1"]),
        ("PURGE", ["varnish:http://h:99999/", "varnish:http://h:port/", "varnish:http://h:-1/"]),
        ("REGIONS", ["~nobody-by-this-name/regions.yaml"]),
        ("REDIS_URL", ["127.0.0.1:6379", "http://h", "redis://", "redis://:pw@", "redis://[::1"]),
        ("REDIS_URL", ["redis://h:port", "redis://h:65536", "redis://h:1:2", "redis://a b"]),
        ("REDIS_URL", ["redis+sentinel://a:1", "redis+sentinel://a:1/svc/first", "redis://h,"]),
    ],
)
def test_invalid_value_is_rejected_by_name(name: str, texts: list[str]) -> None:
    for text in texts:
        (fault,) = faults_of(**{name: text})
        assert fault.startswith(f"{PREFIX}{name}: ")


def test_all_errors_are_reported_at_once() -> None:
    faults = faults_of(TTL_S="0", LISTEN="nowhere", LOG_LEVEL="loud", VANTAGE="ok", REDIS_URL="x")
    named = [fault.partition(":")[0].removeprefix(PREFIX) for fault in faults]
    assert named == ["REDIS_URL", "LISTEN", "TTL_S", "LOG_LEVEL"]


def test_every_invalid_item_is_reported() -> None:
    (fault,) = faults_of(TRUSTED_PROXIES="10.0.0.1/8, 10.0.0.0/8, proxy")
    assert "10.0.0.1/8" in fault
    assert "proxy" in fault


@pytest.mark.parametrize("kind", ["fastly", "cloudflare"])
def test_purge_target_needs_its_token(kind: str) -> None:
    (fault,) = faults_of(PURGE=f"{kind}:id1")
    assert fault.startswith(f"AUTOROUTER_{kind.upper()}_TOKEN: is needed")
    (fault,) = faults_of(PURGE=f"{kind}:id1", **{f"{kind.upper()}_TOKEN": "schlüssel"})
    assert "printable ASCII" in fault
    loaded(PURGE=f"{kind}:id1", **{f"{kind.upper()}_TOKEN": "a-token"})


def test_error_has_the_accepted_range() -> None:
    assert faults_of(TTL_S="0") == ("AUTOROUTER_TTL_S: '0' is not accepted; use 1 to 86400",)


def test_valid_values_are_kept_beside_invalid_ones() -> None:
    settings, faults = read_settings(environ(TTL_S="0", VANTAGE="tor"))
    assert (settings.ttl_s, settings.vantage, len(faults)) == (300, "tor", 1)


@given(st.sampled_from([each.variable for each in describe_settings()]), st.text())
def test_any_text_is_accepted_or_reported(variable: str, text: str) -> None:
    settings, faults = read_settings({variable: text})
    assert isinstance(settings, Settings)
    assert all(fault.startswith(variable) for fault in faults)


@given(st.integers(0, 70_000))
def test_ports_are_16_bits(port: int) -> None:
    settings, faults = read_settings(environ(LISTEN=f"127.0.0.1:{port}"))
    assert bool(faults) is (port > 65_535)
    assert settings.listen.port in (port, 8080)


@pytest.mark.parametrize(("text", "shown"), [("1.2.3.4:80", "1.2.3.4:80"), ("::1:80", "[::1]:80")])
def test_listener_is_shown_as_host_and_port(text: str, shown: str) -> None:
    assert str(loaded(LISTEN=text).listen) == shown


# Secrets


@pytest.mark.parametrize("name", SECRETS)
def test_secret_is_read_from_a_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRETS[name]}\n", encoding="utf-8")
    assert loaded(**{f"{name}_FILE": str(file)}) == loaded(**{name: SECRETS[name]})


@pytest.mark.parametrize("name", SECRETS)
def test_secret_set_twice_is_an_error(name: str, tmp_path: Path) -> None:
    (fault,) = faults_of(**{name: SECRETS[name], f"{name}_FILE": str(tmp_path / "any")})
    assert "set twice" in fault


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe\x80"])
def test_unreadable_secret_file_is_an_error(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    (fault,) = faults_of(OPS_TOKEN_FILE=str(file))
    assert fault.startswith("AUTOROUTER_OPS_TOKEN: ")
    assert "AUTOROUTER_OPS_TOKEN_FILE" in fault


def test_secret_file_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("x" * (MAX_SECRET_FILE_LENGTH + 1), encoding="utf-8")
    (fault,) = faults_of(OPS_TOKEN_FILE=str(file))
    assert "too long" in fault


def test_other_settings_are_not_read_from_files(tmp_path: Path) -> None:
    file = tmp_path / "ttl"
    file.write_text("5", encoding="utf-8")
    assert loaded(TTL_S_FILE=str(file)).ttl_s == 300


def test_settings_never_show_a_secret() -> None:
    settings = loaded(**SECRETS)
    shown = f"{settings!r} {settings} {[settings.cdn_secret]}"
    words = ("hunter2", "swordfish", "opensesame", "correcthorse", "batterystaple")
    assert not any(word in shown for word in words)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "redis://user:hunter2@host:port"),
        ("REDIS_URL", "redis://user:hunter\u21002@host"),
        ("REDIS_URL", "hunter2"),
        ("REDIS_URL", "redis+sentinel://:hunter2@h:1/"),
        ("CDN_SECRET", "hunter2"),
        ("CDN_SECRET", f"{LONG},hunter2"),
    ],
)
def test_errors_never_show_a_secret(name: str, value: str) -> None:
    (fault,) = faults_of(**{name: value})
    assert "hunter" not in fault


def test_described_secrets_are_marked() -> None:
    marked = {each.variable.removeprefix(PREFIX) for each in describe_settings() if each.is_secret}
    assert marked == set(SECRETS)


# Descriptions


def test_every_setting_is_described() -> None:
    described = describe_settings()
    names = [each.variable.removeprefix(PREFIX).lower() for each in described]
    assert names == list(Settings.__struct_fields__)
    assert all(each.about.endswith(".") and each.accepts for each in described)


@pytest.mark.parametrize(
    ("variable", "accepts", "unit", "default"),
    [
        ("TTL_S", "1 to 86400", "s", "300"),
        ("POLL_INTERVAL_S", "0.1 to 10", "s", "3.0"),
        ("LISTEN", "HOST:PORT", "", "0.0.0.0:8080"),
        ("LOG_LEVEL", "debug, info, warning, error", "", "info"),
        ("TRUSTED_PROXIES", "CIDR,…", "", ""),
        ("REDIS_URL", "redis[s][+sentinel|+cluster]://…", "", ""),
    ],
)
def test_range_unit_and_default_are_described(
    variable: str, accepts: str, unit: str, default: str
) -> None:
    (one,) = [each for each in describe_settings() if each.variable == PREFIX + variable]
    assert (one.accepts, one.unit, one.default) == (accepts, unit, default)


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        (
            "AUTOROUTER_TTL",
            "AUTOROUTER_TTL: is an unknown setting and is ignored; did you mean AUTOROUTER_TTL_S?",
        ),
        (
            "AUTOROUTER_REDIS_URI",
            "AUTOROUTER_REDIS_URI: is an unknown setting and is ignored; "
            "did you mean AUTOROUTER_REDIS_URL?",
        ),
        ("AUTOROUTER_", "AUTOROUTER_: is an unknown setting and is ignored"),
    ],
)
def test_unknown_setting_is_reported_with_a_guess(variable: str, line: str) -> None:
    assert unknown_settings({variable: "x", "HOME": "/"})[0].startswith(line)


def test_known_settings_are_not_reported() -> None:
    every = {each.variable: "x" for each in describe_settings()}
    files = {f"{each.variable}_FILE": "x" for each in describe_settings() if each.is_secret}
    assert unknown_settings(every | files) == []


def test_file_of_a_setting_without_a_secret_is_reported() -> None:
    (line,) = unknown_settings({"AUTOROUTER_TTL_S_FILE": "/x"})
    assert line.startswith("AUTOROUTER_TTL_S_FILE: is an unknown setting")


@pytest.mark.parametrize("password", ["hunter2", "hunter2:x", "hun/ter2", "hun,ter2", "hunter2@y"])
@pytest.mark.parametrize("name", ["PURGE", "WITNESSES"])
def test_password_in_a_url_is_in_no_error(name: str, password: str) -> None:
    text = f"http://someone:{password}@127.0.0.1:99999/"
    with pytest.raises(ConfigError) as caught:
        load_settings({f"AUTOROUTER_{name}": f"varnish:{text}" if name == "PURGE" else text})
    assert "hun" not in str(caught.value)
    assert "ter2" not in str(caught.value)
