"""Who may change the fleet through the ops listener. Pure."""

from hmac import compare_digest
from ipaddress import ip_address


def may_change(authorization: str, token: str | None, listen_host: str) -> bool:
    """Whether a request may change intents: with the right bearer token; without one set,
    only where nobody but this machine can connect."""
    if token is None:
        return ip_address(listen_host).is_loopback
    scheme, _, credentials = authorization.partition(" ")
    matches = compare_digest(credentials.strip().encode(), token.encode())
    return scheme.lower() == "bearer" and matches
