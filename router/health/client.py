"""The HTTP client for edges: one connection per request, limited in time and size.

No proxy, no redirect, no cookie; certificates are verified.
"""

import asyncio
import ipaddress
import itertools
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, urlsplit

import h11

from router import __version__
from router.health.connect import Connected, ConnectError, race, racing_order
from router.health.exchange import PIECE_BYTES, Response, exchange
from router.health.resolver import ResolveError, Resolver
from router.model import is_private

_PORTS = {"http": 80, "https": 443}
_FIELDS = {
    "User-Agent": f"autorouter/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one request. `total_s` counts from the end of the lookup. If `body_bytes` is None,
    the body is not read.
    """

    connect_s: float = 1.0
    total_s: float = 2.0
    body_bytes: int | None = 64 * 1_024


@dataclass(slots=True, kw_only=True)
class Trace:
    """Details of a request, also of a failed one. `address`: the one connected to; `lost`: those
    that failed meanwhile. `started`: the end of the lookup, on the monotonic clock; `elapsed_ms`:
    from then to the last byte.
    """

    address: str | None = None
    lost: tuple[str, ...] = ()
    started: float | None = None
    elapsed_ms: float | None = None


class ConnectTimeoutError(TimeoutError):
    """No address accepted a connection in time."""


@dataclass(kw_only=True)
class EdgeClient:
    """Makes requests to edges. See `open_client`; close it, or use it as a context."""

    resolver: Resolver
    tls: ssl.SSLContext
    _turn: "itertools.count[int]" = field(default_factory=itertools.count)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.resolver.close()

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        limits: Limits = Limits(),
        trace: Trace | None = None,
        is_public: bool = False,
    ) -> Response:
        """The response to a request. Plain http goes to private networks only, unless
        `is_public`. Raises ResolveError, ConnectError, TooLargeError,
        NotUnderstoodError, TimeoutError, OSError, ssl.SSLError, or ValueError for a URL."""
        trace = trace or Trace()
        parts = urlsplit(url)
        if not parts.hostname or parts.scheme not in _PORTS:
            raise ValueError(f"{url} is not an http or https URL with a host")
        addresses = await self.resolver.addresses(parts.hostname)
        if parts.scheme == "http" and not is_public:
            addresses = _private(addresses, parts.hostname)
        trace.started = time.monotonic()
        async with asyncio.timeout(limits.total_s):
            connected = await self._connect(addresses, parts, limits, trace)
            reader, writer = await self._open_streams(connected, parts)
            try:
                request = _request(method, parts, headers or {})
                response = await exchange(reader, writer, request, limits.body_bytes)
            finally:
                writer.transport.abort()
        trace.elapsed_ms = (time.monotonic() - trace.started) * 1_000
        return response

    async def _connect(
        self, addresses: tuple[str, ...], parts: SplitResult, limits: Limits, trace: Trace
    ) -> Connected:
        order = racing_order(addresses, next(self._turn))
        try:
            async with asyncio.timeout(limits.connect_s):
                connected = await race(order, parts.port or _PORTS[parts.scheme])
        except TimeoutError as error:
            trace.lost = order
            raise ConnectTimeoutError(f"no connection within {limits.connect_s:g} s") from error
        except ConnectError as error:
            trace.lost = error.lost
            raise
        trace.address, trace.lost = connected.address, connected.lost
        return connected

    async def _open_streams(
        self, connected: Connected, parts: SplitResult
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        secure = parts.scheme == "https"
        try:
            return await asyncio.open_connection(
                sock=connected.socket,
                limit=PIECE_BYTES,
                ssl=self.tls if secure else None,
                server_hostname=parts.hostname if secure else None,
            )
        except BaseException:
            connected.socket.close()
            raise


def open_client(resolver: Resolver | None = None) -> EdgeClient:
    """A client that verifies certificates, with a resolver of its own unless one is given."""
    return EdgeClient(resolver=resolver or Resolver(), tls=ssl.create_default_context())


def _private(addresses: tuple[str, ...], host: str) -> tuple[str, ...]:
    """The addresses on loopback or a private network; plain http may go to no others."""
    private = tuple(one for one in addresses if is_private(ipaddress.ip_address(one)))
    if not private:
        reason = f"{host} is not on a private network; use https there"
        raise ResolveError(reason, is_local=False)
    return private


def _request(method: str, parts: SplitResult, headers: Mapping[str, str]) -> h11.Request:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fields = {"Host": parts.netloc.rpartition("@")[2], **_FIELDS, **headers}
    return h11.Request(method=method, target=target, headers=list(fields.items()))
