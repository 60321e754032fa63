"""Which store URLs are accepted, what they mean, and the errors for the others."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.errors import StoreError
from router.store.connect import connect, disconnect
from router.store.redis import RedisStore
from router.store.urls import REDIS_PORT, SCHEMES, SENTINEL_PORT, Place, fault_in, read_url


def a_place(
    *servers: tuple[str, int],
    sentinel_user: str | None = None,
    sentinel_password: str | None = None,
    kind: str = "",
    tls: bool = False,
    service: str = "",
    database: int = 0,
    user: str | None = None,
    password: str | None = None,
    options: dict[str, str | bool] | None = None,
) -> Place:
    """A server on the default port unless given."""
    return Place(
        kind=kind,
        tls=tls,
        servers=servers or (("h", REDIS_PORT),),
        service=service,
        database=database,
        user=user,
        password=password,
        sentinel_user=sentinel_user,
        sentinel_password=sentinel_password,
        options=options or {},
    )


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://h", a_place()),
        (
            "redis+sentinel://h/main?sentinel_user=a%20b&sentinel_password=p%40w",
            a_place(
                ("h", SENTINEL_PORT),
                kind="sentinel",
                service="main",
                sentinel_user="a b",
                sentinel_password="p@w",
            ),
        ),
        ("REDIS://h/", a_place()),
        ("redis://h?", a_place()),
        ("redis://h:1/0", a_place(("h", 1))),
        ("redis://127.0.0.1:65535/15", a_place(("127.0.0.1", 65535), database=15)),
        ("redis://[::1]", a_place(("::1", REDIS_PORT))),
        ("redis://[2001:db8::1]:1/2/", a_place(("2001:db8::1", 1), database=2)),
        ("redis://redis_1.internal:1", a_place(("redis_1.internal", 1))),
        ("redis://u:p@h", a_place(user="u", password="p")),
        ("redis://:p@h", a_place(password="p")),
        ("redis://u@h", a_place(user="u")),
        ("redis://u:p%40%2F%3A%20@h", a_place(user="u", password="p@/: ")),
        ("redis://u:p@q:r@h", a_place(user="u", password="p@q:r")),
        ("rediss://h", a_place(tls=True)),
        ("rediss://h?ssl_ca_certs=/a.crt", a_place(tls=True, options={"ssl_ca_certs": "/a.crt"})),
        (
            "rediss://h/1?ssl_certfile=/a%20b&ssl_keyfile=c&ssl_check_hostname=false",
            a_place(
                tls=True,
                database=1,
                options={"ssl_certfile": "/a b", "ssl_keyfile": "c", "ssl_check_hostname": False},
            ),
        ),
        (
            "rediss+cluster://h?ssl_check_hostname=true",
            a_place(kind="cluster", tls=True, options={"ssl_check_hostname": True}),
        ),
        ("redis+cluster://h:1", a_place(("h", 1), kind="cluster")),
        (
            "redis+cluster://a:1,b,[::1]:2/0",
            a_place(("a", 1), ("b", REDIS_PORT), ("::1", 2), kind="cluster"),
        ),
        (
            "redis+sentinel://h/main",
            a_place(("h", SENTINEL_PORT), kind="sentinel", service="main"),
        ),
        (
            "rediss+sentinel://u:p@a:1,[::1],b/my%20main/3?ssl_ca_certs=a",
            a_place(
                ("a", 1),
                ("::1", SENTINEL_PORT),
                ("b", SENTINEL_PORT),
                kind="sentinel",
                tls=True,
                service="my main",
                database=3,
                user="u",
                password="p",
                options={"ssl_ca_certs": "a"},
            ),
        ),
    ],
)
def test_valid_url_is_parsed(url: str, place: Place) -> None:
    assert (fault_in(url), read_url(url)) == (None, place)


SCHEME = "SCHEME://HOST:PORT"


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("", SCHEME),
        ("h:6379", SCHEME),
        ("redis", SCHEME),
        ("redis:/h", SCHEME),
        ("redis://", SCHEME),
        ("redis:///0", SCHEME),
        ("redis://:6379", SCHEME),
        ("http://h", SCHEME),
        ("unix:///run/redis.sock", SCHEME),
        ("redis+tls://h", SCHEME),
        ("redis+sentinel+cluster://h", SCHEME),
        ("redis://h:", SCHEME),
        ("redis://h:x", SCHEME),
        ("redis://h:0", SCHEME),
        ("redis://h:65536", SCHEME),
        ("redis://h:\u0661", SCHEME),
        ("redis://h:1:2", SCHEME),
        ("redis://a b", SCHEME),
        ("redis://::1", SCHEME),
        ("redis://h,", SCHEME),
        ("redis://,h", SCHEME),
        ("redis://u:p/q@h", SCHEME),
        ("redis://u:p#q@h", SCHEME),
        ("redis://u:p?q@h", "cannot be read"),
        ("redis://[::1", "cannot be read"),
        ("redis://[::g]", "cannot be read"),
        ("redis://u:\u2100@h", "cannot be read"),
        ("redis://h?=&", "cannot be read"),
        ("redis://a:1,b:2/0", "one server"),
        ("redis://h/first", "database by its number"),
        ("redis://h/0/1", "database by its number"),
        ("redis://h/-1", "database by its number"),
        ("redis://h/\u0661", "database by its number"),
        ("redis+cluster://h/1", "must not name a database"),
        ("redis+cluster://h/main", "must not name a database"),
        ("redis+sentinel://h", "must name the service"),
        ("redis+sentinel://h/", "must name the service"),
        ("redis+sentinel://h/main/first", "must name the service"),
        ("redis+sentinel://h/main/1/2", "must name the service"),
        ("redis://h?sentinel_password=pw", "with +sentinel: sentinel_user"),
        ("redis+sentinel://h/main?sentinel_password=", "sentinel_password"),
        ("redis+sentinel://h/main?ssl_keyfile=a", "with rediss"),
        ("redis://h?db=1", "ssl_ca_certs=FILE"),
        ("redis://h?ssl_ca_certs=/a.crt", "with rediss"),
        ("rediss://h?socket_timeout=60", "ssl_ca_certs=FILE"),
        ("rediss://h?ssl_ca_certs=", "ssl_ca_certs=FILE"),
        ("rediss://h?ssl_cert_reqs=none", "ssl_ca_certs=FILE"),
        ("rediss://h?ssl_check_hostname=no", "ssl_check_hostname=false"),
        ("rediss://h?SSL_CA_CERTS=/a.crt", "ssl_ca_certs=FILE"),
    ],
)
def test_invalid_url_is_rejected_with_a_correction(url: str, fault: str) -> None:
    assert fault in (fault_in(url) or "accepted")


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2@host:port",
        "redis://user:hunter2@a,b",
        "redis://user:hunter2@host/first",
        "redis://user:hun/ter2@host",
        "redis://host?password=hunter2",
        "rediss://host?ssl_password=hunter2",
        "redis+sentinel://user:hunter2@host",
        "redis+cluster://user:hunter2@host/1",
        "hunter2",
    ],
)
def test_no_error_shows_a_password(url: str) -> None:
    fault = fault_in(url)
    assert fault is not None
    assert "hunter2" not in fault
    assert "ter2" not in fault


words = st.text(st.sampled_from("ahr1:/@,[]?&=%.# -+s"), max_size=20)


@given(st.sampled_from([*SCHEMES, "", "http"]), words)
@example("redis", "@@:1")
@example("redis", "h?&")
@pytest.mark.anyio
async def test_every_accepted_url_makes_a_client(scheme: str, rest: str) -> None:
    url = f"{scheme}://{rest}"
    if fault_in(url) is None:
        await disconnect(connect(url))
        assert read_url(url).servers


@pytest.mark.anyio
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_unreachable_store_is_a_store_error_and_closes(scheme: str) -> None:
    store = RedisStore(f"{scheme}://127.0.0.1:1{'/main' if 'sentinel' in scheme else ''}")
    with pytest.raises(StoreError):
        await store.read(["yto-01"])
    await store.close()
