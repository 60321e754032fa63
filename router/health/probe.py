"""Asks an edge for its health or its models, and classifies the result. Edges are hostile: every
failure becomes an Outcome, and `health` never raises.
"""

import asyncio
import ssl
import time
from collections.abc import Sequence
from http import HTTPStatus

from router.health.answers import Inventory, Judged, judge_health, read_models
from router.health.client import ConnectTimeoutError, EdgeClient, Limits, Trace
from router.health.connect import LOCAL_ERRNOS, ConnectError
from router.health.exchange import NotUnderstoodError, Response, TooLargeError
from router.health.resolver import WAIT_S, ResolveError
from router.model import Check, HealthFormat, ModelsFormat, Outcome, Probe, Region
from router.text_files import printable

MAX_LAG_S = 0.5
MAX_BODY_BYTES = 64 * 1_024
MAX_INVENTORY_BYTES = 4 * 2**20
OPENAI_MODELS_PATH = "/v1/models"
WITNESS_LIMITS = Limits(connect_s=1.0, total_s=1.0, body_bytes=None)


class Prober:
    """Probes over one client. A fresh connection each time, as a new SDK makes."""

    def __init__(self, client: EdgeClient, api_key: str | None = None) -> None:
        self._client = client
        self._models_headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    async def health(self, region: Region) -> Probe:
        """One health probe."""
        check, trace = region.check, Trace()
        started = time.monotonic()
        try:
            response = await self._client.fetch(
                region.health_url, limits=_health_limits(region), trace=trace
            )
            judged = judge_health(response.status, response.body, check.health)
        except Exception as error:  # noqa: BLE001 - whatever an edge provokes is an outcome
            judged = name_fault(error)
            if _lag_s(error, check, trace, started) > MAX_LAG_S:
                judged = Judged(Outcome.LOCAL, "this process was stopped or starved")
        return Probe(
            outcome=judged.outcome,
            rtt_ms=trace.elapsed_ms,
            detail=judged.detail,
            address=trace.address,
            lost=trace.lost,
        )

    async def models(self, region: Region) -> Inventory:
        """The models that an edge has loaded, or why they are unknown."""
        inventory = Inventory()
        for path in _models_paths(region):
            try:
                response = await self._client.fetch(
                    region.endpoint + path,
                    headers=self._models_headers,
                    limits=_models_limits(region),
                )
            except Exception as error:  # noqa: BLE001 - as above; an inventory is optional
                judged = name_fault(error)
                return Inventory(None, judged.outcome, judged.detail)
            inventory = _inventory(path, response)
            if response.status == HTTPStatus.OK:
                return inventory
        return inventory

    async def witnesses(self, urls: Sequence[str]) -> list[bool]:
        """For each witness, whether it answers; any response counts."""
        return await asyncio.gather(*(self._is_there(url) for url in urls))

    async def _is_there(self, url: str) -> bool:
        try:
            async with asyncio.timeout(WITNESS_LIMITS.total_s):
                await self._client.fetch(url, method="HEAD", limits=WITNESS_LIMITS, is_public=True)
        except Exception:  # noqa: BLE001 - any failure means no
            return False
        return True


def _lag_s(error: Exception, check: Check, trace: Trace, asked_at: float) -> float:
    """How many seconds an error came later than its timeout."""
    now = time.monotonic()
    if trace.started is None:
        return now - asked_at - 2 * WAIT_S  # the lookup, and the check of other names
    is_connecting = isinstance(error, ConnectTimeoutError)
    bound_s = check.connect_timeout_s if is_connecting else check.timeout_s
    return now - trace.started - bound_s


def _health_limits(region: Region) -> Limits:
    is_read = region.check.health is HealthFormat.JSON
    return Limits(
        connect_s=region.check.connect_timeout_s,
        total_s=region.check.timeout_s,
        body_bytes=MAX_BODY_BYTES if is_read else None,
    )


def _models_limits(region: Region) -> Limits:
    return Limits(
        connect_s=region.check.connect_timeout_s,
        total_s=region.check.timeout_s,
        body_bytes=MAX_INVENTORY_BYTES,
    )


def _models_paths(region: Region) -> tuple[str, ...]:
    """The paths to try in order, until one answers 200."""
    match region.check.models:
        case ModelsFormat.NONE:
            return ()
        case ModelsFormat.OPENAI:
            return (region.models_path,)
        case ModelsFormat.STATUS:
            return tuple(dict.fromkeys((region.models_path, OPENAI_MODELS_PATH)))


def _inventory(path: str, response: Response) -> Inventory:
    if response.status != HTTPStatus.OK:
        return Inventory(None, Outcome.STATUS, f"HTTP {response.status} at {path}")
    return read_models(response.body)


def name_fault(error: BaseException) -> Judged:
    """The outcome for an exception of the client."""
    detail = printable(str(error) or type(error).__name__)
    match error:
        case TooLargeError():
            return Judged(Outcome.TOO_LARGE, detail)
        case NotUnderstoodError():
            return Judged(Outcome.BAD_BODY, detail)
        case ResolveError():
            return Judged(Outcome.LOCAL if error.is_local else Outcome.REFUSED, detail)
        case ConnectError():
            return Judged(_worst(error), detail)
        case ConnectTimeoutError():
            return Judged(Outcome.CONNECT_TIMEOUT, detail)
        case TimeoutError():
            return Judged(Outcome.TIMEOUT, "no whole answer in time")
        case ssl.SSLError():
            return Judged(Outcome.TLS, printable(_tls_reason(error)))
        case _:
            return Judged(_from_os(error), detail)


def _worst(error: ConnectError) -> Outcome:
    """The first error that the edge caused; one that this machine caused only if there is no
    other.
    """
    named = [_from_os(each) for each in error.errors.values()]
    theirs = [outcome for outcome in named if outcome is not Outcome.LOCAL]
    return theirs[0] if theirs else Outcome.LOCAL


def _from_os(error: BaseException) -> Outcome:
    if isinstance(error, ConnectionRefusedError):
        return Outcome.REFUSED
    if isinstance(error, OSError) and error.errno in LOCAL_ERRNOS:
        return Outcome.LOCAL
    return Outcome.RESET


def _tls_reason(error: ssl.SSLError) -> str:
    reason = getattr(error, "verify_message", None)  # set if a certificate is at fault
    return f"certificate: {reason}" if reason else str(error)
