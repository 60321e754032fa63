"""The default folder of the geo data."""

from pathlib import Path

import pytest

from router.config.inputs import geo_folder
from router.config.settings import Settings


def test_geo_data_is_in_the_data_folder_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert geo_folder(Settings()) == tmp_path / "autorouter"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert geo_folder(Settings()) == tmp_path / ".local/share/autorouter"


def test_setting_names_another_folder(tmp_path: Path) -> None:
    assert geo_folder(Settings(geo_dir=tmp_path)) == tmp_path
