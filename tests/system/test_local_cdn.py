"""What viewers get through the CDN stand-in, with the real edge function and a real cache."""

import contextlib
import itertools
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.support.servers import HOST, Dev, get, running_dev, wait_until
from tests.support.stand_in import (
    CANADIAN,
    CANADIAN_6,
    COUNTRY_ONLY,
    GERMAN,
    NEIGHBOUR,
    SECRET,
    TEXAN,
    UNKNOWN,
    StandIn,
    a_small_world,
    running_stand_in,
)

ORIGIN_TIMEOUT_S, SLACK_S = 1.0, 2.0
CACHING = ("etag", "cache-control", "vary", "cache-tag", "xkey")
SPOOFED = {
    "X-Autorouter-Key": "DE~sfo-01",
    "CloudFront-Viewer-Country": "DE",
    "CloudFront-Viewer-Latitude": "52.5",
    "CloudFront-Viewer-Longitude": "13.4",
    "CloudFront-Viewer-Address": "85.214.132.117:50000",
    "X-Origin-Verify": SECRET,
    "X-Forwarded-For": "85.214.132.117",
    "Cookie": "key=value",
    "Authorization": "Bearer of-the-sdk",
    "Cache-Control": "no-cache",
    "Accept-Encoding": "gzip, br",
}


class Site(NamedTuple):
    """An origin with simulated edges, behind a CDN stand-in."""

    dev: Dev
    cdn: StandIn

    def direct(self, query: str = "", viewer: str = CANADIAN) -> httpx.Response:
        """The origin's response to a viewer without the CDN."""
        url = f"http://{HOST}:{self.dev.port}/v1/route{query}"
        return get(url, headers={"X-Forwarded-For": viewer})

    def ops(self, method: str, path: str, body: Any = None) -> None:
        """Send a request to the ops listener."""
        url = f"http://{HOST}:{self.dev.ops_port}{path}"
        self.cdn.client.request(method, url, json=body).raise_for_status()

    def edge(self, id: str) -> dict[str, Any]:
        """The origin's document of an edge."""
        edges = self.dev.ops("/v1/edges").json()["edges"]
        return next(edge for edge in edges if edge["id"] == id)

    def drain(self, *ids: str) -> None:
        """Drain edges, even all of them."""
        wish = {"state": "draining", "for": "1h", "reason": "test", "actor": "t", "force": True}
        self.ops("PUT", f"/v1/edges/{','.join(ids)}/intent", wish)


@contextlib.contextmanager
def a_site(folder: Path) -> Iterator[Site]:
    geo_db = str(a_small_world(folder / "world.mmdb"))
    settings = {"CDN_SECRET": SECRET, "GEO_DB": geo_db, "POLL_INTERVAL_S": "0.2"}
    with (
        running_dev(folder, **settings) as dev,
        running_stand_in(folder, dev.port, GEO_DB=geo_db) as cdn,
    ):
        wait_until(dev.is_ready)
        yield Site(dev, cdn)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site for tests that do not change it."""
    with a_site(tmp_path_factory.mktemp("site")) as one:
        yield one


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[Site]:
    """A site that a test may break."""
    with a_site(tmp_path) as one:
        yield one


@pytest.fixture
def cdn(site: Site) -> StandIn:
    return site.cdn


_number = itertools.count()


@pytest.fixture
def fresh() -> str:
    """A query that is not cached."""
    return f"all=no-{next(_number)}"


def cache(response: httpx.Response) -> str:
    """The X-Cache value: Miss, Hit, …"""
    return response.headers["x-cache"]


def pick(response: httpx.Response) -> str:
    return str(response.raise_for_status().json()["region"])


def alike(one: httpx.Response, other: httpx.Response) -> bool:
    """Whether two responses have the same status, body and ETag."""
    return (one.status_code, one.content, one.headers.get("etag")) == (
        other.status_code,
        other.content,
        other.headers.get("etag"),
    )


# Requests that do not reach the cache


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"])
def test_other_methods_are_rejected_as_by_cloudfront(cdn: StandIn, method: str) -> None:
    response = cdn.ask(method=method)

    assert (response.status_code, response.headers["content-type"]) == (403, "text/html")
    assert "x-cache" not in response.headers


def test_get_with_a_body_is_rejected(cdn: StandIn) -> None:
    assert cdn.ask(content=b"{}").status_code == 403


# Sharing


def test_second_request_is_a_hit(cdn: StandIn, fresh: str) -> None:
    first, second = cdn.ask(f"?{fresh}"), cdn.ask(f"?{fresh}")

    assert (cache(first), cache(second)) == ("Miss", "Hit")
    assert alike(first, second)
    assert [first.headers[name] for name in CACHING] == [second.headers[name] for name in CACHING]


def test_viewers_with_one_key_share_an_answer(cdn: StandIn, fresh: str) -> None:
    cdn.ask(f"?{fresh}", CANADIAN)

    assert cache(cdn.ask(f"?{fresh}", NEIGHBOUR)) == "Hit"


def test_viewers_with_different_keys_do_not_share(site: Site, fresh: str) -> None:
    answers = {viewer: site.cdn.ask(f"?{fresh}", viewer) for viewer in (CANADIAN, GERMAN, TEXAN)}

    assert {cache(answer) for answer in answers.values()} == {"Miss"}
    assert all(alike(answer, site.direct(f"?{fresh}", who)) for who, answer in answers.items())
    assert answers[CANADIAN].json()["country"] == "CA"
    assert answers[GERMAN].json()["crossed_border"]


def test_query_is_reduced_and_sorted(cdn: StandIn, fresh: str) -> None:
    cdn.ask(f"?{fresh}&model=kokoro&scope=global")

    junk = "?utm_source=x&scope=global&SCOPE=country&&=&model=kokoro"
    assert cache(cdn.ask(f"{junk}&{fresh}")) == "Hit"


def test_first_of_repeated_parameters_is_used(site: Site, fresh: str) -> None:
    query = f"?{fresh}&scope=global&scope=country&model=kokoro&model=other"

    assert site.cdn.ask(query, GERMAN).json()["scope"] == "global"
    assert alike(site.cdn.ask(query, GERMAN), site.direct(query, GERMAN))


@pytest.mark.parametrize("query", ["?scope=%67lobal", "?scope=+Global%20", "?model=a%26b&all=true"])
def test_encoded_queries_are_read_as_by_the_origin(site: Site, query: str) -> None:
    assert alike(site.cdn.ask(query), site.direct(query))


def test_spoofed_headers_are_ignored(cdn: StandIn, fresh: str) -> None:
    honest = cdn.ask(f"?{fresh}")
    spoofed = cdn.ask(f"?{fresh}", headers=SPOOFED)

    assert cache(spoofed) == "Hit"
    assert alike(honest, spoofed)


def test_spoofed_headers_do_not_reach_the_cache(site: Site, fresh: str) -> None:
    spoofed = site.cdn.ask(f"?{fresh}", headers=SPOOFED)

    assert cache(spoofed) == "Miss"
    assert alike(spoofed, site.direct(f"?{fresh}"))
    assert alike(site.cdn.ask(f"?{fresh}", NEIGHBOUR), site.direct(f"?{fresh}"))


def test_viewer_with_only_a_country_is_placed_by_it(site: Site, fresh: str) -> None:
    first, second = (site.cdn.ask(f"?{fresh}", COUNTRY_ONLY) for _ in range(2))

    # The country has edges in several cities, so the function makes no key.
    assert (cache(first), cache(second)) == ("Miss", "Miss")
    assert first.headers["cache-control"].startswith("private")
    assert alike(first, site.direct(f"?{fresh}", COUNTRY_ONLY))


def test_ipv6_viewer_is_placed(site: Site, fresh: str) -> None:
    first, second = (site.cdn.ask(f"?{fresh}", CANADIAN_6) for _ in range(2))

    assert (cache(first), cache(second)) == ("Miss", "Hit")
    assert alike(first, site.direct(f"?{fresh}", CANADIAN_6))


@pytest.mark.parametrize("viewer", [UNKNOWN, "2001:db8:ffff::1", HOST])
def test_unknown_viewer_gets_a_private_answer(site: Site, fresh: str, viewer: str) -> None:
    answers = [site.cdn.ask(f"?{fresh}", viewer) for _ in range(2)]

    assert [cache(answer) for answer in answers] == ["Miss", "Miss"]
    assert answers[0].headers["cache-control"] == "private, max-age=300"
    assert alike(answers[0], site.direct(f"?{fresh}", viewer))


def test_spoofed_location_of_an_unknown_viewer_is_ignored(site: Site, fresh: str) -> None:
    spoofed = site.cdn.ask(f"?{fresh}", UNKNOWN, headers=SPOOFED)

    assert spoofed.headers["cache-control"] == "private, max-age=300"
    assert alike(spoofed, site.direct(f"?{fresh}", UNKNOWN))


# HEAD and If-None-Match


def test_head_is_get_without_a_body(cdn: StandIn, fresh: str) -> None:
    head, again = (cdn.ask(f"?{fresh}", method="HEAD") for _ in range(2))
    whole = cdn.ask(f"?{fresh}")

    assert [cache(head), cache(again), cache(whole)] == ["Miss", "Hit", "Hit"]
    assert (head.content, head.headers["content-length"]) == (b"", str(len(whole.content)))
    assert [head.headers[name] for name in CACHING] == [whole.headers[name] for name in CACHING]


@pytest.mark.parametrize("is_cached", [True, False])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_known_answer_is_not_sent_again(
    site: Site, fresh: str, method: str, is_cached: bool
) -> None:
    whole = site.cdn.ask(f"?{fresh}") if is_cached else None
    known = {"If-None-Match": site.direct(f"?{fresh}").headers["etag"]}
    unchanged = site.cdn.ask(f"?{fresh}", method=method, headers=known)
    whole = whole or site.cdn.ask(f"?{fresh}")

    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert cache(unchanged) == ("Hit" if is_cached else "Miss")
    assert [unchanged.headers[name] for name in CACHING] == [
        whole.headers[name] for name in CACHING
    ]


def test_known_private_answer_is_not_sent_again(site: Site, fresh: str) -> None:
    known = {"If-None-Match": site.direct(f"?{fresh}", UNKNOWN).headers["etag"]}
    unchanged = site.cdn.ask(f"?{fresh}", UNKNOWN, headers=known)

    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["cache-control"] == "private, max-age=300"


def test_other_etag_gets_the_answer(cdn: StandIn, fresh: str) -> None:
    cdn.ask(f"?{fresh}")
    answer = cdn.ask(f"?{fresh}", headers={"If-None-Match": '"another"'})

    assert (answer.status_code, cache(answer)) == (200, "Hit")


# Answers that name no edge


def test_strict_404_is_shared(cdn: StandIn, fresh: str) -> None:
    first, second = (cdn.ask(f"?{fresh}&strict=true", GERMAN) for _ in range(2))

    assert (first.status_code, cache(first), cache(second)) == (404, "Miss", "Hit")


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [("/elsewhere", "", 404), ("/v1/route", f"?model={'m' * 129}", 400), ("/healthz", "", 200)],
)
def test_uncacheable_responses_are_not_stored(
    cdn: StandIn, path: str, query: str, status: int
) -> None:
    answers = [cdn.ask(query, path=path) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [status, status]
    assert [cache(answer) for answer in answers] == ["Miss", "Miss"]


# Purges


def test_purge_removes_only_answers_with_the_tag(cdn: StandIn, fresh: str) -> None:
    for viewer in (CANADIAN, TEXAN):
        cdn.ask(f"?{fresh}", viewer)

    assert cdn.purge("edge:dal-01", "edge:no-such") >= 1
    assert cache(cdn.ask(f"?{fresh}", TEXAN)) == "Miss"
    assert cache(cdn.ask(f"?{fresh}", CANADIAN)) == "Hit"


def test_purge_returns_the_number_of_removed_answers(cdn: StandIn, fresh: str) -> None:
    cdn.purge("route")
    for viewer in (CANADIAN, NEIGHBOUR, GERMAN, TEXAN, UNKNOWN):
        cdn.ask(f"?{fresh}", viewer)

    assert [cdn.purge("route"), cdn.purge("route")] == [3, 0]


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("PURGE", "/", {}),
        ("PURGE", "/v1/route", {"xkey-purge": "route"}),
        ("POST", "/", {"xkey-purge": "route"}),
    ],
)
def test_malformed_purge_is_rejected(
    cdn: StandIn, fresh: str, method: str, path: str, headers: dict[str, str]
) -> None:
    cdn.ask(f"?{fresh}")

    assert cdn.ask_varnish(method, path, **headers).status_code == 403
    assert cache(cdn.ask(f"?{fresh}")) == "Hit"


# While edges come and go


def test_killed_edge_is_not_served_after_the_purge(own_site: Site) -> None:
    gone = pick(own_site.cdn.ask())
    own_site.ops("PUT", f"/simulation/{gone}/down")
    wait_until(lambda: own_site.edge(gone)["state"] == "down")

    own_site.cdn.purge(f"edge:{gone}")
    after = own_site.cdn.ask()

    assert pick(after) != gone
    assert alike(after, own_site.direct())


def test_enabled_edge_is_served_after_the_purge(own_site: Site) -> None:
    preferred = pick(own_site.direct())
    own_site.drain(preferred)
    wait_until(lambda: pick(own_site.direct()) != preferred)
    assert pick(own_site.cdn.ask()) != preferred

    own_site.ops("DELETE", f"/v1/edges/{preferred}/intent?actor=t")
    wait_until(lambda: pick(own_site.direct()) == preferred)
    assert pick(own_site.cdn.ask()) != preferred  # still cached, because there was no purge
    own_site.cdn.purge(f"edge:{preferred}")

    assert alike(own_site.cdn.ask(), own_site.direct())


# While the origin fails


def timed(site: Site, viewer: str = CANADIAN) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    answer = site.cdn.ask(viewer=viewer)
    return answer, time.monotonic() - began


def test_cached_answers_are_served_while_the_origin_hangs(own_site: Site) -> None:
    before = own_site.cdn.ask()
    own_site.dev.process.send(signal.SIGSTOP)
    own_site.cdn.purge("route")
    after, took_s = timed(own_site)

    assert (cache(after), alike(before, after)) == ("Hit, stale-if-error", True)
    assert took_s < ORIGIN_TIMEOUT_S + SLACK_S

    failed, took_s = timed(own_site, GERMAN)
    assert (failed.status_code, cache(failed)) == (504, "Error")
    assert took_s < ORIGIN_TIMEOUT_S + SLACK_S

    own_site.dev.process.send(signal.SIGCONT)
    wait_until(lambda: cache(own_site.cdn.ask()) == "Miss")


def test_cached_answers_are_served_after_the_origin_is_killed(own_site: Site) -> None:
    before = own_site.cdn.ask()
    own_site.dev.process.kill()
    own_site.cdn.purge("route")
    after, took_s = timed(own_site)

    assert (cache(after), alike(before, after)) == ("Hit, stale-if-error", True)
    assert took_s < SLACK_S

    failed, took_s = timed(own_site, GERMAN)
    assert (failed.status_code, failed.headers["cache-control"]) == (504, "no-store")
    assert took_s < SLACK_S


def test_cached_answers_are_served_when_the_origin_answers_5xx(own_site: Site) -> None:
    before = own_site.cdn.ask()
    edges = [edge["id"] for edge in own_site.dev.ops("/v1/edges").json()["edges"]]
    own_site.drain(*edges)
    wait_until(lambda: own_site.direct().status_code == 503)
    own_site.cdn.purge("route")

    after, failed = own_site.cdn.ask(), own_site.cdn.ask(viewer=GERMAN)

    assert (cache(after), alike(before, after)) == ("Hit, stale-if-error", True)
    assert (failed.status_code, failed.json()["code"]) == (503, "no_edge")
    assert failed.headers["retry-after"] == "5"
