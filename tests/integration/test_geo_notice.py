"""The command that the dashboard and `check` advise for an old geo database works."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.support.databases import a_world_file
from tests.support.origins import an_origin
from tests.support.running import Running, Site
from tests.support.servers import eventually, run_autorouter

pytestmark = pytest.mark.anyio


async def geo_advice(server: Running) -> str | None:
    """The dashboard's advice about an old geo database, or None."""
    found = (await server.ops("/v1/edges")).json()["findings"]
    return next((each["action"] for each in found if each["kind"] == "geo_old"), None)


@pytest.mark.parametrize("days", [46, 400])
async def test_advised_command_ends_the_notice(site: Site, tmp_path: Path, days: int) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    a_world_file(folder / "geo.mmdb", days_old=days)
    fresh = a_world_file(tmp_path / "fresh.mmdb", days_old=3)
    with an_origin() as origin:
        origin.serve_dbip(fresh.read_bytes())
        settings = {"GEO_DIR": str(folder), "GEO_MIRROR": origin.url}
        server = await site.serve_until_ready(**settings)
        advice = await geo_advice(server)
        assert advice is not None
        report = json.loads(run_autorouter("check", "--json", **settings).stdout)
        (command,) = {
            command
            for line in report["warnings"]
            for command in re.findall(r"`autorouter ([^`]+)`", line)
        }
        assert f"autorouter {command}" in advice

        done = run_autorouter(*shlex.split(command), **settings)
        assert (done.returncode, done.stderr) == (0, "")

        async def is_gone() -> bool:
            return await geo_advice(server) is None

        await eventually(is_gone)
        report = json.loads(run_autorouter("check", "--json", **settings).stdout)
        assert report["warnings"] == []
        assert any(str(folder / "geo.mmdb") in fact for fact in report["facts"])
