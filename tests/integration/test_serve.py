"""`autorouter serve` and `poll` as processes, with real edges, Redis and signals."""

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from router.model import Observed
from router.processes.simulated_edges import Mode
from router.store.redis import RedisStore, lease_key, view_key
from tests.support.builders import CITIES, a_view, an_edge_view
from tests.support.running import (
    DETECTED_S,
    Running,
    Site,
    rewritten,
    taken,
    under_load,
    without_edge,
)
from tests.support.servers import (
    HOST,
    RedisServer,
    eventually,
    free_port,
    is_open,
    run_autorouter,
    served,
    talk,
)

pytestmark = pytest.mark.anyio


async def test_viewers_leave_an_edge_that_goes_down(joined: Site) -> None:
    joined.poll()
    server = await joined.serve_until_ready()
    first = (await server.route())["region"]
    await joined.fleet.edges[first].set_mode(Mode.DOWN)
    started = time.monotonic()
    await eventually(lambda: has_another_pick(server, first), DETECTED_S)
    document = await server.route("?all=true")
    assert time.monotonic() - started < DETECTED_S
    assert (document["country"], document["status"]) == ("CA", "ok")
    assert first not in {each["id"] for each in document["regions"]}


async def has_another_pick(server: Running, region: str) -> bool:
    return not await server.picks(region)


async def test_country_without_healthy_edges_is_served_from_abroad(joined: Site) -> None:
    joined.poll()
    server = await joined.serve_until_ready()
    for id, (_, country, _) in CITIES.items():
        if country == "CA":
            await joined.fleet.edges[id].set_mode(Mode.UNHEALTHY)

    async def has_crossed_the_border() -> bool:
        return bool((await server.route())["crossed_border"])

    await eventually(has_crossed_the_border, DETECTED_S)
    document = await server.route()
    assert (document["country"], document["reason"]) == ("US", "country_unavailable")


async def test_loaded_models_are_used_and_a_hung_edge_is_not(joined: Site) -> None:
    joined.fleet.edges["sfo-01"].models = ("only-here",)
    joined.poll()
    server = await joined.serve_until_ready()

    async def is_found() -> bool:
        return (await server.route("?model=ONLY-here")).get("region") == "sfo-01"

    await eventually(is_found)
    document = await server.route("?model=Kokoro")
    assert (document["country"], document["model"]["state"]) == ("CA", "loaded")
    await joined.fleet.edges[document["region"]].set_mode(Mode.HANG)
    await eventually(lambda: has_another_pick(server, document["region"]), DETECTED_S)


async def test_killed_redis_breaks_no_response_under_load(joined: Site, redis: RedisServer) -> None:
    joined.poll()
    server = await joined.serve_until_ready()
    async with under_load(server.port) as load:
        await eventually(lambda: load.statuses[200] > 100)
        redis.kill()
        killed_at = load.statuses[200]
        await eventually(lambda: "store cannot be read" in server.process.output)
        await eventually(lambda: load.statuses[200] > killed_at + 500)
        redis.start()
        await eventually(lambda: "store can be read again" in server.process.output)
        first = (await server.route())["region"]
        await joined.fleet.edges[first].set_mode(Mode.DOWN)
        await eventually(lambda: has_another_pick(server, first), DETECTED_S)
    assert set(load.statuses) == {200}
    assert (load.broken, load.slowest_s < 2) == (0, True)


async def test_hung_redis_breaks_no_response_under_load(joined: Site, redis: RedisServer) -> None:
    joined.poll()
    server = await joined.serve_until_ready()
    async with under_load(server.port) as load:
        redis.pause()
        await eventually(lambda: "store cannot be read" in server.process.output)
        hung_at = load.statuses[200]
        await eventually(lambda: load.statuses[200] > hung_at + 500)
        redis.resume()
        await eventually(lambda: "store can be read again" in server.process.output)
    assert set(load.statuses) == {200}
    assert (load.broken, load.slowest_s < 2) == (0, True)


async def test_server_starts_without_redis_and_connects_later(
    joined: Site, redis: RedisServer
) -> None:
    redis.kill()
    server = joined.serve()
    await eventually(lambda: is_open(server.port))
    assert (await server.route())["status"] == "static"
    redis.start()
    joined.poll()
    await eventually(server.is_ready)


async def test_server_restarted_without_redis_uses_saved_health(
    joined: Site, redis: RedisServer, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    poller = joined.poll()
    server = await joined.serve_until_ready(STATE_DIR=str(state))
    await eventually(lambda: any(state.glob("*.json")))
    poller.stop()
    server.process.stop()
    redis.kill()
    again = joined.serve(STATE_DIR=str(state))
    await eventually(lambda: is_open(again.port))
    assert (await again.route())["status"] in ("ok", "stale")


async def test_unwritable_state_dir_is_reported(joined: Site) -> None:
    joined.poll()
    server = await joined.serve_until_ready(STATE_DIR="/proc/no/such")
    assert (await server.route())["status"] == "ok"
    await eventually(lambda: "cannot be saved" in server.process.output)


async def test_times_of_findings_survive_restarts(joined: Site, redis_url: str) -> None:
    nowhere = f"http://{HOST}:{free_port()}/"
    fell_at = time.time() - 3_000
    down = replace(an_edge_view(Observed.DOWN), since=fell_at)
    view = a_view("other", dict.fromkeys(CITIES, down), probed_at=time.time())
    store = RedisStore(redis_url)
    await store.publish(view)
    await store.close()

    async def document() -> dict[str, float]:
        poller, server = joined.poll(WITNESSES=nowhere), joined.serve()
        found: dict[str, float] = {}

        async def has_both() -> bool:
            if is_open(server.ops_port):
                findings = (await server.ops("/v1/edges")).json()["findings"]
                found.update({one["kind"]: one["since"] for one in findings})
            return {"isolation", "fail_open"} <= found.keys()

        await eventually(has_both)
        server.process.stop()
        poller.stop()
        return found

    first, second = await document(), await document()
    assert first["fail_open"] == second["fail_open"] == pytest.approx(fell_at, abs=0.001)
    assert first["isolation"] == second["isolation"]


async def test_second_poller_stands_by_and_takes_over(joined: Site, redis_url: str) -> None:
    first = joined.poll()
    await joined.serve_until_ready()
    second = joined.poll()
    await eventually(lambda: "poll" in second.output and lease_holder(redis_url) is not None)
    before = lease_holder(redis_url)
    first.send(signal.SIGTERM)
    assert await first.ended() == 0
    await eventually(lambda: lease_holder(redis_url) not in (None, before), 5)
    assert second.is_alive()


def lease_holder(redis_url: str) -> object:
    """The holder of the lease to publish for the vantage."""
    with redis_client.Redis.from_url(redis_url) as client:
        found: object = client.get(lease_key("local"))
        return found


async def test_stopped_poller_frees_its_lease(joined: Site, redis_url: str) -> None:
    poller = joined.poll()
    await eventually(lambda: lease_holder(redis_url) is not None)
    poller.send(signal.SIGINT)
    assert await poller.ended() == 0
    assert lease_holder(redis_url) is None
    assert "Traceback" not in poller.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stopped_poller_publishes_no_false_states(
    joined: Site, redis_url: str, number: signal.Signals
) -> None:
    """A probe that the shutdown interrupts is not a failure of its edge."""
    for edge in joined.fleet.edges.values():
        edge.delay_s = 0.2
        await edge.set_mode(Mode.SLOW)  # so that probes are always in progress
    poller = joined.poll()
    server = await joined.serve_until_ready()
    poller.send(number)
    assert await poller.ended() == 0
    with redis_client.Redis.from_url(redis_url) as client:
        view: Any = json.loads(client.get(view_key("local")))
    assert {edge["state"] for edge in view["edges"].values()} == {"up"}
    kinds = [event["kind"] for event in (await server.ops("/v1/events")).json()["events"]]
    assert "transition" not in kinds


async def test_stopped_server_exits_cleanly_and_logs_json(site: Site) -> None:
    server = await site.serve_until_ready(LOG_LEVEL="debug")
    await talk(server.port, b"nonsense\r\n\r\n", 5)
    server.process.send(signal.SIGTERM)
    assert await server.process.ended() == 0
    lines = [json.loads(line) for line in server.process.output.splitlines()]
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)
    assert (lines[0]["event"], lines[-1]["event"]) == ("serving", "stopped")


async def test_server_stopped_under_load_answers_all_requests(site: Site) -> None:
    server = await site.serve_until_ready()
    async with under_load(server.port) as load:
        await eventually(lambda: load.statuses[200] > 200)
        server.process.send(signal.SIGTERM)
        assert await server.process.ended() == 0
    assert set(load.statuses) == {200}


async def test_open_event_stream_does_not_delay_shutdown(site: Site) -> None:
    server = await site.serve_until_ready()
    url = f"http://{HOST}:{server.ops_port}/v1/events"
    async with site.client.stream("GET", url, headers={"Accept": "text/event-stream"}) as stream:
        assert stream.status_code == 200
        server.process.send(signal.SIGTERM)
        assert await server.process.ended(5) == 0


async def test_server_without_redis_polls_edges_itself(site: Site) -> None:
    server = await site.serve_until_ready()
    first = (await server.route())["region"]
    await site.fleet.edges[first].set_mode(Mode.RESET)
    await eventually(lambda: has_another_pick(server, first), DETECTED_S)


HOSTILE_REQUESTS = [
    b"GET /v1/route HTTP/1.1\r\nX-Forwarded-For: 203.0.113.99, nonsense\r\n\r\n",
    b"GET /v1/route HTTP/1.1\r\nX-Forwarded-For: 203.0.113.99\r\nIf-None-Match: \xff\r\n\r\n",
    b"POST /v1/route HTTP/1.1\r\nX-Forwarded-For: 203.0.113.99\r\nContent-Length: 9\r\n\r\nshort",
    b"GET /v1/route?203.0.113.99 HTTP/1.1\r\nX-Forwarded-For: \xff203.0.113.99\r\n\r\n",
    b"\x16\x03\x01 203.0.113.99\r\n\r\n",
    b"GET /v1/route HTTP/9.9\r\nX-Forwarded-For: 203.0.113.99\r\n\r\n",
    b"CONNECT 203.0.113.99:443 HTTP/1.1\r\n\r\n",
    b"GET /v1/route HTTP/1.1\r\nUpgrade: websocket\r\nX-Forwarded-For: 203.0.113.99\r\n\r\n",
]


async def test_no_viewer_is_in_logs_or_metrics(site: Site) -> None:
    server = await site.serve_until_ready(LOG_LEVEL="debug")
    for request in HOSTILE_REQUESTS:
        closing = request.replace(
            b" HTTP/1.1\r\n", b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        )
        await talk(server.port, closing, 5)
    metrics = (await server.ops("/metrics")).text
    server.process.stop()
    for document in (server.process.output, metrics):
        assert "203.0.113" not in document
        assert "128.100" not in document
    assert "uvicorn" not in server.process.output
    assert "HTTP" not in server.process.output


@pytest.mark.parametrize("variable", ["LISTEN", "OPS_LISTEN"])
async def test_port_in_use_is_reported_before_the_start(site: Site, variable: str) -> None:
    async with taken() as port:
        server = site.serve(**{variable: f"{HOST}:{port}"})
        assert await server.process.ended() == 1
    document = server.process.output
    assert document == (
        f"error: AUTOROUTER_{variable}: cannot listen on {HOST}:{port}: Address already in use\n"
    )


async def test_same_port_for_both_listeners_is_rejected(site: Site) -> None:
    both = f"{HOST}:{free_port()}"
    server = site.serve(LISTEN=both, OPS_LISTEN=both)
    assert await server.process.ended() == 1
    assert server.process.output.startswith("error: AUTOROUTER_OPS_LISTEN: ")
    assert "Traceback" not in server.process.output


async def test_foreign_address_is_reported(site: Site) -> None:
    server = site.serve(LISTEN="192.0.2.1:8080")
    assert await server.process.ended() == 1
    assert server.process.output.startswith("error: AUTOROUTER_LISTEN: cannot listen on 192.0.2.1")


def test_all_invalid_settings_are_listed() -> None:
    done = run_autorouter(
        "serve",
        LISTEN="nowhere",
        TTL_S="0",
        POLL_INTERVAL_S="soon",
        LOG_LEVEL="loud",
        REDIS_URL="x",
    )
    named = [line.split(": ")[1] for line in done.stderr.splitlines()]
    assert done.returncode == 1
    assert sorted(named) == [
        "AUTOROUTER_LISTEN",
        "AUTOROUTER_LOG_LEVEL",
        "AUTOROUTER_POLL_INTERVAL_S",
        "AUTOROUTER_REDIS_URL",
        "AUTOROUTER_TTL_S",
    ]
    assert done.stdout == ""


def test_invalid_catalog_and_geo_database_are_both_listed(tmp_path: Path) -> None:
    regions = tmp_path / "regions.yaml"
    regions.write_text("regions: [{id: A}]\n")
    done = run_autorouter("serve", REGIONS=str(regions), GEO_DB=str(tmp_path / "no.mmdb"))
    assert done.returncode == 1
    assert f"error: {regions}:1: regions[0].id: " in done.stderr
    assert f"error: {tmp_path / 'no.mmdb'}: no such file; set AUTOROUTER_GEO_DB" in done.stderr


def test_poller_without_redis_names_the_setting() -> None:
    done = run_autorouter("poll")
    assert done.returncode == 1
    assert done.stderr.startswith("error: AUTOROUTER_REDIS_URL: ")


def test_errors_do_not_show_secrets() -> None:
    done = run_autorouter("poll", CDN_SECRET="hunter2", REDIS_URL="http://:hunter2@x")
    assert done.returncode == 1
    assert "hunter2" not in done.stderr + done.stdout


# Purge


async def test_cdn_is_purged_when_an_edge_goes_down(site: Site) -> None:
    purged: list[tuple[str, bytes]] = []

    async def cdn(scope: Any, receive: Any, send: Any) -> None:
        purged.append((scope["method"], dict(scope["headers"])[b"xkey-purge"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    async with served(cdn) as port:
        server = site.serve(PURGE=f"varnish:http://{HOST}:{port}/")
        await eventually(server.is_ready)
        before = (await server.route())["region"]
        await site.fleet.edges[before].set_mode(Mode.DOWN)
        tag = f"edge:{before}".encode()
        await eventually(lambda: ("PURGE", tag) in purged)
        assert (await server.route())["region"] != before

        async def is_logged() -> bool:
            document = (await server.ops("/v1/events")).json()["events"]
            return any(one["kind"] == "purge" and before in one["reason"] for one in document)

        await eventually(is_logged)


# Reload


async def test_changed_catalog_is_reloaded_under_load(joined: Site) -> None:
    poller = joined.poll()
    server = await joined.serve_until_ready()
    path = Path(joined.settings["REGIONS"])
    first = (await server.route())["region"]

    async with under_load(server.port) as load:
        rewritten(path, without_edge(first))
        await eventually(lambda: has_another_pick(server, first))
        await eventually(lambda: "reload" in poller.output)
    assert (set(load.statuses), load.broken) == ({200}, 0)

    async def has_two_reloads() -> bool:
        document = (await server.ops("/v1/events")).json()["events"]
        return [one["kind"] for one in document].count("reload") == 2

    await eventually(has_two_reloads)


async def test_invalid_catalog_keeps_the_running_one(site: Site) -> None:
    server = await site.serve_until_ready()
    before = await server.route()
    rewritten(Path(site.settings["REGIONS"]), lambda document: document.update(regions="none"))
    server.process.send(signal.SIGHUP)
    await eventually(lambda: "files not loaded" in server.process.output)
    assert "regions.yaml:" in server.process.output
    assert (await server.route())["region"] == before["region"]
    assert "autorouter_last_reload_ok 0.0" in (await server.ops("/metrics")).text


async def test_new_edge_is_used_once_it_is_healthy(site: Site) -> None:
    path = Path(site.settings["REGIONS"])
    whole: list[dict[str, Any]] = []

    def keep_the_last(document: dict[str, Any]) -> None:
        whole.extend(document["regions"])
        document["regions"] = whole[-1:]

    rewritten(path, keep_the_last)
    server = await site.serve_until_ready()
    assert (await server.route())["country"] == "US"
    rewritten(path, lambda document: document.update(regions=whole))

    async def is_canadian() -> bool:
        return bool((await server.route())["country"] == "CA")

    await eventually(is_canadian)


async def test_replaced_token_is_reloaded(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("an-old-token-of-ours")
    server = await site.serve_until_ready(OPS_TOKEN_FILE=str(file))

    async def is_accepted(token: str) -> bool:
        url = f"http://{HOST}:{server.ops_port}/v1/edges/yto-01/intent"
        headers = {"Authorization": f"Bearer {token}"}
        return (await site.client.delete(url, headers=headers)).status_code != 403

    assert await is_accepted("an-old-token-of-ours")
    file.write_text("a-new-token-of-ours")
    await eventually(lambda: is_accepted("a-new-token-of-ours"))
    assert not await is_accepted("an-old-token-of-ours")


# The poller's listener


async def test_poller_has_readiness_and_metrics(joined: Site, redis: RedisServer) -> None:
    port = free_port()
    url = f"http://{HOST}:{port}"
    redis.kill()
    poller = joined.poll(POLL_LISTEN=f"{HOST}:{port}")
    await eventually(lambda: is_open(port))
    client = joined.client
    assert (await client.get(f"{url}/healthz")).status_code == 200
    early = await client.get(f"{url}/readyz")
    assert (early.status_code, early.json()["amiss"] == []) == (503, False)
    redis.start()

    async def is_ready() -> bool:
        return (await client.get(f"{url}/readyz")).status_code == 200

    await eventually(is_ready)
    document = (await client.get(f"{url}/metrics")).text
    assert re.search(r'autorouter_publishes_total{result="ok"} [1-9]', document)
    assert re.search(r'autorouter_probes_total{outcome="ok",region="yto-01"} [1-9]', document)
    assert poller.stop() == 0
    assert not is_open(port)


async def test_poller_reports_a_port_in_use(joined: Site) -> None:
    async with taken() as port:
        poller = joined.poll(POLL_LISTEN=f"{HOST}:{port}")
        assert await poller.ended() == 1
    assert poller.output.startswith("error: AUTOROUTER_POLL_LISTEN: cannot listen")


def test_server_does_not_import_unneeded_packages() -> None:
    """Each of these packages takes 10 to 25 % of the start time."""
    unneeded = {"aiodns", "attr", "boto3", "httpx", "redis", "rich"}
    program = "import sys, router.processes.serve, router.processes.prober; print(*sys.modules)"
    document = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert unneeded & {*document.stdout.split()} == set()
