"""The store URLs we accept: standalone, Sentinel or Cluster, with or without TLS. Pure.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/SERVICE[/DB]
    redis+cluster://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]

and the same with rediss for TLS, which takes options: `?ssl_ca_certs=FILE`, joined by `&`.
A separate login for Sentinels is given by `?sentinel_user=` and `sentinel_password=`.
"""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

REDIS_PORT = 6_379
SENTINEL_PORT = 26_379
SCHEMES = tuple(
    transport + kind for transport in ("redis", "rediss") for kind in ("", "+sentinel", "+cluster")
)
SENTINEL_LOGIN = ("sentinel_user", "sentinel_password")
TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")

_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s,:\[\]]+)(?::([0-9]{1,5}))?")
_PATHS = {
    "": re.compile(r"(?:/[0-9]{0,3})?/?"),
    "sentinel": re.compile(r"/[^/]+(?:/[0-9]{1,3})?/?"),
    "cluster": re.compile(r"(?:/0?)?"),
}
_PATH_FAULTS = {
    "": "may only name a database by its number: redis://HOST:PORT/0",
    "sentinel": "must name the service: redis+sentinel://HOST:PORT,HOST:PORT/SERVICE",
    "cluster": "must not name a database: a Cluster has no others than 0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a store is, and its login. `kind`: empty, `sentinel` or `cluster`; `options`: for TLS,
    by the names that redis-py gives them.
    """

    kind: str
    tls: bool
    servers: tuple[tuple[str, int], ...]
    service: str
    database: int
    user: str | None
    password: str | None
    sentinel_user: str | None = None
    sentinel_password: str | None = None
    options: dict[str, str | bool]


def fault_in(url: str) -> str | None:
    """What is wrong with a store URL, or None. Never quotes it: it may hold a password."""
    try:
        parts = urlsplit(url)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        return "cannot be read as a URL; use redis://HOST:PORT/0"
    transport, _, kind = parts.scheme.partition("+")
    servers = parts.netloc.rpartition("@")[2].split(",")
    if parts.scheme not in SCHEMES or not all(_is_server(server) for server in servers):
        return f"must be SCHEME://HOST:PORT with one of {', '.join(SCHEMES)}"
    if kind == "" and len(servers) > 1:
        return "must name one server, unless the scheme says +sentinel or +cluster"
    if not _PATHS[kind].fullmatch(parts.path):
        return _PATH_FAULTS[kind]
    if not all(_is_option(name, value, transport, kind) for name, value in options):
        files = ", ".join(f"{name}=FILE" for name in TLS_FILES)
        return (
            f"may only have these options, with rediss: {files}, ssl_check_hostname=false; "
            f"with +sentinel: {', '.join(SENTINEL_LOGIN)}"
        )
    return None


def read_url(url: str) -> Place:
    """The Place in a URL that has no fault."""
    parts = urlsplit(url)
    transport, _, kind = parts.scheme.partition("+")
    login, _, servers = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    port = SENTINEL_PORT if kind == "sentinel" else REDIS_PORT
    options = dict(parse_qsl(parts.query))
    first, _, second = parts.path.strip("/").partition("/")
    service, database = (first, second) if kind == "sentinel" else ("", first)
    return Place(
        kind=kind,
        tls=transport == "rediss",
        servers=tuple(
            (one[1].strip("[]"), int(one[2] or port)) for one in _SERVER.finditer(servers)
        ),
        service=unquote(service),
        database=int(database or 0),
        user=unquote(user) or None,
        password=unquote(password) or None,
        sentinel_user=options.pop("sentinel_user", None),
        sentinel_password=options.pop("sentinel_password", None),
        options={
            name: value == "true" if name == "ssl_check_hostname" else value
            for name, value in options.items()
        },
    )


def _is_server(text: str) -> bool:
    match = _SERVER.fullmatch(text)
    return match is not None and (match[2] is None or 0 < int(match[2]) <= 65535)


def _is_option(name: str, value: str, transport: str, kind: str) -> bool:
    if name in SENTINEL_LOGIN:
        return kind == "sentinel" and bool(value)
    if transport != "rediss":
        return False
    if name == "ssl_check_hostname":
        return value in ("true", "false")
    return name in TLS_FILES and bool(value)
