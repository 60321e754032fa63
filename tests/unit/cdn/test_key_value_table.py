"""The CloudFront KeyValueStore table: the contents of its cells and its size."""

import json
import math
import random

import pytest

from router.cdn.key_value_table import MAX_PAIR_BYTES, make_table
from router.errors import ConfigError
from router.model import Catalog, Position, Scope
from router.routing.ranking import Ranker
from tests.support.builders import a_catalog, a_region


def a_spread_ranker(count: int, seed: int = 1) -> Ranker:
    rng = random.Random(seed)
    return Ranker(
        Catalog(
            regions=tuple(
                a_region(
                    f"edge-{number}",
                    country=rng.choice(["US", "CA", "DE"]),
                    position=Position(rng.uniform(-80, 80), rng.uniform(-180, 180)),
                )
                for number in range(count)
            )
        )
    )


def cell_of(values: dict[str, str], tree: str, place: Position) -> list[str]:
    """Returns the first edge of each metro in the smallest cell around a place."""
    across, up, cell = (place.longitude + 180) / 360, (place.latitude + 90) / 180, ""
    while (rows := json.loads(values[f"{tree}.{cell}"])) == 0:
        column, row = min(1, math.floor(across * 2)), min(1, math.floor(up * 2))
        across, up, cell = across * 2 - column, up * 2 - row, f"{cell}{row * 2 + column}"
    return [row[5][0] for row in rows]


def test_cell_has_the_nearest_metros_of_each_place_in_it() -> None:
    ranker, rng = a_spread_ranker(40), random.Random(2)
    table = make_table(ranker)
    for _ in range(1_000):
        place = Position(rng.uniform(-90, 90), rng.uniform(-180, 180))
        metros = ranker.around("CA", place, Scope.COUNTRY)
        cell_edges = cell_of(dict(table.values), f"{table.version}.CA.in", place)
        assert {metro.edges[0].id for metro in metros} <= {*cell_edges}


def test_same_catalog_gives_the_same_version() -> None:
    assert make_table(a_spread_ranker(20)) == make_table(a_spread_ranker(20))
    assert make_table(a_spread_ranker(20)).version != make_table(a_spread_ranker(21)).version


def test_city_with_many_edges_is_split() -> None:
    regions = [a_region(f"{'x' * 55}-{number:03}") for number in range(200)]
    table = make_table(Ranker(a_catalog(*regions)))
    assert max(len(name) + len(text) for name, text in table.values.items()) <= MAX_PAIR_BYTES


def a_ranker_at_one_position(spacing: float) -> Ranker:
    """20 countries with one edge each, all at almost the same position."""
    return Ranker(
        a_catalog(
            *(
                a_region(
                    f"edge-{number:02}",
                    country=f"A{chr(65 + number)}",
                    position=Position(45 + number * spacing, -75),
                )
                for number in range(20)
            )
        )
    )


def test_metros_at_one_position_keep_their_order() -> None:
    ranker, rng = a_ranker_at_one_position(0), random.Random(3)
    table = make_table(ranker)
    for _ in range(100):
        place = Position(rng.uniform(-90, 90), rng.uniform(-180, 180))
        metros = ranker.around(None, place, Scope.GLOBAL)
        cell_edges = cell_of(dict(table.values), f"{table.version}.all", place)
        assert [metro.edges[0].id for metro in metros] == [*cell_edges][: len(metros)]


def test_metros_too_close_to_separate_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.cdn.key_value_table.MAX_TABLE_BYTES", 50_000)
    with pytest.raises(ConfigError, match="20 edges has more than"):
        make_table(a_ranker_at_one_position(1e-8))


def test_table_that_is_too_large_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.cdn.key_value_table.MAX_TABLE_BYTES", 1_000)
    with pytest.raises(ConfigError, match="AUTOROUTER_CACHE_KEY_HEADERS"):
        make_table(a_spread_ranker(5))
