"""Who may change the fleet through the ops listener. Pure."""

from enum import StrEnum
from hmac import compare_digest
from ipaddress import ip_address
from urllib.parse import urlsplit


class ChangeAccess(StrEnum):
    """How the fleet can be changed through this listener."""

    OPEN = "open"  # without a token, but only from this machine
    TOKEN = "token"  # noqa: S105 - not a secret: with a token
    REFUSED = "refused"  # not at all, until a token is set


def change_access(token: str | None, listen_host: str) -> ChangeAccess:
    """What a request needs to change the fleet."""
    if token is not None:
        return ChangeAccess.TOKEN
    return ChangeAccess.OPEN if ip_address(listen_host).is_loopback else ChangeAccess.REFUSED


def may_change(
    authorization: str,
    token: str | None,
    listen_host: str,
    asked_host: str = "localhost",
    origin: str | None = None,
) -> bool:
    """Whether a request may change intents.

    If a token is set, the request must have it. If none is set, the listener must be on
    loopback. Then `asked_host`, and `origin` if a page sends the request, must name this machine.
    So a page that rebinds its own name to 127.0.0.1 is refused: it sends that name.
    """
    if token is None:
        is_local = change_access(token, listen_host) is ChangeAccess.OPEN and _is_loopback(
            asked_host
        )
        return is_local and (origin is None or _is_loopback(_host_of(origin)))
    scheme, _, credentials = authorization.partition(" ")
    matches = compare_digest(credentials.strip().encode(), token.encode())
    return scheme.lower() == "bearer" and matches


def is_cross_site(fetch_site: str | None) -> bool:
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
