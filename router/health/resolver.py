"""Resolves names of edges with c-ares, and keeps answers for their TTL. A name that cannot be
resolved affects no other name: each has one lookup of its own, with a timeout. When a lookup
fails, a check with names that resolved before tells whether the name is at fault or the resolver.
While the resolver is at fault, the last good answer is used.
"""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiodns
import pycares

WAIT_S = 1.0  # how long a probe waits for a lookup
LOOKUP_S = 5.0  # the timeout of a lookup
QUERY_TIMEOUT_S = 1.0
QUERY_TRIES = 2
MIN_TTL_S = 1.0
LAST_GOOD_S = 24 * 3_600.0
CHECK_S = 1.0  # how long the result of a check of the resolver is used
CHECKED_NAMES = 3
MAX_NAMES = 4_096
MAX_ADDRESSES = 16

_ABSENT = frozenset({pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENODATA})
_IMPOSSIBLE = frozenset({pycares.errno.ARES_EBADNAME, pycares.errno.ARES_EBADSTR})


class ResolveError(Exception):
    """A name could not be resolved. `is_local`: the resolver is at fault, not the name."""

    def __init__(self, reason: str, *, is_local: bool) -> None:
        super().__init__(reason)
        self.is_local = is_local


@dataclass(slots=True, kw_only=True)
class _Name:
    """The state of one name. `error`: why its latest lookup failed, if it did."""

    addresses: tuple[str, ...] = ()
    found_at: float = 0.0
    expires_at: float = 0.0
    error: "_Failure | None" = None
    lookup: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Why a lookup failed. `is_certain`: the name is at fault, even if no other name resolves."""

    reason: str
    is_certain: bool


@dataclass(kw_only=True)
class Resolver:
    """Resolves names through the system's resolvers, or `servers` ("address:port").

    Needs a running event loop. Close it.
    """

    servers: Sequence[str] = ()
    clock: Callable[[], float] = time.monotonic
    _names: dict[str, _Name] = field(default_factory=dict)
    _channel: aiodns.DNSResolver | None = None
    _check: asyncio.Task[bool] | None = None
    _checked_at: float = float("-inf")

    async def addresses(self, name: str) -> tuple[str, ...]:
        """The IPv6 and IPv4 addresses of a host, at most MAX_ADDRESSES. Raises ResolveError."""
        if is_address(name):
            return (name,)
        known = self._remembered(name)
        if self.clock() < known.expires_at:
            return known.addresses
        if known.lookup is None or known.lookup.done():
            known.lookup = asyncio.create_task(self._look_up(name, known))
        await asyncio.wait([known.lookup], timeout=WAIT_S)
        if self.clock() < known.expires_at:
            return known.addresses
        return await self._without_answer(name, known)

    async def close(self) -> None:
        """Abandon all lookups."""
        tasks = [known.lookup for known in self._names.values() if known.lookup is not None]
        if self._check is not None:
            tasks.append(self._check)  # type: ignore[arg-type]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()

    def _remembered(self, name: str) -> _Name:
        """The entry of a name. If there are too many, the oldest entry is removed."""
        if name not in self._names and len(self._names) >= MAX_NAMES:
            oldest = self._names.pop(next(iter(self._names)))
            if oldest.lookup is not None:
                oldest.lookup.cancel()
        return self._names.setdefault(name, _Name())

    async def _look_up(self, name: str, known: _Name) -> None:
        try:
            if self._channel is None:
                self._channel = self._open()
            async with asyncio.timeout(LOOKUP_S):
                addresses, ttl_s = await _ask(self._channel, name)
        except (aiodns.error.DNSError, pycares.AresError, OSError, UnicodeError) as error:
            known.error = _failure(name, error)
            return
        now = self.clock()
        known.addresses, known.found_at, known.error = addresses, now, None
        known.expires_at = now + max(ttl_s, MIN_TTL_S)

    async def _without_answer(self, name: str, known: _Name) -> tuple[str, ...]:
        """The last good answer if it may still be used. Raises ResolveError otherwise."""
        failure = known.error
        has_last_good = bool(known.addresses) and self.clock() - known.found_at < LAST_GOOD_S
        if failure is None and has_last_good:
            return known.addresses  # the lookup is still under way
        if failure is None:
            failure = _Failure(reason=f"the lookup of {name} got no answer", is_certain=False)
        if failure.is_certain or await self._resolves_others(name):
            raise ResolveError(failure.reason, is_local=False)
        if has_last_good:
            return known.addresses
        raise ResolveError(failure.reason, is_local=True)

    async def _resolves_others(self, name: str) -> bool:
        """Whether names that resolved before still do. All callers share one check."""
        if self._check is None or (
            self._check.done() and self.clock() - self._checked_at >= CHECK_S
        ):
            self._check = asyncio.create_task(self._check_others(name))
        return await asyncio.shield(self._check)

    async def _check_others(self, name: str) -> bool:
        """Resolves without c-ares' cache, which would hide that the resolver is down."""
        good = sorted(
            (known.found_at, other)
            for other, known in self._names.items()
            if other != name and known.addresses and known.error is None
        )
        asked = [other for _, other in good[-CHECKED_NAMES:]]
        try:
            async with asyncio.timeout(WAIT_S):
                return bool(asked) and await self._any_resolves(asked)
        except (TimeoutError, pycares.AresError):
            return False
        finally:
            self._checked_at = self.clock()

    async def _any_resolves(self, names: Sequence[str]) -> bool:
        channel = self._open()
        asked = {asyncio.ensure_future(_ask(channel, name)) for name in names}
        try:
            while asked:
                done, asked = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                if any(one.exception() is None for one in done):
                    return True
            return False
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            await channel.close()

    def _open(self) -> aiodns.DNSResolver:
        return aiodns.DNSResolver(
            nameservers=self.servers or None, timeout=QUERY_TIMEOUT_S, tries=QUERY_TRIES
        )


def is_address(host: str) -> bool:
    """Whether a host is an IP address and needs no lookup."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _ask(channel: aiodns.DNSResolver, name: str) -> tuple[tuple[str, ...], float]:
    """Addresses in the order of RFC 6724, and their TTL in seconds."""
    found = await channel.getaddrinfo(name, type=socket.SOCK_STREAM)
    addresses = dict.fromkeys(_text(node.addr) for node in found.nodes)
    if not addresses:
        raise aiodns.error.DNSError(pycares.errno.ARES_ENODATA, "no address")
    return tuple(addresses)[:MAX_ADDRESSES], float(min(node.ttl for node in found.nodes))


def _text(address: Any) -> str:
    host = address[0]
    return host.decode() if isinstance(host, bytes) else str(host)


def _failure(name: str, error: Exception) -> _Failure:
    if isinstance(error, UnicodeError):
        return _Failure(reason=f"{name} is not a host name", is_certain=True)
    if isinstance(error, TimeoutError):
        return _Failure(reason=f"the lookup of {name} got no answer", is_certain=False)
    code = error.args[0] if error.args else None
    if code in _ABSENT:
        return _Failure(reason=f"{name} has no address", is_certain=True)
    if code in _IMPOSSIBLE:
        return _Failure(reason=f"{name} is not a host name", is_certain=True)
    what = error.args[1] if len(error.args) > 1 else error
    return _Failure(reason=f"the lookup of {name} failed: {what}", is_certain=False)
