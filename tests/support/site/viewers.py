"""Viewers in many places who send requests continuously, and the answers that they got."""

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.servers import HOST

PER_SECOND = 50
# Toronto, Montreal, Vancouver, New York, Dallas, Palo Alto, Oxford, Berlin, Tokyo, Auckland, and
# one without a location. There are 11 addresses and 7 queries: both are odd, so that each question
# reaches each of two servers.
ADDRESSES = (
    "128.100.1.1",
    "132.204.1.1",
    "142.103.1.1",
    "128.59.1.1",
    "129.110.1.1",
    "171.64.1.1",
    "163.1.1.1",
    "130.133.1.1",
    "133.11.1.1",
    "130.216.1.1",
    "10.0.0.1",
)
QUERIES = (
    "",
    "?all=true",
    "?scope=global",
    "?strict=false",
    "?all=true&scope=global",
    "?model=kokoro",
    "?all=true&strict=false",
)
QUESTIONS = tuple(itertools.product(QUERIES, ADDRESSES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer.

    `asked_at`: the monotonic time of the request. `code`: the HTTP status, 0 if there was no
    response. `named`: every edge in the answer, the first choice first.
    """

    query: str
    address: str
    asked_at: float
    took_s: float
    code: int
    region: str = ""
    endpoint: str = ""
    status: str = ""
    named: tuple[str, ...] = ()

    @property
    def question(self) -> tuple[str, str]:
        return self.query, self.address

    @property
    def is_list(self) -> bool:
        """Whether the answer lists every offered edge."""
        return "all=true" in self.query


def an_answer(**changes: Any) -> Answer:
    """An answer to a viewer in New York, who is in a country with edges."""
    usual = {
        "query": "?all=true",
        "address": "128.59.1.1",
        "asked_at": 100.0,
        "took_s": 0.01,
        "code": 200,
        "region": "nyc-01",
        "endpoint": "http://127.0.0.1:1",
        "status": "ok",
        "named": ("nyc-01", "dal-01"),
    }
    return Answer(**(usual | changes))  # type: ignore[arg-type]


@dataclass
class Viewers:
    """Viewers who ask the servers at `ports` in turn, at a fixed rate.

    `header`: the header with the viewer's address.
    """

    client: httpx.AsyncClient
    header: str = "X-Forwarded-For"
    per_second: float = PER_SECOND
    ports: list[int] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    async def run(self) -> None:
        """Send requests until cancelled."""
        async with asyncio.TaskGroup() as asking:
            for number, (query, address) in enumerate(itertools.cycle(QUESTIONS)):
                if self.ports:
                    port = self.ports[number % len(self.ports)]
                    asking.create_task(self._ask(port, query, address))
                await asyncio.sleep(1 / self.per_second)

    async def _ask(self, port: int, query: str, address: str) -> None:
        asked_at = time.monotonic()
        url, headers = f"http://{HOST}:{port}/v1/route{query}", {self.header: address}
        try:
            response = await self.client.get(url, headers=headers)
            code, document = response.status_code, response.json()
        except (httpx.HTTPError, ValueError):
            code, document = 0, {}
        took_s = time.monotonic() - asked_at
        self.answers.append(
            Answer(
                query=query,
                address=address,
                asked_at=asked_at,
                took_s=took_s,
                code=code,
                region=document.get("region", ""),
                endpoint=document.get("endpoint", ""),
                status=document.get("status", ""),
                named=_named(document),
            )
        )


def _named(document: dict[str, Any]) -> tuple[str, ...]:
    entries = [document, *document.get("alternates", ()), *document.get("regions", ())]
    return tuple(dict.fromkeys(entry["region"] for entry in entries if "region" in entry))
