"""Gets the fleet for the command line: from a running server, else from Redis, else from the
catalog alone. Each result has its source under `from`.
"""

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import msgspec

from router.config.inputs import cache_policy, read_all, read_catalog
from router.config.settings import Settings
from router.errors import RouterError
from router.model import Catalog, Intended, Location
from router.ops.explanation import explain_subject
from router.ops.fleet_document import describe_fleet
from router.ops.history import History, decode, past_fleet
from router.ops.intents import (
    drop_intents,
    enable_at_once,
    parse_duration,
    requested_dial,
    set_intents,
)
from router.ops.questions import Params, past_time, subject
from router.routing.client_address import Networks
from router.routing.fleet import Fleet, combine, version
from router.routing.location import Locator
from router.routing.query import Query, parse_query
from router.routing.ranking import Ranker
from router.store.redis import RedisStore

TIMEOUT_S = 2.0
FOLLOW_S = 1.0

_NO_SERVER = (
    "no server answers on AUTOROUTER_OPS_LISTEN, and AUTOROUTER_REDIS_URL is not set; "
    "start a server, or set one of the two"
)


class Question(NamedTuple):
    """What `autorouter explain` asks: `params` are those of `/v1/explain`."""

    query: Query
    params: Params


def question(
    who: Params, *, scope: str, model: str | None, strict: bool, at: float | None
) -> Question | None:
    """The question about a viewer (see router.ops.questions), or None if the model is not valid.
    Raises QuestionError if the viewer is not valid.
    """
    rest = {"scope": scope, "strict": str(strict).lower(), "model": model or ""}
    query = query_of(**rest)
    subject(who, Locator(lambda _: Location(), trusted=Networks()))
    when = [] if at is None else [("at", repr(at))]
    return None if query is None else Question(query, [*who, *rest.items(), *when])


def query_of(**params: str) -> Query | None:
    """The query as a viewer would send it, or None if its model is not valid."""
    return parse_query(str(httpx.QueryParams(params)).encode())


async def edges(reaching: Settings, local: Callable[[], Settings]) -> dict[str, Any]:
    """The fleet, in the form of `/v1/edges`. `reaching`: the settings needed to reach a server.
    `local` returns all settings; it is called only if no server listens there.
    """
    answer = await ask(reaching, "/v1/edges")
    if answer is not None:
        return answer
    settings = local()
    fleet, origin = await stored_fleet(settings, read_catalog(settings))
    return {"from": origin, **describe_fleet(fleet, now=time.time(), policy=cache_policy(settings))}


async def explain(
    reaching: Settings, local: Callable[[], Settings], asked: Question
) -> dict[str, Any]:
    """Why this viewer gets this edge, in the form of `/v1/explain`. See `edges`."""
    answer = await ask(reaching, "/v1/explain", params=httpx.QueryParams(list(asked.params)))
    if answer is not None:
        return answer
    settings = local()
    catalog, geo = read_all(settings)
    ranker, policy = Ranker(catalog), cache_policy(settings)
    fleet, origin, when = await _fleet_at(settings, catalog, past_time(asked.params))
    locator = Locator(
        geo.locate,
        trusted=Networks(),
        key_headers=settings.cache_key_headers,
        divided=ranker.divided,
    )
    who = subject(asked.params, locator)
    explanation = explain_subject(ranker, fleet, who, asked.query, policy, geo)
    return {**explanation, "from": origin, **when}


async def _fleet_at(
    settings: Settings, catalog: Catalog, at: float | None
) -> tuple[Fleet, str, dict[str, Any]]:
    """The fleet now, or at a time in Redis' history; also its source and its time."""
    if at is None:
        fleet, origin = await stored_fleet(settings, catalog)
        return fleet, origin, {"at": None, "fleet": version(fleet)}
    if settings.redis_url is None:
        raise RouterError(_NO_SERVER)
    async with _redis(settings) as store:
        body = await store.history()
    history, now = History(), time.time()
    history.prepend(decode(body or b"", now), now)
    found = history.nearest(at)
    if found is None:
        raise RouterError(history.explain_gap(at))
    fleet = past_fleet(catalog, found, at, settings.cdn_max_age_s)
    return fleet, "the history in Redis", {"at": found.at, "fleet": found.fleet}


async def show_events(
    settings: Settings,
    show: Callable[[Sequence[dict[str, Any]]], None],
    *,
    edge: str | None = None,
    since: float | None = None,
    follow: bool = False,
) -> None:
    """Show events in the form of `/v1/events`: all, or those of an edge or since a time. With
    `follow`, also show new ones until cancelled."""
    after = ""
    while True:
        events = await _events(settings, after)
        show(
            [
                one
                for one in events
                if edge in (None, one["edge"]) and (since is None or one["at"] >= since)
            ]
        )
        if not follow:
            return
        after = events[-1]["id"] if events else after
        await asyncio.sleep(FOLLOW_S)


async def _events(settings: Settings, after: str) -> Sequence[dict[str, Any]]:
    if settings.redis_url is not None:
        async with _redis(settings) as store:
            logged = await store.events(after)
        return [{"id": one.id, **msgspec.to_builtins(one.event)} for one in logged]
    answer = await ask(settings, "/v1/events", params={"after": after})
    if answer is None:
        raise RouterError(_NO_SERVER)
    events: list[dict[str, Any]] = answer["events"]
    return events


async def put_intent(settings: Settings, edges: Sequence[str], body: dict[str, Any]) -> list[Any]:
    """Drain, disable or dial edges, in Redis or else through a running server. `body`: the body
    of `PUT /v1/edges/{id}/intent`. Returns the events."""
    if settings.redis_url is not None:
        return await _set_in_redis(settings, edges, body)
    return await _change_on_server(settings, "PUT", edges, json=body)


async def enable_edges(
    settings: Settings, edges: Sequence[str], actor: str, *, at_once: bool = False
) -> list[Any]:
    """Enable edges, in Redis or else through a running server; `at_once`: pollers also end
    their hold-down and flapping. Returns the events."""
    if settings.redis_url is None:
        asked = {"actor": actor} | ({"now": "true"} if at_once else {})
        return await _change_on_server(settings, "DELETE", edges, params=asked)
    enable = enable_at_once if at_once else drop_intents
    fleet, _ = await stored_fleet(settings, read_catalog(settings))
    async with _redis(settings) as store:
        done = await enable(store, fleet, edges, actor=actor, now=time.time())
    return [msgspec.to_builtins(event) for event in done]


async def _set_in_redis(
    settings: Settings, edges: Sequence[str], body: dict[str, Any]
) -> list[Any]:
    fleet, _ = await stored_fleet(settings, read_catalog(settings))
    async with _redis(settings) as store:
        done = await set_intents(
            store,
            fleet,
            edges,
            Intended(body.get("state") or "enabled"),
            life_s=parse_duration(body["for"]) or 0,
            reason=body["reason"],
            actor=body["actor"],
            force=body.get("force", False),
            now=time.time(),
            dial=requested_dial(body.get("state"), body.get("dial"), body.get("over")),
        )
    return [msgspec.to_builtins(event) for event in done]


async def _change_on_server(
    settings: Settings, method: str, edges: Sequence[str], **sent: Any
) -> list[Any]:
    """Change all edges in one request. If it is refused, none of them is changed."""
    headers = {"Authorization": f"Bearer {settings.ops_token}"} if settings.ops_token else {}
    path = f"/v1/edges/{quote(','.join(edges))}/intent"
    answer = await ask(settings, path, method=method, headers=headers, **sent)
    if answer is None:
        raise RouterError(_NO_SERVER)
    done: list[Any] = answer["events"]
    return done


async def ask(
    settings: Settings, path: str, method: str = "GET", base: str | None = None, **sent: Any
) -> dict[str, Any] | None:
    """The response of the ops listener at `base`, or else at the address in the settings. None
    if no server listens there."""
    server = base.rstrip("/") if base else f"http://{_reachable_address(settings)}"
    url = f"{server}{path}"
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
            response = await client.request(method, url, **sent)
    except httpx.ConnectError:
        return None
    except httpx.HTTPError as error:
        raise RouterError(f"{url}: {str(error) or type(error).__name__}") from error
    try:
        answer = msgspec.json.decode(response.content, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise RouterError(f"{url}: this is not an ops listener of autorouter ({error})") from error
    if response.status_code != httpx.codes.OK:
        raise RouterError(f"{url}: {response.status_code} {answer.get('detail', '')}")
    return {"from": url.removesuffix(path), **answer}


def _reachable_address(settings: Settings) -> str:
    """The address at which a client on this machine reaches the ops listener."""
    listen = settings.ops_listen
    address = ipaddress.ip_address(listen.host)
    if address.is_unspecified:
        listen = replace(listen, host="127.0.0.1" if address.version == 4 else "::1")
    return str(listen)


async def stored_fleet(settings: Settings, catalog: Catalog) -> tuple[Fleet, str]:
    """The fleet from Redis or from the catalog alone, and which of the two it is."""
    if settings.redis_url is None:
        return combine(catalog, (), (), time.time()), "the catalog alone"
    async with _redis(settings) as store:
        stored = await store.read([region.id for region in catalog.regions])
    return combine(catalog, stored.views, stored.intents, time.time()), "Redis"


@asynccontextmanager
async def _redis(settings: Settings) -> AsyncIterator[RedisStore]:
    store = RedisStore(settings.redis_url or "", settings.store_timeout_s)
    try:
        yield store
    finally:
        await store.close()
