"""Rejects requests whose Host is not a name of this listener, against DNS rebinding.

A page that rebinds its own name to this address sends that name as `Host`. This accepts IP
addresses, names without a dot, and the names in AUTOROUTER_OPS_HOSTS. A web page cannot use the
first two for rebinding.
"""

import re
from collections.abc import Callable, Collection
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from router.ops.health_routes import answer_json

_HOST = re.compile(rb"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::\d{1,5})?")

_MALFORMED = answer_json({"detail": "send one well-formed Host header"}, 400)


def named_host(header: bytes) -> str | None:
    """The host of a `Host` header, without its port, in lower case; None if malformed."""
    match = _HOST.fullmatch(header)
    if match is None:
        return None
    if match["v6"] is not None:
        return match["v6"].decode().lower() if _is_address(match["v6"].decode()) else None
    return match["name"].decode().lower().rstrip(".") or None


def is_accepted(host: str, hosts: Collection[str]) -> bool:
    """Whether requests with this host are answered."""
    return "." not in host or _is_address(host) or host in hosts


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class HostCheck:
    """ASGI middleware. `hosts` returns the additional names, in lower case."""

    def __init__(self, app: ASGIApp, hosts: Callable[[], Collection[str]]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        named = [value for name, value in scope["headers"] if name == b"host"]
        host = named_host(named[0]) if len(named) == 1 else None
        if host is None:
            await _MALFORMED(scope, receive, send)
        elif not is_accepted(host, self._hosts()):
            await _unknown_host(host)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _unknown_host(host: str) -> ASGIApp:
    detail = (
        f"{host} is not a name of this listener; use its IP address, or add the name to "
        "AUTOROUTER_OPS_HOSTS"
    )
    return answer_json({"detail": detail}, 403)
