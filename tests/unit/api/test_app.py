"""The public listener on a real socket: the contract and hostile requests."""

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
    a_request,
    a_view,
    an_edge_view,
    an_intent,
    wishes,
)
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
    """The app, its store and a client."""

    app: PublicApp
    watch: FleetWatch
    store: MemoryStore
    client: httpx.AsyncClient
    port: int

    async def publish(self, *down: str, models: Any = None, intents: Any = ()) -> None:
        """Publish a fleet that is up except `down`; `models` maps an edge to its models."""
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
            await self.store.change_intents(wishes(intent))
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
        await one.publish()
        yield one


def head_of(answer: httpx.Response) -> list[tuple[str, str]]:
    return sorted(pair for pair in answer.headers.items() if pair[0] != "date")


async def test_viewer_gets_the_nearest_edge_in_their_country(public: Public) -> None:
    answer = await public.get()
    body = answer.json()
    assert answer.status_code == 200
    assert body["region"] in ("yto-01", "yto-02")
    assert body["endpoint"] == f"https://api.{body['region']}.edge.polargrid.ai"


async def test_body_has_exactly_the_keys_of_the_contract_in_order(public: Public) -> None:
    body = (await public.get()).json()
    assert list(body) == [
        "region", "name", "country", "endpoint", "ttl",
        "scope", "reason", "crossed_border", "status", "alternates",
    ]  # fmt: skip
    assert [list(other) for other in body["alternates"]] == [
        ["region", "name", "country", "endpoint"]
    ] * 3
    assert type(body["ttl"]) is int


async def test_viewer_abroad_crosses_the_border(public: Public) -> None:
    body = (await public.get(**{"X-Forwarded-For": GERMAN})).json()
    assert (body["country"], body["reason"], body["crossed_border"]) == (
        "CA",
        "no_edge_in_country",
        True,
    )


async def test_viewer_of_unknown_place_gets_the_default_order(public: Public) -> None:
    body = (await public.get(**{"X-Forwarded-For": NOWHERE})).json()
    assert (body["region"], body["reason"]) == ("yto-01", "default_order")


async def test_edge_that_is_down_is_not_in_the_answer(public: Public) -> None:
    await public.publish("yto-01")
    answer = await public.get("/v1/route?all=true")
    assert "yto-01" not in answer.text
    assert answer.json()["region"] == "yto-02"


async def test_all_lists_every_edge_with_its_id_twice(public: Public) -> None:
    body = (await public.get("/v1/route?all=true")).json()
    assert {each["id"] for each in body["regions"]} == set(CITIES)
    assert all(
        list(each) == ["id", "region", "name", "country", "endpoint"] for each in body["regions"]
    )
    assert body["regions"][0]["id"] == body["region"]


async def test_global_scope_ignores_the_country(public: Public) -> None:
    body = (await public.get("/v1/route?scope=%20GLOBAL+")).json()
    assert (body["scope"], body["reason"]) == ("global", "nearest_global")


@pytest.mark.parametrize("scope", ["", "world", "%00", "country", "%ff%fe"])
async def test_any_other_scope_means_country(public: Public, scope: str) -> None:
    answer = await public.get(f"/v1/route?scope={scope}")
    assert (answer.status_code, answer.json()["scope"]) == (200, "country")


async def test_model_is_found_through_its_alias(public: Public) -> None:
    await public.publish(models={"yul-02": ("kokoro-82m",)})
    body = (await public.get("/v1/route?model=+Kokoro%20")).json()
    assert body["region"] == "yul-02"
    assert body["model"] == {"requested": "Kokoro", "resolved": "kokoro-82m", "state": "loaded"}


async def test_model_loaded_nowhere_is_404(public: Public) -> None:
    await public.publish(models={})
    answer = await public.get("/v1/route?model=nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "model_unavailable")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "model", ["x" * (MAX_MODEL_LENGTH + 1), "a%00b", "a%0D%0Ab", "%7F", "a%C2%85b"]
)
async def test_invalid_model_is_400(public: Public, model: str) -> None:
    answer = await public.get(f"/v1/route?model={model}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_model")
    assert answer.headers["cache-control"] == "no-store"


async def test_longest_model_is_accepted(public: Public) -> None:
    model = "%C3%A4" * MAX_MODEL_LENGTH
    assert (await public.get(f"/v1/route?model={model}")).status_code == 200


async def test_strict_request_does_not_cross_the_border(public: Public) -> None:
    answer = await public.get("/v1/route?strict=true", **{"X-Forwarded-For": GERMAN})
    assert (answer.status_code, answer.json()["code"]) == (404, "no_edge_in_country")


async def test_fleet_disabled_by_operators_is_503(public: Public) -> None:
    now = time.time()
    intents = [an_intent(id, Intended.DISABLED, expires_at=now + 3_600) for id in CITIES]
    await public.publish(intents=[replace(intent, created_at=now) for intent in intents])
    answer = await public.get()
    assert (answer.status_code, answer.json()["code"]) == (503, "no_edge")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["cache-control"] == "no-store"


async def test_fleet_that_is_down_fails_open(public: Public) -> None:
    await public.publish(*CITIES)
    body = (await public.get()).json()
    assert (body["status"], body["reason"], body["ttl"]) == ("fail_open", "fail_open", 30)


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/route/", "/v1/routes", "/V1/route", "/metrics"])
async def test_any_other_path_is_404(public: Public, path: str) -> None:
    answer = await public.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_healthz_is_ok(public: Public) -> None:
    answer = await public.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


METHODS = ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/v1/route", "/healthz", "/nowhere"])
async def test_any_other_method_is_403(public: Public, method: str, path: str) -> None:
    raw = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    received = (await talk(public.port, raw.encode())).decode()
    assert received.startswith("HTTP/1.1 403")
    assert re.search(r"(?mi)^allow: GET, HEAD\r$", received)
    assert '"code":"use_edge"' in received


async def test_inference_request_is_refused_with_directions(public: Public) -> None:
    answer = await public.client.post("/v1/chat/completions", json={"messages": []})
    assert answer.json() == {
        "detail": "The autorouter answers GET /v1/route only. "
        "Send inference requests to the endpoint it returns.",
        "code": "use_edge",
    }


async def test_large_upload_is_rejected_before_it_arrives(public: Public) -> None:
    raw = (
        b"POST /v1/route HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n" + b"x" * 65_536
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", public.port)
    writer.write(raw)
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
    await public.publish(models={})
    get = await public.get(path, **extra)
    head = await public.client.head(path, headers=FROM_CANADA | extra)
    assert (head.status_code, head_of(head)) == (get.status_code, head_of(get))
    assert (head.content, get.content != b"") == (b"", True)


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_is_json_with_cors_and_no_cookie(public: Public, path: str) -> None:
    answer = await public.get(path, Origin="https://example.com")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not {"set-cookie", "server", "x-powered-by", "location"} & set(answer.headers)


async def test_answer_by_address_is_private_and_lasts_its_ttl(public: Public) -> None:
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
async def test_key_without_secret_or_malformed_is_ignored(
    public: Public, headers: dict[str, str]
) -> None:
    answer = await public.get(**headers)
    assert answer.json()["region"].startswith("yto-")
    assert answer.headers["cache-control"].startswith("private")


async def test_unknown_edges_in_a_key_are_skipped(public: Public) -> None:
    answer = await public.get(**{**KEYED, "X-Autorouter-Key": "CA~gone-01.yvr-02"})
    assert (answer.status_code, answer.json()["region"]) == (200, "yvr-02")


@pytest.mark.parametrize("extra", [{}, KEYED], ids=["private", "keyed"])
async def test_matching_etag_is_304_with_the_same_headers(
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
async def test_other_etags_get_the_full_answer(public: Public, known: str) -> None:
    headers = [(b"If-None-Match", known.encode("latin-1")), (b"X-Forwarded-For", b"192.0.2.7")]
    assert (await public.client.get("/v1/route", headers=headers)).status_code == 200


async def test_etag_changes_with_the_answer(public: Public) -> None:
    before = (await public.get()).headers["etag"]
    await public.publish("yto-01", "yto-02")
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


async def test_forwarded_for_of_an_untrusted_peer_is_ignored(public: Public) -> None:
    locator = Locator(locate, trusted=Networks())
    respond = PublicApp(public.watch, locator).respond
    async with served(respond, public_server) as port:
        raw = raw_request("/v1/route", f"X-Forwarded-For: {CANADIAN}")
        _, body = status_and_body(await talk(port, raw))
    assert json.loads(body)["reason"] == "default_order"


async def test_invalid_address_is_not_cached_across_proxies(public: Public) -> None:
    trusting = Networks.parse([f"{CANADIAN}/32", f"{GERMAN}/32"])
    app = PublicApp(public.watch, Locator(locate, trusted=trusting))
    for proxy in (CANADIAN, GERMAN, CANADIAN):
        app.respond(a_request(viewer="invalid", peer=proxy))
    assert app.counts.countries == {"CA": 2, "DE": 1}


async def test_spoofed_left_hops_are_ignored(public: Public) -> None:
    answer = await public.get(**{"X-Forwarded-For": f"{GERMAN}, 1.1.1.1, {CANADIAN}, 127.0.0.1"})
    assert answer.json()["country"] == "CA"


def raw_request(
    target: str = "/v1/route", *headers: str, method: str = "GET", version: str = "1.1"
) -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: x", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


LONG = "x" * 30_000
ROUTED = {
    "30 KB of hops": raw_request("/v1/route", "X-Forwarded-For: " + "1.2.3.4, " * 3_300),
    "30 KB of commas": raw_request("/v1/route", "X-Forwarded-For: " + "," * 30_000),
    "30 KB hop": raw_request("/v1/route", "X-Forwarded-For: " + LONG),
    "32 lines of hops": raw_request("/v1/route", *["X-Forwarded-For: 127.0.0.1"] * 32),
    "bytes for a hop": raw_request("/v1/route", "X-Forwarded-For: \xff\xfe, ::ffff:\xff"),
    "30 KB query": raw_request("/v1/route?" + "a=b&" * 7_000),
    "30 KB name": raw_request(f"/v1/route?{LONG}=1"),
    "30 KB value": raw_request(f"/v1/route?scope={LONG}"),
    "only ampersands": raw_request("/v1/route?" + "&" * 30_000),
    "invalid percent": raw_request("/v1/route?scope=%&model=%zz%&strict=%%%&all=%f"),
    "repeated keys": raw_request("/v1/route?" + "&".join(["scope=global", "model=a"] * 500)),
    "question marks": raw_request("/v1/route???&?"),
    "empty query": raw_request("/v1/route?"),
    "absolute form": raw_request("http://elsewhere.example/v1/route?scope=global"),
    "absolute form, https": raw_request("https://user:pass@[::1]:99/v1/route"),
    "percent in path": raw_request("/v1/%72oute"),
    "fragment": raw_request("/v1/route#all"),
    "long host": raw_request("/v1/route", f"Host: {LONG}").replace(b"Host: x\r\n", b""),
    "http/1.0": b"GET /v1/route HTTP/1.0\r\n\r\n",
    "body": raw_request("/v1/route", "Content-Length: 5") + b"hello",
    "chunked body": raw_request("/v1/route", "Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n\r\n",
    "expectation": raw_request("/v1/route", "Expect: 100-continue"),
    "unknown expectation": raw_request("/v1/route", "Expect: unknown"),
    "range": raw_request("/v1/route", "Range: bytes=0-1"),
    "websocket": raw_request(
        "/v1/route", "Upgrade: websocket", "Sec-WebSocket-Key: eA==", "Sec-WebSocket-Version: 13"
    ),
    "h2c": raw_request("/v1/route", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    "many headers": raw_request("/v1/route", *[f"X-{n}: y" for n in range(98)]),
    "invalid cdn headers": raw_request(
        "/v1/route",
        f"X-Origin-Verify: {SECRET}",
        "CloudFront-Viewer-Country: \xff",
        "CloudFront-Viewer-Latitude: nan",
        "CloudFront-Viewer-Longitude: 1e999",
        "X-Autorouter-Key: ~~~",
    ),
    "secret twice": raw_request("/v1/route", *[f"X-Origin-Verify: {SECRET}"] * 2),
    "secret in bytes": raw_request("/v1/route", "X-Origin-Verify: \xff\x80"),
}  # fmt: skip


def status_and_body(received: bytes) -> tuple[int, bytes]:
    """Returns status and body of the last response; interim responses are skipped."""
    while received.startswith(b"HTTP/1.1 100"):
        received = received.partition(b"\r\n\r\n")[2]
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


@pytest.mark.parametrize("raw", ROUTED.values(), ids=ROUTED)
async def test_unusual_but_valid_requests_are_routed(public: Public, raw: bytes) -> None:
    status, body = status_and_body(await talk(public.port, raw, 5))
    assert status == 200
    assert json.loads(body)["region"] in CITIES


MALFORMED = {
    "two hosts": (raw_request("/v1/route", "Host: y"), 400),
    "no host": (b"GET /v1/route HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    "101 fields": (raw_request("/v1/route", *[f"X-{n}: y" for n in range(99)]), 400),
    "33 hops": (raw_request("/v1/route", *["X-Forwarded-For: 127.0.0.1"] * 33), 400),
    "34 KB head": (raw_request("/v1/route", "X: " + "x" * 34_000), 400),
    "asterisk": (raw_request("*", method="OPTIONS"), 403),
    "authority": (raw_request("example.com:443", method="CONNECT"), 403),
    "double slash": (raw_request("//v1/route"), 404),
    "dots": (raw_request("/v1/../v1/route"), 404),
    "encoded slash": (raw_request("/v1%2Froute"), 200),
    "parameters": (raw_request("/v1/route;x=1"), 404),
    "null in path": (raw_request("/v1/route%00"), 404),
    "bytes in path": (raw_request("/v1/route\xff"), 400),
    "bytes in query": (raw_request("/v1/route?scope=\xff\xfe"), 400),
    "30 KB path": (raw_request("/" + LONG), 404),
    "no slash": (raw_request("v1/route"), 400),
    "lower-case method": (raw_request(method="get"), 400),
    "unknown method": (raw_request(method="BREW"), 400),
    "no version": (b"GET /v1/route\r\n\r\n", 400),
    "http/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "http/3.0": (raw_request(version="3.0"), 505),
    "not http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "smuggled": (raw_request("/v1/route", "Content-Length: 5", "Transfer-Encoding: chunked"), 400),
    "bad length": (raw_request("/v1/route", "Content-Length: x"), 400),
    "folded header": (raw_request("/v1/route", "A: b\r\n c"), 400),
    "null in header": (raw_request("/v1/route", "A: b\0c"), 400),
    "space in name": (raw_request("/v1/route", "A b: c"), 400),
}


@pytest.mark.parametrize(("raw", "expected"), MALFORMED.values(), ids=MALFORMED)
async def test_malformed_requests_get_the_documented_status(
    public: Public, raw: bytes, expected: int
) -> None:
    status, _ = status_and_body(await talk(public.port, raw, 5))
    assert status == expected


async def test_unique_models_keep_memory_bounded(
    public: Public, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.api.app.KNOWN_TARGETS", 70)
    monkeypatch.setattr("router.routing.route_table.KNOWN_ANSWERS", 100)
    watch, app = public.watch, public.app
    for n in range(250):
        app.respond(a_request(f"/v1/route?model=m{n}"))
        assert 0 < len(app._asked) <= 70
        assert 0 < len(watch.table._answers) <= 100
    assert len(app.counts.answers) < 20


async def test_unique_long_queries_are_not_kept(public: Public) -> None:
    public.app.respond(a_request(f"/v1/route?x={'y' * 60_000}"))
    assert all(len(target) < 1_000 for target in public.app._asked)


async def test_client_without_an_address_is_answered(public: Public) -> None:
    assert public.app.respond(a_request(peer=None)).opening == b"HTTP/1.1 200 OK\r\n"


async def test_every_answer_is_counted_by_closed_labels(public: Public) -> None:
    for path in [*PATHS, "/v1/route?model=anything"]:
        await public.get(path)
    counted = {labels.reason for labels, count in public.app.counts.answers.items() if count}
    assert sum(public.app.counts.answers.values()) == len(PATHS) + 1
    assert counted == {"nearest_in_country", "bad_model", "healthz", "not_found"}


async def test_routes_are_counted_by_location_source(public: Public) -> None:
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


async def test_every_error_is_counted_from_zero(public: Public) -> None:
    """Prometheus sees no increase in a series that appears with its first count."""
    before = dict(public.app.counts.answers)
    await public.get("/nowhere")
    await public.client.post("/v1/route")
    await public.get(f"/v1/route?model={'m' * (MAX_MODEL_LENGTH + 1)}")
    await public.publish(models={})
    await public.get("/v1/route?model=llama-3")
    await public.get("/v1/route?strict=true", **{"X-Forwarded-For": GERMAN})
    now = time.time()
    held = [an_intent(id, Intended.DISABLED, expires_at=now + 3_600) for id in CITIES]
    await public.publish(intents=[replace(intent, created_at=now) for intent in held])
    await public.get()

    after = public.app.counts.answers
    risen = [labels for labels in after if after[labels] > before.get(labels, -1)]
    assert len(risen) == 6
    assert {labels: before.get(labels) for labels in risen} == dict.fromkeys(risen, 0)


async def test_new_locator_applies_to_known_viewers(public: Public) -> None:
    assert (await public.get()).json()["country"] == "CA"
    trusting = Networks.parse(["127.0.0.0/8"])
    public.app.replace_locator(Locator(lambda _: a_location(NEW_YORK, "US"), trusted=trusting))
    assert (await public.get()).json()["country"] == "US"
