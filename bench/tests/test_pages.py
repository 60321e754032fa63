"""The generated pages have the measured values."""

import json
from pathlib import Path

import pytest

from bench import route, scaling
from bench.figures import RESULTS
from tests.support.servers import ROOT

PAGES = sorted(scaling.PAGES)


def test_tables_are_up_to_date() -> None:
    assert scaling.main(["--check"]) == 0


@pytest.mark.parametrize("stale", PAGES)
def test_stale_table_is_noticed(
    stale: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in PAGES:
        text = (ROOT / "docs" / name).read_text()
        older = text.replace("<!-- end of", "| one row more |\n<!-- end of", 1)
        (tmp_path / name).write_text(older if name == stale else text)
    monkeypatch.setattr(scaling, "DOCS", tmp_path)

    assert scaling.main(["--check"]) == 1
    assert f"{stale}: out of date" in capsys.readouterr().err
    assert scaling.main([]) == 0
    assert (tmp_path / stale).read_text() == (ROOT / "docs" / stale).read_text()


def test_plot_of_routes_has_the_saved_figures() -> None:
    figures = json.loads((RESULTS / "route.json").read_text())
    drawn = route.plot(figures)

    assert drawn == (RESULTS / "route.svg").read_text()
    assert all(name in drawn for name in figures["duels"])
