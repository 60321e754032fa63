"""The ops listener through a real uvicorn: what it tells, and who may change what."""

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

WISH = {"state": "draining", "for": "2h", "reason": "new disks", "actor": "ann"}
INTENT = "/v1/edges/yto-01/intent"


def ask(app: PublicApp, viewer: str = TORONTONIAN, query: str = "") -> None:
    """One request to the public app."""
    app.respond(a_request(f"/v1/route?{query}", viewer=viewer))


async def test_healthz_lives(server: Server) -> None:
    answer = await server.client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_ready_with_fresh_health(server: Server) -> None:
    answer = await server.client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    assert answer.json()["fleet"]["status"] == "ok"
    assert answer.json()["geo"]["database"] == "DBIP-City-Lite"


async def test_ready_with_stale_health_and_says_so(server: Server) -> None:
    server.store._views.clear()
    server.ops.watch._views.clear()
    await server.see(ago_s=60)
    answer = await server.client.get("/readyz")
    assert answer.status_code == 200
    assert any(line.startswith("Stale") for line in answer.json()["amiss"])


async def test_not_ready_without_health(server: Server) -> None:
    server.ops.watch = FleetWatch(a_ranker(), MemoryStore(), Telemetry())
    server.ops.monitor.watch = server.ops.watch
    answer = await server.client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert answer.json()["amiss"][0].startswith("Starting")
    server.ops.monitor.clock = lambda: time.time() + 11
    assert "too old" in (await server.client.get("/readyz")).json()["amiss"][0]


async def test_ready_with_no_edge_up_and_says_so(server: Server) -> None:
    await server.see(*CITIES)
    answer = await server.client.get("/readyz")
    assert answer.status_code == 200
    assert any("no edge is up" in line for line in answer.json()["amiss"])


async def test_old_geo_data_is_amiss_and_no_reason_to_stop(server: Server) -> None:
    told = await server.get_json("/readyz")
    assert told["ready"]
    assert any(line.startswith("The geo database is ") for line in told["amiss"])


async def test_fleet_is_told_edge_by_edge_in_catalog_order(server: Server) -> None:
    await server.see("yto-01")
    told = await server.get_json("/v1/edges")
    assert [edge["id"] for edge in told["edges"]] == list(CITIES)
    assert [edge["state"] for edge in told["edges"][:2]] == ["down", "up"]
    assert told["edges"][0]["votes"] == {"local": "down"}


async def test_fleet_comes_with_what_is_amiss_and_who_sees_it(server: Server) -> None:
    await server.see("yto-01")
    told = await server.get_json("/v1/edges")
    assert (told["findings"][0]["kind"], told["findings"][0]["edges"]) == ("down", ["yto-01"])
    (vantage,) = told["vantages"]
    assert (vantage["vantage"], vantage["isolated"], vantage["held"]) == ("local", False, [])
    assert 0 <= vantage["age_s"] < 10


async def test_fleet_comes_with_the_share_of_recent_answers(server: Server) -> None:
    before = await server.get_json("/v1/edges")
    assert {edge["share"] for edge in before["edges"]} == {None}
    for _ in range(4):
        ask(server.public, TORONTONIAN)
    told = await server.get_json("/v1/edges")
    assert (told["answers"]["total"], sum(edge["share"] for edge in told["edges"])) == (4, 1)


async def test_edge_is_dialled_and_shown(server: Server) -> None:
    wish = {"dial": 0.25, "for": "2h", "reason": "hot", "actor": "ann"}
    answer = await server.client.put(INTENT, json=wish)
    assert (answer.status_code, answer.json()["events"][0]["after"]) == (200, "dial 25%")
    await server.ops.watch.refresh()
    edge = (await server.get_json("/v1/edges"))["edges"][0]
    assert (edge["intent"], edge["dial"]["share"], edge["dial"]["to"]) == ("enabled", 0.25, 0.25)
    assert (await server.samples())['autorouter_edge_dial_ratio{"region": "yto-01"}'] == 0.25
    explained = await server.get_json("/v1/explain", ip=TORONTONIAN)
    assert explained["dial"] is None or explained["dial"]["region"] == "yto-01"
    assert (await server.client.delete(INTENT)).json()["events"][0]["before"] == "dial 25%"


@pytest.mark.parametrize("change", [{"state": "draining"}, {"dial": 1.5}, {"dial": None}])
async def test_unclear_dial_is_refused(server: Server, change: dict[str, object]) -> None:
    wish = {"dial": 0.25, "for": "2h", "reason": "hot", "actor": "ann", **change}
    assert (await server.client.put(INTENT, json=wish)).status_code in {400, 409}


async def test_held_edge_tells_who_why_and_when_it_is_drained(server: Server) -> None:
    await server.client.put(INTENT, json=WISH)
    await server.ops.watch.refresh()
    detail = (await server.get_json("/v1/edges"))["edges"][0]["intent_detail"]
    assert (detail["actor"], detail["reason"], detail["drained"]) == ("ann", "new disks", False)
    assert detail["drained_at"] - detail["since"] == 300 + 10 + 10


@pytest.mark.parametrize(
    ("token", "host", "changes"),
    [(None, "127.0.0.1", "open"), (None, "0.0.0.0", "refused"), (TOKEN, "0.0.0.0", "token")],
)
async def test_fleet_tells_how_it_can_be_changed(
    server: Server, token: str | None, host: str, changes: str
) -> None:
    server.ops.token, server.ops.host = token, host
    assert (await server.get_json("/v1/edges"))["changes"] == changes


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/v1/edges", "/nowhere"])
async def test_every_answer_is_shielded(server: Server, path: str) -> None:
    headers = (await server.client.get(path)).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["script-src"]) == ("'none'", "'self'")
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
    assert headers["referrer-policy"] == "no-referrer"
    assert headers.get_list("x-content-type-options") == ["nosniff"]


async def test_explain_tells_the_pick_of_the_public_listener(server: Server) -> None:
    await server.see("yto-01")
    told = await server.get_json("/v1/explain", ip=TORONTONIAN)
    assert (told["ip"], told["region"], told["reason"]) == (
        TORONTONIAN,
        "yto-02",
        "nearest_in_country",
    )
    assert {edge["region"]: edge["why"] for edge in told["rejected"]} == {"yto-01": "down"}
    assert told["location"]["source"] == "database"


async def test_explain_of_a_strict_viewer_abroad_names_the_problem(server: Server) -> None:
    told = await server.get_json("/v1/explain", ip=GERMAN, strict="true")
    assert (told["region"], told["problem"]) == (None, "no_edge_in_country")


@pytest.mark.parametrize("ip", ["24.48.0.1:443", "[2607:fea8::1]:443", "::ffff:24.48.0.1"])
async def test_explain_takes_addresses_as_proxies_write_them(server: Server, ip: str) -> None:
    assert (await server.get_json("/v1/explain", ip=ip))["location"]["country"] == "CA"


async def test_explain_of_a_country_tells_of_all_its_viewers(server: Server) -> None:
    told = await server.get_json("/v1/explain", country="de")
    assert (told["ip"], told["location"]["country"]) == (None, "DE")
    assert told["region"] in {each["region"] for each in told["spread"]}
    assert sum(each["share"] for each in told["spread"]) == pytest.approx(1)


async def test_explain_of_a_place_in_a_country_is_from_there(server: Server) -> None:
    place = {"country": "CA", "latitude": "49.28", "longitude": "-123.12"}
    told = await server.get_json("/v1/explain", **place)
    assert (told["region"], told["location"]["level"]) == ("yvr-02", "city")


@pytest.mark.parametrize("latitude", ["", "north", "nan", "91"])
async def test_place_that_is_none_is_the_country_s(server: Server, latitude: str) -> None:
    told = await server.get_json("/v1/explain", country="CA", latitude=latitude, longitude="0")
    assert told["location"]["level"] == "country"


@pytest.mark.parametrize("ip", ["", "nonsense", "1.2.3", "x" * 10_000, "\x00", "1.2.3.4, 1.2.3.5"])
async def test_explain_of_no_address_is_400(server: Server, ip: str) -> None:
    answer = await server.client.get("/v1/explain", params={"ip": ip})
    assert (answer.status_code, "IP address" in answer.json()["detail"]) == (400, True)


async def test_explain_of_a_bad_model_is_400(server: Server) -> None:
    params = {"ip": GERMAN, "model": "x" * 129}
    answer = await server.client.get("/v1/explain", params=params)
    assert (answer.status_code, "model" in answer.json()["detail"]) == (400, True)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/edges", "/v1/events", "/v1/explain"])
async def test_nothing_here_is_kept_by_caches(server: Server, path: str) -> None:
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


async def test_metrics_tell_the_state_of_every_edge_and_the_fleet(server: Server) -> None:
    await server.see("yto-01")
    samples = await server.samples()
    assert samples['autorouter_edge_state{"region": "yto-01", "state": "down"}'] == 1
    assert samples['autorouter_edge_state{"region": "yto-01", "state": "up"}'] == 0
    assert samples['autorouter_fleet_status{"status": "ok"}'] == 1


async def test_metrics_tell_ages(server: Server) -> None:
    samples = await server.samples()
    assert 0 <= samples["autorouter_fleet_age_seconds{}"] < 10
    assert samples["autorouter_geo_age_seconds{}"] > 86_400


async def test_every_metric_is_ours_and_no_label_names_a_viewer(server: Server) -> None:
    for viewer in (TORONTONIAN, GERMAN, "nonsense"):
        ask(server.public, viewer, "model=a-model-of-theirs")
    text = (await server.client.get("/metrics")).text
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[0] != "#"}
    assert all(name.startswith("autorouter_") for name in names)
    assert not any(word in text for word in (TORONTONIAN, GERMAN, "nonsense", "a-model-of-theirs"))


async def test_drained_edge_is_out_of_new_answers(server: Server) -> None:
    answer = await server.client.put(INTENT, json=WISH)
    assert answer.status_code == 200
    assert await server.intended("yto-01") == "draining"
    told = await server.get_json("/v1/explain", ip=TORONTONIAN)
    assert {edge["region"]: edge["why"] for edge in told["rejected"]} == {"yto-01": "draining"}


async def test_enabled_edge_is_back(server: Server) -> None:
    await server.client.put(INTENT, json=WISH)
    answer = await server.client.delete(INTENT, params={"actor": "bob"})
    assert answer.status_code == 200
    assert await server.intended("yto-01") == "enabled"


async def test_change_is_an_event_with_who_why_and_until(server: Server) -> None:
    before = time.time()
    await server.client.put(INTENT, json=WISH)
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
    told = (await server.client.put(path, json=WISH | {"state": "disabled"})).json()
    assert [event["edge"] for event in told["events"]] == ["yto-01", "yul-01"]
    assert await server.intended("yul-01") == "disabled"


async def test_country_is_not_left_without_an_edge_by_mistake(server: Server) -> None:
    canadian = ",".join(id for id, (_, country, _) in CITIES.items() if country == "CA")
    path = f"/v1/edges/{canadian}/intent"
    refused = await server.client.put(path, json=WISH)
    assert (refused.status_code, "CA" in refused.json()["detail"]) == (409, True)
    assert await server.intended("yto-01") == "enabled"
    forced = await server.client.put(path, json=WISH | {"force": True})
    assert (forced.status_code, await server.intended("yvr-02")) == (200, "draining")


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
    ],
)
async def test_wish_out_of_bounds_is_refused(server: Server, wrong: dict[str, str]) -> None:
    answer = await server.client.put(INTENT, json=WISH | wrong)
    assert (answer.status_code, await server.intended("yto-01")) == (409, "enabled")


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
async def test_wish_that_is_none_is_400(server: Server, body: bytes) -> None:
    answer = await server.client.put(INTENT, content=body)
    assert (answer.status_code, await server.intended("yto-01")) == (400, "enabled")


@pytest.mark.parametrize(("spare", "code"), [(0, 200), (-1, 400)], ids=["largest", "one byte more"])
async def test_wish_is_read_up_to_a_bound(server: Server, spare: int, code: int) -> None:
    body = json.dumps(WISH).encode()
    padding = b" " * (MAX_BODY_BYTES - spare - len(body))

    async def in_pieces() -> AsyncIterator[bytes]:
        yield body[:20]
        yield body[20:] + padding

    answer = await server.client.put(INTENT, content=in_pieces())
    assert answer.status_code == code


@pytest.mark.parametrize("id", ["nowhere-01", "yto-01,nowhere-01", "yto-01,", "%00"])
async def test_unknown_edge_is_refused(server: Server, id: str) -> None:
    answer = await server.client.put(f"/v1/edges/{id}/intent", json=WISH)
    assert (answer.status_code, "no such edge" in answer.json()["detail"]) == (409, True)
    assert await server.intended("yto-01") == "enabled"


async def test_several_edges_are_enabled_together_or_not_at_all(server: Server) -> None:
    await server.client.put("/v1/edges/yto-01,yul-01/intent", json=WISH)
    refused = await server.client.delete("/v1/edges/yto-01,nowhere-01/intent")
    assert (refused.status_code, await server.intended("yto-01")) == (409, "draining")
    told = (await server.client.delete("/v1/edges/yto-01,yul-01/intent")).json()
    assert [(event["edge"], event["after"]) for event in told["events"]] == [
        ("yto-01", "enabled"),
        ("yul-01", "enabled"),
    ]
    assert await server.intended("yul-01") == "enabled"


async def test_change_by_nobody_in_particular_is_on_record(server: Server) -> None:
    told = (await server.client.delete(INTENT)).json()
    assert told["events"][0]["actor"] == "unknown"


@pytest.mark.parametrize("actor", ["", " ", "a\nb", "a\x1b[31m", "x" * 201])
async def test_actor_out_of_bounds_is_refused(server: Server, actor: str) -> None:
    await server.client.put(INTENT, json=WISH)
    answer = await server.client.delete(INTENT, params={"actor": actor})
    assert (answer.status_code, await server.intended("yto-01")) == (409, "draining")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_change_that_the_store_refuses_is_503(server: Server, method: str) -> None:
    server.store.error = StoreError("Redis: gone")
    answer = await server.client.request(method, INTENT, json=WISH)
    assert (answer.status_code, answer.json()) == (503, {"detail": "Redis: gone"})


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
async def test_intent_is_put_or_deleted(server: Server, method: str) -> None:
    assert (await server.client.request(method, INTENT, json=WISH)).status_code == 405


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
async def test_change_needs_the_token(server: Server, method: str, headers: Any) -> None:
    server.ops.token = TOKEN
    answer = await server.client.request(method, INTENT, content=b"{}", headers=headers)
    assert (answer.status_code, TOKEN in answer.text) == (403, False)


async def test_change_with_the_token_is_granted(server: Server) -> None:
    server.ops.token, server.ops.host = TOKEN, "0.0.0.0"
    answer = await server.client.put(INTENT, json=WISH, headers=BEARER)
    assert answer.status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "2001:db8::1"])
async def test_change_without_a_token_set_is_for_loopback_only(server: Server, host: str) -> None:
    server.ops.host = host
    assert (await server.client.put(INTENT, json=WISH)).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
@pytest.mark.parametrize("token", [None, TOKEN])
async def test_page_of_another_site_changes_nothing(
    server: Server, site: str, token: str | None
) -> None:
    server.ops.token = token
    headers = BEARER | {"Sec-Fetch-Site": site}
    answer = await server.client.put(INTENT, json=WISH, headers=headers)
    assert (answer.status_code, await server.intended("yto-01")) == (403, "enabled")


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
async def test_without_a_token_only_pages_of_this_machine_change(
    server: Server, headers: dict[str, str], code: int
) -> None:
    assert (await server.client.put(INTENT, json=WISH, headers=headers)).status_code == code


async def test_behind_a_proxy_the_token_is_enough(server: Server) -> None:
    server.ops.token = TOKEN
    headers = BEARER | {"Origin": "https://ops.example.com", "Sec-Fetch-Site": "same-origin"}
    assert (await server.client.put(INTENT, json=WISH, headers=headers)).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_browser_may_not_send_a_change_from_elsewhere(server: Server, method: str) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": method}
    answer = await server.client.options(INTENT, headers=asked)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


async def test_events_are_filtered_and_downloaded(server: Server) -> None:
    await server.store.log_events([an_event(n) for n in range(3)])
    assert [one["at"] for one in (await server.get_json("/v1/events", since="1"))["events"]] == [
        1,
        2,
    ]
    answer = await server.client.get("/v1/events", params={"format": "csv", "since": "2"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert len(answer.text.splitlines()) == 2
    assert (await server.client.get("/v1/events", params={"kind": "x"})).status_code == 400


READS = ["/healthz", "/readyz", "/metrics", "/v1/edges", "/v1/events", "/v1/explain?ip=24.48.0.1"]


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:9090", "127.0.0.1.evil.example"])
async def test_no_rebound_name_reads_anything(server: Server, path: str, host: str) -> None:
    answer = await server.client.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert "AUTOROUTER_OPS_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1:9090", "[::1]:9090", "localhost", "router:9090"])
async def test_addresses_and_plain_names_are_read(server: Server, host: str) -> None:
    assert (await server.client.get("/v1/edges", headers={"Host": host})).status_code == 200


async def test_names_of_the_setting_are_read(server: Server) -> None:
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


async def test_wrong_and_missing_tokens_are_told_apart(server: Server) -> None:
    server.ops.token = TOKEN
    missing = await server.client.put(INTENT, json=WISH)
    wrong = await server.client.put(INTENT, json=WISH, headers={"Authorization": "Bearer no"})
    assert (missing.status_code, wrong.status_code) == (403, 403)
    assert missing.json()["detail"].startswith("send Authorization")
    assert wrong.json()["detail"].startswith("this is not the AUTOROUTER_OPS_TOKEN")


@pytest.mark.parametrize("text", ["\u202ereversed", "a\u2066b", "two\nlines", "\x1b[31m"])
@pytest.mark.parametrize("field", ["reason", "actor"])
async def test_texts_that_change_how_others_are_shown_are_refused(
    server: Server, field: str, text: str
) -> None:
    answer = await server.client.put(INTENT, json=WISH | {field: text})
    assert answer.status_code == 409


async def test_last_edge_of_all_is_refused_with_what_it_means(server: Server) -> None:
    ids = ",".join(edge["id"] for edge in (await server.get_json("/v1/edges"))["edges"])
    answer = await server.client.put(f"/v1/edges/{ids}/intent", json=WISH)
    assert answer.status_code == 409
    assert "every viewer would get 503" in answer.json()["detail"]


async def test_events_are_read_after_an_id(server: Server) -> None:
    await server.store.log_events([an_event(n) for n in range(3)])
    first = (await server.get_json("/v1/events"))["events"]
    later = (await server.get_json("/v1/events", after=first[0]["id"]))["events"]
    assert [event["at"] for event in later] == [1, 2]


@pytest.mark.parametrize(
    "after", ["nonsense", "\u0661-\u0662", "1", "1-", "-1", "1-2-3", "9" * 40 + "-1"]
)
async def test_id_that_is_none_is_400(server: Server, after: str) -> None:
    answer = await server.client.get("/v1/events", params={"after": after})
    assert answer.status_code == 400


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_last_id_that_is_none_is_400(server: Server, accept: str) -> None:
    headers = {"Last-Event-ID": "1\t2", "Accept": accept}
    answer = await server.client.get("/v1/events", headers=headers)
    assert answer.status_code == 400


async def test_last_id_of_a_stream_goes_before_the_one_it_began_with(server: Server) -> None:
    await server.store.log_events([an_event(n) for n in range(3)])
    answer = await server.client.get(
        "/v1/events", params={"after": "1-0"}, headers={"Last-Event-ID": "2-0"}
    )
    assert [event["id"] for event in answer.json()["events"]] == ["3-0"]


async def test_events_of_a_store_that_errs_are_503(server: Server) -> None:
    server.store.error = StoreError("Redis: gone")
    answer = await server.client.get("/v1/events")
    assert (answer.status_code, answer.json()) == (503, {"detail": "Redis: gone"})


async def test_event_is_streamed_when_it_happens(server: Server) -> None:
    async with event_stream(server) as lines:
        assert await first_of(lines, "event: ") == "alive"
        await server.store.log_events([an_event(7)])
        assert await first_of(lines, "id: ") == "1-0"
        assert json.loads(await first_of(lines, "data: "))["at"] == 7


async def test_stream_tells_when_the_fleet_changes_and_only_then(server: Server) -> None:
    async with event_stream(server) as lines:
        first = await first_of(lines, "data: ")
        await server.see()
        assert await first_of(lines, "data: ") == first
        await server.see("yto-01")
        assert await first_of(lines, "data: ") != first


async def test_tag_changes_with_intents_and_vantages_too(server: Server) -> None:
    tags = {server.ops.fleet_tag()}
    await server.client.put(INTENT, json=WISH)
    await server.ops.watch.refresh()
    tags.add(server.ops.fleet_tag())
    await server.client.put(INTENT, json=WISH | {"reason": "newer disks"})
    await server.ops.watch.refresh()
    tags.add(server.ops.fleet_tag())
    await server.store.publish(a_view("other", isolated=True, probed_at=time.time()))
    await server.ops.watch.refresh()
    tags.add(server.ops.fleet_tag())
    assert len(tags) == 4


async def test_stream_goes_on_where_a_client_left_off(server: Server) -> None:
    await server.store.log_events([an_event(n) for n in range(3)])
    async with event_stream(server, **{"Last-Event-ID": "2-0"}) as lines:
        assert await first_of(lines, "id: ") == "3-0"


async def test_stream_outlives_an_error_of_the_store(server: Server) -> None:
    server.store.error = StoreError("Redis: gone\nfor good")
    async with event_stream(server) as lines:
        assert await first_of(lines, ": ") == "Redis: gone for good"
        server.store.error = None
        await server.store.log_events([an_event(7)])
        assert await first_of(lines, "id: ") == "1-0"


async def test_stream_ends_with_the_server(server: Server) -> None:
    async with event_stream(server) as lines:
        await anext(lines)
        server.ops.stop.set()
        async with asyncio.timeout(3):
            assert all(
                [line.startswith(("event: alive", "data: ")) or not line async for line in lines]
            )


async def test_stream_of_a_client_who_left_ends(server: Server) -> None:
    async with event_stream(server) as lines:
        await anext(lines)
        assert open_requests() == 1
    await eventually(lambda: open_requests() == 0)


def open_requests() -> int:
    """How many requests the server is answering."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return sum("run_asgi" in name for name in names)


@asynccontextmanager
async def event_stream(server: Server, **headers: str) -> AsyncIterator[AsyncIterator[str]]:
    """The lines of the event stream."""
    headers |= {"Accept": "text/event-stream"}
    async with server.client.stream("GET", "/v1/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield answer.aiter_lines()


async def first_of(lines: AsyncIterator[str], start: str) -> str:
    """The rest of the next line that starts so."""
    async with asyncio.timeout(5):
        async for line in lines:
            if line.startswith(start):
                return line.removeprefix(start)
    raise AssertionError(f"the stream ended without {start!r}")


def an_event(at: float) -> Event:
    return Event(at=at, kind=EventKind.INTENT, edge="yto-01", after=Intended.DRAINING)


async def test_key_and_headers_are_explained(server: Server) -> None:
    told = await server.get_json("/v1/explain", key="CA~yul-01.yto-01")
    assert (told["ip"], told["region"], told["key"]) == (None, "yul-01", "CA~yul-01.yto-01")
    told = await server.get_json("/v1/explain", header="X-Autorouter-Key: CA~yul-01.yto-01")
    assert told["region"] == "yul-01"


async def test_past_is_explained_by_its_own_fleet(server: Server) -> None:
    ops = server.ops
    recorder = Recorder(
        watch=ops.watch,
        counts=Counts,
        keeper=StoreKeeper(server.store),
        history=ops.history,
        clock=iter([0.0, 60.0, 120.0, 180.0]).__next__,
    )
    await server.see("yul-01")
    recorder.look()
    await server.see()
    recorder.look()
    key = {"key": "CA~yul-01.yto-01"}
    past = await server.get_json("/v1/explain", **key, at="30")
    assert (past["region"], past["at"]) == ("yto-01", 60.0)
    assert (await server.get_json("/v1/explain", **key, at="90"))["region"] == "yul-01"
    assert past["fleet"] == ops.history.samples[0].fleet
    lacking = await server.client.get("/v1/explain", params={**key, "at": "9000"})
    assert lacking.status_code == 404
    assert "one for each minute from 1970-01-01T00:01:00Z" in lacking.json()["detail"]


async def test_history_is_told_in_columns(server: Server) -> None:
    told = await server.get_json("/v1/history")
    assert (told["at"], told["edges"]) == ([], [])
    wrong = await server.client.get("/v1/history", params={"since": "soon"})
    assert wrong.status_code == 400
