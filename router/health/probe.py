"""The one door to edges: asks one for its health or its models, and names what it met.

Edges are hostile: connections and bodies are bounded in time and size, redirects are
not followed, and every failure becomes an Outcome. No exception leaves `health`.
"""

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec

from router import __version__
from router.model import Outcome, Probe, Region

CONNECT_TIMEOUT_S = 1.0
TOTAL_TIMEOUT_S = 2.0
MAX_LAG_S = 0.5
MAX_BODY_BYTES = 64 * 1024
MAX_MODELS = 1_000
MAX_MODEL_LENGTH = 128
OPENAI_MODELS_PATH = "/v1/models"

_LOCAL_ERRNOS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
)


class _TooLargeError(Exception):
    """More body than MAX_BODY_BYTES."""


class Prober:
    """Probes over one client. A fresh connection each time, as a new SDK makes."""

    def __init__(self, client: aiohttp.ClientSession, api_key: str | None = None) -> None:
        self._client = client
        self._models_headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    async def health(self, region: Region) -> Probe:
        """One health probe."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_S):
                status, body = await self._get(region.endpoint + region.health_path, {})
            outcome = judge_health(status, body)
        except Exception as error:  # noqa: BLE001 - whatever an edge provokes is an outcome
            if time.monotonic() - started > TOTAL_TIMEOUT_S + MAX_LAG_S:
                return Probe(outcome=Outcome.LOCAL)  # we were stopped or starved, not the edge
            return Probe(outcome=name_fault(error))
        return Probe(outcome=outcome, rtt_ms=(time.monotonic() - started) * 1_000)

    async def models(self, region: Region) -> tuple[str, ...] | None:
        """The models an edge has loaded, or None when it does not tell."""
        for path in dict.fromkeys((region.models_path, OPENAI_MODELS_PATH)):
            try:
                async with asyncio.timeout(TOTAL_TIMEOUT_S):
                    status, body = await self._get(region.endpoint + path, self._models_headers)
            except Exception:  # noqa: BLE001 - as above; an inventory is optional
                return None
            if status == HTTPStatus.OK:
                return read_models(body)
        return None

    async def witnesses(self, urls: Sequence[str]) -> list[bool]:
        """Whether each witness answers, whatever it says."""
        return await asyncio.gather(*(self._is_there(url) for url in urls))

    async def _is_there(self, url: str) -> bool:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                async with self._client.head(url, allow_redirects=False):
                    return True
        except Exception:  # noqa: BLE001 - any failure means no
            return False

    async def _get(self, url: str, headers: dict[str, str]) -> tuple[int, bytes]:
        async with self._client.get(url, headers=headers, allow_redirects=False) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _TooLargeError
            return response.status, bytes(body)


def open_client() -> aiohttp.ClientSession:
    """A client with the probe's limits: certificates verified, no proxy, no compression,
    no cookies. Needs a running event loop."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=TOTAL_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
        headers={
            "User-Agent": f"autorouter/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        },
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )


def judge_health(status: int, body: bytes) -> Outcome:
    """What a health answer says (contract, "What an edge answers")."""
    if status != HTTPStatus.OK:
        return Outcome.STATUS
    told = _decoded(body)
    if not isinstance(told, dict):
        return Outcome.BAD_BODY
    backend = told.get("backend")
    if isinstance(backend, dict) and backend.get("healthy") is False:
        return Outcome.UNHEALTHY
    named = {
        "healthy": Outcome.OK,
        "degraded": Outcome.DEGRADED,
        "unhealthy": Outcome.UNHEALTHY,
    }
    state = told.get("status")
    return named.get(state, Outcome.BAD_BODY) if isinstance(state, str) else Outcome.BAD_BODY


def read_models(body: bytes) -> tuple[str, ...] | None:
    """Model ids from either inventory shape, sorted; None when it is neither."""
    told = _decoded(body)
    if not isinstance(told, dict):
        return None
    loaded, listed = told.get("loaded"), told.get("data")
    if isinstance(loaded, list):
        ids: list[Any] = loaded
    elif isinstance(listed, list):
        ids = [item.get("id") for item in listed if isinstance(item, dict)]
    else:
        return None
    named = {id for id in ids if isinstance(id, str) and 0 < len(id) <= MAX_MODEL_LENGTH}
    return tuple(sorted(named)[:MAX_MODELS])


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def name_fault(error: BaseException) -> Outcome:
    """The Outcome for what the client raised, told by the errors under it."""
    if isinstance(error, _TooLargeError):
        return Outcome.TOO_LARGE
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Outcome.CONNECT_TIMEOUT
    if isinstance(error, TimeoutError):
        return Outcome.TIMEOUT
    return next(filter(None, map(_from_cause, _causes(error))), Outcome.RESET)


def _from_cause(error: BaseException) -> Outcome | None:
    if isinstance(error, ssl.SSLError):
        return Outcome.TLS
    if isinstance(error, socket.gaierror):
        # A name that does not exist fails every viewer too; any other failure is our resolver's.
        return Outcome.REFUSED if error.errno == socket.EAI_NONAME else Outcome.LOCAL
    if isinstance(error, ConnectionRefusedError):
        return Outcome.REFUSED
    if isinstance(error, OSError) and error.errno in _LOCAL_ERRNOS:
        return Outcome.LOCAL
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return Outcome.BAD_BODY
    return None


def _causes(error: BaseException) -> list[BaseException]:
    """The error and all that it was raised from, also out of exception groups."""
    found: list[BaseException] = []
    queue = [error]
    while queue and len(found) < 32:
        current = queue.pop(0)
        found.append(current)
        if isinstance(current, BaseExceptionGroup):
            queue += current.exceptions
        queue += [next_ for next_ in (current.__cause__, current.__context__) if next_ is not None]
    return found
