"""Answers as bytes: the body of the contract, which depends on the key alone."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import Catalog, Intended, Observed, Region, Scope, Status
from router.routing import route_table as routes
from router.routing.cache_headers import MAX_TAGS, CachePolicy, Sharing, etag
from router.routing.fleet import Edge, Fleet, is_offered
from router.routing.query import Query
from router.routing.ranking import Ranker, RouteKey
from router.routing.response import Answer, Labels
from router.routing.route_table import ALTERNATES_COUNT, RouteTable
from tests.support.builders import (
    CITIES,
    a_catalog,
    a_fleet,
    a_fleet_but,
    a_key,
    a_region,
    a_table,
    an_edge,
)
from tests.support.strategies import MODELS, Question, catalogs, keys, queries, questions

DOWN = Observed.DOWN
BASE_KEYS = [
    "region",
    "name",
    "country",
    "endpoint",
    "ttl",
    "scope",
    "reason",
    "crossed_border",
    "status",
    "alternates",
]
ALL_DOWN = a_fleet(*(an_edge(id, DOWN) for id in CITIES), status=Status.FAIL_OPEN)
NOTHING_LOADED = a_fleet(*(an_edge(id, models=[]) for id in CITIES))


def answered(
    query: Query = Query(),
    fleet: Fleet | None = None,
    key: RouteKey = a_key(),
    sharing: Sharing = Sharing.KEYED,
    policy: CachePolicy = CachePolicy(),
) -> Answer:
    return a_table(fleet, policy).answer(key, query, sharing)


def body_of(answer: Answer) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(answer.body)
    return body


def header(answer: Answer, name: bytes) -> bytes | None:
    return dict(answer.headers).get(name)


def a_table_of(catalog: Catalog, fleet: Fleet) -> RouteTable:
    return RouteTable(Ranker(catalog), fleet, CachePolicy())


# The body


def test_body_equals_the_contract_byte_for_byte() -> None:
    montreal = an_edge("yul-01")
    answer = answered(fleet=a_fleet(an_edge("yto-01"), montreal), key=a_key("yto-01", "yul-01"))
    assert answer.body == (
        b'{"region":"yto-01","name":"Toronto","country":"CA",'
        b'"endpoint":"https://api.yto-01.edge.polargrid.ai","ttl":300,"scope":"country",'
        b'"reason":"nearest_in_country","crossed_border":false,"status":"ok","alternates":'
        b'[{"region":"yul-01","name":"Montreal","country":"CA",'
        b'"endpoint":"https://api.yul-01.edge.polargrid.ai"}]}'
    )


@pytest.mark.parametrize(
    ("query", "extra"),
    [
        (Query(), []),
        (Query(model="kokoro"), ["model"]),
        (Query(all=True), ["regions"]),
        (Query(model="kokoro", all=True, scope=Scope.GLOBAL), ["model", "regions"]),
    ],
)
def test_keys_have_the_order_of_the_contract(query: Query, extra: list[str]) -> None:
    assert list(body_of(answered(query))) == [*BASE_KEYS, *extra]


def test_model_is_reported_as_requested_and_resolved() -> None:
    fleet = a_fleet_but(an_edge("yul-01", models=["kokoro-82m"]))
    body = body_of(answered(Query(model="Kokoro"), fleet))
    expected = {"requested": "Kokoro", "resolved": "kokoro-82m", "state": "loaded"}
    assert body["model"] == expected
    assert list(body["model"]) == list(expected)


def test_model_in_no_inventory_is_unknown() -> None:
    body = body_of(answered(Query(model="llama-3")))["model"]
    assert body == {"requested": "llama-3", "resolved": "llama-3", "state": "unknown"}


def test_alternates_follow_the_preferred() -> None:
    alternates = body_of(answered(key=a_key("yto-02", "yto-01", "yul-02")))["alternates"]
    assert [each["region"] for each in alternates] == ["yto-01", "yul-02", "yul-01"]


@pytest.mark.parametrize(
    ("status", "ttl"),
    [(Status.OK, 300), (Status.STALE, 30), (Status.STATIC, 30), (Status.FAIL_OPEN, 30)],
)
def test_ttl_is_short_unless_the_status_is_ok(status: Status, ttl: int) -> None:
    body = body_of(answered(fleet=a_fleet(status=status)))
    assert (body["status"], body["ttl"]) == (status.value, ttl)


def test_ttl_follows_the_settings() -> None:
    policy = CachePolicy(ttl_s=86_400, degraded_ttl_s=1)
    assert body_of(answered(policy=policy))["ttl"] == 86_400
    assert body_of(answered(fleet=ALL_DOWN, policy=policy))["ttl"] == 1


# Errors


@pytest.mark.parametrize(
    ("query", "fleet", "key", "code", "problem"),
    [
        (Query(model="llama-3"), NOTHING_LOADED, a_key(), 404, "model_unavailable"),
        (Query(strict=True), a_fleet(), a_key(country="DE"), 404, "no_edge_in_country"),
        (Query(strict=True), a_fleet(), a_key(country=None), 404, "no_edge_in_country"),
        (
            Query(),
            a_fleet(*(an_edge(id, intended=Intended.DRAINING) for id in CITIES)),
            a_key(),
            503,
            "no_edge",
        ),
    ],
)
def test_error_has_its_status_and_code(
    query: Query, fleet: Fleet, key: RouteKey, code: int, problem: str
) -> None:
    answer = answered(query, fleet, key)
    assert answer.code == code
    assert list(body_of(answer)) == ["detail", "code"]
    assert (body_of(answer)["code"], answer.labels.reason) == (problem, problem)


def test_503_says_when_to_retry() -> None:
    disabled = a_fleet(an_edge("yto-01", intended=Intended.DISABLED))
    answer = answered(fleet=disabled, key=a_key("yto-01"))
    assert header(answer, b"retry-after") == b"5"
    assert header(answer, b"cache-control") == b"no-store"


@pytest.mark.parametrize(
    ("sharing", "expected"),
    [(Sharing.KEYED, b"public, max-age=10"), (Sharing.PRIVATE, b"no-store")],
)
def test_404_is_cached_only_under_its_key(sharing: Sharing, expected: bytes) -> None:
    answer = answered(Query(model="llama-3"), NOTHING_LOADED, sharing=sharing)
    assert header(answer, b"cache-control") == expected


@pytest.mark.parametrize(
    ("query", "key", "words"),
    [
        (Query(strict=True), a_key(country="DE"), "No edge is up in DE"),
        (Query(strict=True), a_key(country=None), "your country, which is unknown"),
        (Query(strict=True, model="Llama"), a_key(country="DE"), "with the model 'Llama'"),
    ],
)
def test_strict_404_names_what_is_missing(query: Query, key: RouteKey, words: str) -> None:
    assert words in body_of(answered(query, key=key))["detail"]


def test_model_404_names_the_model_resolved() -> None:
    detail = body_of(answered(Query(model="KOKORO"), NOTHING_LOADED))["detail"]
    assert "'kokoro-82m'" in detail


# Headers


@pytest.mark.parametrize("sharing", Sharing)
@pytest.mark.parametrize("fleet", [a_fleet(), NOTHING_LOADED, ALL_DOWN])
def test_every_answer_is_json_with_cors(sharing: Sharing, fleet: Fleet) -> None:
    answer = answered(Query(model="llama-3"), fleet, sharing=sharing)
    assert header(answer, b"content-type") == b"application/json"
    assert header(answer, b"content-length") == str(len(answer.body)).encode()
    assert header(answer, b"access-control-allow-origin") == b"*"


def test_etag_is_computed_from_the_body() -> None:
    answer = answered()
    assert header(answer, b"etag") == answer.etag == etag(answer.body)


def test_error_has_no_etag() -> None:
    answer = answered(Query(strict=True), key=a_key(country="DE"))
    assert (header(answer, b"etag"), answer.etag) == (None, b"")


def tagged(answer: Answer) -> list[str]:
    """Returns the edges in the cache tags of an answer."""
    tags = (header(answer, b"xkey") or b"").decode().split()
    return [tag.removeprefix("edge:") for tag in tags if tag != "route"]


def test_tags_include_the_preferred_and_the_alternates() -> None:
    assert tagged(answered()) == ["yto-01", "yto-02", "yul-01", "yul-02"]


def test_tags_include_better_edges_that_are_down() -> None:
    out = [an_edge(id, DOWN) for id in ("yto-01", "yul-02")]
    answer = answered(fleet=a_fleet_but(*out))
    named = [edge["region"] for edge in body_of(answer)["alternates"]]
    assert set(tagged(answer)) == {"yto-01", "yul-02", body_of(answer)["region"], *named}


@pytest.mark.parametrize(
    ("query", "fleet"),
    [
        (Query(all=True), a_fleet()),
        (Query(model="whisper"), a_fleet()),
        (Query(), a_fleet(*(an_edge(id, Observed.DEGRADED) for id in CITIES))),
        (Query(strict=True), a_fleet_but(*(an_edge(id, DOWN) for id in CITIES if id[0] == "y"))),
        (Query(model="llama-3"), NOTHING_LOADED),
    ],
)
def test_tags_include_every_edge_that_may_change_the_answer(query: Query, fleet: Fleet) -> None:
    assert set(tagged(answered(query, fleet))) == set(CITIES)


def test_tags_include_an_edge_that_defines_the_model_spelling() -> None:
    spare = an_edge(a_region("e-01", routable=False), models=["Whisper"])
    answer = answered(Query(model="whisper"), a_fleet(an_edge("yto-01"), spare), a_key("yto-01"))
    assert body_of(answer)["model"]["resolved"] == "Whisper"
    assert tagged(answer) == ["yto-01", "e-01"]


def test_tags_include_home_edges_that_an_old_key_lacks() -> None:
    out = [an_edge(id, DOWN) for id in ("yto-01", "yto-02", "yul-02", "yvr-02")]
    answer = answered(fleet=a_fleet_but(*out), key=a_key("nyc-01", "nyc-02", "dal-01"))
    assert body_of(answer)["region"] == "yul-01"
    assert {"yto-01", "yto-02", "yul-02", "yvr-02"} <= set(tagged(answer))


def test_number_of_tags_is_limited_to_the_likeliest() -> None:
    regions = [a_region(f"e-{number:03}") for number in range(200)]
    fleet = a_fleet(*(an_edge(region) for region in regions))
    answer = answered(Query(all=True), fleet, a_key("e-150", "e-151", "e-152"))
    assert len(tagged(answer)) == MAX_TAGS - 1
    assert tagged(answer)[:4] == [
        "e-150",
        "e-151",
        "e-152",
        body_of(answer)["alternates"][2]["region"],
    ]


def with_status(edges: Iterable[Edge]) -> Fleet:
    """A fleet with fresh health: ok, or fail-open if no edge is offered."""
    known = tuple(edges)
    works = any(is_offered(edge) for edge in known)
    return a_fleet(*known, status=Status.OK if works else Status.FAIL_OPEN)


@st.composite
def edges(draw: st.DrawFn, region: Region, states: list[Observed]) -> Edge:
    return an_edge(
        region,
        draw(st.sampled_from(states)),
        intended=draw(st.sampled_from([*[Intended.ENABLED] * 4, Intended.DRAINING])),
        models=draw(st.none() | st.sets(st.sampled_from(MODELS))),
    )


@given(st.just(a_catalog()) | catalogs(), st.data())
def test_edge_outside_the_tags_does_not_change_the_answer(
    catalog: Catalog, data: st.DataObject
) -> None:
    mostly_up = [*[Observed.UP] * 8, *Observed]
    fleet = [data.draw(edges(region, mostly_up)) for region in catalog.regions]
    key, query = data.draw(keys(catalog)), data.draw(queries)
    ranker = Ranker(catalog)
    before = RouteTable(ranker, with_status(fleet), CachePolicy()).answer(key, query, Sharing.KEYED)
    for place, edge in enumerate(fleet):
        if before.code == 503 or edge.region.id in tagged(before):
            continue
        changed = data.draw(edges(edge.region, list(Observed)))
        now = with_status([*fleet[:place], changed, *fleet[place + 1 :]])
        after = RouteTable(ranker, now, CachePolicy()).answer(key, query, Sharing.KEYED)
        assert (before.code, before.body) == (after.code, after.body)


def test_degraded_status_shortens_the_shared_lifetime() -> None:
    cache_control = header(answered(fleet=ALL_DOWN), b"cache-control")
    assert cache_control is not None
    assert cache_control.startswith(b"public, max-age=2,")


def test_answer_has_labels_for_its_outcome() -> None:
    labels = answered(Query(scope=Scope.GLOBAL)).labels
    assert labels == Labels(
        "200", "yto-01", "nearest_global", "ok", "global", sharing="keyed", crossed="false"
    )


def test_answer_across_the_border_is_labelled() -> None:
    labels = answered(key=a_key(country="DE"), sharing=Sharing.PRIVATE).labels
    assert (labels.sharing, labels.crossed) == ("private", "true")


@pytest.mark.parametrize("query", [Query(), Query(strict=True)])
def test_answer_has_the_country_of_the_viewer(query: Query) -> None:
    assert answered(query, key=a_key(country="DE")).country == "DE"


# The cache of answers


def test_repeated_question_is_cached() -> None:
    table = a_table()
    first = table.answer(a_key(), Query(), Sharing.KEYED)
    table.answer(a_key(), Query(all=True), Sharing.KEYED)
    assert table.answer(a_key(), Query(), Sharing.KEYED) is first


def test_different_questions_have_separate_answers() -> None:
    table = a_table()
    asked = [
        (a_key(), Query(), Sharing.KEYED),
        (a_key(), Query(), Sharing.PRIVATE),
        (a_key(), Query(all=True), Sharing.KEYED),
        (a_key(), Query(strict=True, scope=Scope.GLOBAL), Sharing.KEYED),
        (a_key("yul-01"), Query(), Sharing.KEYED),
        (a_key("yul-01", country="US"), Query(), Sharing.KEYED),
    ]
    answers = [table.answer(*question) for question in asked]
    assert len({(answer.body, tuple(answer.headers)) for answer in answers}) == len(asked)


def test_cache_of_long_answers_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "KNOWN_BYTES", 100_000)
    regions = [a_region(f"e-{number}") for number in range(100)]
    table = RouteTable(Ranker(a_catalog(*regions)), a_fleet(*map(an_edge, regions)), CachePolicy())
    for number in range(50):
        table.answer(a_key("e-1"), Query(model=f"m{number}", all=True), Sharing.PRIVATE)
    kept = [len(answer.body) for answer in table._answers.values()]
    assert 0 < sum(kept) < 100_000 + max(kept)


# Any fleet


@given(questions(), st.sampled_from(Sharing))
def test_cached_answer_equals_a_new_one(question: Question, sharing: Sharing) -> None:
    catalog, fleet, key, query = question
    table = a_table_of(catalog, fleet)
    for other in (query, query._replace(all=not query.all), query._replace(model=None), query):
        assert table.answer(key, other, sharing) == a_table_of(catalog, fleet).answer(
            key, other, sharing
        )


@given(questions())
def test_body_does_not_depend_on_sharing(question: Question) -> None:
    catalog, fleet, key, query = question
    answers = [a_table_of(catalog, fleet).answer(key, query, sharing) for sharing in Sharing]
    assert len({(answer.code, answer.body) for answer in answers}) == 1


@given(questions())
def test_equal_routing_gives_equal_bytes(question: Question) -> None:
    catalog, fleet, key, query = question
    edges = [
        an_edge(e.region, e.observed, intended=e.intended, models=e.models) for e in fleet.edges
    ]
    other = Fleet(edges=tuple(edges), status=fleet.status, seen_at=1.0)
    assert other.routing == fleet.routing
    answers = [
        a_table_of(catalog, each).answer(key, query, Sharing.KEYED) for each in (fleet, other)
    ]
    assert answers[0] == answers[1]


@given(questions())
def test_body_has_the_types_that_sdks_expect(question: Question) -> None:
    catalog, fleet, key, query = question
    answer = a_table_of(catalog, fleet).answer(key, query, Sharing.PRIVATE)
    body = body_of(answer)
    if answer.code == 200:
        entries = [body, *body["alternates"], *body.get("regions", [])]
        assert all(
            entry[name] and isinstance(entry[name], str)
            for entry in entries
            for name in ("region", "name", "country", "endpoint")
        )
        assert not any(entry["endpoint"].endswith("/") for entry in entries)
        assert type(body["ttl"]) is int
        assert 1 <= body["ttl"] <= 86_400


@given(questions())
def test_pick_alternates_and_regions_agree(question: Question) -> None:
    catalog, fleet, key, query = question
    answer = a_table_of(catalog, fleet).answer(key, query._replace(all=True), Sharing.PRIVATE)
    if answer.code == 200:
        body = body_of(answer)
        ranked = [entry["id"] for entry in body["regions"]]
        named = [body["region"], *(each["region"] for each in body["alternates"])]
        assert named == ranked[: 1 + ALTERNATES_COUNT]
        assert len(set(ranked)) == len(ranked)
        assert ranked == [entry["region"] for entry in body["regions"]]


@given(questions())
def test_regions_contain_no_edge_out_of_service(question: Question) -> None:
    catalog, fleet, key, query = question
    answer = a_table_of(catalog, fleet).answer(key, query._replace(all=True), Sharing.PRIVATE)
    named = {entry["id"] for entry in body_of(answer).get("regions", [])}
    disabled = {edge.region.id for edge in fleet.edges if not edge.enabled}
    lost = {edge.region.id for edge in fleet.edges if edge.observed is DOWN}
    assert named.isdisjoint(disabled)
    assert fleet.status in (Status.STATIC, Status.FAIL_OPEN) or named.isdisjoint(lost)


@given(questions())
def test_only_a_fleet_without_enabled_edges_gives_a_503(question: Question) -> None:
    catalog, fleet, key, query = question
    answer = a_table_of(catalog, fleet).answer(key, query, Sharing.PRIVATE)
    assert answer.code in (200, 404, 503)
    assert (answer.code == 503) is (not any(edge.enabled for edge in fleet.edges))
    assert answer.code != 404 or query.strict or query.model is not None


@given(questions())
def test_all_only_adds_regions(question: Question) -> None:
    catalog, fleet, key, query = question
    table = a_table_of(catalog, fleet)
    bodies = [
        body_of(table.answer(key, query._replace(all=every), Sharing.PRIVATE))
        for every in (False, True)
    ]
    bodies[1].pop("regions", None)
    assert bodies[0] == bodies[1]


@given(questions())
def test_list_of_all_is_encoded_as_other_json(question: Question) -> None:
    catalog, fleet, key, query = question
    body = a_table_of(catalog, fleet).answer(key, query._replace(all=True), Sharing.PRIVATE).body
    assert body == msgspec.json.encode(msgspec.json.decode(body))


def test_all_describes_each_edge_correctly() -> None:
    table = a_table_of(a_catalog(), a_fleet())
    keys = a_key("yto-01"), a_key("yul-01")
    listed = [body_of(table.answer(key, Query(all=True), Sharing.KEYED))["regions"] for key in keys]
    assert listed[0] != listed[1]
    for regions in listed:
        for entry in regions:
            region = table.fleet.by_id[entry["id"]].region
            assert entry == {
                "id": region.id,
                "region": region.id,
                "name": region.name,
                "country": region.country,
                "endpoint": region.endpoint,
            }
