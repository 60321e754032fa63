"""`autorouter geodata info` and `compare` as commands."""

import json
from pathlib import Path

from tests.support.databases import nested, write_mmdb
from tests.support.servers import run_autorouter


def test_info_and_compare_print_text_and_json(tmp_path: Path) -> None:
    halves = {"0.0.0.0/1": nested("Toronto"), "2000::/3": nested("Toronto")}
    path = str(write_mmdb(tmp_path / "a.mmdb", halves, type="DBIP-City-Lite"))
    info = run_autorouter("geodata", "info", path)
    assert "DBIP-City-Lite" in info.stdout
    assert json.loads(run_autorouter("geodata", "info", path, "--json").stdout)["path"] == path
    words = ("geodata", "compare", path, path, "--count", "500")
    assert "same country" in run_autorouter(*words).stdout
    assert json.loads(run_autorouter(*words, "--json").stdout)["sampled"] == 500
    assert run_autorouter("geodata", "info", "/nowhere").returncode == 1
