"""countries.csv: what is accepted, and the line and column of every error."""

from pathlib import Path

import pytest

from router.errors import ConfigError
from router.geo.countries import load_countries
from router.model import Country, Position

SHIPPED = Path(__file__).parents[3] / "geodata" / "countries.csv"


def a_file(tmp_path: Path, *rows: str, head: str = "code,name,latitude,longitude") -> Path:
    path = tmp_path / "countries.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def faults_in(path: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_countries(path)
    return caught.value.faults


def test_shipped_file_loads() -> None:
    countries = load_countries(SHIPPED)
    assert len(countries) > 240
    assert countries["NO"].name == "Norway"


def test_namibia_and_antarctica_are_read(tmp_path: Path) -> None:
    path = a_file(tmp_path, 'NA,"Namibia, the",-21.4915,17.0780', "AQ,Antarctica,,")
    assert load_countries(path) == {
        "NA": Country(code="NA", name="Namibia, the", centre=Position(-21.4915, 17.078)),
        "AQ": Country(code="AQ", name="Antarctica", centre=None),
    }


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("ca,Canada,1,1", "code: 'ca' is not two capital letters"),
        ("CA,Canada,1,", "longitude: '' is not in degrees between -180 and 180"),
        ("CA,Canada,nan,1", "latitude: 'nan' is not in degrees between -90 and 90"),
        ("CA,Canada,1,181", "longitude: 181.0"),
        ("US,Again,1,1", "code: US is given twice"),
        ("CA,Canada", "latitude: 'missing'"),
    ],
)
def test_error_in_a_row_has_line_and_column(row: str, words: str, tmp_path: Path) -> None:
    path = a_file(tmp_path, "US,United States,39.0,-91.0", row)
    (fault,) = faults_in(path)
    assert fault.startswith(f"{path}:3: {words}")


def test_all_invalid_rows_are_reported_at_once(tmp_path: Path) -> None:
    path = a_file(tmp_path, "ca,Canada,1,1", "US,United States,39.0,-91.0", "NO,Norway,99,1")
    assert [fault.split(":")[1] for fault in faults_in(path)] == ["2", "4"]


def test_columns_are_required(tmp_path: Path) -> None:
    path = a_file(tmp_path, head="code,name")
    assert faults_in(path) == (f"{path}:1: the columns must be code,name,latitude,longitude",)


def test_field_too_long_for_csv_is_an_error(tmp_path: Path) -> None:
    path = a_file(tmp_path, f"CA,{'a' * 200_000},1,1")
    (fault,) = faults_in(path)
    assert fault.startswith(f"{path}:2: is not CSV: ")


def test_error_for_a_missing_file_has_its_path(tmp_path: Path) -> None:
    path = tmp_path / "countries.csv"
    (fault,) = faults_in(path)
    assert fault == f"{path}: cannot be read: No such file or directory; restore it"
