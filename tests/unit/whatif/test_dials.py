"""A changed dial moves its share of viewers; a changed weight moves viewers in its city."""

import pytest

from router.errors import ConfigError
from router.model import Status
from router.routing.fleet import Fleet
from router.routing.query import Query
from router.whatif.moves import Side
from router.whatif.scenario import Change, change_catalog, change_fleet
from tests.support.builders import NOW, a_catalog, a_location
from tests.support.samples import samples

NOTHING_KNOWN = Fleet(edges=(), status=Status.OK)
SEEDS = range(samples(8_000))


def picks(change: Change) -> list[str | None]:
    catalog = change_catalog(a_catalog(), change)
    side = Side(catalog, change_fleet(catalog, NOTHING_KNOWN, change, NOW), Query())
    return [side.pick(a_location(), seed * 7_919) for seed in SEEDS]


def test_changed_dial_moves_its_share_of_viewers() -> None:
    before, after = picks(Change()), picks(Change(dials={"yto-01": 0.7}))
    kept = [new for old, new in zip(before, after, strict=True) if old == "yto-01"]
    others = [(old, new) for old, new in zip(before, after, strict=True) if old != "yto-01"]
    assert kept.count("yto-01") / len(kept) == pytest.approx(0.7, abs=0.03)
    assert all(old == new for old, new in others)


def test_dial_of_the_present_fleet_is_kept() -> None:
    catalog = a_catalog()
    present = change_fleet(catalog, NOTHING_KNOWN, Change(dials={"yto-01": 0.3}), NOW)
    kept = change_fleet(catalog, present, Change(drained=["yto-02"]), NOW)
    assert kept.edges[0].share == 0.3


def test_changed_weight_changes_the_shares_in_its_city() -> None:
    found = picks(Change(weights={"yto-01": 3.0}))
    assert found.count("yto-01") / len(found) == pytest.approx(0.75, abs=0.03)


def test_change_of_dials_and_weights_has_a_text() -> None:
    change = Change(dials={"yto-01": 0.7}, weights={"yto-02": 2.0})
    assert change.text == "dialled yto-01 to 70%; weight of yto-02 2"


@pytest.mark.parametrize("change", [Change(dials={"x-1": 0.5}), Change(weights={"x-1": 2.0})])
def test_unknown_edge_is_rejected(change: Change) -> None:
    with pytest.raises(ConfigError, match="no such edge: x-1"):
        change_catalog(a_catalog(), change)
