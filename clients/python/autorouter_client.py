"""A reference client of autorouter, to copy. Needs httpx. docs/clients.md has the reasons."""

import random
import time
from collections.abc import Callable, Generator
from typing import Any

import httpx

KEEP_S, SHUN_S, MAX_SHUN_S, MAX_WAIT_S, MAX_RETRY_S = 86_400.0, 30.0, 300.0, 300.0, 3_600.0
UNREACHED = (httpx.ConnectError, httpx.ConnectTimeout)  # no byte of the request was sent
OWN_FAULTS = (httpx.PoolTimeout, httpx.LocalProtocolError, httpx.UnsupportedProtocol)
NO_EDGE = ("model_unavailable", "no_edge_in_country")
IDEMPOTENT = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}


class NoEdgeError(Exception):
    """No edge to use: the router's `code`, or `router_unreachable` without a fallback."""


class _Rules:
    """All rules, without I/O. Times are seconds of a clock that never jumps."""

    def __init__(self, router: str, http: Any, fallback: str = "", query: Any = None,
                 clock: Callable[[], float] = time.monotonic) -> None:  # fmt: skip
        self._ask = {"method": "GET", "url": f"{router}/v1/route", "params": query,
                     "timeout": 2.0, "follow_redirects": False}  # fmt: skip
        self._http, self._fallback, self._clock, self._wait_s = http, fallback, clock, 5.0
        self._ask_at = self._asked_at = self._keep_until = -1e9
        self._picks, self._shunned = list[str](), dict[str, float]()  # endpoint: until when

    def _refresh(self) -> Generator[Any, Any, Any]:
        self._ask_at = self._clock() + 5.0 * bool(self._picks)  # meanwhile others use these
        answer = yield self._ask
        self._asked_at = now = self._clock()
        status, body, picks = _parsed(answer)
        if status == 404 and body.get("code") in NO_EDGE:
            self._picks, self._ask_at = [], now
            raise NoEdgeError(body["code"])
        if status == 200 and picks and picks[0] == body.get("endpoint"):
            ttl_s = ttl if type(ttl := body.get("ttl")) is int and 1 <= ttl <= 86_400 else 300
            fresh_s = max(1.0, ttl_s - _seconds(answer, "age"))
            self._picks, self._wait_s, self._keep_until = picks, 5.0, now + fresh_s + KEEP_S
            self._ask_at = now + fresh_s * random.uniform(0.8, 1.0)
        else:  # keep what is known for KEEP_S; ask again later, each client at its own time
            self._picks = self._picks if now < self._keep_until else []
            wait_s = self._wait_s * random.uniform(0.5, 1.0)
            self._ask_at = now + max(wait_s, min(_seconds(answer, "retry-after"), MAX_RETRY_S))
            self._wait_s = min(MAX_WAIT_S, 2.0 * self._wait_s)

    def _endpoints(self) -> Generator[Any, Any, Any]:
        if self._clock() >= self._ask_at:
            yield from self._refresh()
        if not (picks := self._picks or [self._fallback]) or not picks[0]:
            raise NoEdgeError("router_unreachable")
        now = self._clock()
        return sorted(picks, key=lambda one: max(now, self._shunned.get(one, now)))

    def _send(self, method: str, path: str, options: dict[str, Any]) -> Generator[Any, Any, Any]:
        idempotent, tried = options.pop("idempotent", method in IDEMPOTENT), set[str]()
        while left := [one for one in (yield from self._endpoints()) if one not in tried]:
            tried.add(left[0])
            outcome = yield {"method": method, "url": left[0] + path, **options}
            if not self._may_go_elsewhere(left[0], outcome, idempotent):
                break
            if len(left) == 1 and self._clock() - self._asked_at > 5.0:
                self._ask_at = self._clock()  # every edge failed: the router may know more now
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome

    def _may_go_elsewhere(self, endpoint: str, outcome: Any, idempotent: bool) -> bool:
        if isinstance(outcome, OWN_FAULTS):
            return False
        status, retry_s = getattr(outcome, "status_code", 0), _seconds(outcome, "retry-after")
        limited = status == 429 and retry_s > 0.0  # refused before any work was done
        if status not in (0, 502, 503, 504) and not limited:
            self._shunned.pop(endpoint, None)
            return False
        self._shunned[endpoint] = self._clock() + min(retry_s or SHUN_S, MAX_SHUN_S)
        self._ask_at = min(self._ask_at, self._clock() + random.uniform(5.0, 15.0))
        return limited or idempotent or isinstance(outcome, UNREACHED)


class Autorouter(_Rules):  # raises NoEdgeError, or httpx.TransportError if no edge answered
    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        step = next(flow := self._send(method, path, options))
        while not isinstance(step, httpx.Response):
            try:
                step = flow.send(self._http.request(**step))
            except httpx.TransportError as error:
                step = flow.send(error)
        return step


class AsyncAutorouter(_Rules):  # the same with `await`, for `httpx.AsyncClient()`
    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        step = next(flow := self._send(method, path, options))
        while not isinstance(step, httpx.Response):
            try:
                step = flow.send(await self._http.request(**step))
            except httpx.TransportError as error:
                step = flow.send(error)
        return step


def _parsed(answer: Any) -> tuple[int, dict[str, Any], list[str]]:
    try:
        body = answer.json()
        named = [one for one in (body, *(body.get("alternates") or ())) if isinstance(one, dict)]
        found = [one.get("endpoint") for one in named]
        return answer.status_code, body, [one for one in found if one and isinstance(one, str)]
    except (AttributeError, TypeError, ValueError, RecursionError):
        return getattr(answer, "status_code", 0), {}, []


def _seconds(answer: Any, name: str) -> float:
    return float(text) if (text := getattr(answer, "headers", {}).get(name, "")).isdecimal() else 0
