"""Connections to edges as a new SDK makes them: both address families raced (RFC 8305)."""

import asyncio
import errno
import ipaddress
import itertools
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

RACE_DELAY_S = 0.25  # before the next address is tried; RFC 8305, section 5
MAX_TRIED = 8

LOCAL_ERRNOS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
)


class Connected(NamedTuple):
    """A connected socket, its address, and the addresses that failed meanwhile."""

    socket: socket.socket
    address: str
    lost: tuple[str, ...]


class ConnectError(Exception):
    """No address accepted a connection. `lost`: those that were tried."""

    def __init__(self, errors: dict[str, OSError]) -> None:
        super().__init__("; ".join(f"{address}: {error}" for address, error in errors.items()))
        self.errors = errors

    @property
    def lost(self) -> tuple[str, ...]:
        """The addresses that failed."""
        return tuple(self.errors)


def racing_order(addresses: Sequence[str], turn: int) -> tuple[str, ...]:
    """The order in which to try addresses: families alternate, beginning with the first address's
    family. Within a family, each `turn` begins with another address, so that each is tried now and
    then.
    """
    families: dict[int, list[str]] = {}
    for address in addresses:
        families.setdefault(ipaddress.ip_address(address).version, []).append(address)
    turned = [same[turn % len(same) :] + same[: turn % len(same)] for same in families.values()]
    in_turns = itertools.chain.from_iterable(itertools.zip_longest(*turned))
    return tuple(address for address in in_turns if address is not None)[:MAX_TRIED]


async def race(addresses: Sequence[str], port: int) -> Connected:
    """Connect to all addresses in turn, RACE_DELAY_S apart, and keep the connection that is
    accepted first. An address that has not answered by then counts as failed if it was tried
    earlier. Raises ConnectError if all have failed. Has no timeout of its own.
    """
    loop = asyncio.get_running_loop()
    waiting = list(addresses)
    tried: dict[asyncio.Task[socket.socket], str] = {}
    errors: dict[str, OSError] = {}
    begun: list[str] = []
    try:
        while True:
            if waiting:
                begun.append(waiting.pop(0))
                tried[loop.create_task(_connect(begun[-1], port))] = begun[-1]
            delay_s = RACE_DELAY_S if waiting else None
            done, _ = await asyncio.wait(
                tried, timeout=delay_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in sorted(done, key=lambda one: begun.index(tried[one])):
                address = tried.pop(task)
                error = task.exception()
                if error is None:
                    earlier = begun[: begun.index(address)]
                    lost = [
                        one for one in earlier if one not in errors or not _is_ours(errors[one])
                    ]
                    return Connected(task.result(), address, tuple(lost))
                if not isinstance(error, OSError):
                    raise error
                errors[address] = error
            if not tried and not waiting:
                raise ConnectError(errors)
    finally:
        for task in tried:
            task.cancel()
            task.add_done_callback(_close_late)


def _is_ours(error: OSError | None) -> bool:
    """Whether this machine caused the failure; it may have no IPv6 at all."""
    return error is not None and error.errno in LOCAL_ERRNOS


async def _connect(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(one, (address, port))
    except BaseException:
        one.close()
        raise
    return one


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    """Close a connection that was accepted after another had won."""
    with suppress(asyncio.CancelledError, OSError):
        task.result().close()


def elapsed_ms(since: float) -> float:
    """Milliseconds since then on the monotonic clock."""
    return (time.monotonic() - since) * 1_000
