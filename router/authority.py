"""Who may change the fleet through the ops listener. Pure."""

from hmac import compare_digest
from ipaddress import ip_address


def may_change(
    authorization: str, token: str | None, listen_host: str, asked_host: str = "localhost"
) -> bool:
    """Whether a request may change intents: with the right bearer token; without one set,
    only where nobody but this machine can connect, and under a name of this machine (a
    page that rebinds its own name to 127.0.0.1 comes under that name)."""
    if token is None:
        return ip_address(listen_host).is_loopback and _is_loopback(asked_host)
    scheme, _, credentials = authorization.partition(" ")
    matches = compare_digest(credentials.strip().encode(), token.encode())
    return scheme.lower() == "bearer" and matches


def _is_loopback(host: str) -> bool:
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
