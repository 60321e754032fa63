"""The dashboard's own requests through a real uvicorn: files, territory, previews."""

import asyncio
import json
import re
import time
from typing import Any

import pytest

from router.api.http_protocol import Request
from router.config.inputs import read_cells
from router.model import Observed
from router.ops.dashboard import Dashboard
from router.ops.dashboard.atlas import Atlas
from router.routing.cache_headers import CachePolicy
from router.routing.route_table import RouteTable
from router.routing.territory import Cell
from router.store.slices import SLICE_S, Pace, in_slices
from router.telemetry.recent_counts import RecentCounts
from tests.support.builders import CITIES, a_fleet, a_fleet_but, a_ranker, an_edge
from tests.support.ops_server import Server
from tests.support.servers import ROOT, Stand

pytestmark = pytest.mark.anyio

STATIC = ROOT / "router" / "ops" / "dashboard" / "static"
DRAIN = {"state": "draining", "for": "2h", "reason": "new disks", "actor": "ann"}
POPULATION = {cell: people for cell, people in read_cells().items() if people > 2_000_000}
CANADIAN = [id for id, (_, country, _) in CITIES.items() if country == "CA"]


@pytest.fixture
def server(server: Server, stand: tuple[Stand, int]) -> Server:
    """The shared server with the dashboard's routes."""
    listening, _ = stand
    dashboard = Dashboard(
        server.ops, POPULATION, RecentCounts(lambda: server.public.counts.countries)
    )
    listening.app = server.ops.app(dashboard.routes())
    return server


def shares_of(document: Any, code: str) -> dict[str | None, float]:
    """Each edge's share of a country's viewers."""
    country = next(one for one in document["countries"] if one["code"] == code)
    return {edge: share / country["share"] for edge, share in country["edges"]}


# Files


async def test_page_loads_only_its_own_files(server: Server) -> None:
    answer = await server.client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    loaded = re.findall(r'(?:src|rel="\w+" href)="([^"]+)"', answer.text)
    assert len(loaded) > 5
    for path in loaded:
        assert (await server.client.get(f"/{path}")).status_code == 200
        assert not path.startswith("/")


@pytest.mark.parametrize("name", sorted(path.name for path in STATIC.iterdir()))
async def test_file_has_its_content_type_and_an_etag(server: Server, name: str) -> None:
    kinds = {"js": "text/javascript", "css": "text/css", "html": "text/html", "svg": "image/svg"}
    answer = await server.client.get(f"/static/{name}")
    assert answer.content == (STATIC / name).read_bytes()
    assert answer.headers["content-type"].startswith(kinds[name.rpartition(".")[2]])
    headers = {"If-None-Match": answer.headers["etag"]}
    again = await server.client.get(f"/static/{name}", headers=headers)
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "..%2fpages.py", "%2e%2e", "app.js%00", ""])
async def test_other_files_are_not_served(server: Server, name: str) -> None:
    answer = await server.client.get(f"/static/{name}")
    assert (answer.status_code, b"import" in answer.content) == (404, False)


async def test_scripts_never_build_html_or_code_from_text() -> None:
    source = "".join(path.read_text() for path in STATIC.glob("*.js"))
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(", source
    )
    assert "localStorage" not in source


# Territory


async def test_territory_lists_the_edges_of_every_country(server: Server) -> None:
    document = await server.get_json("/v1/territory")
    assert (document["status"], document["basis"], document["moves"]) == ("ok", "people", [])
    assert set(shares_of(document, "DE")) == {"yul-01", "yul-02"}
    assert set(shares_of(document, "JP")) == {"yvr-02"}
    assert sum(country["share"] for country in document["countries"]) == pytest.approx(1)


async def test_territory_changes_when_an_edge_goes_down(server: Server) -> None:
    before = await server.get_json("/v1/territory")
    await server.see("yvr-02")
    after = await server.get_json("/v1/territory")
    assert set(shares_of(after, "JP")) == {"sfo-01"}
    assert {move["from"] for move in after["moves"]} == {"yvr-02"}
    assert any("JP" in move["countries"] for move in after["moves"])
    assert before["cells"] == after["cells"]
    assert max(after["moved"]) == pytest.approx(1)


async def test_each_cell_refers_to_a_group_with_all_viewers(server: Server) -> None:
    document = await server.get_json("/v1/territory")
    groups = {group for cells in document["cells"].values() for group in cells[2::3]}
    assert groups == set(range(len(document["groups"]) - 1))
    assert all(sum(share for _, share in mix) == pytest.approx(1) for mix in document["groups"])


async def test_sites_list_the_edges_of_each_city(server: Server) -> None:
    document = await server.get_json("/v1/territory")
    sites = {site["name"]: site["edges"] for site in document["sites"]}
    assert sites["Toronto"] == ["yto-01", "yto-02"]
    assert sites["San Francisco"] == ["sfo-01"]


async def test_unchanged_territory_is_304(server: Server) -> None:
    answer = await server.client.get("/v1/territory")
    headers = {"If-None-Match": answer.headers["etag"]}
    again = await server.client.get("/v1/territory", headers=headers)
    assert (again.status_code, again.content) == (304, b"")
    await server.see("yto-01")
    assert (await server.client.get("/v1/territory", headers=headers)).status_code == 200


async def test_countries_are_weighted_by_answers_once_there_are_enough(server: Server) -> None:
    server.public.counts.countries["DE"] = 99
    assert (await server.get_json("/v1/territory"))["basis"] == "people"
    server.public.counts.countries["JP"] = 301
    document = await server.get_json("/v1/territory")
    assert document["basis"] == "answers"
    shares = {country["code"]: country["share"] for country in document["countries"]}
    assert (shares["JP"], shares["DE"]) == (pytest.approx(301 / 400), pytest.approx(99 / 400))


async def test_answers_are_counted_by_country(server: Server) -> None:
    for viewer in (b"24.48.0.1", b"24.48.0.1", b"85.214.132.117", b"10.0.0.1"):
        headers = [(b"x-forwarded-for", viewer)]
        server.public.respond(Request(b"GET", b"/v1/route", headers, "127.0.0.1"))
    assert server.public.counts.countries == {"CA": 2, "DE": 1, None: 1}


# Previews


async def test_preview_lists_the_moves(server: Server) -> None:
    document = await server.preview("yvr-02")
    assert {move["from"] for move in document["moves"]} == {"yvr-02"}
    assert {move["to"] for move in document["moves"]} >= {"sfo-01", "yto-01", "yto-02"}
    assert (document["countries_left"], document["needs_force"]) == ([], False)
    assert document["unanswered"] is False


async def test_preview_changes_nothing(server: Server) -> None:
    before = await server.get_json("/v1/territory")
    await server.preview("yvr-02", state="disabled")
    await server.ops.watch.refresh()
    assert await server.get_json("/v1/territory") == before
    assert {edge["intent"] for edge in (await server.get_json("/v1/edges"))["edges"]} == {"enabled"}


async def test_preview_matches_the_change(server: Server) -> None:
    promised = await server.preview("yvr-02", "nyc-01")
    await server.client.put("/v1/edges/yvr-02,nyc-01/intent", json=DRAIN)
    await server.ops.watch.refresh()
    happened = (await server.get_json("/v1/territory"))["moves"]
    assert {(m["from"], m["to"]): m["share"] for m in promised["moves"]} == pytest.approx(
        {(m["from"], m["to"]): m["share"] for m in happened}
    )


async def test_preview_of_enabling_brings_viewers_back(server: Server) -> None:
    await server.client.put("/v1/edges/yvr-02/intent", json=DRAIN)
    await server.ops.watch.refresh()
    document = await server.preview("yvr-02", state="enabled")
    assert {move["to"] for move in document["moves"]} == {"yvr-02"}
    assert not document["needs_force"]


async def test_preview_of_enabling_a_down_edge_moves_no_viewers(server: Server) -> None:
    await server.client.put("/v1/edges/yvr-02/intent", json=DRAIN)
    await server.see("yvr-02")
    assert (await server.preview("yvr-02", state="enabled"))["moves"] == []


async def test_preview_lists_countries_left_without_an_edge(server: Server) -> None:
    document = await server.preview(*CANADIAN)
    assert (document["countries_left"], document["needs_force"]) == (["CA"], True)
    refused = await server.client.put(f"/v1/edges/{','.join(CANADIAN)}/intent", json=DRAIN)
    assert refused.status_code == 409


@pytest.mark.parametrize("state", ["draining", "disabled"])
async def test_preview_without_any_edge_leaves_viewers_unanswered(
    server: Server, state: str
) -> None:
    document = await server.preview(*CITIES, state=state)
    assert {move["to"] for move in document["moves"]} == {None}
    assert sum(move["share"] for move in document["moves"]) == pytest.approx(1)
    assert document["countries_left"] == ["CA", "US"]
    assert (document["unanswered"], document["needs_force"]) == (True, True)


async def test_preview_of_draining_the_last_healthy_edge_fails_open(server: Server) -> None:
    await server.see(*(id for id in CITIES if id != "sfo-01"))
    document = await server.preview("sfo-01")
    assert document["status"] == "fail_open"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, 400),
        ({"edges": "yto-01"}, 400),
        ({"edges": "yto-01", "state": "down"}, 400),
        ({"edges": "nowhere-01", "state": "draining"}, 404),
        ({"edges": "yto-01,", "state": "draining"}, 404),
    ],
    ids=range(5),
)
async def test_invalid_preview_is_rejected(
    server: Server, params: dict[str, str], code: int
) -> None:
    answer = await server.client.get("/v1/preview", params=params)
    assert (answer.status_code, "detail" in answer.json()) == (code, True)


# The atlas


async def test_sliced_work_lets_other_tasks_run() -> None:
    turns = 0

    async def other_tasks() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def work() -> Any:
        until = time.perf_counter() + 10 * SLICE_S
        while time.perf_counter() < until:
            yield
        return "done"

    beside = asyncio.create_task(other_tasks())
    assert await in_slices(work(), Pace(rests=True)) == "done"
    beside.cancel()
    assert turns >= 5


async def test_territory_is_computed_once_per_table() -> None:
    atlas = Atlas({Cell("CA", 66, 50): 1.0})
    table = RouteTable(a_ranker(), a_fleet(), CachePolicy())
    one, two = await asyncio.gather(atlas.territory(table), atlas.territory(table))
    assert one is two
    other = RouteTable(table.ranker, a_fleet_but(an_edge("yto-01", Observed.DOWN)), CachePolicy())
    assert (await atlas.territory(other)).survey is one.survey
    assert (await atlas.territory(other)).picks != one.picks


async def test_new_catalog_gets_a_new_survey() -> None:
    atlas = Atlas({Cell("CA", 66, 50): 1.0})
    first = await atlas.territory(RouteTable(a_ranker(), a_fleet(), CachePolicy()))
    second = await atlas.territory(RouteTable(a_ranker(), a_fleet(), CachePolicy()))
    assert first.survey is not second.survey
    assert first.picks == second.picks


def test_outlines_are_closed_and_of_known_countries() -> None:
    world = json.loads((ROOT / "geodata" / "outlines.json").read_text())
    arcs, shapes = world["arcs"], world["objects"]["countries"]["geometries"]
    assert {shape["id"] for shape in shapes} <= {cell.country for cell in read_cells()}
    ends = [
        (tuple(map(sum, zip(*arc[:1], strict=True))), tuple(map(sum, zip(*arc, strict=True))))
        for arc in arcs
    ]
    for shape in shapes:
        for (ring,) in shape["arcs"]:
            walked = [ends[n] if n >= 0 else ends[~n][::-1] for n in ring]
            assert all(a[1] == b[0] for a, b in zip(walked, [*walked[1:], walked[0]], strict=True))
