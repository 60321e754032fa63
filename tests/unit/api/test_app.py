"""The public listener through a real uvicorn: the contract, and what hostile clients send."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from router.api.app import PublicApp
from router.api.http_protocol import FAULT
from router.api.live_fleet import FleetWatch
from router.model import Intended, Level, Location, Observed, Source
from router.routing.cache_headers import CachePolicy
from router.routing.client_address import Networks
from router.routing.location import Locator, PlacedBy
from router.routing.query import MAX_MODEL_LENGTH
from router.store.memory import MemoryStore
from router.telemetry.metrics import Telemetry
from tests.support.builders import (
    BERLIN,
    CITIES,
    NEW_YORK,
    TORONTO,
    a_location,
    a_ranker,
    a_view,
    an_edge_view,
    an_intent,
    wishes,
)
from tests.support.builders import a_request as asked
from tests.support.servers import Stand, plain_client, public_server, served, talk

pytestmark = pytest.mark.anyio

CANADIAN, GERMAN, NOWHERE = "192.0.2.7", "198.51.100.7", "203.0.113.7"
SECRET = "a-secret-of-the-cdn"
PLACES = {CANADIAN: ("CA", TORONTO), GERMAN: ("DE", BERLIN)}
FROM_CANADA = {"X-Forwarded-For": CANADIAN}
KEYED = {"X-Origin-Verify": SECRET, "X-Autorouter-Key": "CA~yul-01.yul-02.yto-01"}


def locate(address: str) -> Location:
    if address not in PLACES:
        return Location()
    country, position = PLACES[address]
    return Location(country=country, position=position, level=Level.CITY, source=Source.DATABASE)


@dataclass
class Public:
    """The app with its store, as a client reaches it."""

    app: PublicApp
    watch: FleetWatch
    store: MemoryStore
    client: httpx.AsyncClient
    port: int

    async def see(self, *down: str, models: Any = None, intents: Any = ()) -> None:
        """Let the fleet be up, but for these edges; `models`: by edge, else unknown."""
        now = time.time()
        edges = {
            id: an_edge_view(
                Observed.DOWN if id in down else Observed.UP,
                models=None if models is None else models.get(id, ()),
                models_at=now,
            )
            for id in CITIES
        }
        await self.store.publish(a_view(edges=edges, seq=time.monotonic_ns(), probed_at=now))
        for intent in intents:
            await self.store.act(wishes(intent))
        await self.watch.refresh()

    async def get(self, path: str = "/v1/route", **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=FROM_CANADA | headers)


@pytest.fixture(scope="module")
async def stand() -> AsyncIterator[tuple[Stand, int]]:
    one = Stand()
    async with served(one.respond, public_server) as port:
        yield one, port


@pytest.fixture
async def public(stand: tuple[Stand, int]) -> AsyncIterator[Public]:
    server, port = stand
    store = MemoryStore()
    watch = FleetWatch(a_ranker(), store, Telemetry(), cache_policy=CachePolicy())
    locator = Locator(locate, trusted=Networks.parse(["127.0.0.0/8"]), secrets=[SECRET])
    server.app = app = PublicApp(watch, locator)
    async with plain_client(f"http://127.0.0.1:{port}") as client:
        one = Public(app, watch, store, client, port)
        await one.see()
        yield one


def head_of(answer: httpx.Response) -> list[tuple[str, str]]:
    return sorted(pair for pair in answer.headers.items() if pair[0] != "date")


async def test_viewer_gets_the_nearest_edge_in_their_country(public: Public) -> None:
    answer = await public.get()
    told = answer.json()
    assert answer.status_code == 200
    assert told["region"] in ("yto-01", "yto-02")
    assert told["endpoint"] == f"https://api.{told['region']}.edge.polargrid.ai"


async def test_body_has_exactly_the_keys_of_the_contract_in_order(public: Public) -> None:
    told = (await public.get()).json()
    assert list(told) == [
        "region", "name", "country", "endpoint", "ttl",
        "scope", "reason", "crossed_border", "status", "alternates",
    ]  # fmt: skip
    assert [list(other) for other in told["alternates"]] == [
        ["region", "name", "country", "endpoint"]
    ] * 3
    assert type(told["ttl"]) is int


async def test_viewer_abroad_crosses_the_border(public: Public) -> None:
    told = (await public.get(**{"X-Forwarded-For": GERMAN})).json()
    assert (told["country"], told["reason"], told["crossed_border"]) == (
        "CA",
        "no_edge_in_country",
        True,
    )


async def test_viewer_of_unknown_place_gets_the_default_order(public: Public) -> None:
    told = (await public.get(**{"X-Forwarded-For": NOWHERE})).json()
    assert (told["region"], told["reason"]) == ("yto-01", "default_order")


async def test_edge_down_is_named_nowhere(public: Public) -> None:
    await public.see("yto-01")
    answer = await public.get("/v1/route?all=true")
    assert "yto-01" not in answer.text
    assert answer.json()["region"] == "yto-02"


async def test_all_lists_every_edge_with_its_id_twice(public: Public) -> None:
    told = (await public.get("/v1/route?all=true")).json()
    assert {each["id"] for each in told["regions"]} == set(CITIES)
    assert all(
        list(each) == ["id", "region", "name", "country", "endpoint"] for each in told["regions"]
    )
    assert told["regions"][0]["id"] == told["region"]


async def test_global_scope_looks_anywhere(public: Public) -> None:
    told = (await public.get("/v1/route?scope=%20GLOBAL+")).json()
    assert (told["scope"], told["reason"]) == ("global", "nearest_global")


@pytest.mark.parametrize("scope", ["", "world", "%00", "country", "%ff%fe"])
async def test_any_other_scope_means_country(public: Public, scope: str) -> None:
    answer = await public.get(f"/v1/route?scope={scope}")
    assert (answer.status_code, answer.json()["scope"]) == (200, "country")


async def test_model_is_found_through_its_alias(public: Public) -> None:
    await public.see(models={"yul-02": ("kokoro-82m",)})
    told = (await public.get("/v1/route?model=+Kokoro%20")).json()
    assert told["region"] == "yul-02"
    assert told["model"] == {"requested": "Kokoro", "resolved": "kokoro-82m", "state": "loaded"}


async def test_model_of_unknown_inventories_is_unknown(public: Public) -> None:
    told = (await public.get("/v1/route?model=kokoro")).json()
    assert told["model"]["state"] == "unknown"


async def test_model_loaded_nowhere_is_404(public: Public) -> None:
    await public.see(models={})
    answer = await public.get("/v1/route?model=nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "model_unavailable")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "model", ["x" * (MAX_MODEL_LENGTH + 1), "a%00b", "a%0D%0Ab", "%7F", "a%C2%85b"]
)
async def test_unacceptable_model_is_400(public: Public, model: str) -> None:
    answer = await public.get(f"/v1/route?model={model}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_model")
    assert answer.headers["cache-control"] == "no-store"


async def test_longest_model_is_accepted(public: Public) -> None:
    model = "%C3%A4" * MAX_MODEL_LENGTH
    assert (await public.get(f"/v1/route?model={model}")).status_code == 200


async def test_strict_refuses_to_cross(public: Public) -> None:
    answer = await public.get("/v1/route?strict=true", **{"X-Forwarded-For": GERMAN})
    assert (answer.status_code, answer.json()["code"]) == (404, "no_edge_in_country")


async def test_fleet_held_back_by_operators_is_503(public: Public) -> None:
    now = time.time()
    held = [an_intent(id, Intended.DISABLED, expires_at=now + 3_600) for id in CITIES]
    await public.see(intents=[replace(intent, created_at=now) for intent in held])
    answer = await public.get()
    assert (answer.status_code, answer.json()["code"]) == (503, "no_edge")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["cache-control"] == "no-store"


async def test_fleet_entirely_down_is_offered_all_the_same(public: Public) -> None:
    await public.see(*CITIES)
    told = (await public.get()).json()
    assert (told["status"], told["reason"], told["ttl"]) == ("fail_open", "fail_open", 30)


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/route/", "/v1/routes", "/V1/route", "/metrics"])
async def test_any_other_path_is_404(public: Public, path: str) -> None:
    answer = await public.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_healthz_lives(public: Public) -> None:
    answer = await public.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


METHODS = ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/v1/route", "/healthz", "/nowhere"])
async def test_any_other_method_is_403(public: Public, method: str, path: str) -> None:
    said = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    heard = (await talk(public.port, said.encode())).decode()
    assert heard.startswith("HTTP/1.1 403")
    assert re.search(r"(?mi)^allow: GET, HEAD\r$", heard)
    assert '"code":"use_edge"' in heard


async def test_inference_request_is_told_where_to_go(public: Public) -> None:
    answer = await public.client.post("/v1/chat/completions", json={"messages": []})
    assert answer.json() == {
        "detail": "The autorouter answers GET /v1/route only. "
        "Send inference requests to the endpoint it returns.",
        "code": "use_edge",
    }


async def test_large_upload_is_refused_and_not_awaited(public: Public) -> None:
    said = (
        b"POST /v1/route HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n" + b"x" * 65_536
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", public.port)
    writer.write(said)
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 403")
    writer.transport.abort()


PATHS = [
    "/v1/route",
    "/v1/route?all=true",
    "/v1/route?model=%00",
    "/v1/route?model=nothing",
    "/v1/route?strict=true",
    "/healthz",
    "/nowhere",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("extra", [{}, KEYED], ids=["private", "keyed"])
async def test_head_has_the_headers_of_get_and_no_body(
    public: Public, path: str, extra: dict[str, str]
) -> None:
    await public.see(models={})
    got = await public.get(path, **extra)
    told = await public.client.head(path, headers=FROM_CANADA | extra)
    assert (told.status_code, head_of(told)) == (got.status_code, head_of(got))
    assert (told.content, got.content != b"") == (b"", True)


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_is_json_that_any_page_may_read(public: Public, path: str) -> None:
    answer = await public.get(path)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_page_that_asks_first_is_answered_without_a_preflight(public: Public) -> None:
    answer = await public.get(Origin="https://example.com")
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


@pytest.mark.parametrize("path", PATHS)
async def test_no_answer_sets_a_cookie_or_names_our_server(public: Public, path: str) -> None:
    answer = await public.get(path)
    assert not {"set-cookie", "server", "x-powered-by", "location"} & set(answer.headers)


async def test_answer_by_address_is_private_for_as_long_as_the_pick(public: Public) -> None:
    answer = await public.get()
    assert answer.headers["cache-control"] == "private, max-age=300"
    assert not {"vary", "cache-tag", "xkey"} & set(answer.headers)


async def test_answer_by_key_is_public_and_tagged(public: Public) -> None:
    answer = await public.get(**KEYED)
    assert answer.json()["region"] == "yul-01"
    assert answer.headers["cache-control"] == (
        "public, max-age=10, stale-while-revalidate=10, stale-if-error=300"
    )
    assert answer.headers["vary"] == "X-Autorouter-Key"
    assert answer.headers["cache-tag"] == "route,edge:yul-01,edge:yul-02,edge:yto-01,edge:yto-02"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Autorouter-Key": KEYED["X-Autorouter-Key"]},
        {**KEYED, "X-Origin-Verify": "wrong"},
        {**KEYED, "X-Origin-Verify": ""},
        {**KEYED, "X-Autorouter-Key": "CA~" + "a." * 500},
        {**KEYED, "X-Autorouter-Key": "CA~yul-01\tx"},
    ],
)
async def test_key_without_the_secret_or_malformed_counts_for_nothing(
    public: Public, headers: dict[str, str]
) -> None:
    answer = await public.get(**headers)
    assert answer.json()["region"].startswith("yto-")
    assert answer.headers["cache-control"].startswith("private")


async def test_key_of_a_release_behind_loses_only_unknown_edges(public: Public) -> None:
    answer = await public.get(**{**KEYED, "X-Autorouter-Key": "CA~gone-01.yvr-02"})
    assert (answer.status_code, answer.json()["region"]) == (200, "yvr-02")


@pytest.mark.parametrize("extra", [{}, KEYED], ids=["private", "keyed"])
async def test_known_answer_is_304_with_the_same_caching(
    public: Public, extra: dict[str, str]
) -> None:
    full = await public.get(**extra)
    tag = full.headers["etag"]
    for known in (tag, "*", f"W/{tag}", f'"other", {tag}'):
        answer = await public.get(**extra, **{"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        expected = {name: text for name, text in head_of(full) if not name.startswith("content-")}
        assert dict(head_of(answer)) == expected


@pytest.mark.parametrize("known", ['"other"', "", "nonsense", '"' + "x" * 30_000, "W/", "\xff"])
async def test_other_tags_get_the_whole_answer(public: Public, known: str) -> None:
    headers = [(b"If-None-Match", known.encode("latin-1")), (b"X-Forwarded-For", b"192.0.2.7")]
    assert (await public.client.get("/v1/route", headers=headers)).status_code == 200


async def test_tag_changes_with_the_answer(public: Public) -> None:
    before = (await public.get()).headers["etag"]
    await public.see("yto-01", "yto-02")
    answer = await public.get(**{"If-None-Match": before})
    assert (answer.status_code, answer.json()["region"][:3]) == (200, "yul")


async def test_connection_serves_many_requests(public: Public) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", public.port)
    writer.write(b"GET /v1/route HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
    async with asyncio.timeout(5):
        for _ in range(50):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))  # type: ignore[index]
    writer.transport.abort()


async def test_untrusted_peer_cannot_say_where_it_is(public: Public) -> None:
    locator = Locator(locate, trusted=Networks())
    respond = PublicApp(public.watch, locator).respond
    async with served(respond, public_server) as port:
        said = a_request("/v1/route", f"X-Forwarded-For: {CANADIAN}")
        _, body = bodies(await talk(port, said))
    assert json.loads(body)["reason"] == "default_order"


async def test_rubbish_of_one_proxy_is_not_remembered_for_another(public: Public) -> None:
    trusting = Networks.parse([f"{CANADIAN}/32", f"{GERMAN}/32"])
    app = PublicApp(public.watch, Locator(locate, trusted=trusting))
    for proxy in (CANADIAN, GERMAN, CANADIAN):
        app.respond(asked(viewer="rubbish", peer=proxy))
    assert app.counts.countries == {"CA": 2, "DE": 1}


async def test_spoofed_left_hops_count_for_nothing(public: Public) -> None:
    answer = await public.get(**{"X-Forwarded-For": f"{GERMAN}, 1.1.1.1, {CANADIAN}, 127.0.0.1"})
    assert answer.json()["country"] == "CA"


def a_request(
    target: str = "/v1/route", *headers: str, method: str = "GET", version: str = "1.1"
) -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: x", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


LONG = "x" * 30_000
ROUTED = {
    "30 KB of hops": a_request("/v1/route", "X-Forwarded-For: " + "1.2.3.4, " * 3_300),
    "30 KB of commas": a_request("/v1/route", "X-Forwarded-For: " + "," * 30_000),
    "30 KB hop": a_request("/v1/route", "X-Forwarded-For: " + LONG),
    "32 lines of hops": a_request("/v1/route", *["X-Forwarded-For: 127.0.0.1"] * 32),
    "bytes for a hop": a_request("/v1/route", "X-Forwarded-For: \xff\xfe, ::ffff:\xff"),
    "30 KB query": a_request("/v1/route?" + "a=b&" * 7_000),
    "30 KB name": a_request(f"/v1/route?{LONG}=1"),
    "30 KB value": a_request(f"/v1/route?scope={LONG}"),
    "only ampersands": a_request("/v1/route?" + "&" * 30_000),
    "percent rubbish": a_request("/v1/route?scope=%&model=%zz%&strict=%%%&all=%f"),
    "repeated keys": a_request("/v1/route?" + "&".join(["scope=global", "model=a"] * 500)),
    "question marks": a_request("/v1/route???&?"),
    "empty query": a_request("/v1/route?"),
    "absolute form": a_request("http://elsewhere.example/v1/route?scope=global"),
    "absolute form, https": a_request("https://user:pass@[::1]:99/v1/route"),
    "percent in path": a_request("/v1/%72oute"),
    "fragment": a_request("/v1/route#all"),
    "long host": a_request("/v1/route", f"Host: {LONG}").replace(b"Host: x\r\n", b""),
    "http/1.0": b"GET /v1/route HTTP/1.0\r\n\r\n",
    "body": a_request("/v1/route", "Content-Length: 5") + b"hello",
    "chunked body": a_request("/v1/route", "Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n\r\n",
    "expectation": a_request("/v1/route", "Expect: 100-continue"),
    "odd expectation": a_request("/v1/route", "Expect: a-miracle"),
    "range": a_request("/v1/route", "Range: bytes=0-1"),
    "websocket": a_request(
        "/v1/route", "Upgrade: websocket", "Sec-WebSocket-Key: eA==", "Sec-WebSocket-Version: 13"
    ),
    "h2c": a_request("/v1/route", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    "many headers": a_request("/v1/route", *[f"X-{n}: y" for n in range(98)]),
    "cdn rubbish": a_request(
        "/v1/route",
        f"X-Origin-Verify: {SECRET}",
        "CloudFront-Viewer-Country: \xff",
        "CloudFront-Viewer-Latitude: nan",
        "CloudFront-Viewer-Longitude: 1e999",
        "X-Autorouter-Key: ~~~",
    ),
    "secret twice": a_request("/v1/route", *[f"X-Origin-Verify: {SECRET}"] * 2),
    "secret in bytes": a_request("/v1/route", "X-Origin-Verify: \xff\x80"),
}  # fmt: skip


def bodies(heard: bytes) -> tuple[int, bytes]:
    """Status and body of the last response in what was heard; interim ones are skipped."""
    while heard.startswith(b"HTTP/1.1 100"):
        heard = heard.partition(b"\r\n\r\n")[2]
    head, _, body = heard.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


@pytest.mark.parametrize("said", ROUTED.values(), ids=ROUTED)
async def test_odd_but_valid_requests_are_routed(public: Public, said: bytes) -> None:
    status, body = bodies(await talk(public.port, said, 5))
    assert status == 200
    assert json.loads(body)["region"] in CITIES


MALFORMED = {
    "two hosts": (a_request("/v1/route", "Host: y"), 400),
    "no host": (b"GET /v1/route HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    "101 fields": (a_request("/v1/route", *[f"X-{n}: y" for n in range(99)]), 400),
    "33 hops": (a_request("/v1/route", *["X-Forwarded-For: 127.0.0.1"] * 33), 400),
    "34 KB head": (a_request("/v1/route", "X: " + "x" * 34_000), 400),
    "asterisk": (a_request("*", method="OPTIONS"), 403),
    "authority": (a_request("example.com:443", method="CONNECT"), 403),
    "double slash": (a_request("//v1/route"), 404),
    "dots": (a_request("/v1/../v1/route"), 404),
    "encoded slash": (a_request("/v1%2Froute"), 200),
    "parameters": (a_request("/v1/route;x=1"), 404),
    "null in path": (a_request("/v1/route%00"), 404),
    "bytes in path": (a_request("/v1/route\xff"), 400),
    "bytes in query": (a_request("/v1/route?scope=\xff\xfe"), 400),
    "30 KB path": (a_request("/" + LONG), 404),
    "no slash": (a_request("v1/route"), 400),
    "lower-case method": (a_request(method="get"), 400),
    "unknown method": (a_request(method="BREW"), 400),
    "no version": (b"GET /v1/route\r\n\r\n", 400),
    "http/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "http/3.0": (a_request(version="3.0"), 505),
    "not http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "smuggled": (a_request("/v1/route", "Content-Length: 5", "Transfer-Encoding: chunked"), 400),
    "bad length": (a_request("/v1/route", "Content-Length: x"), 400),
    "folded header": (a_request("/v1/route", "A: b\r\n c"), 400),
    "null in header": (a_request("/v1/route", "A: b\0c"), 400),
    "space in name": (a_request("/v1/route", "A b: c"), 400),
}


@pytest.mark.parametrize(("said", "expected"), MALFORMED.values(), ids=MALFORMED)
async def test_malformed_requests_are_answered_as_the_contract_says(
    public: Public, said: bytes, expected: int
) -> None:
    status, _ = bodies(await talk(public.port, said, 5))
    assert status == expected


async def test_server_lives_on_after_everything_hostile(public: Public) -> None:
    for said in [*ROUTED.values(), *(said for said, _ in MALFORMED.values())]:
        await talk(public.port, said, 5)
    assert (await public.get()).status_code == 200


async def test_unique_models_keep_memory_bounded(
    public: Public, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.api.app.KNOWN_TARGETS", 70)
    monkeypatch.setattr("router.routing.route_table.KNOWN_ANSWERS", 100)
    watch, app = public.watch, public.app
    for n in range(250):
        app.respond(asked(f"/v1/route?model=m{n}"))
        assert 0 < len(app._asked) <= 70
        assert 0 < len(watch.table._answers) <= 100
    assert len(app.counts.answers) < 10


async def test_unique_long_queries_are_not_kept(public: Public) -> None:
    public.app.respond(asked(f"/v1/route?x={'y' * 60_000}"))
    assert all(len(target) < 1_000 for target in public.app._asked)


async def test_client_without_an_address_is_answered(public: Public) -> None:
    assert public.app.respond(asked(peer=None)).opening == b"HTTP/1.1 200 OK\r\n"


async def test_every_answer_is_counted_by_closed_labels(public: Public) -> None:
    for path in [*PATHS, "/v1/route?model=anything"]:
        await public.get(path)
    counted = {labels.reason for labels, count in public.app.counts.answers.items() if count}
    assert sum(public.app.counts.answers.values()) == len(PATHS) + 1
    assert counted == {"nearest_in_country", "bad_model", "healthz", "not_found"}


async def test_routes_are_counted_by_who_placed_the_viewer(public: Public) -> None:
    for viewer in (CANADIAN, CANADIAN, GERMAN, NOWHERE):
        await public.get(**{"X-Forwarded-For": viewer})
    await public.get(**KEYED)
    await public.get("/healthz")
    assert public.app.counts.placements == {
        (Source.DATABASE, Level.CITY, PlacedBy.FORWARDED): 3,
        (Source.NONE, Level.UNKNOWN, PlacedBy.FORWARDED): 1,
        (Source.CDN_KEY, Level.UNKNOWN, PlacedBy.KEY): 1,
    }


async def test_answers_are_counted_by_sharing_and_crossing(public: Public) -> None:
    await public.get()
    await public.get(**{"X-Forwarded-For": GERMAN})
    await public.get(**KEYED)
    answers = public.app.counts.answers
    counted = {(labels.sharing, labels.crossed) for labels in answers if answers[labels]}
    assert counted == {("private", "false"), ("private", "true"), ("keyed", "false")}


async def test_request_that_fails_is_counted(public: Public) -> None:
    def broken(address: str) -> Location:
        raise ValueError("not a database")

    public.app.replace_locator(Locator(broken, trusted=Networks.parse(["127.0.0.0/8"])))
    assert (await public.get()).status_code == 500
    assert public.app.counts.answers[FAULT.labels] == 1


async def test_adopted_locator_places_known_viewers_anew(public: Public) -> None:
    assert (await public.get()).json()["country"] == "CA"
    trusting = Networks.parse(["127.0.0.0/8"])
    public.app.replace_locator(Locator(lambda _: a_location(NEW_YORK, "US"), trusted=trusting))
    assert (await public.get()).json()["country"] == "US"
