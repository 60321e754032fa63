"""countries.csv as values: code → Country, or every row that cannot be used."""

import csv
import io
import re
from pathlib import Path

from router.errors import ConfigError
from router.model import Country, Position
from router.text_files import plain_number, read_text

_COLUMNS = ("code", "name", "latitude", "longitude")


def load_countries(path: Path) -> dict[str, Country]:
    """Code → Country from CSV with code, name, latitude, longitude in degrees.

    Both coordinates are empty for a country without inhabitants. Raises ConfigError if the file
    cannot be read, or with a line for every row that cannot be used: `countries.csv:12: latitude:
    …`.
    """
    text = io.StringIO(read_text(path, "restore it"), newline="")
    rows = csv.DictReader(text, restval="missing")
    try:
        return _countries(rows, str(path))
    except csv.Error as error:
        raise ConfigError([f"{path}:{rows.reader.line_num}: is not CSV: {error}"]) from error


def _countries(rows: "csv.DictReader[str]", source: str) -> dict[str, Country]:
    if not set(_COLUMNS) <= set(rows.fieldnames or ()):
        raise ConfigError([f"{source}:1: the columns must be {','.join(_COLUMNS)}"])
    countries: dict[str, Country] = {}
    faults: list[str] = []
    for row in rows:
        try:
            country = _country(row)
        except ValueError as error:
            faults.append(f"{source}:{rows.line_num}: {error}")
            continue
        if country.code in countries:
            faults.append(f"{source}:{rows.line_num}: code: {country.code} is given twice")
        countries[country.code] = country
    if faults:
        raise ConfigError(faults)
    return countries


def _country(row: dict[str, str]) -> Country:
    """One row. Raises ValueError that names the column."""
    code, name = row["code"], row["name"]
    if re.fullmatch("[A-Z]{2}", code) is None:
        raise ValueError(f"code: {code!r} is not two capital letters")
    if row["latitude"] == row["longitude"] == "":
        return Country(code=code, name=name, centre=None)
    centre = Position(_degrees(row, "latitude", 90), _degrees(row, "longitude", 180))
    return Country(code=code, name=name, centre=centre)


def _degrees(row: dict[str, str], column: str, limit: int) -> float:
    number = plain_number(row[column])
    if isinstance(number, str) or abs(number) > limit:
        raise ValueError(f"{column}: {number!r} is not in degrees between -{limit} and {limit}")
    return number
