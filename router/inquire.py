"""How the command line learns of the fleet: a running server, else Redis, else the bare
catalog, in that order. Each answer says which, under `from`.
"""

import ipaddress
import time
from typing import Any, NamedTuple

import httpx
import msgspec

from router.caching import CachePolicy
from router.errors import RouterError
from router.explain import describe_fleet
from router.explain import explain as explain_here
from router.fleet import Fleet, combine
from router.location import Locator
from router.model import Catalog
from router.query import Query, parse_query
from router.ranking import Ranker
from router.settings import Settings
from router.sources import read_all, read_catalog
from router.store.redis import RedisStore
from router.viewer import Address, Networks, parse_address

TIMEOUT_S = 2.0


class Question(NamedTuple):
    """What `autorouter explain` asks."""

    address: Address
    query: Query
    params: dict[str, str]


def question(ip: str, scope: str, model: str | None, strict: bool) -> Question | None:
    """The question, or None when the address or the model is not acceptable."""
    params = {"ip": ip, "scope": scope, "strict": str(strict).lower(), "model": model or ""}
    query = parse_query(str(httpx.QueryParams(params)).encode())
    address = parse_address(ip)
    return None if query is None or address is None else Question(address, query, params)


async def edges(settings: Settings) -> dict[str, Any]:
    """The fleet, as `/v1/edges` tells it."""
    told = await _ask(settings, "/v1/edges", {})
    if told is not None:
        return told
    fleet, origin = await _fleet(settings, read_catalog(settings))
    return {"from": origin, **describe_fleet(fleet)}


async def explain(settings: Settings, asked: Question) -> dict[str, Any]:
    """Why this viewer gets this edge, as `/v1/explain` tells it."""
    told = await _ask(settings, "/v1/explain", asked.params)
    if told is not None:
        return told
    catalog, geo = read_all(settings)
    fleet, origin = await _fleet(settings, catalog)
    placed = Locator(geo.locate, trusted=Networks()).place_address(asked.address)
    policy = CachePolicy(ttl_s=settings.ttl_s, degraded_ttl_s=settings.degraded_ttl_s)
    here = explain_here(Ranker(catalog), fleet, placed, asked.query, policy)
    return {"from": origin, "ip": asked.address.text, **here}


async def _ask(settings: Settings, path: str, params: dict[str, str]) -> dict[str, Any] | None:
    """What the ops listener answers, or None when no server listens there."""
    url = f"http://{_reachable(settings)}{path}"
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
            response = await client.get(url, params=params)
    except httpx.ConnectError:
        return None
    except httpx.HTTPError as error:
        raise RouterError(f"{url}: {error or type(error).__name__}") from error
    try:
        told = msgspec.json.decode(response.content, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise RouterError(f"{url}: not an autorouter's ops listener ({error})") from error
    if response.status_code != httpx.codes.OK:
        raise RouterError(f"{url}: {response.status_code} {told.get('detail', '')}")
    return {"from": url.removesuffix(path), **told}


def _reachable(settings: Settings) -> str:
    """The ops listener's address as a client on this machine reaches it."""
    host, port = settings.ops_listen
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return str(settings.ops_listen._replace(host=host, port=port))


async def _fleet(settings: Settings, catalog: Catalog) -> tuple[Fleet, str]:
    if settings.redis_url is None:
        return combine(catalog, (), (), time.time()), "the catalog alone"
    store = RedisStore(settings.redis_url)
    try:
        stored = await store.read([region.id for region in catalog.regions])
    finally:
        await store.close()
    return combine(catalog, stored.views, stored.intents, time.time()), "Redis"
