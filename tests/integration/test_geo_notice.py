"""What the dashboard and `check` advise against an old geo database ends the notice."""

import json
import re
import shlex
import time
from pathlib import Path

import pytest

from tests.support.databases import nested, set_built_at, write_mmdb
from tests.support.origins import Served, an_origin
from tests.support.running import Running, Site
from tests.support.servers import eventually, run_autorouter

pytestmark = pytest.mark.anyio

EVERYWHERE = {"0.0.0.0/1": "Toronto", "128.0.0.0/1": "Toronto", "2000::/3": "Montreal"}
DAY_S = 86_400


def a_database(path: Path, days: float) -> Path:
    write_mmdb(path, {network: nested(city) for network, city in EVERYWHERE.items()})
    return set_built_at(path, int(time.time() - days * DAY_S))


async def geo_notice(server: Running) -> str | None:
    """What the dashboard advises about the geo database, if anything."""
    found = (await server.ops("/v1/edges")).json()["findings"]
    return next((each["action"] for each in found if each["kind"] == "geo_old"), None)


@pytest.mark.parametrize("days", [46, 400])
async def test_advice_typed_word_for_word_ends_the_notice(
    site: Site, tmp_path: Path, days: int
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    a_database(folder / "geo.mmdb", days)
    fresh = a_database(tmp_path / "fresh.mmdb", 3)
    month = time.strftime("%Y-%m", time.gmtime())
    with an_origin() as origin:
        origin.files[f"/free/dbip-city-lite-{month}.mmdb.gz"] = Served(fresh.read_bytes())
        settings = {"GEO_DIR": str(folder), "GEO_MIRROR": origin.url}
        server = await site.serve_until_ready(**settings)
        advice = await geo_notice(server)
        assert advice is not None
        checked = json.loads(run_autorouter("check", "--json", **settings).stdout)
        (command,) = {
            typed
            for line in checked["warnings"]
            for typed in re.findall(r"`autorouter ([^`]+)`", line)
        }
        assert f"autorouter {command}" in advice

        done = run_autorouter(*shlex.split(command), **settings)
        assert (done.returncode, done.stderr) == (0, "")

        async def is_over() -> bool:
            return await geo_notice(server) is None

        await eventually(is_over)
        checked = json.loads(run_autorouter("check", "--json", **settings).stdout)
        assert checked["warnings"] == []
        assert any(str(folder / "geo.mmdb") in fact for fact in checked["facts"])
