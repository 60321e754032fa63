"""The store URLs we accept: standalone, Sentinel or Cluster, with or without TLS. Pure.

    redis://[USER:PASSWORD@]HOST:PORT[/DB]
    redis+sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/SERVICE[/DB]
    redis+cluster://[USER:PASSWORD@]HOST:PORT

and the same with rediss for TLS.
"""

from urllib.parse import urlsplit

SENTINEL_PORT = 26_379

SCHEMES = tuple(
    transport + kind for transport in ("redis", "rediss") for kind in ("", "+sentinel", "+cluster")
)


def fault_in(url: str) -> str | None:
    """What is wrong with a store URL, or None."""
    try:
        parts = urlsplit(url)
        has_host = bool(hosts(parts.netloc)[0][0])
    except ValueError:
        return "cannot be read as a URL; use redis://HOST:PORT/0"
    if parts.scheme not in SCHEMES or not has_host:
        return f"must be SCHEME://HOST:PORT with one of {', '.join(SCHEMES)}"
    if parts.scheme.endswith("+sentinel") and not parts.path.strip("/"):
        return "must name the service: redis+sentinel://HOST:PORT,HOST:PORT/SERVICE"
    return None


def hosts(netloc: str) -> list[tuple[str, int]]:
    """Host and port of each server named in a URL's authority."""
    found = []
    for item in netloc.rpartition("@")[2].split(","):
        host, colon, port = item.rpartition(":")
        named = (host, int(port)) if colon and port.isdigit() else (item, SENTINEL_PORT)
        found.append((named[0].strip("[]"), named[1]))
    return found
