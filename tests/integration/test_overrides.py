"""Commands with the operator's own geofeed."""

import json
from pathlib import Path

from tests.support.servers import HOST, free_port, run_autorouter


def a_geofeed(folder: Path, *lines: str) -> str:
    path = folder / "overrides.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_server_does_not_start_with_an_invalid_geofeed(tmp_path: Path) -> None:
    path = a_geofeed(tmp_path, "# ours", "nonsense,CA", "192.0.2.0/24,CA", "192.0.2.0/24,US")
    done = run_autorouter("serve", GEO_OVERRIDES=path)
    assert done.returncode == 1
    assert [line.split(":")[2] for line in done.stderr.splitlines()] == ["2", "4"]


def test_explain_names_the_override_as_the_source(tmp_path: Path) -> None:
    path = a_geofeed(
        tmp_path,
        "# prefix,country,region,city,,latitude,longitude",
        "24.48.0.0/24,US,US-TX,Dallas,,32.7767,-96.7970",
    )
    no_server = f"{HOST}:{free_port()}"
    done = run_autorouter(
        "explain", "24.48.0.1", "--json", GEO_OVERRIDES=path, OPS_LISTEN=no_server
    )
    document = json.loads(done.stdout)
    assert document["location"]["source"] == "override"
    assert document["region"].startswith("dal-")
