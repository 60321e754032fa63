"""Reads cells.csv: the number of people in each inhabited cell of the world."""

import csv
from pathlib import Path

from router.errors import ConfigError
from router.routing.territory import CELL_DEG, Cell
from router.text_files import read_text

_COLUMNS = ["code", "row", "column", "people"]
_ROWS, _COLS = 180 // CELL_DEG, 360 // CELL_DEG


def load_cells(path: Path) -> dict[Cell, int]:
    """Cell → people from CSV. Raises ConfigError if the file cannot be read, or with a line for
    every row that cannot be used: `cells.csv:12: …`.
    """
    header, *rows = csv.reader(read_text(path, "restore it").splitlines())
    if header != _COLUMNS:
        raise ConfigError([f"{path}:1: the columns must be {','.join(_COLUMNS)}"])
    cells: dict[Cell, int] = {}
    faults = []
    for line, row in enumerate(rows, 2):
        try:
            cell, people = _read(row)
        except ValueError:
            faults.append(f"{path}:{line}: must be a code, row, column and people of the grid")
        else:
            cells[cell] = people
    if faults:
        raise ConfigError(faults)
    return cells


def _read(row: list[str]) -> tuple[Cell, int]:
    """Raises ValueError if the row is no cell."""
    code, *numbers = row
    index, column, people = (int(number) for number in numbers)
    if len(code) != 2 or not 0 <= index < _ROWS or not 0 <= column < _COLS or people < 0:
        raise ValueError
    return Cell(code, index, column), people
