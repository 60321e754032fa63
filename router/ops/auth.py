"""Who may change the fleet through the ops listener. Pure."""

from enum import StrEnum
from hmac import compare_digest
from ipaddress import ip_address
from urllib.parse import urlsplit


class Changes(StrEnum):
    """How the fleet can be changed through this listener."""

    OPEN = "open"  # accepted from this machine, without a token
    TOKEN = "token"  # noqa: S105 - not a secret: a token is needed
    REFUSED = "refused"  # not possible until a token is set


def how_to_change(token: str | None, listen_host: str) -> Changes:
    """What a request needs to change the fleet."""
    if token is not None:
        return Changes.TOKEN
    return Changes.OPEN if ip_address(listen_host).is_loopback else Changes.REFUSED


def may_change(
    authorization: str,
    token: str | None,
    listen_host: str,
    asked_host: str = "localhost",
    origin: str | None = None,
) -> bool:
    """Whether a request may change intents.

    If a token is set, the request must have it. If none is set, the listener must be on
    loopback, and `asked_host` and the `origin` of a page, if there is one, must name this
    machine. A page that rebinds its own name to 127.0.0.1 sends that name, and is refused.
    """
    if token is None:
        is_local = how_to_change(token, listen_host) is Changes.OPEN and _is_loopback(asked_host)
        return is_local and (origin is None or _is_loopback(_host_of(origin)))
    scheme, _, credentials = authorization.partition(" ")
    matches = compare_digest(credentials.strip().encode(), token.encode())
    return scheme.lower() == "bearer" and matches


def is_foreign(fetch_site: str | None) -> bool:
    """Whether a browser says that a page of another site sent the request (Sec-Fetch-Site of Fetch
    Metadata). Clients other than browsers do not send that header.
    """
    return fetch_site not in (None, "same-origin", "none")


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
