"""The store URLs we accept: standalone, Sentinel or Cluster, with or without TLS. Pure.

    redis://[USER:PASSWORD@]HOST:PORT[/DB]
    redis+sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/SERVICE[/DB]
    redis+cluster://[USER:PASSWORD@]HOST:PORT

and the same with rediss for TLS.
"""

import re
from urllib.parse import urlsplit

SENTINEL_PORT = 26_379

SCHEMES = tuple(
    transport + kind for transport in ("redis", "rediss") for kind in ("", "+sentinel", "+cluster")
)


_SERVER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(?::(\d{1,5}))?")
_SERVICE = re.compile(r"/[^/]+(?:/\d{1,3})?/?")


def fault_in(url: str) -> str | None:
    """What is wrong with a store URL, or None. Never quotes it: it may hold a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "cannot be read as a URL; use redis://HOST:PORT/0"
    servers = parts.netloc.rpartition("@")[2].split(",")
    if parts.scheme not in SCHEMES or not all(_is_server(server) for server in servers):
        return f"must be SCHEME://HOST:PORT with one of {', '.join(SCHEMES)}"
    if parts.scheme.endswith("+sentinel") and not _SERVICE.fullmatch(parts.path):
        return "must name the service: redis+sentinel://HOST:PORT,HOST:PORT/SERVICE"
    return None


def _is_server(text: str) -> bool:
    match = _SERVER.fullmatch(text)
    return match is not None and int(match[1] or 0) <= 65535


def hosts(netloc: str) -> list[tuple[str, int]]:
    """Host and port of each server named in a URL's authority."""
    found = []
    for item in netloc.rpartition("@")[2].split(","):
        host, colon, port = item.rpartition(":")
        named = (host, int(port)) if colon and port.isdigit() else (item, SENTINEL_PORT)
        found.append((named[0].strip("[]"), named[1]))
    return found
