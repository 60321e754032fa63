"""cells.csv: what is accepted, and the line of every error."""

from pathlib import Path

import pytest

from router.config.cells import load_cells
from router.errors import ConfigError
from router.geo.countries import load_countries
from router.routing.territory import Cell

GEODATA = Path(__file__).parents[3] / "geodata"


def a_file(tmp_path: Path, *rows: str, head: str = "code,row,column,people") -> Path:
    path = tmp_path / "cells.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def test_shipped_file_loads() -> None:
    cells = load_cells(GEODATA / "cells.csv")
    assert {cell.country for cell in cells} <= set(load_countries(GEODATA / "countries.csv"))
    assert sum(cells.values()) > 2_000_000_000


def test_city_is_in_its_cell() -> None:
    toronto = Cell("CA", 66, 50)
    assert load_cells(GEODATA / "cells.csv")[toronto] > 2_000_000
    assert (toronto.centre.latitude, toronto.centre.longitude) == (43, -79)


def test_every_error_has_its_line(tmp_path: Path) -> None:
    path = a_file(
        tmp_path, "CA,66,50,1", "CA,90,50,1", "CA,66", "CA,66,180,1", "CA,a,1,1", "CA,1,1,-1"
    )
    with pytest.raises(ConfigError) as caught:
        load_cells(path)
    assert [fault.split(":")[1] for fault in caught.value.faults] == ["3", "4", "5", "6", "7"]


@pytest.mark.parametrize("head", ["", "code,row,column", "people,row,column,code"])
def test_other_columns_are_rejected(tmp_path: Path, head: str) -> None:
    with pytest.raises(ConfigError, match="columns"):
        load_cells(a_file(tmp_path, head=head))
