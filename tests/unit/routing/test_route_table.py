"""Answers as bytes: the contract's body, and nothing that the key does not decide."""

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
from tests.support.strategies import MODELS, catalogs, fleets, keys, queries

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
ALL_IN_DISTRESS = a_fleet(*(an_edge(id, DOWN) for id in CITIES), status=Status.FAIL_OPEN)
NOTHING_LOADED = a_fleet(*(an_edge(id, models=[]) for id in CITIES))

Asked = tuple[Catalog, Fleet, RouteKey, Query]


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


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    catalog = draw(catalogs())
    return catalog, draw(fleets(catalog)), draw(keys(catalog)), draw(queries)


def tabled(catalog: Catalog, fleet: Fleet) -> RouteTable:
    return RouteTable(Ranker(catalog), fleet, CachePolicy())


# The body


def test_body_is_the_contracts_to_the_byte() -> None:
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
def test_keys_come_in_the_contracts_order(query: Query, extra: list[str]) -> None:
    assert list(body_of(answered(query))) == [*BASE_KEYS, *extra]


def test_model_is_told_as_asked_and_as_resolved() -> None:
    fleet = a_fleet_but(an_edge("yul-01", models=["kokoro-82m"]))
    told = body_of(answered(Query(model="Kokoro"), fleet))
    expected = {"requested": "Kokoro", "resolved": "kokoro-82m", "state": "loaded"}
    assert told["model"] == expected
    assert list(told["model"]) == list(expected)


def test_model_nobody_knows_of_is_unknown() -> None:
    told = body_of(answered(Query(model="llama-3")))["model"]
    assert told == {"requested": "llama-3", "resolved": "llama-3", "state": "unknown"}


def test_all_lists_every_eligible_edge_pick_first() -> None:
    regions = body_of(answered(Query(all=True)))["regions"]
    assert list(regions[0]) == ["id", "region", "name", "country", "endpoint"]
    assert regions[0]["id"] == regions[0]["region"] == "yto-01"
    assert sorted(entry["id"] for entry in regions) == sorted(CITIES)


def test_scope_is_told_as_understood() -> None:
    assert body_of(answered(Query(scope=Scope.GLOBAL)))["scope"] == "global"


@pytest.mark.parametrize("count", [1, 2, 4, 10])
def test_alternates_are_three_at_most(count: int) -> None:
    fleet = a_fleet(*(an_edge(id) for id in list(CITIES)[:count]))
    alternates = body_of(answered(fleet=fleet, key=a_key("yto-01")))["alternates"]
    assert len(alternates) == min(count - 1, ALTERNATES_COUNT)


def test_alternates_follow_the_preferred() -> None:
    alternates = body_of(answered(key=a_key("yto-02", "yto-01", "yul-02")))["alternates"]
    assert [each["region"] for each in alternates] == ["yto-01", "yul-02", "yul-01"]


@pytest.mark.parametrize(
    ("status", "ttl"),
    [(Status.OK, 300), (Status.STALE, 30), (Status.STATIC, 30), (Status.FAIL_OPEN, 30)],
)
def test_ttl_is_short_unless_all_is_well(status: Status, ttl: int) -> None:
    told = body_of(answered(fleet=a_fleet(status=status)))
    assert (told["status"], told["ttl"]) == (status.value, ttl)


def test_ttl_follows_the_settings() -> None:
    policy = CachePolicy(ttl_s=86_400, degraded_ttl_s=1)
    assert body_of(answered(policy=policy))["ttl"] == 86_400
    assert body_of(answered(fleet=ALL_IN_DISTRESS, policy=policy))["ttl"] == 1


@pytest.mark.parametrize(
    "edge",
    [
        an_edge("yto-01", DOWN),
        an_edge("yto-01", Observed.UNKNOWN),
        an_edge("yto-01", intended=Intended.DRAINING),
        an_edge("yto-01", intended=Intended.DISABLED),
        an_edge(a_region("yto-01", routable=False)),
    ],
)
def test_edge_out_of_service_is_never_named(edge: Edge) -> None:
    answer = answered(Query(all=True), a_fleet_but(edge), a_key("yto-02", "yul-01"))
    assert b"yto-01" not in answer.body


# Refusals


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
def test_refusal_has_its_code_and_advice(
    query: Query, fleet: Fleet, key: RouteKey, code: int, problem: str
) -> None:
    answer = answered(query, fleet, key)
    assert answer.code == code
    assert list(body_of(answer)) == ["detail", "code"]
    assert (body_of(answer)["code"], answer.labels.reason) == (problem, problem)


def test_503_says_when_to_come_back() -> None:
    held = a_fleet(an_edge("yto-01", intended=Intended.DISABLED))
    answer = answered(fleet=held, key=a_key("yto-01"))
    assert header(answer, b"retry-after") == b"5"
    assert header(answer, b"cache-control") == b"no-store"


@pytest.mark.parametrize(
    ("sharing", "told"), [(Sharing.KEYED, b"public, max-age=10"), (Sharing.PRIVATE, b"no-store")]
)
def test_404_is_kept_only_under_its_key(sharing: Sharing, told: bytes) -> None:
    answer = answered(Query(model="llama-3"), NOTHING_LOADED, sharing=sharing)
    assert header(answer, b"cache-control") == told


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
@pytest.mark.parametrize("fleet", [a_fleet(), NOTHING_LOADED, ALL_IN_DISTRESS])
def test_every_answer_is_json_open_to_all_pages(sharing: Sharing, fleet: Fleet) -> None:
    answer = answered(Query(model="llama-3"), fleet, sharing=sharing)
    assert header(answer, b"content-type") == b"application/json"
    assert header(answer, b"content-length") == str(len(answer.body)).encode()
    assert header(answer, b"access-control-allow-origin") == b"*"


def test_etag_is_that_of_the_body() -> None:
    answer = answered()
    assert header(answer, b"etag") == answer.etag == etag(answer.body)


def test_refusal_has_no_etag() -> None:
    answer = answered(Query(strict=True), key=a_key(country="DE"))
    assert (header(answer, b"etag"), answer.etag) == (None, b"")


def tagged(answer: Answer) -> list[str]:
    """The edges in an answer's tags."""
    tags = (header(answer, b"xkey") or b"").decode().split()
    return [tag.removeprefix("edge:") for tag in tags if tag != "route"]


def test_tags_name_the_preferred_and_the_alternates() -> None:
    assert tagged(answered()) == ["yto-01", "yto-02", "yul-01", "yul-02"]


def test_tags_name_what_would_come_before_the_edges_named() -> None:
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
def test_tags_name_every_edge_where_any_may_matter(query: Query, fleet: Fleet) -> None:
    assert set(tagged(answered(query, fleet))) == set(CITIES)


def test_tags_name_an_edge_whose_inventory_says_how_a_model_is_spelt() -> None:
    spare = an_edge(a_region("e-01", routable=False), models=["Whisper"])
    answer = answered(Query(model="whisper"), a_fleet(an_edge("yto-01"), spare), a_key("yto-01"))
    assert body_of(answer)["model"]["resolved"] == "Whisper"
    assert tagged(answer) == ["yto-01", "e-01"]


def test_tags_name_edges_at_home_that_a_key_from_before_them_puts_last() -> None:
    out = [an_edge(id, DOWN) for id in ("yto-01", "yto-02", "yul-02", "yvr-02")]
    answer = answered(fleet=a_fleet_but(*out), key=a_key("nyc-01", "nyc-02", "dal-01"))
    assert body_of(answer)["region"] == "yul-01"
    assert {"yto-01", "yto-02", "yul-02", "yvr-02"} <= set(tagged(answer))


def test_no_more_tags_than_a_cdn_keeps_the_likeliest_first() -> None:
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


def judged(edges: Iterable[Edge]) -> Fleet:
    """A fleet whose health is known."""
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
    before = RouteTable(ranker, judged(fleet), CachePolicy()).answer(key, query, Sharing.KEYED)
    for place, edge in enumerate(fleet):
        if before.code == 503 or edge.region.id in tagged(before):
            continue
        changed = data.draw(edges(edge.region, list(Observed)))
        now = judged([*fleet[:place], changed, *fleet[place + 1 :]])
        after = RouteTable(ranker, now, CachePolicy()).answer(key, query, Sharing.KEYED)
        assert (before.code, before.body) == (after.code, after.body)


def test_unsure_fleet_shortens_the_shared_life() -> None:
    told = header(answered(fleet=ALL_IN_DISTRESS), b"cache-control")
    assert told is not None
    assert told.startswith(b"public, max-age=2,")


def test_answer_is_counted_under_its_outcome() -> None:
    labels = answered(Query(scope=Scope.GLOBAL)).labels
    assert labels == Labels(
        "200", "yto-01", "nearest_global", "ok", "global", sharing="keyed", crossed="false"
    )


def test_answer_across_the_border_is_counted_as_such() -> None:
    labels = answered(key=a_key(country="DE"), sharing=Sharing.PRIVATE).labels
    assert (labels.sharing, labels.crossed) == ("private", "true")


@pytest.mark.parametrize("query", [Query(), Query(strict=True)])
def test_answer_knows_the_viewer_s_country(query: Query) -> None:
    assert answered(query, key=a_key(country="DE")).country == "DE"


# The memo


def test_repeated_question_is_looked_up() -> None:
    table = a_table()
    first = table.answer(a_key(), Query(), Sharing.KEYED)
    table.answer(a_key(), Query(all=True), Sharing.KEYED)
    assert table.answer(a_key(), Query(), Sharing.KEYED) is first


def test_unlike_questions_are_answered_apart() -> None:
    table = a_table()
    questions = [
        (a_key(), Query(), Sharing.KEYED),
        (a_key(), Query(), Sharing.PRIVATE),
        (a_key(), Query(all=True), Sharing.KEYED),
        (a_key(), Query(strict=True, scope=Scope.GLOBAL), Sharing.KEYED),
        (a_key("yul-01"), Query(), Sharing.KEYED),
        (a_key("yul-01", country="US"), Query(), Sharing.KEYED),
    ]
    answers = [table.answer(*question) for question in questions]
    assert len({(answer.body, tuple(answer.headers)) for answer in answers}) == len(questions)


def test_memo_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "KNOWN_ANSWERS", 100)
    table = a_table(a_fleet(an_edge("yto-01")))
    for number in range(250):
        table.answer(a_key("yto-01"), Query(model=f"m{number}"), Sharing.PRIVATE)
        assert 0 < len(table._answers) <= 100


def test_memo_of_long_answers_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "KNOWN_BYTES", 100_000)
    regions = [a_region(f"e-{number}") for number in range(100)]
    table = RouteTable(Ranker(a_catalog(*regions)), a_fleet(*map(an_edge, regions)), CachePolicy())
    for number in range(50):
        table.answer(a_key("e-1"), Query(model=f"m{number}", all=True), Sharing.PRIVATE)
    kept = [len(answer.body) for answer in table._answers.values()]
    assert 0 < sum(kept) < 100_000 + max(kept)


# Whatever the fleet


@given(questions(), st.sampled_from(Sharing))
def test_remembered_answer_is_the_fresh_one(asked: Asked, sharing: Sharing) -> None:
    catalog, fleet, key, query = asked
    table = tabled(catalog, fleet)
    for other in (query, query._replace(all=not query.all), query._replace(model=None), query):
        assert table.answer(key, other, sharing) == tabled(catalog, fleet).answer(
            key, other, sharing
        )


@given(questions())
def test_body_does_not_depend_on_who_may_keep_it(asked: Asked) -> None:
    catalog, fleet, key, query = asked
    answers = [tabled(catalog, fleet).answer(key, query, sharing) for sharing in Sharing]
    assert len({(answer.code, answer.body) for answer in answers}) == 1


@given(questions())
def test_equal_routing_gives_equal_bytes(asked: Asked) -> None:
    catalog, fleet, key, query = asked
    edges = [
        an_edge(e.region, e.observed, intended=e.intended, models=e.models) for e in fleet.edges
    ]
    other = Fleet(edges=tuple(edges), status=fleet.status, seen_at=1.0)
    assert other.routing == fleet.routing
    answers = [tabled(catalog, each).answer(key, query, Sharing.KEYED) for each in (fleet, other)]
    assert answers[0] == answers[1]


@given(questions())
def test_body_is_what_every_sdk_can_read(asked: Asked) -> None:
    catalog, fleet, key, query = asked
    answer = tabled(catalog, fleet).answer(key, query, Sharing.PRIVATE)
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
def test_pick_alternates_and_regions_agree(asked: Asked) -> None:
    catalog, fleet, key, query = asked
    answer = tabled(catalog, fleet).answer(key, query._replace(all=True), Sharing.PRIVATE)
    if answer.code == 200:
        body = body_of(answer)
        ranked = [entry["id"] for entry in body["regions"]]
        named = [body["region"], *(each["region"] for each in body["alternates"])]
        assert named == ranked[: 1 + ALTERNATES_COUNT]
        assert len(set(ranked)) == len(ranked)
        assert ranked == [entry["region"] for entry in body["regions"]]


@given(questions())
def test_regions_name_no_edge_out_of_service(asked: Asked) -> None:
    catalog, fleet, key, query = asked
    answer = tabled(catalog, fleet).answer(key, query._replace(all=True), Sharing.PRIVATE)
    named = {entry["id"] for entry in body_of(answer).get("regions", [])}
    held = {edge.region.id for edge in fleet.edges if not edge.enabled}
    lost = {edge.region.id for edge in fleet.edges if edge.observed is DOWN}
    assert named.isdisjoint(held)
    assert fleet.status in (Status.STATIC, Status.FAIL_OPEN) or named.isdisjoint(lost)


@given(questions())
def test_only_an_idle_fleet_gives_a_5xx(asked: Asked) -> None:
    catalog, fleet, key, query = asked
    answer = tabled(catalog, fleet).answer(key, query, Sharing.PRIVATE)
    assert answer.code in (200, 404, 503)
    assert (answer.code == 503) is (not any(edge.enabled for edge in fleet.edges))
    assert answer.code != 404 or query.strict or query.model is not None


@given(questions())
def test_all_adds_regions_and_changes_nothing_else(asked: Asked) -> None:
    catalog, fleet, key, query = asked
    table = tabled(catalog, fleet)
    bodies = [
        body_of(table.answer(key, query._replace(all=every), Sharing.PRIVATE))
        for every in (False, True)
    ]
    bodies[1].pop("regions", None)
    assert bodies[0] == bodies[1]


@given(questions())
def test_all_is_written_as_any_other_json(asked: Asked) -> None:
    catalog, fleet, key, query = asked
    body = tabled(catalog, fleet).answer(key, query._replace(all=True), Sharing.PRIVATE).body
    assert body == msgspec.json.encode(msgspec.json.decode(body))


def test_all_lists_each_edge_once_told() -> None:
    table = tabled(a_catalog(), a_fleet())
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
