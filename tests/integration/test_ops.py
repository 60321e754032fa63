"""The ops listener on a real uvicorn: its documents, and who may change the fleet."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from router.api.app import PublicApp
from router.api.live_fleet import FleetWatch
from router.errors import StoreError
from router.model import MAX_INTENT_S, Event, EventKind, Intended
from router.ops.app import MAX_BODY_BYTES
from router.ops.recorder import Recorder, StoreKeeper
from router.routing.response import Counts
from router.store.memory import MemoryStore
from router.telemetry.metrics import Telemetry
from tests.support.builders import CITIES, a_ranker, a_request, a_view
from tests.support.ops_server import (
    BEARER,
    GERMAN,
    TOKEN,
    TORONTONIAN,
    Server,
)
from tests.support.servers import eventually

pytestmark = pytest.mark.anyio

DRAIN = {"state": "draining", "for": "2h", "reason": "new disks", "actor": "ann"}
INTENT = "/v1/edges/yto-01/intent"


def ask(app: PublicApp, viewer: str = TORONTONIAN, query: str = "") -> None:
    app.respond(a_request(f"/v1/route?{query}", viewer=viewer))


async def test_healthz_is_ok(server: Server) -> None:
    answer = await server.client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_server_with_fresh_health_is_ready(server: Server) -> None:
    answer = await server.client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    assert answer.json()["fleet"]["status"] == "ok"
    assert answer.json()["geo"]["database"] == "DBIP-City-Lite"


async def test_server_with_stale_health_is_ready_with_a_warning(server: Server) -> None:
    server.store._views.clear()
    server.ops.watch._views.clear()
    await server.see(ago_s=60)
    answer = await server.client.get("/readyz")
    assert answer.status_code == 200
    assert any(line.startswith("Stale") for line in answer.json()["amiss"])


async def test_server_without_health_is_not_ready(server: Server) -> None:
    server.ops.watch = FleetWatch(a_ranker(), MemoryStore(), Telemetry())
    server.ops.monitor.watch = server.ops.watch
    answer = await server.client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert answer.json()["amiss"][0].startswith("Starting")
    server.ops.monitor.clock = lambda: time.time() + 11
    assert "too old" in (await server.client.get("/readyz")).json()["amiss"][0]


async def test_server_without_a_healthy_edge_is_ready_with_a_warning(server: Server) -> None:
    await server.see(*CITIES)
    answer = await server.client.get("/readyz")
    assert answer.status_code == 200
    assert any("no edge is up" in line for line in answer.json()["amiss"])


async def test_server_with_old_geo_data_is_ready_with_a_warning(server: Server) -> None:
    document = await server.get_json("/readyz")
    assert document["ready"]
    assert any(line.startswith("The geo database is ") for line in document["amiss"])


async def test_edges_are_listed_in_catalog_order(server: Server) -> None:
    await server.see("yto-01")
    document = await server.get_json("/v1/edges")
    assert [edge["id"] for edge in document["edges"]] == list(CITIES)
    assert [edge["state"] for edge in document["edges"][:2]] == ["down", "up"]
    assert document["edges"][0]["votes"] == {"local": "down"}


async def test_edges_document_has_findings_and_vantages(server: Server) -> None:
    await server.see("yto-01")
    document = await server.get_json("/v1/edges")
    assert (document["findings"][0]["kind"], document["findings"][0]["edges"]) == (
        "down",
        ["yto-01"],
    )
    (vantage,) = document["vantages"]
    assert (vantage["vantage"], vantage["isolated"], vantage["held"]) == ("local", False, [])
    assert 0 <= vantage["age_s"] < 10


async def test_edges_document_has_shares_of_recent_answers(server: Server) -> None:
    before = await server.get_json("/v1/edges")
    assert {edge["share"] for edge in before["edges"]} == {None}
    for _ in range(4):
        ask(server.public, TORONTONIAN)
    document = await server.get_json("/v1/edges")
    assert (document["answers"]["total"], sum(edge["share"] for edge in document["edges"])) == (
        4,
        1,
    )


async def test_dial_of_an_edge_is_set_and_shown(server: Server) -> None:
    body = {"dial": 0.25, "for": "2h", "reason": "hot", "actor": "ann"}
    answer = await server.client.put(INTENT, json=body)
    assert (answer.status_code, answer.json()["events"][0]["after"]) == (200, "dial 25%")
    await server.ops.watch.refresh()
    edge = (await server.get_json("/v1/edges"))["edges"][0]
    assert (edge["intent"], edge["dial"]["share"], edge["dial"]["to"]) == ("enabled", 0.25, 0.25)
    assert (await server.samples())['autorouter_edge_dial_ratio{"region": "yto-01"}'] == 0.25
    explained = await server.get_json("/v1/explain", ip=TORONTONIAN)
    assert explained["dial"] is None or explained["dial"]["region"] == "yto-01"
    assert (await server.client.delete(INTENT)).json()["events"][0]["before"] == "dial 25%"


@pytest.mark.parametrize("change", [{"state": "draining"}, {"dial": 1.5}, {"dial": None}])
async def test_invalid_dial_is_rejected(server: Server, change: dict[str, object]) -> None:
    body = {"dial": 0.25, "for": "2h", "reason": "hot", "actor": "ann", **change}
    assert (await server.client.put(INTENT, json=body)).status_code in {400, 409}


async def test_drained_edge_shows_actor_reason_and_end(server: Server) -> None:
    await server.client.put(INTENT, json=DRAIN)
    await server.ops.watch.refresh()
    detail = (await server.get_json("/v1/edges"))["edges"][0]["intent_detail"]
    assert (detail["actor"], detail["reason"], detail["drained"]) == ("ann", "new disks", False)
    assert detail["drained_at"] - detail["since"] == 300 + 10 + 10


@pytest.mark.parametrize(
    ("token", "host", "changes"),
    [(None, "127.0.0.1", "open"), (None, "0.0.0.0", "refused"), (TOKEN, "0.0.0.0", "token")],
)
async def test_edges_document_says_what_a_change_needs(
    server: Server, token: str | None, host: str, changes: str
) -> None:
    server.ops.token, server.ops.host = token, host
    assert (await server.get_json("/v1/edges"))["changes"] == changes


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/v1/edges", "/nowhere"])
async def test_every_response_has_security_headers(server: Server, path: str) -> None:
    headers = (await server.client.get(path)).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["script-src"]) == ("'none'", "'self'")
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
    assert headers["referrer-policy"] == "no-referrer"
    assert headers.get_list("x-content-type-options") == ["nosniff"]


async def test_explain_has_the_pick_of_the_public_listener(server: Server) -> None:
    await server.see("yto-01")
    document = await server.get_json("/v1/explain", ip=TORONTONIAN)
    assert (document["ip"], document["region"], document["reason"]) == (
        TORONTONIAN,
        "yto-02",
        "nearest_in_country",
    )
    assert {edge["region"]: edge["why"] for edge in document["rejected"]} == {"yto-01": "down"}
    assert document["location"]["source"] == "database"


async def test_explain_of_a_strict_viewer_abroad_has_the_problem(server: Server) -> None:
    document = await server.get_json("/v1/explain", ip=GERMAN, strict="true")
    assert (document["region"], document["problem"]) == (None, "no_edge_in_country")


@pytest.mark.parametrize("ip", ["24.48.0.1:443", "[2607:fea8::1]:443", "::ffff:24.48.0.1"])
async def test_explain_accepts_addresses_as_proxies_write_them(server: Server, ip: str) -> None:
    assert (await server.get_json("/v1/explain", ip=ip))["location"]["country"] == "CA"


async def test_explain_of_a_country_has_the_spread_of_its_viewers(server: Server) -> None:
    document = await server.get_json("/v1/explain", country="de")
    assert (document["ip"], document["location"]["country"]) == (None, "DE")
    assert document["region"] in {each["region"] for each in document["spread"]}
    assert sum(each["share"] for each in document["spread"]) == pytest.approx(1)


async def test_explain_accepts_coordinates_in_a_country(server: Server) -> None:
    place = {"country": "CA", "latitude": "49.28", "longitude": "-123.12"}
    document = await server.get_json("/v1/explain", **place)
    assert (document["region"], document["location"]["level"]) == ("yvr-02", "city")


@pytest.mark.parametrize("latitude", ["", "north", "nan", "91"])
async def test_explain_ignores_invalid_coordinates(server: Server, latitude: str) -> None:
    document = await server.get_json("/v1/explain", country="CA", latitude=latitude, longitude="0")
    assert document["location"]["level"] == "country"


@pytest.mark.parametrize(
    ("params", "detail"),
    [
        *[({"ip": ip}, "IP address") for ip in ("", "nonsense", "1.2.3", "x" * 10_000, "\x00")],
        ({"ip": "1.2.3.4, 1.2.3.5"}, "IP address"),
        ({"ip": GERMAN, "model": "x" * 129}, "model"),
    ],
)
async def test_explain_of_an_invalid_query_is_400(
    server: Server, params: dict[str, str], detail: str
) -> None:
    answer = await server.client.get("/v1/explain", params=params)
    assert (answer.status_code, detail in answer.json()["detail"]) == (400, True)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/edges", "/v1/events", "/v1/explain"])
async def test_ops_responses_are_not_cached(server: Server, path: str) -> None:
    answer = await server.client.get(path)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/nowhere", "/v1/route", "/v1/edges/yto-01", "/simulation"])
async def test_unknown_path_is_404(server: Server, path: str) -> None:
    assert (await server.client.get(path)).status_code == 404


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
async def test_answers_are_counted_by_label(server: Server, accept: str) -> None:
    for viewer in (TORONTONIAN, TORONTONIAN, GERMAN):
        ask(server.public, viewer)
    counted = {
        name: value
        for name, value in (await server.samples(accept)).items()
        if name.startswith("autorouter_answers_total") and value > 0
    }
    assert sum(counted.values()) == 3
    assert all('"scope": "country"' in name for name in counted)


async def test_metrics_have_the_state_of_edges_and_fleet(server: Server) -> None:
    await server.see("yto-01")
    samples = await server.samples()
    assert samples['autorouter_edge_state{"region": "yto-01", "state": "down"}'] == 1
    assert samples['autorouter_edge_state{"region": "yto-01", "state": "up"}'] == 0
    assert samples['autorouter_fleet_status{"status": "ok"}'] == 1


async def test_metrics_have_ages(server: Server) -> None:
    samples = await server.samples()
    assert 0 <= samples["autorouter_fleet_age_seconds{}"] < 10
    assert samples["autorouter_geo_age_seconds{}"] > 86_400


async def test_metrics_have_our_prefix_and_no_viewer(server: Server) -> None:
    for viewer in (TORONTONIAN, GERMAN, "nonsense"):
        ask(server.public, viewer, "model=a-model-of-theirs")
    text = (await server.client.get("/metrics")).text
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[0] != "#"}
    assert all(name.startswith("autorouter_") for name in names)
    assert not any(word in text for word in (TORONTONIAN, GERMAN, "nonsense", "a-model-of-theirs"))


async def test_drained_edge_is_excluded_from_answers(server: Server) -> None:
    answer = await server.client.put(INTENT, json=DRAIN)
    assert answer.status_code == 200
    assert await server.intent_of("yto-01") == "draining"
    document = await server.get_json("/v1/explain", ip=TORONTONIAN)
    assert {edge["region"]: edge["why"] for edge in document["rejected"]} == {"yto-01": "draining"}


async def test_enabled_edge_is_used_again(server: Server) -> None:
    await server.client.put(INTENT, json=DRAIN)
    answer = await server.client.delete(INTENT, params={"actor": "bob"})
    assert answer.status_code == 200
    assert await server.intent_of("yto-01") == "enabled"


async def test_change_is_logged_with_actor_reason_and_end(server: Server) -> None:
    before = time.time()
    await server.client.put(INTENT, json=DRAIN)
    (event,) = (await server.get_json("/v1/events"))["events"]
    assert {
        name: event[name] for name in ("kind", "edge", "before", "after", "reason", "actor")
    } == {
        "kind": "intent",
        "edge": "yto-01",
        "before": "enabled",
        "after": "draining",
        "reason": "new disks",
        "actor": "ann",
    }
    assert event["until"] - 7_200 == pytest.approx(before, abs=5)


async def test_several_edges_change_together(server: Server) -> None:
    path = "/v1/edges/yto-01,yul-01/intent"
    document = (await server.client.put(path, json=DRAIN | {"state": "disabled"})).json()
    assert [event["edge"] for event in document["events"]] == ["yto-01", "yul-01"]
    assert await server.intent_of("yul-01") == "disabled"


async def test_last_edges_of_a_country_are_drained_only_by_force(server: Server) -> None:
    canadian = ",".join(id for id, (_, country, _) in CITIES.items() if country == "CA")
    path = f"/v1/edges/{canadian}/intent"
    refused = await server.client.put(path, json=DRAIN)
    assert (refused.status_code, "CA" in refused.json()["detail"]) == (409, True)
    assert await server.intent_of("yto-01") == "enabled"
    forced = await server.client.put(path, json=DRAIN | {"force": True})
    assert (forced.status_code, await server.intent_of("yvr-02")) == (200, "draining")


@pytest.mark.parametrize(
    "wrong",
    [
        {"for": "73h"},
        {"for": "0s"},
        {"for": "soon"},
        {"for": f"{MAX_INTENT_S + 1}s"},
        {"reason": ""},
        {"reason": " "},
        {"reason": "x" * 201},
        {"reason": "a\nb"},
        {"actor": ""},
        {"actor": "a\x1b[31m"},
        {"reason": "\u202ereversed"},
        {"actor": "a\u2066b"},
    ],
)
async def test_change_out_of_bounds_is_rejected(server: Server, wrong: dict[str, str]) -> None:
    answer = await server.client.put(INTENT, json=DRAIN | wrong)
    assert (answer.status_code, await server.intent_of("yto-01")) == (409, "enabled")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b'{"state":"enabled","for":"2h","reason":"a","actor":"b"}',
        b'{"state":"draining","for":2,"reason":"a","actor":"b"}',
        b'{"state":"draining","for":"2h","reason":"a","actor":"b","until":1}',
        b'{"state":"draining","for":"2h","reason":"a","actor":"b"' + b" " * MAX_BODY_BYTES + b"}",
        b"[" * 4_000,
        b'{"state":' + b"[" * 4_000,
        b"x" * 1_000_000,
    ],
    ids=range(12),
)
async def test_malformed_change_is_400(server: Server, body: bytes) -> None:
    answer = await server.client.put(INTENT, content=body)
    assert (answer.status_code, await server.intent_of("yto-01")) == (400, "enabled")


@pytest.mark.parametrize(("spare", "code"), [(0, 200), (-1, 400)], ids=["largest", "one byte more"])
async def test_change_has_a_size_limit(server: Server, spare: int, code: int) -> None:
    body = json.dumps(DRAIN).encode()
    padding = b" " * (MAX_BODY_BYTES - spare - len(body))

    async def in_pieces() -> AsyncIterator[bytes]:
        yield body[:20]
        yield body[20:] + padding

    answer = await server.client.put(INTENT, content=in_pieces())
    assert answer.status_code == code


@pytest.mark.parametrize("id", ["nowhere-01", "yto-01,nowhere-01", "yto-01,", "%00"])
async def test_change_of_an_unknown_edge_is_rejected(server: Server, id: str) -> None:
    answer = await server.client.put(f"/v1/edges/{id}/intent", json=DRAIN)
    assert (answer.status_code, "no such edge" in answer.json()["detail"]) == (409, True)
    assert await server.intent_of("yto-01") == "enabled"


async def test_edges_are_enabled_together_or_not_at_all(server: Server) -> None:
    await server.client.put("/v1/edges/yto-01,yul-01/intent", json=DRAIN)
    refused = await server.client.delete("/v1/edges/yto-01,nowhere-01/intent")
    assert (refused.status_code, await server.intent_of("yto-01")) == (409, "draining")
    document = (await server.client.delete("/v1/edges/yto-01,yul-01/intent")).json()
    assert [(event["edge"], event["after"]) for event in document["events"]] == [
        ("yto-01", "enabled"),
        ("yul-01", "enabled"),
    ]
    assert await server.intent_of("yul-01") == "enabled"


async def test_change_without_an_actor_is_logged(server: Server) -> None:
    document = (await server.client.delete(INTENT)).json()
    assert document["events"][0]["actor"] == "unknown"


@pytest.mark.parametrize("actor", ["", " ", "a\nb", "a\x1b[31m", "x" * 201])
async def test_invalid_actor_is_rejected(server: Server, actor: str) -> None:
    await server.client.put(INTENT, json=DRAIN)
    answer = await server.client.delete(INTENT, params={"actor": actor})
    assert (answer.status_code, await server.intent_of("yto-01")) == (409, "draining")


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", INTENT), ("DELETE", INTENT), ("GET", "/v1/events")]
)
async def test_store_error_is_503(server: Server, method: str, path: str) -> None:
    server.store.error = StoreError("Redis: gone")
    answer = await server.client.request(method, path, json=DRAIN)
    assert (answer.status_code, answer.json()) == (503, {"detail": "Redis: gone"})


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
async def test_other_methods_on_an_intent_are_405(server: Server, method: str) -> None:
    assert (await server.client.request(method, INTENT, json=DRAIN)).status_code == 405


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer \xff".encode("latin-1")},
    ],
    ids=range(6),
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_change_without_the_token_is_rejected(
    server: Server, method: str, headers: Any
) -> None:
    server.ops.token = TOKEN
    answer = await server.client.request(method, INTENT, content=b"{}", headers=headers)
    assert (answer.status_code, TOKEN in answer.text) == (403, False)


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "https://ops.example.com", "Sec-Fetch-Site": "same-origin"}]
)
async def test_change_with_the_token_is_accepted(server: Server, headers: dict[str, str]) -> None:
    server.ops.token, server.ops.host = TOKEN, "0.0.0.0"
    answer = await server.client.put(INTENT, json=DRAIN, headers=BEARER | headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "2001:db8::1"])
async def test_change_needs_a_token_unless_on_loopback(server: Server, host: str) -> None:
    server.ops.host = host
    assert (await server.client.put(INTENT, json=DRAIN)).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
@pytest.mark.parametrize("token", [None, TOKEN])
async def test_change_from_another_site_is_rejected(
    server: Server, site: str, token: str | None
) -> None:
    server.ops.token = token
    headers = BEARER | {"Sec-Fetch-Site": site}
    answer = await server.client.put(INTENT, json=DRAIN, headers=headers)
    assert (answer.status_code, await server.intent_of("yto-01")) == (403, "enabled")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "http://127.0.0.1:9090", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://localhost:9090"}, 200),
        ({"Origin": "https://ops.example.com", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[::bad"}, 403),
        ({"Host": "ops.example.com"}, 403),
    ],
)
async def test_change_without_a_token_needs_a_local_origin(
    server: Server, headers: dict[str, str], code: int
) -> None:
    assert (await server.client.put(INTENT, json=DRAIN, headers=headers)).status_code == code


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_cors_preflight_is_rejected(server: Server, method: str) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": method}
    answer = await server.client.options(INTENT, headers=headers)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


async def test_events_are_filtered_and_downloaded_as_csv(server: Server) -> None:
    await server.store.log_events([an_event(n) for n in range(3)])
    assert [one["at"] for one in (await server.get_json("/v1/events", since="1"))["events"]] == [
        1,
        2,
    ]
    answer = await server.client.get("/v1/events", params={"format": "csv", "since": "2"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert len(answer.text.splitlines()) == 2
    assert (await server.client.get("/v1/events", params={"kind": "x"})).status_code == 400


READ_PATHS = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/edges",
    "/v1/events",
    "/v1/explain?ip=24.48.0.1",
]


@pytest.mark.parametrize("path", READ_PATHS)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:9090", "127.0.0.1.evil.example"])
async def test_unknown_host_name_is_rejected(server: Server, path: str, host: str) -> None:
    answer = await server.client.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert "AUTOROUTER_OPS_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1:9090", "[::1]:9090", "localhost", "router:9090"])
async def test_address_or_plain_host_name_is_accepted(server: Server, host: str) -> None:
    assert (await server.client.get("/v1/edges", headers={"Host": host})).status_code == 200


async def test_configured_host_name_is_accepted(server: Server) -> None:
    server.ops.hosts = ("ops.example.com",)
    answer = await server.client.get("/v1/edges", headers={"Host": "OPS.example.com:443"})
    assert answer.status_code == 200


@pytest.mark.parametrize("host", ["[::bad", "a b", "evil.example/", "user@127.0.0.1", ""])
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_malformed_host_is_400(server: Server, method: str, host: str) -> None:
    path = INTENT if method == "PUT" else "/v1/edges"
    answer = await server.client.request(method, path, headers={"Host": host})
    assert answer.status_code == 400


async def test_responses_are_compressed_but_not_the_stream(server: Server) -> None:
    answer = await server.client.get("/v1/edges", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "gzip"}
    async with server.client.stream("GET", "/v1/events", headers=headers) as stream:
        assert "content-encoding" not in stream.headers


async def test_error_distinguishes_a_wrong_from_a_missing_token(server: Server) -> None:
    server.ops.token = TOKEN
    missing = await server.client.put(INTENT, json=DRAIN)
    wrong = await server.client.put(INTENT, json=DRAIN, headers={"Authorization": "Bearer no"})
    assert (missing.status_code, wrong.status_code) == (403, 403)
    assert missing.json()["detail"].startswith("send Authorization")
    assert wrong.json()["detail"].startswith("this is not the AUTOROUTER_OPS_TOKEN")


async def test_events_after_an_id_are_listed(server: Server) -> None:
    await server.store.log_events([an_event(n) for n in range(3)])
    first = (await server.get_json("/v1/events"))["events"]
    later = (await server.get_json("/v1/events", after=first[0]["id"]))["events"]
    assert [event["at"] for event in later] == [1, 2]


@pytest.mark.parametrize(
    "after", ["nonsense", "\u0661-\u0662", "1", "1-", "-1", "1-2-3", "9" * 40 + "-1"]
)
async def test_invalid_event_id_is_400(server: Server, after: str) -> None:
    answer = await server.client.get("/v1/events", params={"after": after})
    assert answer.status_code == 400


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_invalid_last_event_id_is_400(server: Server, accept: str) -> None:
    headers = {"Last-Event-ID": "1\t2", "Accept": accept}
    answer = await server.client.get("/v1/events", headers=headers)
    assert answer.status_code == 400


async def test_last_event_id_overrides_the_after_parameter(server: Server) -> None:
    await server.store.log_events([an_event(n) for n in range(3)])
    answer = await server.client.get(
        "/v1/events", params={"after": "1-0"}, headers={"Last-Event-ID": "2-0"}
    )
    assert [event["id"] for event in answer.json()["events"]] == ["3-0"]


async def test_new_event_is_streamed(server: Server) -> None:
    async with event_stream(server) as lines:
        assert await next_value(lines, "event: ") == "alive"
        await server.store.log_events([an_event(7)])
        assert await next_value(lines, "id: ") == "1-0"
        assert json.loads(await next_value(lines, "data: "))["at"] == 7


async def test_stream_sends_a_new_tag_only_if_the_fleet_changes(server: Server) -> None:
    async with event_stream(server) as lines:
        first = await next_value(lines, "data: ")
        await server.see()
        assert await next_value(lines, "data: ") == first
        await server.see("yto-01")
        async with asyncio.timeout(5):
            while await next_value(lines, "data: ") == first:
                pass  # sent before the edge went down


async def test_fleet_tag_changes_with_intents_and_vantages(server: Server) -> None:
    tags = {server.ops.fleet_tag()}
    await server.client.put(INTENT, json=DRAIN)
    await server.ops.watch.refresh()
    tags.add(server.ops.fleet_tag())
    await server.client.put(INTENT, json=DRAIN | {"reason": "newer disks"})
    await server.ops.watch.refresh()
    tags.add(server.ops.fleet_tag())
    await server.store.publish(a_view("other", isolated=True, probed_at=time.time()))
    await server.ops.watch.refresh()
    tags.add(server.ops.fleet_tag())
    assert len(tags) == 4


async def test_stream_resumes_after_the_last_event_id(server: Server) -> None:
    await server.store.log_events([an_event(n) for n in range(3)])
    async with event_stream(server, **{"Last-Event-ID": "2-0"}) as lines:
        assert await next_value(lines, "id: ") == "3-0"


async def test_stream_continues_after_a_store_error(server: Server) -> None:
    server.store.error = StoreError("Redis: gone\nfor good")
    async with event_stream(server) as lines:
        assert await next_value(lines, ": ") == "Redis: gone for good"
        server.store.error = None
        await server.store.log_events([an_event(7)])
        assert await next_value(lines, "id: ") == "1-0"


async def test_stream_ends_with_the_server(server: Server) -> None:
    async with event_stream(server) as lines:
        await anext(lines)
        server.ops.stop.set()
        async with asyncio.timeout(3):
            assert all(
                [line.startswith(("event: alive", "data: ")) or not line async for line in lines]
            )


async def test_stream_ends_when_the_client_disconnects(server: Server) -> None:
    async with event_stream(server) as lines:
        await anext(lines)
        assert open_requests() == 1
    await eventually(lambda: open_requests() == 0)


def open_requests() -> int:
    """The number of requests in progress."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return sum("run_asgi" in name for name in names)


@asynccontextmanager
async def event_stream(server: Server, **headers: str) -> AsyncIterator[AsyncIterator[str]]:
    """The lines of the event stream."""
    headers |= {"Accept": "text/event-stream"}
    async with server.client.stream("GET", "/v1/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield answer.aiter_lines()


async def next_value(lines: AsyncIterator[str], start: str) -> str:
    """The rest of the next line that starts with `start`."""
    async with asyncio.timeout(5):
        async for line in lines:
            if line.startswith(start):
                return line.removeprefix(start)
    raise AssertionError(f"the stream ended without {start!r}")


def an_event(at: float) -> Event:
    return Event(at=at, kind=EventKind.INTENT, edge="yto-01", after=Intended.DRAINING)


async def test_explain_accepts_a_key_or_a_header(server: Server) -> None:
    document = await server.get_json("/v1/explain", key="CA~yul-01.yto-01")
    assert (document["ip"], document["region"], document["key"]) == (
        None,
        "yul-01",
        "CA~yul-01.yto-01",
    )
    document = await server.get_json("/v1/explain", header="X-Autorouter-Key: CA~yul-01.yto-01")
    assert document["region"] == "yul-01"


async def test_explain_of_a_past_time_uses_that_fleet(server: Server) -> None:
    ops = server.ops
    recorder = Recorder(
        watch=ops.watch,
        counts=Counts,
        keeper=StoreKeeper(server.store),
        history=ops.history,
        clock=iter([0.0, 60.0, 120.0, 180.0]).__next__,
    )
    await server.see("yul-01")
    recorder.observe()
    await server.see()
    recorder.observe()
    key = {"key": "CA~yul-01.yto-01"}
    past = await server.get_json("/v1/explain", **key, at="30")
    assert (past["region"], past["at"]) == ("yto-01", 60.0)
    assert (await server.get_json("/v1/explain", **key, at="90"))["region"] == "yul-01"
    assert past["fleet"] == ops.history.samples[0].fleet
    lacking = await server.client.get("/v1/explain", params={**key, "at": "9000"})
    assert lacking.status_code == 404
    assert "one for each minute from 1970-01-01T00:01:00Z" in lacking.json()["detail"]


async def test_history_is_empty_at_first(server: Server) -> None:
    document = await server.get_json("/v1/history")
    assert (document["at"], document["edges"]) == ([], [])
    wrong = await server.client.get("/v1/history", params={"since": "soon"})
    assert wrong.status_code == 400
